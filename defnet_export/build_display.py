"""The live display of an engine build: one bar for every phase that TensorRT reports, and Ctrl-C that cancels."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeElapsedColumn


class BuildDisplay:
    """A `PhaseDisplay` on standard error; shows nothing where that is no terminal.

    Args:
        quiet: Show nothing anywhere.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            disable=quiet or not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}
        self._depth: dict[str, int] = {}

    def __enter__(self) -> BuildDisplay:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    @property
    def tasks(self) -> list[Task]:
        """What is shown, in order."""
        return self._progress.tasks

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A phase begins, indented below its parent."""
        self._depth[phase] = self._depth.get(parent, -1) + 1 if parent else 0
        self._tasks[phase] = self._progress.add_task("  " * self._depth[phase] + phase, total=steps)

    def step(self, phase: str, done: int) -> None:
        """`done` of its steps are done."""
        if phase in self._tasks:
            self._progress.update(self._tasks[phase], completed=done)

    def finish(self, phase: str) -> None:
        """It ends; phases inside others leave the display, the outermost stay."""
        task = self._tasks.pop(phase, None)
        if task is None:
            return
        if self._depth.pop(phase):
            self._progress.remove_task(task)
        else:
            total = next(shown.total for shown in self._progress.tasks if shown.id == task)
            self._progress.update(task, completed=total)


@contextlib.contextmanager
def cancel_on_interrupt() -> Iterator[threading.Event]:
    """An event that Ctrl-C sets. Raising KeyboardInterrupt instead would do so inside a callback of TensorRT's."""
    stop = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.set()

    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
