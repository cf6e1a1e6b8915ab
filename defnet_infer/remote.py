"""Photos behind URLs, through fsspec: ``s3://``, ``gs://``, ``https://``, ``memory://`` and whatever else it knows.

fsspec comes with the extra `remote`; what a protocol needs beside it (s3fs, gcsfs, ...) fsspec names itself.
Each photo is read whole in a decode thread when its turn comes. ``file://`` is a path and needs none of this.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any, cast

from defnet_infer import patterns
from defnet_infer.errors import MissingExtraError, PhotoError, UsageError
from defnet_infer.photo_search import HEAD_SIZE, looks_like_photo, promises_photo
from defnet_infer.sources import Source, short_reason

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*(::[A-Za-z][A-Za-z0-9+.\-]*)*://")
_FILE = re.compile(r"(file|local)://", re.IGNORECASE)


def is_url(name: str) -> bool:
    """Whether a name begins with ``protocol://``. Of ``file://`` see `without_file_protocol`."""
    return _URL.match(name) is not None


def without_file_protocol(name: str) -> str:
    """``file:///photos/a.jpg`` -> ``/photos/a.jpg``; any other name as it is. Nothing is unquoted, as in fsspec."""
    protocol = _FILE.match(name)
    return name[protocol.end() :] if protocol else name


def find(url: str) -> Iterator[tuple[str, str]]:
    """Photos at a URL, which may be an object, a folder or a pattern; with their path below it.

    The rules are those of local folders: an object that is named or matches a pattern is always given; inside
    a folder a photo is what its suffix or its first bytes say.

    Raises:
        MissingExtraError: If fsspec is not installed.
        UsageError: If the URL cannot be listed, or nothing is there.
    """
    system, path = _open(url)
    name = partial(_name, system, url)
    try:
        if patterns.is_pattern(path) and not system.exists(path):
            yield from _matching(system, path, name)
        elif promises_photo(path) or not system.isdir(path):
            _require(system, path, url)
            yield name(path), name(path)
        else:
            found = False
            for photo in _inside(system, path, name):
                found = True
                yield photo
            if not found:
                raise UsageError(f"{url} holds no photo; give a folder that does: defnet score URL")
    except (UsageError, GeneratorExit):
        raise
    except Exception as error:  # Every file system has exceptions of its own.
        raise UsageError(f"{url} cannot be listed: {short_reason(error)}; check the address and the access") from error


def _require(system: Any, path: str, url: str) -> None:
    """Refuse an object that is not there. A server that does not answer is not there either, for some file systems."""
    try:
        system.info(path)
    except FileNotFoundError as error:
        cause = error.__cause__
        if cause is None or isinstance(cause, FileNotFoundError) or getattr(cause, "status", 0) in (404, 410):
            advice = "give photos or folders that are there: defnet score URL..."
            raise UsageError(f"{url} does not exist; {advice}") from error
        raise UsageError(
            f"{url} cannot be read: {short_reason(cause)}; check the address and the connection"
        ) from error


def source(url: str) -> Source:
    """One object, which is read when it is decoded."""
    return Source(url, partial(_read, url))


def open_file(url: str) -> IO[bytes]:
    """An object as a file that can be sought in."""
    system, path = _open(url)
    return cast(IO[bytes], system.open(path, "rb"))


def _open(url: str) -> tuple[Any, str]:
    """The file system, one for all objects of a place, and the path in it."""
    try:
        import fsspec  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise MissingExtraError(f"defnet score {url}", "remote", "fsspec") from error
    try:
        return cast(tuple[Any, str], fsspec.core.url_to_fs(url))
    except (ImportError, ValueError) as error:
        raise UsageError(f"{url} cannot be opened: {short_reason(error)}") from error


def _name(system: Any, url: str, path: str) -> str:
    """What opens a path of the file system again: ``a.jpg`` of ``zip://*.jpg::s3://b/c.zip`` needs the archive too."""
    name = cast(str, system.unstrip_protocol(path))
    links = url.split("::")
    protocols = [link.partition("://")[0] for link in links]
    # A cache before it hands out the names of what it caches, so the chain goes on behind the link of this protocol.
    protocol = name.partition("://")[0]
    behind = links[protocols.index(protocol) + 1 :] if protocol in protocols else []
    return "::".join([name, *behind])


def _matching(system: Any, pattern: str, name: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    start = len(patterns.split(pattern)[0])
    hidden_too = "/." in pattern[start - 1 :]
    matches = [path for path in system.glob(pattern) if hidden_too or not _hidden(path[start:])]
    if not matches:
        raise UsageError(f"{name(pattern)} matches nothing; check the pattern")
    for path in matches:
        if system.isdir(path):
            yield from ((photo, f"{path[start:]}/{relative}") for photo, relative in _inside(system, path, name))
        else:
            yield name(path), path[start:]


def _inside(system: Any, folder: str, name: Callable[[str], str]) -> Iterator[tuple[str, str]]:
    for path in system.find(folder):
        relative = path[len(folder) :].lstrip("/")
        if not _hidden(relative) and (promises_photo(path) or _begins_like_photo(system, path)):
            yield name(path), relative


def _hidden(relative: str) -> bool:
    return any(segment.startswith(".") for segment in relative.split("/"))


def _begins_like_photo(system: Any, path: str) -> bool:
    try:
        return looks_like_photo(system.cat_file(path, start=0, end=HEAD_SIZE))
    except Exception:  # As with a local file that cannot be opened: nothing says that it is a photo.
        return False


def _read(url: str) -> bytes:
    try:
        system, path = _open(url)
        return cast(bytes, system.cat_file(path))
    except FileNotFoundError as error:
        raise PhotoError(f"cannot be opened: {os.strerror(2)}") from error
    except MissingExtraError:
        raise
    except Exception as error:
        raise PhotoError(f"cannot be read: {short_reason(error)}") from error
