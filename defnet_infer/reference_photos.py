"""Photo-like pictures that are the same, bit for bit, on every machine: integer arithmetic alone makes them.

A file's reference outputs are those of these pictures. They exercise a model as photos do: structure at all sizes,
edges, blur, noise, blocks, wrong exposure, colour casts, gray, and sizes on all sides of the preprocessing rule.
Random numbers come from a hash of the place, not from a generator that another version of NumPy may change.

Legend: H W height and width, C colour channel.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

VERSION = 1
"""Of the pictures. Changing what they look like takes a new one."""
COUNT = 24
SIZES = ((320, 240), (240, 360), (224, 224), (500, 375), (100, 80), (420, 560), (288, 288), (1040, 800), (700, 260))
"""Width and height, in turn: enlarged, exactly one crop, halved stride, portrait, panorama, shrunk."""
_DEFECTS = ("none", "noise", "blur", "dark", "blocks", "bright", "cast", "flat", "none", "strong noise", "quantized")
_JPEG_QUALITIES = (92, 30)

Pixels = npt.NDArray[np.uint8]
Integers = npt.NDArray[np.int64]


def make(index: int) -> Pixels:
    """The index-th picture, (H, W, 3). Every seventh is gray."""
    width, height = SIZES[index % len(SIZES)]
    defect = _DEFECTS[index % len(_DEFECTS)]
    smallest = 32 if defect == "blur" else 4
    picture_HWC = np.full((height, width, 3), 128, np.int64)
    for octave, cell in enumerate(cell for cell in (128, 64, 32, 16, 8, 4) if cell >= smallest):
        strength = (150, 110, 80, 60, 40, 30)[octave]
        # One field for lightness and a weaker one a channel: real photos are mostly gray.
        light = _smooth(height, width, cell, seed=index * 64 + octave)
        for channel in range(3):
            tint = _smooth(height, width, cell, seed=index * 64 + 16 * (channel + 1) + octave)
            picture_HWC[:, :, channel] += (strength * (3 * light + tint)) // 4096
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    if smallest == 4:
        a, b, c = (_hash(np.arange(3), np.full(3, index), seed=901) % 201).astype(np.int64) - 100
        picture_HWC += np.where(a * (2 * x - width) + b * (2 * y - height) > c * 2, 28, -28)[:, :, None]
    picture_HWC = _spoil(picture_HWC, defect, index)
    if index % 7 == 6:
        picture_HWC[:] = (picture_HWC.sum(axis=2, keepdims=True)) // 3
    return np.clip(picture_HWC, 0, 255).astype(np.uint8)


def sha256(pictures: list[Pixels]) -> str:
    """Digest of sizes and pixels."""
    digest = hashlib.sha256()
    for picture in pictures:
        digest.update(f"{picture.shape[1]}x{picture.shape[0]};".encode())
        digest.update(picture.tobytes())
    return digest.hexdigest()


def write_files(folder: Path, count: int = COUNT) -> list[Path]:
    """Write pictures as photo files: three PNG for each JPEG, gray ones with one channel.

    Args:
        folder: Exists.
        count: How many.
    """
    paths = []
    for index in range(count):
        image = Image.fromarray(make(index))
        if index % 7 == 6:
            image = image.convert("L")
        path = folder / f"generated-{index:03d}.{'jpg' if index % 4 == 3 else 'png'}"
        if path.suffix == ".jpg":
            image.save(path, quality=_JPEG_QUALITIES[index // 4 % 2])
        else:
            image.save(path, compress_level=1)
        paths.append(path)
    return paths


def index_of(name: str) -> int:
    """Which picture a file of `write_files` shows."""
    return int(Path(name).stem.removeprefix("generated-"))


def _spoil(picture_HWC: Integers, defect: str, index: int) -> Integers:
    height, width, _ = picture_HWC.shape
    if "noise" in defect:
        y, x, c = np.ogrid[0:height, 0:width, 0:3]
        # The sum of four bytes is near enough to a bell.
        words = _hash(x + 4099 * c, np.broadcast_to(y, picture_HWC.shape), seed=index + 5000)
        bytes_HWC4 = np.stack([(words >> shift) & 255 for shift in (0, 8, 16, 24)], axis=-1).astype(np.int64)
        bell: Integers = bytes_HWC4.sum(axis=-1, dtype=np.int64) - 510
        noisy: Integers = picture_HWC + bell * (40 if defect == "strong noise" else 14) // 148
        return noisy
    if defect == "dark":
        return picture_HWC * picture_HWC // 700
    if defect == "bright":
        return picture_HWC + 110
    if defect == "cast":
        return picture_HWC + np.array([40, 0, -45], np.int64)
    if defect == "flat":
        return 120 + (picture_HWC - 128) // 5
    if defect == "quantized":
        return picture_HWC // 48 * 48 + 24
    if defect == "blocks":
        rows, columns = np.arange(height) // 8 * 8, np.arange(width) // 8 * 8
        return (picture_HWC + 3 * picture_HWC[rows][:, columns]) // 4
    return picture_HWC


def _smooth(height: int, width: int, cell: int, seed: int) -> Integers:
    """Values of -1024 to 1024 that wave over about `cell` pixels: random corners, straight lines between them."""
    y, x = np.arange(height, dtype=np.int64), np.arange(width, dtype=np.int64)
    corner_y, corner_x = np.arange(height // cell + 2)[:, None], np.arange(width // cell + 2)[None, :]
    corners = (_hash(corner_x, corner_y, seed) % 2049).astype(np.int64) - 1024
    row, down, column, right = y // cell, (y % cell)[:, None], x // cell, (x % cell)[None, :]
    top = corners[row][:, column] * (cell - right) + corners[row][:, column + 1] * right
    bottom = corners[row + 1][:, column] * (cell - right) + corners[row + 1][:, column + 1] * right
    mixed: Integers = np.floor_divide(top * (cell - down) + bottom * down, cell * cell, dtype=np.int64)
    return mixed


def _hash(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.uint32]:
    """32 random-looking bits for a place. Multiplications wrap in 64 bits, where NumPy is silent for arrays."""
    mixed = (x.astype(np.int64) * 374761393 + y.astype(np.int64) * 668265263 + seed * 974711).astype(np.uint64)
    for multiplier, shift in ((0xFF51AFD7ED558CCD, 33), (0xC4CEB9FE1A85EC53, 29)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(multiplier)
    bits: npt.NDArray[np.uint32] = (mixed >> np.uint64(32)).astype(np.uint32)
    return bits
