"""Optional parts of the install: what a command needs, and the line that brings it."""

from __future__ import annotations

import importlib.util

from defnet_infer.errors import MissingExtraError


def require_extra(command: str, extra: str, *modules: str) -> None:
    """Stop with the install line when an optional part is missing.

    Raises:
        MissingExtraError: Naming the first module that is not installed.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(command, extra, module)
