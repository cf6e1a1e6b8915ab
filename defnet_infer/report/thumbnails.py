"""Small upright pictures of photos, made in parallel. A photo that cannot be read has none."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from defnet_infer import photos
from defnet_infer.errors import PhotoError
from defnet_infer.machine import cores

LONG_SIDE = 240
"""Pixels. A card is 200 wide, and large JPEGs decode at 1/8 of their size for it."""
QUALITY = 55
"""WebP; about 6 kB for a photo."""
SUFFIX = ".webp"


def make_thumbnails(
    paths: Sequence[Path | None], *, progress: Callable[[], None] = lambda: None
) -> Iterator[bytes | None]:
    """WebP files of photos, in order; None for one that is missing or broken, or whose path is None.

    Args:
        paths: Local files.
        progress: Called after each.
    """
    with ThreadPoolExecutor(cores()) as pool:
        for thumbnail in pool.map(_thumbnail, paths):
            progress()
            yield thumbnail


def _thumbnail(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        image = photos.decode(path, reduce_to=LONG_SIDE).image
        # A photo of 1 x 5000 would become 0 pixels wide.
        scale = LONG_SIDE / max(image.size)
        if scale < 1:
            size = tuple(max(1, round(side * scale)) for side in image.size)
            image = image.resize((size[0], size[1]), Image.Resampling.BILINEAR, reducing_gap=2.0)
        stream = io.BytesIO()
        image.save(stream, "WEBP", quality=QUALITY, method=2)
    except (PhotoError, OSError, MemoryError):
        return None
    return stream.getvalue()
