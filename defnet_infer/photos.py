"""Find photos and decode them to upright 8-bit RGB.

`find` turns what a person typed into a list of paths; `decode` turns one file into pixels or one readable
reason. Decoding is Pillow with pillow-heif for HEIC, restricted to formats that photos come in: no
PostScript, no metafiles, nothing that starts another program.

Two effects reach beyond this module, because Pillow has no narrower place for them: the HEIF plugin is
registered, and what Pillow and libtiff have to say about damaged metadata is silenced (a decode thread cannot
silence it for itself). Pillow's own limit for huge pictures is left as it is for other users and not consulted here.
"""

from __future__ import annotations

import ctypes
import io
import logging
import os
import re
import stat
import struct
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageCms

from defnet_infer.errors import PhotoError
from defnet_infer.photo_search import find

__all__ = ["MAX_PIXELS", "Photo", "decode", "find"]

MAX_PIXELS = 250_000_000
"""Photos with more pixels are refused from their header. The largest camera sensors have about 150 million."""

FORMATS = (
    *("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "DIB"),
    *("AVIF", "HEIF", "JPEG2000", "PPM", "QOI"),
)
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BITS_PER_SAMPLE, _PHOTOMETRIC, _SAMPLE_FORMAT, _SUBFILE = 258, 262, 339, 254
_PILLOW_MODULES = r"(PIL|pillow_heif)\."
_IGNORE_PILLOW = ("ignore", None, Warning, re.compile(_PILLOW_MODULES), 0)
_plugins_lock = threading.Lock()
_plugins_ready = False


@dataclass(frozen=True)
class Photo:
    """One decoded photo."""

    pixels: npt.NDArray[np.uint8]
    """(height, width, 3), RGB, upright."""
    notes: tuple[str, ...]
    """What had to be decided on the way, such as ``first frame``; empty for an ordinary photo."""


def decode(source: str | os.PathLike[str] | bytes, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode one photo to upright RGB. Safe to call from several threads.

    EXIF orientation is applied and broken EXIF ignored; transparency is laid over white; more than 8 bits
    are scaled by the depth of the file; of an animation the first frame counts.

    Args:
        source: A path, or the bytes of a file.
        max_pixels: Larger photos are refused before their pixels are read.

    Raises:
        PhotoError: If this is not a photo, is damaged, cut off or too large. The message is a short reason.
    """
    _prepare_pillow()
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else _open_file(source) as file:
            return _decode(file, max_pixels)
    except PhotoError:
        raise
    except MemoryError as error:
        raise PhotoError("not enough memory to decode it") from error
    except Exception as error:  # Plugins raise OSError, ValueError, TypeError, KeyError, ... on damaged data.
        raise PhotoError(_reason(error)) from error


def _open_file(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a regular file; anything else (a folder, a pipe that would block) is an error."""
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise PhotoError("is a folder that cannot be listed")
        if not stat.S_ISREG(mode):
            raise PhotoError("is not a regular file")
        return Path(path).open("rb")
    except OSError as error:
        raise PhotoError(f"cannot be opened: {error.strerror}") from error


def _prepare_pillow() -> None:
    """Load the plugins once, and keep Pillow's warnings about damaged metadata from reaching the terminal."""
    global _plugins_ready
    if not _plugins_ready:
        with _plugins_lock:
            if not _plugins_ready:
                import pillow_heif

                Image.init()
                pillow_heif.register_heif_opener()
                logging.getLogger("PIL").addHandler(logging.NullHandler())
                _silence_libtiff()
                _plugins_ready = True
    if _IGNORE_PILLOW not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PILLOW_MODULES)


def _silence_libtiff() -> None:
    """Stop libtiff from printing to the terminal: Pillow raises what matters, and the rest spoils the progress bar."""
    library = ctypes.CDLL(Image.core.__file__)  # type: ignore[attr-defined]
    for handler in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        if hasattr(library, handler):  # Not exported where libtiff is linked in statically.
            setter = getattr(library, handler)
            setter.restype = ctypes.c_void_p
            setter(None)


def _decode(file: IO[bytes], max_pixels: int) -> Photo:
    if not file.read(1):
        raise PhotoError("file is empty")
    with _identify(file) as image:
        width, height = image.size
        if width * height > max_pixels:
            raise PhotoError(
                f"{width} x {height} is more than the limit of {max_pixels} pixels; raise it with --max-pixels"
            )
        if image.format == "TIFF" and int(_tiff_tag(image, _SUBFILE, 0)) & 1:
            raise PhotoError("holds only a thumbnail that can be read (a camera raw file?)")
        image.load()
        notes: list[str] = []
        rgb = _to_rgb(image, notes)
        method = _UPRIGHT.get(_orientation(image))
        if method is not None:
            rgb = rgb.transpose(method)
        pixels = np.asarray(rgb)
        # The further pictures of MPO and HEIC files are previews and depth maps, not frames.
        if image.format not in ("MPO", "HEIF") and _animated(image):
            notes.insert(0, "first frame")
    return Photo(pixels=pixels, notes=tuple(notes))


def _identify(file: IO[bytes]) -> Image.Image:
    """`Image.open` for our formats, without its process-wide pixel limit, which would refuse or warn before ours."""
    file.seek(0)
    prefix = file.read(16)
    damage = ""
    for name in FORMATS:
        factory, accept = Image.OPEN[name]
        accepted = accept is None or accept(prefix)
        if not accepted or isinstance(accepted, str):
            continue
        file.seek(0)
        try:
            return factory(file, "")
        except (SyntaxError, IndexError, TypeError, struct.error) as error:
            damage = damage or f"damaged {name} header: {_clean(str(error)) or type(error).__name__}"
    raise PhotoError(damage or "not a photo: the content is of no known image format")


def _orientation(image: Image.Image) -> int:
    """EXIF orientation after loading; 1 if there is none or the EXIF block is damaged."""
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # Damaged EXIF says nothing about the pixels, whatever its parser raises.
        return 1
    return value if isinstance(value, int) else 1


def _animated(image: Image.Image) -> bool:
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # A damaged second frame; the first one is already decoded.
        return True


def _to_rgb(image: Image.Image, notes: list[str]) -> Image.Image:
    """8-bit RGB from any mode, transparency over white. Appends to `notes` what is out of the ordinary."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        notes.append("32-bit float" if image.mode == "F" else f"{_depth(image)}-bit")
        return _deep_gray(image).convert("RGB")
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


def _deep_gray(image: Image.Image) -> Image.Image:
    """8-bit gray from one channel of 9 to 32 bits. Pillow's own conversion clips 16 bits to white."""
    values: npt.NDArray[Any] = np.asarray(image)
    if image.mode == "F":
        if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
            raise PhotoError("floating-point pixels outside 0 to 1: which value is white is not defined")
        return Image.fromarray((values * 255 + 0.5).astype(np.uint8))
    bits = _depth(image)
    signed = int(_tiff_tag(image, _SAMPLE_FORMAT, 1)) == 2
    if bits == 32 and not signed:
        values = values.view(np.uint32)
    if bits > 16:
        values, bits = values >> (bits - 16), 16
    peak = 2 ** (bits - signed) - 1
    # A table instead of arithmetic: no wide intermediate copy of a large photo.
    levels = ((np.arange(peak + 1) * 255 + peak // 2) // peak).astype(np.uint8)
    if int(_tiff_tag(image, _PHOTOMETRIC, 1)) == 0:
        levels = levels[::-1]
    gray = levels[np.clip(values, 0, peak)]
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray[values == transparent] = 255
    return Image.fromarray(gray)


def _depth(image: Image.Image) -> int:
    """Bits per channel. Only TIFF has depths that Pillow does not scale to 16 itself."""
    return int(_tiff_tag(image, _BITS_PER_SAMPLE, 16))


def _tiff_tag(image: Image.Image, tag: int, default: int) -> int:
    value = getattr(image, "tag_v2", {}).get(tag, default) if image.format == "TIFF" else default
    return value[0] if isinstance(value, tuple) else value


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):  # From inside a plugin, for one frame.
        return "declares more pixels than a photo has"
    text = _clean(str(error))
    if "truncated" in text.lower():
        return "file is truncated"
    return f"cannot be decoded: {text or type(error).__name__}"


def _clean(text: str) -> str:
    """First line without memory addresses, which would differ from run to run."""
    first = text.strip().splitlines()[0] if text.strip() else ""
    return re.sub(r"\s*<[^<>]*0x[^<>]*>", "", first)[:120]
