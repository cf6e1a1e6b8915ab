"""The photos that all tools score: three sizes, each photo damaged in another way so that scores spread.

    python pictures.py --out REPORT FOLDER [ORIGINALS]

Made from the photos in ORIGINALS, or generated: light and colour at all scales, and edges.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import report
from PIL import Image, ImageDraw, ImageOps

from defnet_infer import photos
from defnet_infer.errors import PhotoError
from defnet_infer.inputs import find
from defnet_train.distortions import DISTORTION_KINDS, LEVELS, distort

SEED = 0
JPEG_QUALITY = 92
SHAPES = 24


def generated(number: int, size: tuple[int, int]) -> Image.Image:
    """A picture of its own for every number."""
    rng = np.random.default_rng([SEED, number])
    width, height = size
    field_HWC = np.full((height, width, 3), rng.uniform(70, 185, 3), np.float32)
    smallest = 2 ** rng.integers(1, 6)
    for cells in (2, 4, 8, 16, 32, 64, 128, 256):
        if max(size) / cells < smallest:
            break
        strength = 60 * cells ** -rng.uniform(0.2, 0.8)
        for channels, share in ((1, 1.0), (3, 0.35)):
            coarse = rng.normal(scale=strength * share, size=(cells * height // width + 2, cells + 2, channels))
            for channel in range(3):
                plane = Image.fromarray(coarse[:, :, min(channel, channels - 1)].astype(np.float32))
                field_HWC[:, :, channel] += np.asarray(plane.resize(size, Image.Resampling.BICUBIC))
    image = Image.fromarray(field_HWC.clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.integers(SHAPES)):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        half = rng.uniform(0.01, 0.12, 2) * width
        box = (x - half[0], y - half[1], x + half[0], y + half[1])
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        shape(box, fill=tuple(int(level) for level in rng.integers(0, 256, 3)))
    return image


def given(originals: list[Path], number: int, size: tuple[int, int]) -> Image.Image:
    """The middle of a given photo, at this size."""
    return ImageOps.fit(Image.fromarray(photos.decode(originals[number % len(originals)]).pixels), size)


def write(folder: Path, size: tuple[int, int], count: int, originals: list[Path]) -> None:
    """Write `count` JPEGs; every sixth is not damaged."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = list(DISTORTION_KINDS)
    for number in range(count):
        image = given(originals, number, size) if originals else generated(number, size)
        level = number % (len(LEVELS) + 1)
        if level:
            kind = kinds[7 * number % len(kinds)]
            image = Image.fromarray(distort(np.asarray(image), kind, level, seed=str(number)))
        image.save(folder / f"{number:04}.jpg", quality=JPEG_QUALITY)


def readable(folder: Path) -> list[Path]:
    """Photos of a folder, those that cannot be read left out."""
    paths = []
    for name in find([folder]).names:
        try:
            photos.decode(name)
        except PhotoError:
            continue
        paths.append(Path(name))
    return paths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("folder", type=Path)
    parser.add_argument("wanted", help="JSON: [[width, height, count], ...]")
    parser.add_argument("originals", type=Path, nargs="?")
    arguments = parser.parse_args()
    originals = readable(arguments.originals) if arguments.originals else []
    if arguments.originals and not originals:
        raise SystemExit(f"{arguments.originals}: no photo in it can be read; pass --photos a folder of photos")
    for width, height, count in json.loads(arguments.wanted):
        write(arguments.folder / f"{width}x{height}", (width, height), count, originals)
    report.write(arguments.out, originals=len(originals))


if __name__ == "__main__":
    main()
