"""One process at a time writes a results file. The system drops the lock of a process that is killed.

Nothing is locked on Windows, nor on file systems that know no locks: a run goes on there without.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import IO

from defnet_infer.errors import UsageError

if sys.platform != "win32":
    import fcntl


class FileLock:
    """What this process has locked for one results file: the file, and drafts that take its place.

    Args:
        out: The results file, as it was typed.
    """

    def __init__(self, out: Path) -> None:
        self._out = out
        self._held: list[int] = []

    def take(self, stream: IO[bytes], path: Path | None = None) -> None:
        """Lock a file that is open for writing. It stays locked when `stream` is closed, until `release`.

        Args:
            stream: The file.
            path: Its name, where it may have got another file meanwhile.

        Raises:
            UsageError: If another process has locked it, or has just put another file in its place.
        """
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise self._taken() from None
        except OSError:
            return
        if path is not None and not is_at(stream, path):
            raise self._taken()
        # A duplicate shares the lock, which ends when both are closed.
        self._held.append(os.dup(stream.fileno()))

    def _taken(self) -> UsageError:
        return UsageError(f"another defnet is writing to {self._out}; wait for it, or name another --out")

    def release(self) -> None:
        """Unlock all."""
        while self._held:
            os.close(self._held.pop())


def is_at(stream: IO[bytes], path: Path) -> bool:
    """Whether a name still leads to the file that was opened, which may have been deleted or replaced."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(stream.fileno()))  # noqa: PTH116 -- asked for every row.
    except OSError:
        return False
