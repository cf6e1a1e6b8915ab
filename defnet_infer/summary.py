"""What a run found, in a few lines, and the limits that a build pipeline may set."""

from __future__ import annotations

import heapq
import math
import re
from collections import Counter
from collections.abc import Callable

from defnet_infer.results import Row

WORST = 10
LISTED = 20


class Summary:
    """Counts, mean score with its spread, the worst photos, failures by reason. Memory does not grow with photos."""

    def __init__(self) -> None:
        self.scored = 0
        self._mean = 0.0
        self._squares = 0.0
        self._worst: list[tuple[float, int, str]] = []
        self._failures: Counter[str] = Counter()

    def add(self, row: Row) -> None:
        """Count one row."""
        if row.score is None:
            # Two photos of different sizes over the limit fail for one reason.
            self._failures[re.sub(r"\d+", "#", row.error)] += 1
            return
        self.scored += 1
        step = row.score - self._mean
        self._mean += step / self.scored
        self._squares += step * (row.score - self._mean)
        # Negated, so that the heap gives up the best of the worst; the counter keeps equal scores in order.
        entry = (-row.score, -self.scored, row.path)
        if len(self._worst) < WORST:
            heapq.heappush(self._worst, entry)
        else:
            heapq.heappushpop(self._worst, entry)

    @property
    def spread(self) -> float:
        """Standard deviation of the scores."""
        return math.sqrt(self._squares / self.scored) if self.scored else 0.0

    def lines(self) -> list[str]:
        """The summary as text."""
        failed = self._failures.total()
        lines = [f"photos {self.scored + failed}, scored {self.scored}, failed {failed}"]
        if self.scored:
            lines.append(f"mean score {self._mean:.3f}, spread (standard deviation) {self.spread:.3f}")
            lines.append("worst:")
            lines += [f"  {-score:.4f}  {_one_line(path)}" for score, _, path in sorted(self._worst, reverse=True)]
        if failed:
            lines.append("failed because:")
            lines += [f"  {count:6}  {_one_line(reason)}" for reason, count in self._failures.most_common()]
        return lines


class Limit:
    """Photos on the wrong side of a limit.

    Args:
        exceeds: Whether a row is on the wrong side.
        what: The limit in words, such as ``score below 2.5``.
        figure: What to print beside the path.
    """

    def __init__(self, what: str, exceeds: Callable[[Row], bool], figure: Callable[[Row], float]) -> None:
        self._what = what
        self._exceeds = exceeds
        self._figure = figure
        self._first: list[str] = []
        self.count = 0

    def add(self, row: Row) -> None:
        """Look at one row; one without a score is on neither side."""
        if row.failed or not self._exceeds(row):
            return
        self.count += 1
        if len(self._first) < LISTED:
            self._first.append(f"  {self._figure(row):.4f}  {_one_line(row.path)}")

    def lines(self) -> list[str]:
        """The photos as text; empty if there is none."""
        if not self.count:
            return []
        more = [f"  and {self.count - LISTED} more"] if self.count > LISTED else []
        return [f"{self.count} photo{'s' * (self.count != 1)} with {self._what}:", *self._first, *more]


def fail_under(score: float) -> Limit:
    """Photos that score lower."""
    return Limit(f"a score below {score:g}", lambda row: _number(row.score) < score, lambda row: _number(row.score))


def review_above(width: float) -> Limit:
    """Photos whose 95 % interval is wider: too uncertain to go unseen."""
    return Limit(f"an interval wider than {width:g}", lambda row: interval_width(row) > width, interval_width)


def interval_width(row: Row) -> float:
    """Of the 95 % interval; 0 for a model that gives none."""
    return _number(row.interval_high) - _number(row.interval_low)


def _number(value: float | None) -> float:
    return 0.0 if value is None else value


def _one_line(text: str) -> str:
    """A path may hold a line break, or bytes that no terminal shows."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\n", "\\n").replace("\r", "\\r")
