"""Which files below a folder are photos: by content, or by a suffix that promises a photo.

A folder is searched once, however many links lead to it, so links in a circle end. Hidden entries are passed over.
"""

# Names stay plain strings: there may be millions, and os.scandir knows the type of each without asking again.
# ruff: noqa: PTH116, PTH122, PTH123

from __future__ import annotations

import os
from collections.abc import Iterator

SUFFIXES = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".apng", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".dib"),
        *(".avif", ".avifs", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm", ".qoi"),
    )
)
HEAD_SIZE = 32
"""Bytes that `looks_like_photo` wants to see."""
_MAGIC = (
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF87a", b"GIF89a"),
    *(b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"qoif"),
)
_FTYP_BRANDS = frozenset(b"heic heix heim heis hevc hevx mif1 msf1 avif avis".split())
_BMP_HEADER_SIZES = frozenset((12, 16, 40, 52, 56, 64, 108, 124))


def search(top: str) -> Iterator[str]:
    """Photos below a folder, in no order that counts.

    A photo is what says so by its first bytes or by its suffix: an empty ``a.jpg`` is a row with an error, not
    a photo that is silently missing. A folder that cannot be listed is itself given, for the same reason.
    """
    for folder, entries in walk(top):
        if entries is None:
            yield folder
            continue
        for entry in entries:
            if not _is_folder(entry) and (promises_photo(entry.name) or _file_is_photo(entry)):
                yield entry.path


def walk(top: str) -> Iterator[tuple[str, list[os.DirEntry[str]] | None]]:
    """Every folder from `top` down, with its entries, hidden ones left out; None if it cannot be listed.

    Linked folders come last, so that a folder is met under its own name first.
    """
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
                entries = sorted(
                    (entry for entry in scan if not entry.name.startswith(".")),
                    key=lambda entry: os.fsencode(entry.name),
                )
        except OSError:
            yield folder, None
            continue
        yield folder, entries
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif _is_folder(entry):
                links.append(entry.path)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Also through links; one that leads nowhere, or where nobody may look, is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def promises_photo(name: str) -> bool:
    """Whether the suffix of a name is that of a photo format."""
    return os.path.splitext(name)[1].lower() in SUFFIXES


def _file_is_photo(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file() and file_is_photo(entry.path)
    except OSError:
        return False


def file_is_photo(path: str) -> bool:
    """Whether a file can be opened and begins like a photo."""
    try:
        with open(path, "rb") as file:
            return looks_like_photo(file.read(HEAD_SIZE))
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
