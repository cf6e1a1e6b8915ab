"""Expand ``photos/**/*.jpg`` ourselves: not every shell does, and a quoted pattern never outgrows the command line.

Unlike `glob.glob`, ``**`` meets each folder once, so links in a circle end.
"""

# Names stay plain strings, as in `photo_search`.
# ruff: noqa: PTH112, PTH118, PTH208

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator

from defnet_infer.photo_search import walk

_MAGIC = frozenset("*?[")


def is_pattern(path: str) -> bool:
    """Whether a path holds ``*``, ``?`` or ``[``."""
    return not _MAGIC.isdisjoint(path)


def split(pattern: str) -> tuple[str, list[str]]:
    """The folder before the first wildcard as it was typed, empty for the current one, and the segments after it."""
    segments = pattern.split("/")
    first = next(k for k, segment in enumerate(segments) if is_pattern(segment))
    folder = "/".join(segments[:first]) + "/" if first else ""
    return folder, [segment for segment in segments[first:] if segment]


def expand(pattern: str) -> list[str]:
    """Files and folders that match, each once, in no order that counts.

    ``*``, ``?`` and ``[...]`` stay within one segment and leave hidden names out; ``**`` is any number of
    folders, hidden ones left out. ``**`` at the end is the folder before it.
    """
    folder, segments = split(pattern.replace(os.sep, "/"))
    return sorted(set(_matches(folder, segments)))


def _matches(folder: str, segments: list[str]) -> Iterator[str]:
    if not segments:
        yield folder
        return
    head, rest = segments[0], segments[1:]
    if head == "**":
        if not rest:
            yield folder or "."
            return
        for met, _ in walk(folder or "."):
            # The current folder is walked as ".", but what is in it is called as a shell would call it.
            yield from _matches(met if folder else met.removeprefix(".").removeprefix("/"), rest)
        return
    if not is_pattern(head):
        path = os.path.join(folder, head)
        if os.path.isdir(path) if rest else os.path.lexists(path):
            yield from _matches(path, rest)
        return
    try:
        names = os.listdir(folder or ".")
    except OSError:
        if os.path.isdir(folder):
            yield folder  # Cannot be listed: given as it is, so that it becomes a row with an error.
        return
    for name in names:
        if name.startswith(".") and not head.startswith("."):
            continue
        path = os.path.join(folder, name)
        if fnmatch.fnmatchcase(name, head) and (not rest or os.path.isdir(path)):
            yield from _matches(path, rest)
