"""What a person sees while a file is exported: each stage with its seconds and what it made. On standard error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.status import Status


class Stage:
    """One stage that is under way."""

    def __init__(self, title: str, status: Status | None) -> None:
        self.result = ""
        self._title = title
        self._status = status

    def say(self, result: str) -> None:
        """What to print behind the seconds when the stage is done."""
        self.result = result

    def advance(self, done: int, total: int) -> None:
        """Show how far the stage is, on a terminal."""
        if self._status is not None:
            self._status.update(f"{self._title}: {done} of {total}")


class Stages:
    """Prints a line a stage, and a moving sign while it lasts where there is a terminal.

    Args:
        quiet: Print nothing.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._console = Console(stderr=True)

    @contextmanager
    def stage(self, title: str) -> Iterator[Stage]:
        """Time a stage. One that fails prints no line: the error does."""
        start = time.perf_counter()
        if self._quiet or not self._console.is_terminal:
            stage = Stage(title, None)
            yield stage
        else:
            with self._console.status(title) as status:
                stage = Stage(title, status)
                yield stage
        if not self._quiet:
            seconds = time.perf_counter() - start
            typer.echo(f"{seconds:6.1f} s  {title}" + (f": {stage.result}" if stage.result else ""), err=True)
