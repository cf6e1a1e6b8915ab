"""Which files are photos: from what a person typed to a sorted list of paths.

Order is that of the bytes of the path, so it is the same on every machine and for every order of the
arguments.
"""

# Names stay plain strings: there may be millions, and os.scandir knows the type of each without asking again.
# ruff: noqa: PTH100, PTH112, PTH116, PTH122, PTH123, PTH208

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from defnet_infer.errors import UsageError

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".dib"),
        *(".avif", ".avifs", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".qoi"),
    )
)
_MAGIC = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"),
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"qoif"),
)
_FTYP_BRANDS = frozenset(b"heic heix heim heis hevc hevx mif1 msf1 avif avis".split())
_BMP_HEADER_SIZES = frozenset((12, 16, 40, 52, 56, 64, 108, 124))


def find(paths: Iterable[str | os.PathLike[str]]) -> list[str]:
    """List the photos among files and folders, sorted, each once.

    A file that is named is always listed, whatever it holds. A folder is searched to the bottom; of its
    entries those are photos whose first bytes or whose suffix say so, hidden ones excepted. A folder is
    searched once, however many links lead to it. A folder inside that cannot be listed is itself listed,
    so that it becomes a row with an error instead of photos that are silently missing.

    Args:
        paths: Files and folders; the spelling (relative or absolute) is kept.

    Raises:
        UsageError: If a path does not exist, or a folder holds no photo.
    """
    found: list[str] = []
    for given in paths:
        path = os.fspath(given)
        if not os.path.lexists(path):
            raise UsageError(f"{path} does not exist; give photos or folders that are there: defnet score PHOTOS...")
        if not os.path.isdir(path):
            found.append(path)
            continue
        inside = list(_search(path))
        if not inside:
            what = "is an empty folder" if not os.listdir(path) else "is a folder without photos"
            raise UsageError(f"{path} {what}; give a folder that holds photos: defnet score FOLDER")
        found.extend(inside)
    once: dict[str, str] = {}
    for path in sorted(found, key=os.fsencode):
        once.setdefault(os.path.abspath(path), path)
    return list(once.values())


def _search(top: str) -> Iterator[str]:
    """Photos below a folder. Linked folders come last, so that a folder is found under its own name first."""
    searched: set[tuple[int, int]] = set()
    folders = [top]
    links: list[str] = []
    while folders or links:
        folder = folders.pop() if folders else links.pop(0)
        try:
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in searched:
                continue
            searched.add((status.st_dev, status.st_ino))
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: os.fsencode(entry.name))
        except OSError:
            yield folder
            continue
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif entry.is_dir():
                links.append(entry.path)
            elif os.path.splitext(entry.name)[1].lower() in SUFFIXES or _file_is_photo(entry):
                yield entry.path


def _file_is_photo(entry: os.DirEntry[str]) -> bool:
    if not entry.is_file():
        return False
    try:
        with open(entry.path, "rb") as file:
            return looks_like_photo(file.read(32))
    except OSError:
        return False


def looks_like_photo(head: bytes) -> bool:
    """Whether the first 32 bytes of a file are those of a photo format."""
    if head.startswith(b"BM"):
        # Two letters also begin texts; the size of the next header and the reserved zeros do not.
        return head[6:10] == bytes(4) and int.from_bytes(head[14:18], "little") in _BMP_HEADER_SIZES
    return (
        head.startswith(_MAGIC)
        or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
        or (head[4:8] == b"ftyp" and head[8:12] in _FTYP_BRANDS)
    )
