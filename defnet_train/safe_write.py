"""Files that are replaced whole, and disks that cannot be written: one line instead of a lost file or a traceback."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from defnet_infer.errors import StorageError, UsageError


@contextlib.contextmanager
def replacing(path: Path, *, shared: bool = False) -> Iterator[Path]:
    """Yield a path beside `path` to write to; it takes the place of `path` when the block ends without an error.

    Args:
        path: The file.
        shared: Other processes may write it at the same time; what the last one wrote counts.

    Raises:
        StorageError: If the disk is full or gone; `path` then holds what it held before.
    """
    # A name that is always the same is overwritten by the next run, if a process is killed here.
    partial = path.with_name(f"{path.name}{f'.{os.getpid()}' if shared else ''}.partial")
    try:
        yield partial
        # Without this a power cut could keep the new name and lose the bytes behind it.
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(partial, path)
        _sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        before = "; what it held before is untouched" if path.exists() else ""
        raise StorageError(f"cannot write {path}: {_reason(error)}{before}") from error


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What stops a block that writes a file or a folder becomes one line that names it.

    Raises:
        StorageError: If the disk is full or gone.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise StorageError(f"cannot write {path}: {_reason(error)}") from error


def refuse_unwritable(out: Path) -> None:
    """Stop before any work whose results the folder of ``--out`` could not take; writes nothing itself.

    Raises:
        UsageError: If it is a file, lies below one, or cannot be written.
    """
    there = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise UsageError(f"--out {out}: {there} is a file; name a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"--out {out}: {there} cannot be written; name another folder")


def make_folder(out: Path) -> None:
    """Make the folder that ``--out`` names.

    Raises:
        UsageError: If it cannot be made or written.
    """
    refuse_unwritable(out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out {out}: this folder cannot be made ({_reason(error)}); name another") from error


def write_json(path: Path, value: Any) -> None:
    """Replace a file by a value as indented JSON.

    Raises:
        StorageError: If the disk is full or gone.
    """
    with replacing(path) as partial:
        partial.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folders.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
