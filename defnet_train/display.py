"""What a person sees while a model is trained; all on standard error.

On a terminal a bar moves, with losses, task weights, speed and the time left of the whole run; elsewhere, such as in a
log file, a plain line comes once a minute.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from defnet_infer.wording import duration

if TYPE_CHECKING:
    from defnet_train.listener import StepReport

SECONDS_BETWEEN_LINES = 60.0


class Display:
    """The `listener.Listener` of the commands.

    Args:
        every: Seconds between two plain lines.
        console: Where to write; standard error if absent.
    """

    def __init__(self, every: float = SECONDS_BETWEEN_LINES, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._plain, self._every = not self._console.is_terminal, every
        self._bar = Bar(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            console=self._console,
        )
        self._below = Text()
        self._live = Live(Group(self._bar, self._below), console=self._console, refresh_per_second=4)
        self._task: Any = None
        self._name, self._total, self._done, self._figures = "", 0, 0, ""
        self._told = time.monotonic()
        self._begun: tuple[float, int] | None = None
        """When the first step of this process ended, and its number."""

    def __enter__(self) -> Display:
        if not self._plain:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._below.plain = ""
        if not self._plain:
            self._live.stop()

    def stage(self, name: str, total: int) -> None:
        """See `listener.Listener`."""
        if self._task is not None:
            self._bar.remove_task(self._task)
        self._task = self._bar.add_task(name, total=total)
        self._name, self._total, self._done, self._figures = name, total, 0, ""
        self._below.plain = ""
        if self._plain and not name.startswith("epoch"):
            self._told = time.monotonic()
            self._console.print(name, highlight=False, markup=False, soft_wrap=True)

    def advance(self, count: int = 1) -> None:
        """See `listener.Listener`."""
        self._bar.advance(self._task, count)
        self._done += count
        if not self._name.startswith("epoch"):  # Within an epoch `step` follows, which knows more.
            self._line()

    def step(self, report: StepReport) -> None:
        """See `listener.Listener`."""
        now = time.monotonic()
        parts = [
            "  ".join(f"{name} {value:.3f}" for name, value in report.losses.items()),
            "weights " + " ".join(f"{weight:.2f}" for weight in report.task_weights.values()),
            f"{report.photos_per_second:.0f} photos/s",
        ]
        if self._begun is None:
            self._begun = (now, report.step)
        elif report.step > self._begun[1]:
            # Validation passes between steps, so it is in this mean.
            seconds = (now - self._begun[0]) / (report.step - self._begun[1])
            parts.append(f"{duration(seconds * (report.steps - report.step))} left")
        self._figures = "; ".join(parts)
        self._below.plain = self._figures
        self._line()

    def epoch(self, entry: dict[str, Any]) -> None:
        """See `listener.Listener`."""
        losses = "  ".join(f"{name} {value:.3f}" for name, value in entry["losses"].items())
        self._told = time.monotonic()
        self._console.print(
            f"epoch {entry['epoch'] + 1}: {losses}  "
            f"validation SRCC {entry['val_srcc']:.4f}  ({entry['seconds']:.0f} s)",
            highlight=False,
            soft_wrap=True,
        )

    def _line(self) -> None:
        if self._plain and time.monotonic() - self._told >= self._every:
            self._told = time.monotonic()
            line = f"{self._name}: {self._done} of {self._total}"
            if self._figures:
                line += f"; {self._figures}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
