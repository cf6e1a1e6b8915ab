"""One photo to decode: what its row is called, and how its content is read.

Files, members of an archive, remote objects, bytes, arrays and pictures all become a `Source`, so that what
decodes and scores knows one kind of thing. Making one reads nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

from defnet_infer.errors import PhotoError

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL import Image

    from defnet_infer.photos import Photo

    Content: TypeAlias = str | os.PathLike[str] | bytes | Callable[[], bytes] | Image.Image | npt.NDArray[Any] | Photo
    """A path, the bytes of a file, something that reads them or raises PhotoError, a picture, uint8 pixels, or what
    was decoded before."""

LONGEST_REASON = 120
"""Characters of an exception that a row's `error` may hold."""


@dataclass(frozen=True, slots=True)
class Source:
    """One photo that is not decoded yet."""

    name: str
    """What stands in the `path` column."""
    content: Content
    size_and_time: tuple[int, int] | None = None
    """Bytes and modification time in nanoseconds, where the content is no file of its own but they are known."""

    def stamp(self) -> tuple[int, int] | None:
        """Bytes and modification time in nanoseconds, which tell a changed photo; None where nothing is known."""
        if not isinstance(self.content, (str, os.PathLike)):
            return self.size_and_time
        try:
            status = os.stat(self.content)  # noqa: PTH116, a plain string is a tenth of the cost of a Path
        except (OSError, ValueError):
            return None
        return status.st_size, status.st_mtime_ns


def broken(name: str, reason: str) -> Source:
    """A photo of which only the reason is known why it cannot be read."""
    return Source(name, partial(_fail, reason))


def _fail(reason: str) -> NoReturn:
    raise PhotoError(reason)


def short_reason(error: BaseException) -> str:
    """First line of an exception, cut between words, without memory addresses, which would differ from run to run."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    if not lines:
        return type(error).__name__
    reason = re.sub(r"\s*<[^<>]*0x[^<>]*>", "", lines[0])
    cut = reason[:LONGEST_REASON]
    return reason if reason == cut else f"{cut.rpartition(' ')[0] or cut} ..."
