"""Ctrl-C once: finish what is in work, keep what is done, say how to go on. Twice: stop now. SIGTERM counts alike."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType

INTERRUPTED = 130
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def stop_on_signals(
    *,
    quiet: bool,
    resumable: bool,
    finishing: str = "the photos in work are being finished",
    go_on: str = "the rows are kept, go on with the same command and --resume",
) -> Iterator[threading.Event]:
    """An event that the first signal sets; the second ends the process with exit code 130.

    Ending it needs no care: what is written is whole at any moment. Outside the main thread, where Python allows
    no handlers, nothing is installed.

    Args:
        quiet: Say nothing.
        resumable: What is done goes to a file, so that a second signal can say how to go on.
        finishing: What happens after the first signal.
        go_on: What to do after the second.
    """
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            _say(f"stopped at once{f'; {go_on}' if resumable else ''}", quiet)
            os._exit(INTERRUPTED)
        stop.set()
        _say(f"stopping: {finishing}; Ctrl-C again stops at once", quiet)

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.signal(number, handle) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ignore_signals() -> None:
    """For a process whose parent gets the same signals and tells it when to stop."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _say(line: str, quiet: bool) -> None:
    """By the system itself: a handler may run in the middle of a print, which must not be entered twice."""
    if quiet:
        return
    show_cursor_and_clear_line = "\r\x1b[K\x1b[?25h" if sys.stderr.isatty() else ""
    with contextlib.suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), f"{show_cursor_and_clear_line}{line}\n".encode())
