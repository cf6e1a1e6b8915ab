"""``--files-from``: photos listed in a file or on standard input, one a line or separated by NUL."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from defnet_infer.errors import UsageError

STANDARD_INPUT = "-"


def read(file: str, *, nul: bool = False) -> Iterator[str]:
    r"""Names in the order of the list.

    A list with a NUL byte anywhere is separated by NUL, as ``find -print0`` writes it; names may then hold line
    breaks. Otherwise there is one name a line; a line may end in ``\r\n``, empty ones and a byte order mark are
    passed over. Names are bytes of the file system, not necessarily UTF-8.

    Args:
        file: A path, or ``-`` for standard input.
        nul: The list is separated by NUL even if it holds a single name without one.

    Raises:
        UsageError: If the list cannot be read.
    """
    if file == STANDARD_INPUT and sys.stdin is None:
        raise UsageError("--files-from -: standard input is closed; pipe a list into it, or name a file")
    try:
        data = sys.stdin.buffer.read() if file == STANDARD_INPUT else Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"--files-from {file} cannot be read: {error.strerror}; name a list of photos") from error
    return _names(data, b"\0" if nul or b"\0" in data else b"\n")


def _names(data: bytes, separator: bytes) -> Iterator[str]:
    # Not `data.split`: a second copy of a million names.
    start = 0 if separator == b"\0" or not data.startswith(b"\xef\xbb\xbf") else 3
    while start < len(data):
        end = data.find(separator, start)
        end = len(data) if end < 0 else end
        name = data[start:end]
        start = end + 1
        if separator == b"\n":
            name = name.removesuffix(b"\r")
        if name:
            yield os.fsdecode(name)
