"""Colour profiles: from the colours that a photo was saved in to sRGB, for ``--color-managed``.

Only embedded ICC profiles count. Relative colorimetric with black point compensation, as browsers do it.
"""

from __future__ import annotations

import functools
import io
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

_MODE_BY_SPACE = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_SAME_WITHIN = 2
"""Levels. Cameras and programs write sRGB in a dozen ways that differ by rounding."""


def to_srgb(image: Image.Image, rgb: Image.Image, notes: list[str]) -> Image.Image:
    """Apply the profile of a photo.

    Args:
        image: The photo as it was saved, with its profile.
        rgb: The same as 8-bit RGB, without regard to the profile; returned where there is nothing to do.
        notes: Gets what was done.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return rgb
    plan = _plan(bytes(profile))
    if plan == "sRGB":
        return rgb
    if plan == "unusable" or (plan.input_mode == "CMYK" and image.mode != "CMYK"):
        notes.append("colour profile ignored")
        return rgb
    if plan.input_mode == "CMYK":
        converted = plan.apply(image)
    elif plan.input_mode == "L":
        converted = plan.apply(rgb.getchannel("G"))
    else:
        converted = plan.apply(rgb)
    notes.append("colour profile applied")
    return converted


@functools.lru_cache(maxsize=64)
def _plan(profile: bytes) -> ImageCms.ImageCmsTransform | Literal["sRGB", "unusable"]:
    """How to convert; photos of one camera share a profile, so it is made once. Safe to share between threads."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODE_BY_SPACE[source.profile.xcolor_space.strip()]
        transform = ImageCms.ImageCmsTransform(
            source,
            ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")),
            mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOCACHE,
        )
    except (OSError, ValueError, TypeError, KeyError):
        return "unusable"
    if mode != "CMYK":
        colours = _test_colours(mode)
        change = np.asarray(transform.apply(colours)).astype(int) - np.asarray(colours.convert("RGB"))
        if np.abs(change).max() <= _SAME_WITHIN:
            return "sRGB"
    return transform


def _test_colours(mode: str) -> Image.Image:
    if mode == "L":
        return Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    levels = np.linspace(0, 255, 9).astype(np.uint8)
    return Image.fromarray(np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(27, 27, 3))
