"""Decode one photo to upright 8-bit RGB, or to one readable reason why not.

Decoding is Pillow with pillow-heif for HEIC, restricted to formats that photos come in: no
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
from typing import IO, TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image

from defnet_infer.colours import tiff_tag, to_rgb
from defnet_infer.errors import MissingExtraError, PhotoError
from defnet_infer.sources import short_reason

if TYPE_CHECKING:
    from defnet_infer.sources import Content

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
_TURNED = [_UPRIGHT[orientation] for orientation in (5, 6, 7, 8)]
_SUBFILE = 254
_PILLOW_MODULES = r"(PIL|pillow_heif)\."
_IGNORE_PILLOW = ("ignore", None, Warning, re.compile(_PILLOW_MODULES), 0)
_plugins_lock = threading.Lock()
_plugins_ready = False


@dataclass(frozen=True)
class Photo:
    """One decoded photo."""

    image: Image.Image
    """RGB, upright. Pillow's own pixels: an array would be a second copy, too much for a photo of 200 megapixels."""
    notes: tuple[str, ...]
    """What had to be decided on the way, such as ``first frame``; empty for an ordinary photo."""
    full_size: tuple[int, int] | None = None
    """Upright width and height of the file, where `reduce_to` made `image` smaller."""

    @property
    def pixels(self) -> npt.NDArray[np.uint8]:
        """(height, width, 3), RGB, upright; a copy."""
        return np.asarray(self.image)


def decode(content: Content, max_pixels: int = MAX_PIXELS, *, reduce_to: int = 0, color_managed: bool = False) -> Photo:
    """Decode one photo to upright RGB. Safe to call from several threads.

    EXIF orientation is applied and broken EXIF ignored; transparency is laid over white; more than 8 bits
    are scaled by the depth of the file; of an animation the first frame counts.

    Args:
        content: A path, the bytes of a file, a function that reads them, a Pillow image (not changed), or a uint8
            array: (H, W, 3) is RGB and taken as it is, (H, W) gray, (H, W, 4) RGB with transparency. A `Photo` comes
            back as it is.
        max_pixels: Larger photos are refused before their pixels are read.
        reduce_to: A JPEG may be decoded at 1/2, 1/4 or 1/8, as long as its short side keeps this many pixels. 0: never.
        color_managed: Convert colours to sRGB by the embedded ICC profile; a damaged profile is ignored.

    Raises:
        PhotoError: If this is not a photo, is damaged, cut off or too large. The message is a short reason.
    """
    if isinstance(content, Photo):
        return content
    _prepare_pillow()
    try:
        if isinstance(content, np.ndarray):
            content = _from_array(content)
        if isinstance(content, Image.Image):
            _check_size(content, max_pixels)
            return _upright(content, 0, color_managed)
        if callable(content):
            content = content()
        with io.BytesIO(content) if isinstance(content, bytes) else _open_file(content) as file:
            if not file.read(1):
                raise PhotoError("file is empty")
            with _identify(file) as image:
                _check_size(image, max_pixels)
                if image.format == "TIFF" and int(tiff_tag(image, _SUBFILE, 0)) & 1:
                    raise PhotoError("holds only a thumbnail that can be read (a camera raw file?)")
                return _upright(image, reduce_to, color_managed)
    except (PhotoError, MissingExtraError):
        raise
    except MemoryError as error:
        raise PhotoError("not enough memory to decode it") from error
    except Exception as error:  # Plugins raise OSError, ValueError, TypeError, KeyError, ... on damaged data.
        raise PhotoError(_reason(error)) from error


def stored_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Width and height as a file's header says, before EXIF orientation; its pixels are not read.

    Raises:
        PhotoError: If this is not a photo, or its header is damaged.
    """
    _prepare_pillow()
    try:
        with _open_file(path) as file:
            if not file.read(1):
                raise PhotoError("file is empty")
            with _identify(file) as image:
                return image.size
    except PhotoError:
        raise
    except Exception as error:  # See `decode`.
        raise PhotoError(_reason(error)) from error


def _from_array(pixels: npt.NDArray[Any]) -> Image.Image:
    shape = " x ".join(map(str, pixels.shape))
    if pixels.dtype != np.uint8:
        raise PhotoError(f"is an array of {pixels.dtype}; pixels are uint8, from 0 to 255")
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))) or not pixels.size:
        raise PhotoError(f"is an array of {shape or 'no axes'}; a photo is height x width, or that x 3 or x 4")
    return Image.fromarray(np.ascontiguousarray(pixels))


def _open_file(path: str | os.PathLike[str]) -> IO[bytes]:
    """Open a regular file; anything else (a folder, a pipe that would block) is an error."""
    try:
        mode = Path(path).stat().st_mode
        if stat.S_ISDIR(mode):
            raise PhotoError(
                "is a folder without photos" if os.access(path, os.R_OK) else "is a folder that cannot be listed"
            )
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


def _check_size(image: Image.Image, max_pixels: int) -> None:
    width, height = image.size
    if not width * height:
        raise PhotoError(f"{width} x {height} has no pixels")
    if width * height > max_pixels:
        raise PhotoError(
            f"{width} x {height} is more than the limit of {max_pixels} pixels; raise it with --max-pixels"
        )


def _upright(image: Image.Image, reduce_to: int, color_managed: bool) -> Photo:
    width, height = full_size = image.size
    if reduce_to and image.format in ("JPEG", "MPO"):
        short = min(full_size)
        image.draft(None, (width * reduce_to // short, height * reduce_to // short))
    reduced = image.size != full_size
    # Pillow scales three channels of 16 bits itself, and afterwards does not tell.
    deep = image.mode in ("RGB", "RGBA", "RGBX") and any(";16" in str(tile.args) for tile in getattr(image, "tile", ()))
    image.load()
    notes: list[str] = [f"decoded at 1/{round(full_size[0] / image.size[0])}"] if reduced else []
    if deep:
        notes.append("16-bit")
    if image.format == "HEIF" and image.info.get("bit_depth", 8) > 8:
        notes.append(f"{image.info['bit_depth']}-bit")
    rgb = to_rgb(image, notes, color_managed=color_managed)
    method = _UPRIGHT.get(_orientation(image))
    if method is not None:
        rgb = rgb.transpose(method)
        full_size = full_size[::-1] if method in _TURNED else full_size
    # The further pictures of MPO and HEIC files are previews and depth maps, not frames.
    if image.format not in ("MPO", "HEIF") and image.tell() == 0 and _animated(image):
        notes.insert(0, "first frame")
    return Photo(image=rgb, notes=tuple(notes), full_size=full_size if reduced else None)


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
            damage = damage or f"damaged {name} header: {short_reason(error)}"
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


def _reason(error: Exception) -> str:
    if isinstance(error, Image.DecompressionBombError):  # From inside a plugin, for one frame.
        return "declares more pixels than a photo has"
    text = short_reason(error)
    if "truncated" in text.lower():
        return "file is truncated"
    return f"cannot be decoded: {text}"
