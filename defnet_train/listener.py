"""Where a training run tells how it goes, and how it is asked to stop. Library code prints nothing itself."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True)
class StepReport:
    """How far a run is after a training step."""

    step: int
    """Steps done of the whole run, those before a resume included."""
    steps: int
    """Steps of the whole run."""
    photos_per_second: float
    """Over the epoch so far, on all devices together."""
    losses: Mapping[str, float]
    """Unweighted losses, mean over the epoch so far."""
    task_weights: Mapping[str, float]


class Listener(Protocol):
    """Where a run tells how it goes."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` units begins."""

    def advance(self, count: int = 1) -> None:
        """Units of the stage are done."""

    def step(self, report: StepReport) -> None:
        """A training step is done; comes after its `advance`."""

    def epoch(self, entry: dict[str, Any]) -> None:
        """An epoch is done; `entry` is its line of the log."""


class Silent:
    """The listener of the processes whose progress nobody watches."""

    def stage(self, name: str, total: int) -> None:
        """See `Listener`."""

    def advance(self, count: int = 1) -> None:
        """See `Listener`."""

    def step(self, report: StepReport) -> None:
        """See `Listener`."""

    def epoch(self, entry: dict[str, Any]) -> None:
        """See `Listener`."""


class Interrupted(Exception):  # noqa: N818 - nobody made a mistake
    """The run was asked to stop and did; everything that is needed to go on is saved. The message says where it is."""


class Stoppable:
    """A listener that ends a stage, by raising `Interrupted`, when the run was asked to stop.

    Args:
        listener: Told what this one is told.
        stop: Set when the run is to stop.
        where: What to say then.
    """

    def __init__(self, listener: Listener, stop: threading.Event, where: str) -> None:
        self._stop, self._where = stop, where
        self.stage, self.step, self.epoch = listener.stage, listener.step, listener.epoch
        self._advance = listener.advance

    def advance(self, count: int = 1) -> None:
        """See `Listener`.

        Raises:
            Interrupted: If the run is to stop.
        """
        self._advance(count)
        if self._stop.is_set():
            raise Interrupted(self._where)
