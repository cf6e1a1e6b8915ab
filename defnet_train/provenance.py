"""What a run was made with: the versions that can change its numbers, and the state of the code around it."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import defnet_infer

_PACKAGES = {
    "torch": "torch",
    "open_clip": "open_clip_torch",
    "timm": "timm",
    "lightning_fabric": "lightning-fabric",
    "numpy": "numpy",
    "pillow": "pillow",
}


def versions() -> dict[str, str]:
    """Versions of this project, of Python and of the packages that compute."""
    found = {name: importlib.metadata.version(package) for name, package in _PACKAGES.items()}
    return {"defnet": defnet_infer.__version__, "python": platform.python_version(), **found}


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the repository that holds a folder, and whether tracked files differ from it; None if there is none."""
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "dirty": bool(_git(folder, "status", "--porcelain", "--untracked-files=no"))}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=30, check=True
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):  # No git, no repository, no commit yet.
        return None
    return done.stdout.strip()
