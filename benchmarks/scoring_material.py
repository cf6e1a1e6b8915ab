"""What the scoring benchmarks share: generated photos, a model that takes a millisecond, and where results go."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from defnet_infer.artifact import builtin_model_path  # noqa: E402
from defnet_infer.errors import ArtifactError  # noqa: E402
from defnet_infer.machine import cores  # noqa: E402

CLI = [sys.executable, "-m", "defnet_infer.cli"]


def tiny_model(folder: Path) -> Path:
    """The model of the tests: real inputs and outputs, means of pixels inside."""
    from tests.conftest import write_tiny_model

    return write_tiny_model(folder / "tiny.onnx")


def model_or_builtin(given: Path | None) -> Path:
    try:
        return given or builtin_model_path()
    except ArtifactError as error:
        sys.exit(f"{error}; give one with --model")


def make_jpegs(folder: Path, count: int, width: int, height: int, quality: int = 90) -> list[Path]:
    """Smooth colours with camera-like noise, so that decoding costs what it costs for photos."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(width * height)
    paths = []
    for number in range(count):
        coarse = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
        noise = rng.integers(-8, 9, smooth.shape, dtype=np.int16)
        path = folder / f"{number:06}.jpg"
        Image.fromarray((smooth + noise).clip(0, 255).astype(np.uint8)).save(path, quality=quality)
        paths.append(path)
    return paths


def make_copies(folder: Path, originals: list[Path], count: int) -> None:
    """`count` files from a few originals; copies, not links, since a folder's links may count as one photo."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        shutil.copyfile(originals[number % len(originals)], folder / f"{number:06}.jpg")


def record(name: str, figures: dict[str, Any]) -> None:
    """Print the figures and write benchmarks/results/<name>.json."""
    figures = {**figures, "cores": cores(), "processor": platform.processor() or platform.machine()}
    target = Path(__file__).parent / "results" / f"{name}.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(figures, indent=2) + "\n")
    for key, value in figures.items():
        print(f"{key:34} {value:.4f}" if isinstance(value, float) else f"{key:34} {value}")
