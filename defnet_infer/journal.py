"""The side file that makes a run resumable: for every row, which photo it is of and what the row's bytes are.

``results.csv.resume`` is JSON Lines. The first line says what made the rows (the model, its rule, the options
that can change a score). Then one line per row of the results file, in the file's order:

    ["photos/a.jpg", size, modification time in ns, bytes of the row, CRC-32 of the row, 1 if it is an error]

and ``{"resumed": true}`` wherever a run went on. The line is written before its row. Whatever moment a process is
killed at, the two files agree up to some row; what comes after is cut off and scored again.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, NamedTuple

from defnet_infer.errors import DefnetError, UsageError

Origin = dict[str, object]
"""What made the rows; equal origins give equal rows."""


class Identity(NamedTuple):
    """When a photo is still the one that was scored."""

    size: int
    modified_ns: int


UNKNOWN = Identity(-1, -1)
"""Of a photo that is not there, or of which nothing is known."""


class Entry(NamedTuple):
    """One row of the results file."""

    name: str
    size: int
    modified_ns: int
    length: int
    crc: int
    failed: int

    @property
    def identity(self) -> Identity:
        """Of the photo, when it was scored."""
        return Identity(self.size, self.modified_ns)


def identify(path: str) -> Identity:
    """Size and modification time of a file."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- a million of them; no object for each.
    except (OSError, ValueError):
        return UNKNOWN
    return Identity(status.st_size, status.st_mtime_ns)


def entry_for(name: str, identity: Identity, line: bytes, *, failed: bool) -> Entry:
    """The entry of a row that is about to be written."""
    return Entry(name, *identity, len(line), zlib.crc32(line), int(failed))


def path_beside(results: Path) -> Path:
    """``results.csv`` -> ``results.csv.resume``."""
    return results.with_name(results.name + ".resume")


class Journal:
    """An open journal, to which entries are appended.

    Args:
        path: The file.
        start: Where to go on; what stands after it is cut off. 0 begins anew with `origin`.
        origin: What makes the rows.
    """

    def __init__(self, path: Path, *, start: int, origin: Origin) -> None:
        self._path = path
        try:
            self._file: IO[bytes] = path.open("r+b" if start else "wb", buffering=0)
            self._file.truncate(start)
            self._file.seek(start)
        except OSError as error:
            raise UsageError(f"{path} cannot be written: {error.strerror}; name another --out") from error
        self._append({"resumed": True} if start else origin)

    def append(self, entry: Entry) -> None:
        """Write the entry of a row, before the row itself.

        Raises:
            DefnetError: If the disk is full or gone.
        """
        self._append(entry)

    def _append(self, value: object) -> None:
        view = memoryview(encode(value))
        try:
            while view:
                view = view[self._file.write(view) :]
        except OSError as error:
            raise DefnetError(f"cannot write to {self._path}: {error.strerror}; the rows before are kept") from error

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def encode(value: object) -> bytes:
    """One line of the journal."""
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


class Past(NamedTuple):
    """What an earlier run left behind, as far as its two files agree."""

    origin: Origin
    entries: list[Entry]
    resumed: int
    """How often that run was resumed already."""
    journal_end: int
    results_end: int


def read(journal: Path, results: IO[bytes], header: bytes, describe: Callable[[str], UsageError]) -> Past:
    """Read a journal and check every row of the results file against it.

    Args:
        journal: The journal file.
        results: The results file, open for reading at its start.
        header: What must stand at its start.
        describe: Makes the error from its reason.

    Raises:
        UsageError: If the journal cannot be read, or a row is there but is not what was written.
    """
    try:
        with journal.open("rb") as file:
            origin = parsed(file.readline())
            if not isinstance(origin, dict):
                raise describe("its .resume file cannot be read")
            start = results.read(len(header))
            if start and not header.startswith(start):
                raise describe("it has other columns than this defnet writes")
            entries: list[Entry] = []
            resumed, end, results_end = 0, file.tell(), len(start) if start == header else 0
            for line in file:
                value = parsed(line)
                if isinstance(value, dict):
                    resumed += 1
                elif isinstance(value, list) and len(value) == len(Entry._fields):
                    entry = Entry(*value)
                    row = results.read(entry.length)
                    if len(row) < entry.length or not row.strip(b"\0"):
                        break
                    if zlib.crc32(row) != entry.crc:
                        raise describe(f"its row {len(entries) + 1} ({entry.name}) was changed since it was written")
                    entries.append(entry)
                    results_end += entry.length
                else:
                    break
                end += len(line)
    except OSError as error:
        raise describe(f"{journal} cannot be read: {error.strerror}") from error
    return Past(origin, entries, resumed, end, results_end if entries else 0)


def parsed(line: bytes) -> object:
    """None for a line that is cut off or was never written."""
    try:
        return json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
