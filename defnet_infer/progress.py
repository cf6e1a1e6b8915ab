"""What a person sees while photos are scored, and the closing line. All on standard error."""

from __future__ import annotations

import time
from types import TracebackType

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from defnet_infer.results import Row


class Progress:
    """Counts rows; shows a bar where standard error is a terminal, nothing elsewhere.

    Args:
        total: Photos to score.
        quiet: Show no bar and no closing line.
    """

    def __init__(self, total: int, *, quiet: bool) -> None:
        self.total = total
        self.scored = 0
        self.failed = 0
        self._quiet = quiet
        self._start = time.perf_counter()
        console = Console(stderr=True)
        self._bar = Bar(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.1f} photos/s"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[failures]}"),
            console=console,
            disable=quiet or not console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, rate=0.0, failures="")

    @property
    def seconds(self) -> float:
        """Since the progress was made."""
        return time.perf_counter() - self._start

    def advance(self, row: Row) -> None:
        """Count one row."""
        if row.failed:
            self.failed += 1
        else:
            self.scored += 1
        done = self.scored + self.failed
        failures = f"{self.failed} failed" if self.failed else ""
        self._bar.update(self._task, completed=done, rate=done / self.seconds, failures=failures)

    def summarise(self, results: str, *, interrupted: bool) -> None:
        """Print the closing line.

        Args:
            results: Where the rows went, in words.
            interrupted: The run was stopped before the end.
        """
        if self._quiet:
            return
        done = self.scored + self.failed
        line = (
            f"scored {self.scored} of {self.total} photo{'s' * (self.total != 1)} in {self.seconds:.1f} s "
            f"({done / self.seconds:.1f} a second)"
        )
        if self.failed:
            line += f"; {self.failed} failed, see the error column of {results}"
        if interrupted:
            line = f"interrupted: {line}; the rows so far are kept in {results}"
        typer.echo(line, err=True)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
