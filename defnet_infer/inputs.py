"""From what a person typed to the photos to score: files, folders, patterns, lists, tar archives and URLs.

Only names are kept, some hundred bytes each, so a million photos fit everywhere. The order is that of the
bytes of the names, the same on every machine and for every order of the arguments; photos in a tar archive stand
where the archive stands, in its own order.
"""

# Names stay plain strings, as in `photo_search`.
# ruff: noqa: PTH100, PTH112, PTH208

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from defnet_infer import archives, patterns, remote
from defnet_infer.errors import UsageError
from defnet_infer.photo_search import search
from defnet_infer.results import FORMULA_STARTS, guarded_path
from defnet_infer.shards import Shard
from defnet_infer.sources import Source


@dataclass(frozen=True)
class Found:
    """The photos to score. Iterating gives each as a `Source`, as often as wanted."""

    names: list[str]
    """Paths, URLs and archives, sorted, each once."""

    @property
    def total(self) -> int | None:
        """How many photos there are; None where only reading the archives would tell."""
        return None if any(map(archives.is_archive_name, self.names)) else len(self.names)

    def __iter__(self) -> Iterator[Source]:
        for name in self.names:
            yield from sources(name)


def sources(name: str) -> Iterator[Source]:
    """The photos behind one name: many for a tar archive, one for anything else."""
    url = remote.is_url(name)
    if archives.is_archive_name(name):
        if url:
            yield from archives.streamed_photos(name, partial(remote.open_file, name))
        else:
            yield from archives.local_photos(name)
    else:
        yield remote.source(name) if url else Source(name, name)


def find(paths: Iterable[str | os.PathLike[str]], *, listed: Iterable[str] = (), shard: Shard | None = None) -> Found:
    """List the photos among files, folders, patterns, archives and URLs, sorted, each once.

    A file that is named, matched or listed is always a row, whatever it holds. A folder is searched to the bottom
    for what its content or its suffix says is a photo, hidden entries excepted; a folder inside that cannot be
    listed is a row with an error. One path reached twice is one photo; two names of one file are two. A file
    ``*.tar`` that is named, matched or listed is read as an archive; those inside folders are not photos.

    Args:
        paths: As typed; a relative path stays relative. What does not exist and holds a wildcard is a pattern.
        listed: Names from a list. They are no patterns, and one that does not exist is a row with an error.
        shard: Keep only this part. An archive belongs to one part as a whole.

    Raises:
        UsageError: If a path of `paths` does not exist, a pattern matches nothing, or a folder holds no photo.
        MissingExtraError: If a URL needs fsspec and it is not installed.
    """
    given = sorted({remote.without_file_protocol(os.fspath(path)) for path in paths}, key=os.fsencode)
    listed = list(listed)
    alone = len(given) == 1 and not listed
    names: list[str] = []
    seen: set[str] = set()
    for top in given:
        names.extend(_new(_typed(top), seen, shard, alone=alone))
    names.extend(_new(_listed(listed), seen, shard, alone=False))
    # Characters sort like their UTF-8 bytes, unless a byte that is no UTF-8 is among them.
    names.sort(key=None if all(map(_sorts_as_it_is, names)) else order_key)
    return Found(names)


def order_key(name: str) -> bytes:
    """What rows are sorted by: the archive for a member; the name as a CSV file shows it for what looks like a formula.

    `defnet merge` sorts by the same key, knowing only results files.
    """
    name = archives.archive_of(name)
    return os.fsencode(guarded_path(name))


def _sorts_as_it_is(name: str) -> bool:
    return name.isascii() and "::" not in name and not name.startswith(FORMULA_STARTS)


def _new(photos: Iterator[tuple[str, str]], seen: set[str], shard: Shard | None, *, alone: bool) -> Iterator[str]:
    """Names that were not met before and belong to the shard. One folder alone meets no name twice."""
    for name, relative in photos:
        if not alone:
            full = name if remote.is_url(name) else os.path.abspath(name)
            if full in seen:
                continue
            seen.add(full)
        if shard is None or shard.holds(relative):
            yield name


def _typed(path: str) -> Iterator[tuple[str, str]]:
    """Photos of one argument, with their path below it."""
    if remote.is_url(path) and not os.path.lexists(path):
        yield from remote.find(path)
    elif os.path.isdir(path):
        yield from _inside(path)
    elif os.path.lexists(path):
        yield path, path
    elif patterns.is_pattern(path):
        yield from _matching(path)
    else:
        raise UsageError(f"{path} does not exist; give photos or folders that are there: defnet score PHOTOS...")


def _inside(folder: str) -> Iterator[tuple[str, str]]:
    found = False
    for path in search(folder):
        found = True
        yield path, _below(folder, path)
    if not found:
        raise UsageError(f"{folder} {_what_it_holds(folder)}; give a folder that holds photos: defnet score FOLDER")


def _what_it_holds(folder: str) -> str:
    entries = os.listdir(folder)
    if any(map(archives.is_archive_name, entries)):
        return f"holds tar archives but no photos; name them: defnet score '{folder}/*.tar'"
    return "is a folder without photos" if entries else "is an empty folder"


def _below(folder: str, path: str) -> str:
    return path[len(folder) :].lstrip("/" + os.sep) or path


def _matching(pattern: str) -> Iterator[tuple[str, str]]:
    matches = patterns.expand(pattern)
    if not matches:
        raise UsageError(f"{pattern} matches nothing; check the pattern, or give a folder: defnet score FOLDER")
    top = patterns.split(pattern)[0]
    met: set[str] = set()
    for match in matches:
        for path in search(match) if os.path.isdir(match) else (match,):
            if path not in met:
                met.add(path)
                yield path, _below(top, path)


def _listed(names: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in names:
        name = remote.without_file_protocol(line)
        if os.path.isdir(name):
            empty = True
            for path in search(name):
                empty = False
                yield path, path
            if empty:
                yield name, name
        else:
            yield name, name
