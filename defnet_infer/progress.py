"""What a person sees while photos are scored, and the closing line. All on standard error.

On a terminal a bar moves; elsewhere, such as in a log file, a plain line comes now and then.
"""

from __future__ import annotations

import time
from types import TracebackType

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from defnet_infer.results import Row
from defnet_infer.wording import duration

SECONDS_BETWEEN_LINES = 30.0


class Progress:
    """Counts rows and shows how far the run is.

    Args:
        total: Photos of the run; None where it is not known.
        quiet: Show nothing.
        every: Seconds between two plain lines.
    """

    def __init__(self, total: int | None, *, quiet: bool, every: float = SECONDS_BETWEEN_LINES) -> None:
        self.total = total
        self.scored = 0
        self.failed = 0
        self.kept = 0
        """Of these, rows of earlier runs."""
        self._quiet = quiet
        self._every = every
        self._start = time.perf_counter()
        self._next_line = every
        console = Console(stderr=True)
        self._plain = not console.is_terminal
        self._bar = Bar(
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:.1f} photos/s"),
            TimeRemainingColumn(elapsed_when_finished=True),
            TextColumn("{task.fields[failures]}", style="red"),
            TextColumn("{task.fields[last]}"),
            console=console,
            disable=quiet or self._plain,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, rate=0.0, failures="", last="")

    @property
    def seconds(self) -> float:
        """Since the progress was made."""
        return time.perf_counter() - self._start

    @property
    def done(self) -> int:
        """Photos that have a row, those of earlier runs included."""
        return self.scored + self.failed

    @property
    def rate(self) -> float:
        """Photos a second, of this run alone."""
        return (self.done - self.kept) / max(self.seconds, 1e-9)

    def keep(self, failed: bool) -> None:
        """Count a row of an earlier run."""
        self.kept += 1
        self._count(failed)

    def advance(self, row: Row) -> None:
        """Count one row."""
        self._count(row.failed)
        last = f"last {row.score:.2f}" if row.score is not None else "last failed"
        failures = f"{self.failed} failed" if self.failed else ""
        self._bar.update(self._task, completed=self.done, rate=self.rate, failures=failures, last=last)
        if self._plain and not self._quiet and self.seconds >= self._next_line:
            self._next_line = self.seconds + self._every
            self._print_line(last)

    def _count(self, failed: bool) -> None:
        if failed:
            self.failed += 1
        else:
            self.scored += 1

    def _print_line(self, last: str) -> None:
        parts = [f"{self.done} of {self.total} photos" if self.total else f"{self.done} photos"]
        parts.append(f"{self.rate:.1f} a second")
        if self.total:
            parts.append(f"{duration((self.total - self.done) / max(self.rate, 1e-9))} left")
        parts += [f"{self.failed} failed", last]
        typer.echo(", ".join(parts), err=True)

    def summarise(self, results: str, *, interrupted: bool, resumable: bool = False) -> None:
        """Print the closing line.

        Args:
            results: Where the rows went, in words.
            interrupted: The run was stopped before the end.
            resumable: The same command with --resume goes on.
        """
        if self._quiet:
            return
        total = self.total if self.total is not None else self.done
        line = f"scored {self.scored} of {total} photo{'s' * (total != 1)} in {self.seconds:.1f} s"
        line += f" ({self.rate:.1f} a second)"
        if self.kept:
            line += f", {self.kept} of them in earlier runs"
        if self.failed:
            line += f"; {self.failed} failed, see the error column of {results}"
        if interrupted:
            line = f"interrupted: {line}; the rows so far are kept in {results}"
            if resumable:
                line += ", go on with the same command and --resume"
        typer.echo(line, err=True)

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
