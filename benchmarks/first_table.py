"""The README's first table: one good photo, the same damaged in four ways, and a file cut off in the middle.

    python benchmarks/first_table.py PHOTO [--model MODEL.onnx]

Prints rows of Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from scoring_material import model_or_builtin

from defnet_infer import Scorer
from defnet_infer.photos import decode
from defnet_train import distortion_effects as effects

NOISE, LIGHT, BLUR, JPEG_QUALITY = 30, 0.25, 4, 10


def variants(pixels: np.ndarray, folder: Path) -> dict[str, Path]:
    """What each row says -> the file that it is about."""
    rng = np.random.default_rng(0)
    made = {
        "a sharp photo": pixels,
        f"the same, JPEG quality {JPEG_QUALITY}": effects.jpeg(pixels, JPEG_QUALITY, rng),
        f"the same, noise of {NOISE} gray levels": effects.white_noise(pixels, NOISE, rng),
        "the same, a quarter of the light": (LIGHT * pixels).astype(np.uint8),
        f"the same, blurred by {BLUR} pixels": effects.gaussian_blur(pixels, BLUR, rng),
    }
    paths = {name: folder / f"{number}.png" for number, name in enumerate(made)}
    for name, path in paths.items():
        Image.fromarray(made[name]).save(path)
    whole = paths["a sharp photo"].read_bytes()
    cut = folder / "cut.png"
    cut.write_bytes(whole[: len(whole) // 2])
    return {**paths, "a file cut off in the middle": cut}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    scorer = Scorer(model_or_builtin(arguments.model), device="cpu")
    with tempfile.TemporaryDirectory() as scratch:
        paths = variants(decode(arguments.photo).pixels, Path(scratch))
        for name, row in zip(paths, scorer.score(list(paths.values())), strict=True):
            said = ("", "", "")
            if not row.failed:
                interval = f"{row.interval_low:.2f} to {row.interval_high:.2f}"
                said = (f"{row.score:.2f}", interval, f"{row.distortion} ({row.distortion_prob:.0%})")
            print("|", " | ".join([name, *said, row.error]), "|")


if __name__ == "__main__":
    main()
