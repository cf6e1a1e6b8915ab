"""Views of generated pictures, for holding two ways of scoring against each other where no photos are given."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

PHOTOS = 6


def generated_views(count: int, crops: int, side: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Views of photo-like pictures: smooth shapes with edges, texture, noise and exposure that vary.

    Plain noise would be far from what a model sees and hardly move its outputs.

    Returns:
        Crops (count, crops, side, side, 3) and overviews (count, side, side, 3), uint8.
    """
    rng = np.random.default_rng(20250701)
    y, x = np.mgrid[0:side, 0:side] / side

    def picture() -> npt.NDArray[np.uint8]:
        waves = sum(
            rng.uniform(0.2, 1.0) * np.sin(2 * np.pi * (rng.uniform(-f, f) * x + rng.uniform(-f, f) * y + rng.random()))
            for f in (1, 3, 9, 30)
        )
        edge = np.where(rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y > rng.uniform(-0.5, 0.5), 1.0, -1.0)
        base = 128 + rng.uniform(10, 60) * (waves + edge)
        color = base[..., None] * rng.uniform(0.5, 1.3, 3) + rng.normal(0, rng.uniform(0, 25), (side, side, 3))
        return np.clip(color, 0, 255).astype(np.uint8)

    views = np.stack([[picture() for _ in range(crops + 1)] for _ in range(count)])
    return views[:, :-1], views[:, -1]
