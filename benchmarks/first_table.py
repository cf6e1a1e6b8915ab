"""The README's first table: one good photo, the same damaged in four ways, and a file cut off in the middle.

    python benchmarks/first_table.py PHOTO [--model MODEL.onnx]

Prints rows of Markdown.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from scoring_material import model_or_builtin

from defnet_infer import Scorer
from defnet_infer.photos import decode

NOISE, LIGHT, BLUR, JPEG_QUALITY = 30, 0.25, 4, 10


def variants(photo: Image.Image, folder: Path) -> dict[str, Path]:
    """What each row says -> the file that it is about."""
    pixels = np.asarray(photo).astype(float)
    noisy = pixels + np.random.default_rng(0).normal(scale=NOISE, size=pixels.shape)
    made = {
        "a sharp photo": photo,
        f"the same, JPEG quality {JPEG_QUALITY}": photo,
        f"the same, noise of {NOISE} gray levels": Image.fromarray(noisy.clip(0, 255).astype(np.uint8)),
        "the same, a quarter of the light": Image.fromarray((LIGHT * pixels).astype(np.uint8)),
        f"the same, blurred by {BLUR} pixels": photo.filter(ImageFilter.GaussianBlur(BLUR)),
    }
    paths = {}
    for number, (name, image) in enumerate(made.items()):
        if "JPEG" in name:
            paths[name] = folder / f"{number}.jpg"
            image.save(paths[name], quality=JPEG_QUALITY)
        else:
            paths[name] = folder / f"{number}.png"
            image.save(paths[name])
    whole = next(iter(paths.values())).read_bytes()
    paths["a file cut off in the middle"] = folder / "cut.png"
    paths["a file cut off in the middle"].write_bytes(whole[: len(whole) // 2])
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photo", type=Path)
    parser.add_argument("--model", type=Path)
    arguments = parser.parse_args()
    scorer = Scorer(model_or_builtin(arguments.model), device="cpu")
    with tempfile.TemporaryDirectory() as scratch:
        paths = variants(decode(arguments.photo).image, Path(scratch))
        for name, row in zip(paths, scorer.score(list(paths.values())), strict=True):
            interval = "" if row.failed else f"{row.interval_low:.2f} to {row.interval_high:.2f}"
            what = "" if row.failed else f"{row.distortion} ({row.distortion_prob:.0%})"
            score = "" if row.failed else f"{row.score:.2f}"
            print(f"| {name} | {score} | {interval} | {what} | {row.error} |")


if __name__ == "__main__":
    main()
