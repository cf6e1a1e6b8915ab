"""Dynamic weight averaging of the task losses (Liu et al., CVPR 2019; the lambdas of Eq. 13).

A task whose loss falls more slowly than the others' gets more weight in the next epoch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

TEMPERATURE = 2.0
LARGEST_RATIO = 100.0
"""A loss that grew more has broken down or passed through 0, as a likelihood may; its pace says nothing."""


class DynamicWeights:
    """Task weights that sum to the number of tasks.

    With L(e) the mean unweighted loss of epoch e: w = L(e-1) / L(e-2), lambda = K softmax(w / 2). The first two
    epochs weigh all tasks 1.

    Args:
        tasks: Names of the losses that are weighed.
    """

    def __init__(self, tasks: tuple[str, ...]) -> None:
        self.tasks = tasks
        self.history: list[dict[str, float]] = []

    def end_epoch(self, mean_losses: Mapping[str, float]) -> None:
        """Record the epoch's mean unweighted loss of every task."""
        self.history = [*self.history[-1:], {task: float(mean_losses[task]) for task in self.tasks}]

    def weights(self) -> dict[str, float]:
        """Weights for the coming epoch."""
        if len(self.history) < 2:
            return dict.fromkeys(self.tasks, 1.0)
        before, last = self.history
        # A loss of 0 (a task without any label) gives no ratio; it keeps weight by counting as unchanged.
        ratios = [_limited(last[t] / before[t]) if before[t] > 0 else 1.0 for t in self.tasks]
        powers = [math.exp(r / TEMPERATURE) for r in ratios]
        return {t: len(self.tasks) * p / sum(powers) for t, p in zip(self.tasks, powers, strict=True)}


def _limited(ratio: float) -> float:
    return max(-LARGEST_RATIO, min(ratio, LARGEST_RATIO))
