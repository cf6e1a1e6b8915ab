"""Photos inside tar archives, such as WebDataset shards: read where they lie, never extracted.

Members come one after the other in the order of the archive. Of a local archive only the headers are read
here, and each decode thread reads its own photo; so memory stays flat whatever the archive holds. Names are
``shard.tar::folder/photo.jpg``.
"""

from __future__ import annotations

import os
import re
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING

from defnet_infer.errors import PhotoError
from defnet_infer.photo_search import HEAD_SIZE, looks_like_photo, promises_photo
from defnet_infer.sources import Source, broken, short_reason

if TYPE_CHECKING:
    from defnet_infer.sources import Content

SUFFIX = ".tar"
_MEMBER = re.compile(r"(.*?\.tar)::", re.DOTALL | re.IGNORECASE)
_BLOCK = 512
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


def is_archive_name(name: str) -> bool:
    """Whether a name ends in ``.tar``."""
    return name[-len(SUFFIX) :].lower() == SUFFIX


def archive_of(name: str) -> str:
    """The archive that a member lies in; any other name as it is."""
    member = _MEMBER.match(name)
    return member[1] if member else name


def local_photos(path: str) -> Iterator[Source]:
    """Photos of an archive on this machine. Whatever else the path leads to is for decoding to refuse."""
    if not Path(path).is_file():
        return iter([Source(path, path)])
    return _some(
        path,
        _photos(path, lambda: Path(path).open("rb"), lambda _, start, size: partial(_read_later, path, start, size)),
    )


def streamed_photos(name: str, opener: Callable[[], IO[bytes]]) -> Iterator[Source]:
    """Photos of an archive that is best read once from front to back, such as a remote one.

    Each photo's bytes are read as it is reached, so only those that wait to be decoded are held.
    """
    return _some(name, _photos(name, opener, _read))


def _some(name: str, photos: Iterator[Source]) -> Iterator[Source]:
    """These, or an archive without any as a photo that cannot be read: a run that scores nothing is no success."""
    first = next(photos, None)
    yield first or broken(name, "is an archive without photos")
    yield from photos


def _photos(
    name: str,
    opener: Callable[[], IO[bytes]],
    content: Callable[[IO[bytes], int, int], Content],
) -> Iterator[Source]:
    last = ""
    try:
        with opener() as file:
            head = file.read(HEAD_SIZE)
            if looks_like_photo(head):
                yield Source(name, partial(_read_whole, opener))
                return
            if head.startswith(_COMPRESSED):
                yield broken(name, "is a compressed archive; decompress it first, photos do not get smaller")
                return
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as archive:
                while (member := archive.next()) is not None:
                    # tarfile would remember every member of the archive.
                    archive.members.clear()  # type: ignore[attr-defined]
                    last = member.name
                    yield from _photo(name, file, member, content)
                # tarfile also stops at a damaged header and at the end of a file that is cut off between members.
                file.seek(archive.offset)
                if file.read(_BLOCK) != bytes(_BLOCK):
                    yield broken(name, _lost(last))
    except Exception as error:  # tarfile and remote file systems raise whatever their layers do on damaged data.
        yield broken(name, _lost(last) if last else f"is not a tar archive: {short_reason(error)}")


def _photo(
    archive: str, file: IO[bytes], member: tarfile.TarInfo, content: Callable[[IO[bytes], int, int], Content]
) -> Iterator[Source]:
    name = f"{archive}::{member.name}"
    if member.islnk() or member.issym():
        if promises_photo(member.name):
            yield broken(name, f"is a link to {member.linkname} inside the archive")
    elif member.isreg() and not member.sparse and _is_photo(file, member):
        try:
            data = content(file, member.offset_data, member.size)
        except PhotoError as error:
            yield broken(name, str(error))
        else:
            yield Source(name, data, (member.size, int(member.mtime * 10**9)))


def _is_photo(file: IO[bytes], member: tarfile.TarInfo) -> bool:
    """By the rule for files in folders; hidden members include the `._` files that macOS adds."""
    base = member.name.rpartition("/")[2]
    if base.startswith("."):
        return False
    if promises_photo(base):
        return True
    file.seek(member.offset_data)
    return looks_like_photo(file.read(min(HEAD_SIZE, member.size)))


def _lost(last: str) -> str:
    return f"the archive is cut off or damaged after {last}; photos behind it are lost"


def _read_later(path: str, start: int, size: int) -> bytes:
    with Path(path).open("rb") as file:
        return _read(file, start, size)


def _read_whole(opener: Callable[[], IO[bytes]]) -> bytes:
    with opener() as file:
        return file.read()


def _read(file: IO[bytes], start: int, size: int) -> bytes:
    # Asked before reading: a damaged header may promise more bytes than any memory holds.
    if file.seek(0, os.SEEK_END) < start + size:
        raise PhotoError("file is truncated: the archive ends inside it")
    file.seek(start)
    return file.read(size)
