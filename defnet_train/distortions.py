"""Synthetic distortions: damage a photo in one of 26 ways at one of five levels, the same way every time.

    from defnet_train.distortions import DISTORTION_KINDS, distort
    damaged = distort(pixels, "gaussian blur", level=3, seed="lighthouse.png")

The kinds are those of KADID-10k and TID2013 that need no trained model; the strengths are our own, chosen by eye on
photos of 512 x 768 pixels: level 1 is just visible, level 5 is severe (WebP: as bad as its encoder gets). Levels of
different kinds are not equally bad. Within one kind and photo a higher level is worse, but a photo may lack what a
kind damages: a gray one cannot lose its colour. Lengths are in pixels whatever the size of the photo, but squares
that are scattered over it grow with it.

Names are those of the label files (`defnet_train.labels`) where these have one. They differ from what one
would guess in the same places: sharpness counts as contrast, squares and moved pixels as spatial.

The random numbers depend on the seed and the kind, not on the level: level 5 is the noise of level 1, amplified.
The same bytes come back for the same versions of NumPy, SciPy and Pillow; encoders and generators may change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from defnet_infer.errors import DatasetError
from defnet_train import distortion_effects as effects
from defnet_train.distortion_effects import Pixels

LEVELS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Kind:
    """One way to damage a photo."""

    name: str
    coarse: str
    """A name of `defnet_infer.taxonomy.DISTORTIONS`."""
    effect: Callable[[Pixels, float, np.random.Generator], Pixels]
    strengths: tuple[float, float, float, float, float]
    """What `effect` gets at levels 1 to 5; its docstring says the unit."""

    def apply(self, pixels: Pixels, level: int, rng: np.random.Generator) -> Pixels:
        """Damage (height, width, 3) uint8 pixels at level 1 to 5; the answer is a new array of their shape."""
        return self.effect(pixels, self.strengths[LEVELS.index(level)], rng)


DISTORTION_KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("gaussian blur", "blur", effects.gaussian_blur, (0.8, 1.4, 2.4, 4, 7)),
        Kind("lens", "blur", effects.lens_blur, (1.3, 2.4, 4, 6.5, 11)),
        Kind("motion", "blur", effects.motion_blur, (4, 7, 12, 20, 34)),
        Kind("jpeg compression", "JPEG", effects.jpeg, (40, 24, 14, 8, 4)),
        # No class of its own; its blocks and flat areas look most like JPEG's.
        Kind("webp compression", "JPEG", effects.webp, (30, 14, 6, 2, 0)),
        Kind("jpeg2000 compression", "JPEG2000", effects.jpeg2000, (34.5, 32, 29.5, 27, 24.5)),
        Kind("white noise", "noise", effects.white_noise, (7, 13, 22, 36, 60)),
        Kind("white with color", "noise", effects.chroma_noise, (9, 16, 27, 44, 72)),
        Kind("impulse", "noise", effects.impulse_noise, (0.003, 0.01, 0.03, 0.08, 0.2)),
        Kind("multiplicative", "noise", effects.multiplicative_noise, (0.06, 0.11, 0.19, 0.32, 0.55)),
        Kind("white noise with denoise", "noise", effects.denoised_noise, (8, 16, 30, 52, 90)),
        Kind("brighten", "over-exposure", effects.tone_curve, (0.85, 0.7, 0.52, 0.37, 0.24)),
        Kind("darken", "under-exposure", effects.tone_curve, (1.25, 1.6, 2.1, 2.9, 4.2)),
        Kind("shifting the mean", "other", effects.mean_shift, (12, 24, 38, 55, 80)),
        Kind("contrast loss", "contrast", effects.contrast, (0.83, 0.66, 0.48, 0.3, 0.15)),
        Kind("contrast excess", "contrast", effects.contrast, (1.25, 1.6, 2.2, 3.3, 6)),
        Kind("sharpness", "contrast", effects.sharpen, (0.8, 1.8, 3.5, 7, 14)),
        Kind("oversaturation", "color", effects.saturation, (1.4, 1.9, 2.7, 4, 7)),
        Kind("desaturation", "color", effects.saturation, (0.7, 0.5, 0.3, 0.15, 0)),
        Kind("white balance", "color", effects.white_balance, (0.12, 0.25, 0.42, 0.65, 1)),
        Kind("quantization", "quantization", effects.quantize, (18, 11, 7, 5, 3)),
        Kind("color quantization", "quantization", effects.palette, (160, 80, 36, 14, 5)),
        Kind("pixelate", "spatial", effects.pixelate, (2, 3, 5, 9, 16)),
        Kind("jitter", "spatial", effects.jitter, (0.35, 0.7, 1.4, 2.8, 5.5)),
        Kind("color blocking", "spatial", effects.color_blocks, (2, 6, 14, 30, 64)),
        Kind("noneccentricity patch", "spatial", effects.copied_patches, (40, 100, 220, 480, 1024)),
    )
}


def distort(pixels: Pixels, kind: str, level: int, seed: str | int) -> Pixels:
    """Damage a photo; the same arguments give the same bytes.

    Args:
        pixels: (height, width, 3) uint8, RGB; left as it is.
        kind: A name in `DISTORTION_KINDS`.
        level: 1 (just visible) to 5 (severe).
        seed: What tells this photo's random numbers from another's, such as its file name.

    Raises:
        DatasetError: If there is no such kind or level; the message lists those there are.
    """
    if kind not in DISTORTION_KINDS:
        raise DatasetError(f"unknown distortion '{kind}'; known: {', '.join(DISTORTION_KINDS)}")
    if level not in LEVELS:
        raise DatasetError(f"unknown distortion level {level}; known: {', '.join(map(str, LEVELS))}")
    digest = hashlib.sha256(f"{seed}\n{kind}".encode()).digest()
    return DISTORTION_KINDS[kind].apply(pixels, level, np.random.default_rng(int.from_bytes(digest)))
