"""The effects behind `defnet_train.distortions`: each damages a photo with a given strength.

Every effect has the signature ``effect(pixels, strength, rng)``: `pixels` (height, width, 3) uint8 is left as it
is, the answer is a new array of its shape and type. What `strength` means, and its unit, is the docstring's first
line. An effect draws the same random numbers whatever its strength, so a stronger one is the weaker one grown.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.ndimage import gaussian_filter
from scipy.signal import oaconvolve

Pixels = npt.NDArray[np.uint8]
Rng = np.random.Generator

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_MAX_BLOCKS, _MAX_PATCHES = 64, 1024


def gaussian_blur(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Strength is the standard deviation in pixels."""
    return _to_bytes(_smooth(pixels, strength))


def lens_blur(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Out of focus; strength is the radius of the disk in pixels."""
    y, x = _offsets(strength)
    return _convolve(pixels, np.clip(strength + 0.5 - np.hypot(y, x), 0, 1))


def motion_blur(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Camera shake along a straight line of random direction; strength is its length in pixels."""
    angle = rng.uniform(0, np.pi)
    y, x = _offsets(strength / 2)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    return _convolve(pixels, np.clip(strength / 2 + 0.5 - abs(along), 0, 1) * np.clip(1 - abs(across), 0, 1))


def jpeg(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Strength is the encoder's quality; less is worse."""
    return _recode(pixels, "JPEG", quality=int(strength))


def webp(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Strength is the encoder's quality; less is worse."""
    return _recode(pixels, "WEBP", quality=int(strength), method=2)


def jpeg2000(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Strength is the peak signal-to-noise ratio that the encoder aims at, in dB; less is worse."""
    # Not a compression ratio: the one that a smooth photo does not show ruins a busy one.
    return _recode(pixels, "JPEG2000", quality_mode="dB", quality_layers=[strength], irreversible=True)


def white_noise(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Independent in each channel; strength is the standard deviation in gray levels."""
    return _to_bytes(pixels + strength * _normal(pixels.shape, rng))


def chroma_noise(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Noise in Cb and Cr only; strength is the standard deviation there in gray levels."""
    to_rgb = np.array([[0, -0.344, 1.772], [1.402, -0.714, 0]], np.float32)
    return _to_bytes(pixels + strength * (_normal((*pixels.shape[:2], 2), rng) @ to_rgb))


def impulse_noise(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Black and white values in each channel by itself; strength is the share of values hit."""
    place = rng.random(pixels.shape, np.float32)
    noisy = np.where(place < strength / 2, np.uint8(0), pixels)
    return np.where(place > 1 - strength / 2, np.uint8(255), noisy)


def multiplicative_noise(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Speckle that grows with brightness; strength is the relative standard deviation."""
    return _to_bytes(pixels * (1 + strength * _normal(pixels.shape, rng)))


def denoised_noise(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """White noise of that standard deviation in gray levels, then a median and a blur that leave blotches."""
    noisy = white_noise(pixels, strength, rng)
    for axis in (0, 1):  # Row medians of column medians: nearly the 3 x 3 median, at a tenth of its time.
        before, after = (_shifted(noisy, step, axis) for step in (-1, 1))
        noisy = np.maximum(np.minimum(before, after), np.minimum(np.maximum(before, after), noisy))
    return _to_bytes(_smooth(noisy, 0.5 + strength / 60))


def tone_curve(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Strength is the exponent of the curve: below 1 brightens, above 1 darkens; black and white stay."""
    return _to_bytes(255 * (np.arange(256) / 255) ** strength)[pixels]


def mean_shift(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Every value moved by as many gray levels, all up or all down."""
    return _to_bytes(pixels + np.float32(rng.choice((-1, 1)) * strength))


def contrast(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Strength is the gain about the photo's mean: below 1 looks flat, above 1 loses shadows and highlights."""
    mean = pixels.mean()
    return _to_bytes(mean + strength * (np.arange(256) - mean))[pixels]


def saturation(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Strength is the gain of each colour's distance from its gray: 0 is a gray photo, above 1 gaudy."""
    gray = (pixels @ _LUMA)[..., None]
    return _to_bytes(gray + np.float32(strength) * (pixels - gray))


def white_balance(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """A cast of random hue; strength is how many stops its channel gains at most."""
    hue = rng.uniform(0, 2 * np.pi)
    stops = strength * np.cos(hue + 2 * np.pi / 3 * np.arange(3))
    return _to_bytes(pixels * np.exp2(stops).astype(np.float32))


def sharpen(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Unsharp mask that leaves halos; strength is the gain of the detail."""
    return _to_bytes(pixels + strength * (pixels - _smooth(pixels, 1.5)))


def quantize(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Strength is how many evenly spaced gray levels each channel keeps."""
    steps = strength - 1
    return _to_bytes(np.rint(np.arange(256) / 255 * steps) * 255 / steps)[pixels]


def palette(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Strength is how many colours the photo keeps, chosen by median cut, without dithering."""
    few = Image.fromarray(pixels).quantize(int(strength), Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    return np.array(few.convert("RGB"))


def pixelate(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Strength is the side of the squares in pixels."""
    side = int(strength)
    small = np.asarray(Image.fromarray(pixels).reduce(side))
    return small.repeat(side, 0).repeat(side, 1)[: pixels.shape[0], : pixels.shape[1]]


def jitter(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Each pixel is fetched from nearby; strength is the standard deviation of the way in pixels."""
    height, width = pixels.shape[:2]
    dy, dx = np.rint(strength * _normal((2, height, width), rng)).astype(np.int32)
    rows = np.clip(np.arange(height)[:, None] + dy, 0, height - 1)
    columns = np.clip(np.arange(width) + dx, 0, width - 1)
    return pixels[rows, columns]


def color_blocks(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Strength is the count of solid squares, at most 64, each a sixteenth of the shorter side wide."""
    side, corners = _squares(pixels, 16, _MAX_BLOCKS, rng)
    colors = rng.integers(0, 256, (_MAX_BLOCKS, 3), np.uint8)
    damaged = pixels.copy()
    # Last square first: the squares of a lower level stay on top, so a higher level only adds.
    for (y, x), color in reversed(list(zip(corners, colors, strict=True))[: int(strength)]):
        damaged[y : y + side, x : x + side] = color
    return damaged


def copied_patches(pixels: Pixels, strength: float, rng: Rng) -> Pixels:
    """Strength is the count of squares, at most 1024, copied one side away; each a 32nd of the shorter side wide."""
    side, corners = _squares(pixels, 32, _MAX_PATCHES, rng)
    room = np.array(pixels.shape[:2]) - side
    angles = rng.uniform(0, 2 * np.pi, _MAX_PATCHES)
    ways = np.rint(side * np.stack([np.sin(angles), np.cos(angles)], axis=1)).astype(int)
    sources = np.clip(corners + ways, 0, room)
    damaged = pixels.copy()
    for (y, x), (from_y, from_x) in reversed(list(zip(corners, sources, strict=True))[: int(strength)]):
        damaged[y : y + side, x : x + side] = pixels[from_y : from_y + side, from_x : from_x + side]
    return damaged


def _to_bytes(values: npt.NDArray[Any]) -> Pixels:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _normal(shape: tuple[int, ...], rng: Rng) -> npt.NDArray[np.float32]:
    return rng.standard_normal(shape, np.float32)


def _smooth(pixels: Pixels, sigma: float) -> npt.NDArray[np.float32]:
    return gaussian_filter(pixels.astype(np.float32), sigma, axes=(0, 1), truncate=3)


def _offsets(radius: float) -> npt.NDArray[np.float32]:
    """Row and column distances from the centre of the smallest odd square that holds the radius."""
    reach = int(np.ceil(radius))
    return np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)


def _convolve(pixels: Pixels, kernel: npt.NDArray[np.float32]) -> Pixels:
    """Convolve each channel with a kernel scaled to sum 1; the photo is mirrored at its edges."""
    reach = len(kernel) // 2
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), "symmetric").astype(np.float32)
    return _to_bytes(oaconvolve(padded, (kernel / kernel.sum())[..., None], mode="valid", axes=(0, 1)))


def _shifted(pixels: Pixels, step: int, axis: int) -> Pixels:
    """Moved by one along an axis; the edge is repeated."""
    size = pixels.shape[axis]
    return pixels.take(np.clip(np.arange(size) + step, 0, size - 1), axis)


def _squares(pixels: Pixels, parts: int, count: int, rng: Rng) -> tuple[int, npt.NDArray[np.int64]]:
    """The side of squares (at least 2 pixels) and the top left corners (count, 2) of random ones inside the photo."""
    side = min(max(2, min(pixels.shape[:2]) // parts), *pixels.shape[:2])
    return side, rng.integers(0, np.array(pixels.shape[:2]) - side + 1, (count, 2))


def _recode(pixels: Pixels, encoding: str, **options: Any) -> Pixels:
    """Through an encoder and back."""
    with io.BytesIO() as file:
        Image.fromarray(pixels).save(file, encoding, **options)
        with Image.open(file, formats=[encoding]) as image:
            return np.array(image.convert("RGB"))
