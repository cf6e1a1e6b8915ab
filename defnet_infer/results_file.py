"""The results file while it grows: rows are appended as they come, and it only ever holds whole lines.

A row goes out in one write to the operating system, so that a process that is killed loses none that was
written. What a failing write left behind is cut off again.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

from defnet_infer.errors import DefnetError, UsageError
from defnet_infer.file_lock import FileLock, is_at
from defnet_infer.out_file import behind, require_folder
from defnet_infer.results import COLUMNS, Format, Row, header_line, row_line

FORMAT_BY_SUFFIX: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
PARQUET = ".parquet"


class ResultsFile:
    """A file of rows.

    It is opened, and so proven writable, before any model is loaded; an existing file keeps its content until
    the first write, a file that was created and got no row is removed again.

    Args:
        path: ``.csv`` or ``.jsonl``; None writes CSV to `stream`.
        overwrite: An existing file may be replaced.
        stream: Where rows go without a path, binary.
        columns: What is written of a row.
        lock: Takes the file before it is read or changed; released by whoever made it, after `close`.

    Raises:
        UsageError: If the file exists, has another suffix, cannot be written, or another process writes it.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        overwrite: bool = False,
        stream: IO[bytes] | None = None,
        columns: Sequence[str] = COLUMNS,
        lock: FileLock | None = None,
    ) -> None:
        assert (path is None) != (stream is None), "either a path or a stream"
        self.path = path
        self.columns = columns
        self.form: Format = "csv"
        self._good = 0
        self._started = False
        self._created = False
        if path is not None:
            self.form = format_of(path)
            self._created = not path.exists()
            stream = open_for_writing(path, overwrite=overwrite, lock=lock)
        assert stream is not None
        self._stream = stream
        self._lock = lock

    @property
    def header(self) -> bytes:
        """What stands before the first row."""
        return header_line(self.form, self.columns).encode()

    def encode(self, row: Row) -> bytes:
        """The bytes of one row. A name that is not UTF-8 keeps its own bytes in CSV."""
        return row_line(row, self.form, self.columns).encode("utf-8", "surrogateescape")

    def continue_at(self, position: int) -> None:
        """Keep what stands before `position`, cut off the rest, and append from there."""
        self._stream.truncate(position)
        self._stream.seek(position)
        self._good, self._started = position, position > 0

    def take_over(self, draft: Path) -> None:
        """Put a draft in the place of the file, in one step, and append to that."""
        assert self.path is not None
        if self._lock is not None:
            with draft.open("r+b") as locked:
                self._lock.take(locked)
        self._stream.close()  # Windows replaces no file that is open.
        os.replace(draft, behind(self.path))
        self._stream = self.path.open("r+b", buffering=0)

    def write(self, row: Row) -> None:
        """Append a row; see `append`."""
        self.append(self.encode(row))

    def append(self, line: bytes) -> None:
        """Append a whole line, and the header before the first one.

        Raises:
            DefnetError: If the disk is full, or the file is gone or replaced; the lines written before are kept.
        """
        data = line if self._started else self.header + line
        try:
            if self.path is not None and not self._started:
                self._stream.truncate(0)
            view = memoryview(data)
            while view:
                view = view[self._stream.write(view) :]
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            if self.path is not None:
                self._stream.truncate(self._good)
                self._stream.seek(self._good)
            where = self.path or "standard output"
            raise DefnetError(f"cannot write to {where}: {error.strerror}; the rows before are kept") from error
        self._started = True
        self._good += len(data)
        self.check_in_place()

    def check_in_place(self) -> None:
        """Whether the rows are still where they shall be.

        The system goes on writing to a file that was deleted or replaced without a word; every row would be lost at
        the end.

        Raises:
            DefnetError: If they are not; they are saved somewhere else then.
        """
        if self.path is None or not self._started or is_at(self._stream, self.path):
            return
        what = "replaced" if self.path.exists() else "deleted"
        raise DefnetError(f"{self.path} was {what} during the run; the rows so far are kept in {self._rescue()}")

    def _rescue(self) -> str:
        """Copy the rows of a file without its name, which live while it is open, to where files can still be made."""
        assert self.path is not None
        self._stream.seek(0)
        with tempfile.NamedTemporaryFile(prefix="defnet-", suffix=self.path.suffix, delete=False) as copy:
            shutil.copyfileobj(self._stream, copy)
        return copy.name

    def sync(self) -> None:
        """Ask the disk itself to keep the rows, against a loss of power."""
        if self.path is not None and self._started:
            os.fsync(self._stream.fileno())

    def close(self, *, remove: bool = False) -> None:
        """Close the file; one that got no row is removed if it was created for this run, or with `remove`."""
        if self.path is None or self._stream.closed:
            return
        unused = (self._created or remove) and not self._started and is_at(self._stream, self.path)
        self._stream.close()
        if unused:
            behind(self.path).unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def format_of(path: Path) -> Format:
    """The line format that the suffix of a results file stands for.

    Raises:
        UsageError: If it stands for none.
    """
    try:
        return FORMAT_BY_SUFFIX[path.suffix.lower()]
    except KeyError:
        known = ", ".join((*FORMAT_BY_SUFFIX, PARQUET))
        raise UsageError(f"--out {path}: the suffix says the format and must be one of {known}") from None


def check_is_new(path: Path) -> None:
    """Refuse a results file that exists.

    Raises:
        UsageError: If it does, or its folder does not.
    """
    if path.exists():
        if not path.is_file():
            raise UsageError(f"--out {path} is not a file; name a file, such as results.csv")
        raise UsageError(f"--out {path} exists; go on with --resume, replace it with --overwrite, or name another file")


def open_for_writing(path: Path, *, overwrite: bool, lock: FileLock | None) -> IO[bytes]:
    """Open for reading and writing without changing what is there; the write position is the start.

    Raises:
        UsageError: If the file exists and may not be replaced, cannot be written, or another process writes it.
    """
    if not (overwrite and path.is_file()):
        check_is_new(path)
        require_folder(path, "--out ")
    try:
        # Opening is the only honest test: permission bits say nothing on a read-only disk, or to root.
        stream = path.open("r+b" if path.exists() else "x+b", buffering=0)
    except OSError as error:
        raise UsageError(f"--out {path} cannot be written: {error.strerror}; name a file somewhere else") from error
    if lock is not None:
        try:
            lock.take(stream, path)
        except UsageError:
            stream.close()
            raise
    return stream
