"""What TensorRT tells while it builds: every message into a file, the progress to a display."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Protocol

from defnet_infer.errors import UsageError
from defnet_infer.sessions.tensorrt_api import LastErrors


class PhaseDisplay(Protocol):
    """Shows nested phases of a build. Called from any thread."""

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins."""
        ...

    def step(self, phase: str, done: int) -> None:
        """`done` steps of it are done."""
        ...

    def finish(self, phase: str) -> None:
        """It ends."""
        ...


class BuildLog:
    """Writes TensorRT's messages to a file, with seconds since the start, and keeps the errors.

    Args:
        path: The file; an existing one is replaced. None writes none.
        verbose: Also keep the messages of level VERBOSE, some hundred thousand lines.

    Raises:
        UsageError: If the file cannot be written.
    """

    def __init__(self, path: Path | None, *, verbose: bool = False) -> None:
        self.errors = LastErrors()
        self._verbose = verbose
        self._start = time.monotonic()
        self._lock = threading.Lock()
        try:
            self._file = path.open("w", encoding="utf-8") if path else None
        except OSError as error:
            raise UsageError(f"--build-log {path}: {error.strerror}; choose another file") from error

    def hear(self, level: str, text: str) -> None:
        """Take one message; the form that `make_logger` asks for."""
        self.errors.hear(level, text)
        if self._file is None or (level == "VERBOSE" and not self._verbose):
            return
        with self._lock:
            self._file.write(f"{time.monotonic() - self._start:9.3f} {level:14} {text}\n")
            # Written at once: a build that takes the process down leaves its last words.
            self._file.flush()

    def __enter__(self) -> BuildLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def make_progress_monitor(trt: ModuleType, display: PhaseDisplay, stop: threading.Event) -> Any:
    """A TensorRT progress monitor that shows what happens, and cancels the build once `stop` is set.

    An exception must not leave its methods: their caller is not Python.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            display.start(phase_name, parent_phase or None, num_steps)

        def phase_finish(self, phase_name: str) -> None:
            display.finish(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            display.step(phase_name, step + 1)
            return not stop.is_set()

    return Monitor()
