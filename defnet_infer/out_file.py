"""A file that a command is asked to write beside its main work: refused before that work where it would destroy one."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from defnet_infer.errors import UsageError


def require_free(out: Path, option: str = "--out ", *, overwrite: bool = False, reads: tuple[Path, ...] = ()) -> None:
    """Refuse what must not be written.

    Args:
        out: The file, as it was typed.
        option: What stood before it; nothing where its name was made from another.
        overwrite: It may replace an earlier one.
        reads: Files that the command reads; these are never replaced.

    Raises:
        UsageError: If it is a folder, one of `reads`, or exists and may not be replaced, or its folder does not exist.
    """
    if out.is_dir():
        raise UsageError(f"{option}{out} is a folder; name a file in it")
    if out.exists():
        if any(path.exists() and path.samefile(out) for path in reads):
            raise UsageError(f"{option}{out} is what this command reads; name another file")
        if not overwrite:
            other = "name another file" if option else "name another file with --out"
            raise UsageError(f"{option}{out} exists; replace it with --overwrite, or {other}")
    require_folder(out, option)


def require_folder(out: Path, option: str = "") -> None:
    """Refuse a file in a folder that is not there.

    Args:
        out: The file, as it was typed.
        option: What stood before it.

    Raises:
        UsageError: With the command that makes the folder.
    """
    if not out.parent.is_dir():
        folder = shlex.quote(str(out.parent))
        raise UsageError(f"{option}{out}: the folder {out.parent} does not exist; make it with: mkdir -p {folder}")


def behind(path: Path) -> Path:
    """The file that a symbolic link leads to, or the path itself: what a draft replaces, so that the link stays."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path
