"""8-bit RGB from whatever a photo is saved as: 1 to 32 bits, gray, palette, CMYK, LAB, with transparency."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from defnet_infer import profiles
from defnet_infer.errors import PhotoError

_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339


def to_rgb(image: Image.Image, notes: list[str], *, color_managed: bool = False) -> Image.Image:
    """8-bit RGB from any mode, transparency over white.

    Args:
        image: A loaded photo, not changed.
        notes: Gets what is out of the ordinary.
        color_managed: Convert to sRGB by the embedded profile.

    Raises:
        PhotoError: If it is not defined which values are black and white.
    """
    rgb = _to_rgb(image, notes)
    return profiles.to_srgb(image, rgb, notes) if color_managed else rgb


def _to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """8-bit RGB from any mode, transparency over white. Appends to `notes` what is out of the ordinary."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        notes.append("32-bit float" if image.mode == "F" else f"{_depth(image)}-bit")
        return _deep_gray(image, notes).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        alpha = rgba.getchannel("A")
        if alpha.getextrema()[0] == 255:
            return rgba.convert("RGB")
        notes.append("transparency over white")
        white = Image.new("RGB", rgba.size, (255, 255, 255))
        white.paste(rgba, mask=alpha)
        return white
    if image.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.applyTransform(image, ImageCms.buildTransform(lab, srgb, "LAB", "RGB"))
        assert converted is not None  # Only the in-place form returns None.
        return converted
    return image.convert("RGB")


def _deep_gray(image: Image.Image, notes: list[str]) -> Image.Image:
    """8-bit gray from one channel of 9 to 32 bits. Pillow's own conversion clips 16 bits to white."""
    values: npt.NDArray[Any] = np.asarray(image)
    if image.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise PhotoError("floating-point pixels outside 0 to 1: which value is white is not defined")
        return Image.fromarray((values * 255 + 0.5).astype(np.uint8))
    bits = _depth(image)
    signed = int(tiff_tag(image, _SAMPLE_FORMAT, 1)) == 2
    if bits == 32 and not signed:
        values = values.view(np.uint32)
    if bits > 16:
        values, bits = values >> (bits - 16), 16
    peak = 2 ** (bits - signed) - 1
    # A table instead of arithmetic: no wide intermediate copy of a large photo.
    levels = ((np.arange(peak + 1) * 255 + peak // 2) // peak).astype(np.uint8)
    if int(tiff_tag(image, _PHOTOMETRIC, 1)) == 0:
        levels = levels[::-1]
    gray = levels[np.clip(values, 0, peak)]
    transparent = image.info.get("transparency")
    if isinstance(transparent, int) and (clear := values == transparent).any():
        notes.append("transparency over white")
        gray[clear] = 255
    return Image.fromarray(gray)


def _depth(image: Image.Image) -> int:
    """Bits per channel. Only TIFF has depths that Pillow does not scale to 16 itself."""
    return int(tiff_tag(image, _BITS_PER_SAMPLE, 16))


def tiff_tag(image: Image.Image, tag: int, default: int) -> int:
    """The first value of a tag of a TIFF; the default for other formats and absent tags."""
    value = getattr(image, "tag_v2", {}).get(tag, default) if image.format == "TIFF" else default
    return value[0] if isinstance(value, tuple) else value
