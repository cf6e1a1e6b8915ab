"""The end-to-end file against the Python pipeline, on real photos of mixed sizes, and what a large photo costs.

    python benchmarks/end_to_end_file.py FOLDER... [--model FILE] [--count 100]

Makes the end-to-end form of an exported file (the built-in model if absent), takes photos from the folders, gives them
sizes from 100 x 80 to 4000 x 3000 and 300 x 5000 by cropping, enlarging and squeezing, and scores the same pixels both
ways. Then scores a small and a 12-megapixel photo in processes of their own and reads their peak memory (Linux), and
times both ways on one core. Writes benchmarks/results/end_to_end_file_MODEL.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import PIL
from PIL import Image
from scoring_material import ROOT, model_or_builtin, record

from defnet_export.end_to_end import write_end_to_end
from defnet_infer import inputs, photos, views
from defnet_infer.artifact import Artifact
from defnet_infer.sessions.onnxruntime import OnnxRuntimeSession, quiet_options

MEMORY_BOUND_MIB = 300
SIZES = (None, (100, 80), (288, 288), (4000, 3000), (300, 5000), (3000, 2000), (1200, 1600), (1024, 768), (223, 1000))
"""Width and height to give a photo; None leaves it as it is."""
PEAK = """
import sys
import re
import numpy as np, onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
photo = np.random.default_rng(0).integers(0, 256, (int(sys.argv[3]), int(sys.argv[2]), 3), dtype=np.uint8)
session.run(["score"], {"image": photo})
# Not getrusage: there a process begins with the peak of the one that started it.
print(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
"""


def mixed(folders: list[Path], count: int) -> Iterator[tuple[str, np.ndarray]]:
    """Name and upright pixels; every other photo of the sizes above is cut to the ratio first, the rest is squeezed."""
    found = list(inputs.find([str(folder) for folder in folders]))
    chosen = found[:: max(1, len(found) // count)]
    for number, source in enumerate(islice(chosen, count)):
        photo = Image.fromarray(np.asarray(photos.decode(source.content).image))
        size = SIZES[number % len(SIZES)]
        if size is not None:
            box = _largest_box(photo.size, size) if number % 2 else None
            photo = photo.resize(size, Image.Resampling.LANCZOS, box=box)
        yield source.name, np.asarray(photo)


def _largest_box(size: tuple[int, int], ratio: tuple[int, int]) -> tuple[int, int, int, int]:
    width = min(size[0], size[1] * ratio[0] // ratio[1])
    height = min(size[1], size[0] * ratio[1] // ratio[0])
    return 0, 0, max(width, 1), max(height, 1)


def peak_mib(model: Path, width: int, height: int) -> float:
    command = [sys.executable, "-c", PEAK, str(model), str(width), str(height)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", type=Path, nargs="+", help="folders of photos")
    parser.add_argument("--model", type=Path, help="the built-in model if absent")
    parser.add_argument("--count", type=int, default=100)
    arguments = parser.parse_args()
    model = model_or_builtin(arguments.model)
    with tempfile.TemporaryDirectory() as scratch:
        merged = Path(scratch) / "model.e2e.onnx"
        bound = write_end_to_end(model, merged).score_bound
        figures = compare(model, merged, mixed(arguments.folders, arguments.count))
        small, large = peak_mib(merged, 640, 480), peak_mib(merged, 4000, 3000)
    figures |= {
        "score_bound": bound,
        "score_holds": figures["largest_score_difference"] <= bound,
        "peak_mib_640x480": small,
        "peak_mib_4000x3000": large,
        "peak_mib_difference": large - small,
        "memory_holds": large - small <= MEMORY_BOUND_MIB,
        "pillow": PIL.__version__,
        "onnxruntime": onnxruntime.__version__,
    }
    record(f"end_to_end_file_{model.name.removesuffix('.onnx')}", figures)
    if not (figures["score_holds"] and figures["memory_holds"]):
        sys.exit("beyond a bound")


def compare(model: Path, merged: Path, pictures: Iterator[tuple[str, np.ndarray]]) -> dict[str, Any]:
    """Largest and mean differences of the outputs, and the seconds that both ways take for the photos."""
    rule = Artifact.open(model).contract.preprocess
    python = OnnxRuntimeSession(model, device="cpu", threads=1)
    options = quiet_options()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(merged), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    differences: dict[str, list[float]] = {name: [] for name in names}
    levels, by_photo, sizes, seconds = [], [], set(), [0.0, 0.0]
    for name, pixels in pictures:
        began = time.perf_counter()
        made = views.make(pixels, rule)
        expected = python.run(made.crops[None], made.overview[None])
        seconds[0] += time.perf_counter() - began
        began = time.perf_counter()
        actual = dict(zip(names, session.run(names, {"image": pixels}), strict=True))
        seconds[1] += time.perf_counter() - began
        for output in names:
            differences[output].append(float(np.abs(actual[output] - expected[output]).max()))
        height, width, _ = pixels.shape
        sizes.add((width, height))
        by_photo.append((differences["score"][-1], f"{Path(name).name} at {width} x {height}"))
        levels.append(any((actual[task].argmax() != expected[task].argmax()) for task in ("scene", "distortion")))
    # NaN counts as the largest.
    worst, worst_photo = max(by_photo, key=lambda pair: np.nan_to_num(pair[0], nan=np.inf))
    return {
        "model": model.name,
        "photos": len(by_photo),
        "sizes": len(sizes),
        "largest_score_difference": worst,
        "worst_photo": worst_photo,
        "mean_score_difference": float(np.mean(differences["score"])),
        "photos_with_another_label": sum(levels),
        "largest_difference": {name: float(f"{max(values):.3g}") for name, values in differences.items()},
        "seconds_python": seconds[0],
        "seconds_end_to_end": seconds[1],
    }


if __name__ == "__main__":
    main()
