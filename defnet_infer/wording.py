"""Times and errors in the words that several commands print."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """A time to wait, in the unit a person would use."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def first_line(error: BaseException) -> str:
    """What an exception of a library says, without the stack or the advice that may follow."""
    return str(error).strip().split("\n", 1)[0][:300]
