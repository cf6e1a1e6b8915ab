"""The order of rows after a run has gone on with another, and putting a results file into it in one step.

Rows of photos that are not among the given ones are kept, after the row that they followed.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO

from defnet_infer import journal
from defnet_infer.archives import archive_of
from defnet_infer.journal import Entry
from defnet_infer.out_file import behind


def numbered(entries: Sequence[Entry], indices: Iterable[int]) -> dict[tuple[str, int], int]:
    """Indices by name, in the order in which the names first came; of rows of one name the last counts.

    A tar archive may hold several members of one name, each a photo of its own: these are numbered.
    """
    by_name: dict[tuple[str, int], int] = {}
    members: Counter[str] = Counter()
    for index in indices:
        name = entries[index].name
        by_name[name, members[name]] = index
        if archive_of(name) != name:
            members[name] += 1
    return by_name


def final(past: Sequence[Entry], new: Sequence[Entry], plan: Iterable[int], *, planned_all: bool) -> list[int]:
    """Indices into past and new entries as they shall stand in the file.

    Args:
        past: Rows of earlier runs, as they stand in the file.
        new: Rows of this run, which stand after them.
        plan: Indices of the photos of this run in the order of the photos; -1 for those that have no row.
        planned_all: This run came to its end, so that a photo it did not name is not among the given ones.
    """
    every = [*past, *new]
    planned = [index for index in plan if index >= 0]
    placed, last = set(planned), numbered(every, planned)
    after: dict[int, list[int]] = {}
    before = -1
    for key, index in numbered(past, range(len(past))).items():
        if key in last:
            before = last[key]
        # An archive of which all is planned and that has fewer members of this name now has replaced the others.
        elif index not in placed and not (planned_all and (key[0], 0) in last):
            after.setdefault(before, []).append(index)
    order = after.get(-1, [])
    for index in planned:
        order += [index, *after.get(index, [])]
    return order


def rewrite(
    log: Path,
    side: Path,
    header: bytes,
    side_header: bytes,
    entries: Sequence[Entry],
    order: Sequence[int],
    *,
    lock: Callable[[IO[bytes]], None],
    before_moving: Callable[[], None],
) -> None:
    """Both files in order. See `finish_rewrite` for a process that is killed here.

    Args:
        log: The results file.
        side: Its journal.
        header: What the results file begins with.
        side_header: What the journal begins with.
        entries: The rows, as they stand in the results file.
        order: Those that it shall hold.
        lock: Takes the new results file for this process, before it has the name.
        before_moving: Closes the files that are open, which are about to be replaced.
    """
    offsets, position = [], len(header)
    for entry in entries:
        offsets.append(position)
        position += entry.length
    with log.open("rb") as old, part(log).open("wb") as new:
        lock(new)
        new.write(header)
        for index in order:
            old.seek(offsets[index])
            new.write(old.read(entries[index].length))
        new.flush()
        os.fsync(new.fileno())
    with part(side).open("wb") as new:
        new.write(side_header)
        new.writelines(journal.encode(entries[index]) for index in order)
        new.flush()
        os.fsync(new.fileno())
    before_moving()
    os.replace(part(log), behind(log))
    os.replace(part(side), behind(side))


def finish_rewrite(log: Path, side: Path) -> None:
    """Tidy up after a process that was killed while it rewrote: results go first, so their draft tells the state."""
    if part(log).exists():
        part(side).unlink(missing_ok=True)
        part(log).unlink()
    elif part(side).exists():
        os.replace(part(side), behind(side))


def part(path: Path) -> Path:
    """Where a file is drafted."""
    file = behind(path)
    return file.with_name(file.name + ".part")
