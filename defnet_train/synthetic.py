"""Photos damaged while they are read, so that a synthetic data set needs no more room than its pristine photos."""

from __future__ import annotations

from pathlib import Path

from defnet_infer.photos import decode
from defnet_train.distortion_effects import Pixels
from defnet_train.distortions import distort


def load_distorted(path: Path, kind: str, level: int) -> Pixels:
    """Decode a photo and damage it; the file's name is the seed.

    Args:
        path: The pristine photo.
        kind: A name in `defnet_train.distortions.DISTORTION_KINDS`; not looked at for level 0.
        level: 1 (just visible) to 5 (severe), or 0 for the photo as it is.

    Raises:
        PhotoError: If the photo cannot be decoded.
        DatasetError: If there is no such kind or level.
    """
    pixels = decode(path).pixels
    return pixels if level == 0 else distort(pixels, kind, level, seed=path.name)
