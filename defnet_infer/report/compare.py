"""Two results files over the same photos: how far scores moved, whether the order held, what moved most."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from defnet_infer import parity, parquet, results, run_record
from defnet_infer.errors import UsageError
from defnet_infer.report import payload
from defnet_infer.report.make import Report, locate, rule_of, write_page
from defnet_infer.report.rows import read_rows
from defnet_infer.results import Row

MOST = 10
"""Photos listed on the terminal."""


@dataclass(frozen=True)
class Comparison:
    """What two results files say about the photos that both scored."""

    before_file: Path
    now_file: Path
    before: list[Row]
    """Rows that both files score, in the order of the second."""
    now: list[Row]
    only_before: int
    """Photos that one file has a score for and the other does not hold."""
    only_now: int
    failed_before: int
    """Photos that one file has a score for and the other an error."""
    failed_now: int

    @property
    def moves(self) -> npt.NDArray[np.float64]:
        """Score now minus score before, (N,)."""
        return _scores(self.now) - _scores(self.before)

    @property
    def srcc(self) -> float | None:
        """Spearman's rank correlation of the scores; None where one file gives all photos the same."""
        return parity.srcc(_scores(self.before), _scores(self.now))

    @property
    def flips(self) -> float:
        """Share of pairs of photos whose order is reversed; ties are not."""
        pairs = len(self.now) * (len(self.now) - 1) / 2
        return _reversed_pairs(_scores(self.before), _scores(self.now)) / pairs if pairs else 0.0

    def relabelled(self, task: str) -> int:
        """Photos whose likeliest class of a task changed, among those that have one in both."""
        pairs = [(getattr(a, task), getattr(b, task)) for a, b in zip(self.before, self.now, strict=True)]
        return sum(a != b for a, b in pairs if a and b)

    def to_json(self) -> dict[str, Any]:
        """Every figure."""
        size = np.abs(self.moves)
        return {
            "before": str(self.before_file),
            "now": str(self.now_file),
            "photos": len(self.now),
            "only_before": self.only_before,
            "only_now": self.only_now,
            "failed_before": self.failed_before,
            "failed_now": self.failed_now,
            "mean_move": float(self.moves.mean()),
            "mean_absolute": float(size.mean()),
            "p99_absolute": float(np.quantile(size, 0.99)),
            "max_absolute": float(size.max()),
            "srcc": self.srcc,
            "reversed_pairs": self.flips,
            "relabelled": {task: self.relabelled(task) for task in ("quality", "scene", "distortion")},
            "moved_most": [[self.now[k].path, float(self.moves[k])] for k in self.order[:MOST]],
        }

    @property
    def order(self) -> list[int]:
        """Indices of the photos, the one that moved most first."""
        return [int(k) for k in np.argsort(-np.abs(self.moves), kind="stable")]


def compare(before: Path, now: Path) -> Comparison:
    """Match two results files by path.

    Raises:
        UsageError: If one cannot be read, or no photo has a score in both.
    """
    first, failed_first = _by_name(read_rows(before))
    second, failed_second = _by_name(read_rows(now))
    common = [path for path in second if path in first]
    if not common:
        raise UsageError(
            f"{before} and {now} have no scored photo in common; paths must be the same, so score both from one folder"
        )
    failed_before, failed_now = len(second.keys() & failed_first), len(first.keys() & failed_second)
    return Comparison(
        before,
        now,
        [first[path] for path in common],
        [second[path] for path in common],
        only_before=len(first) - len(common) - failed_now,
        only_now=len(second) - len(common) - failed_before,
        failed_before=failed_before,
        failed_now=failed_now,
    )


def _by_name(rows: Sequence[Row]) -> tuple[dict[str, Row], set[str]]:
    """Rows with a score, and names that have none."""
    scored = {_key(row.path): row for row in rows if row.score is not None}
    return scored, {_key(row.path) for row in rows} - scored.keys()


def _key(path: str) -> str:
    """One for all formats: CSV writes ``./=a.png`` for ``=a.png``, Parquet spells out bytes that are not UTF-8."""
    return str(parquet.storable(results.guarded_path(path)))


def lines(comparison: Comparison) -> list[str]:
    """The comparison as text."""
    figures = comparison.to_json()
    correlation = "all equal" if comparison.srcc is None else f"{comparison.srcc:.5f}"
    relabelled = ", ".join(f"{task} {count}" for task, count in figures["relabelled"].items())
    made = [
        f"{figures['photos']} photos in both, {figures['only_before']} only in {payload.shown(figures['before'])}, "
        f"{figures['only_now']} only in {payload.shown(figures['now'])}",
        f"score moved by {figures['mean_move']:+.4f} on average; absolute: mean {figures['mean_absolute']:.4f}, "
        f"p99 {figures['p99_absolute']:.4f}, max {figures['max_absolute']:.4f}",
        f"SRCC {correlation}; {100 * figures['reversed_pairs']:.3f} % of pairs changed their order",
        f"other class: {relabelled}",
    ]
    if comparison.failed_before or comparison.failed_now:
        made.insert(
            1, f"{comparison.failed_now} scored before and failed now, {comparison.failed_before} the other way"
        )
    if figures["max_absolute"] > 0:
        made.append("moved most:")
    for k in comparison.order[:MOST]:
        if move := comparison.moves[k]:
            path = payload.shown(comparison.now[k].path).replace("\n", "\\n")
            made.append(f"  {move:+.4f}  {comparison.before[k].score:.4f} -> {comparison.now[k].score:.4f}  {path}")
    return made


def write_comparison(
    comparison: Comparison,
    out: Path,
    *,
    thumbnails: Literal["embed", "folder", "none"] = "embed",
    root: Path | None = None,
    begin: Callable[[int], None] = lambda total: None,
    progress: Callable[[], None] = lambda: None,
) -> Report:
    """The page of a comparison: the parts of the report, with the change in place of what does not change."""
    rows = comparison.now
    roots = (root,) if root else (Path(), comparison.now_file.parent)
    files = [locate(row.path, roots) for row in rows]
    body = payload.of_rows(rows, files, out.parent, rule_of(run_record.read(comparison.now_file)))
    body["columns"]["before"] = [row.score for row in comparison.before]
    figures = comparison.to_json()
    names = [payload.shown(file.name) for file in (comparison.before_file, comparison.now_file)]
    body |= {
        "name": f"{names[0]} {names[1]}",
        "reference": None,
        "facts": [
            ["mean change", f"{figures['mean_move']:+.3f}"],
            ["mean absolute", f"{figures['mean_absolute']:.3f}"],
            ["largest", f"{figures['max_absolute']:.3f}"],
            ["SRCC", "all equal" if comparison.srcc is None else f"{comparison.srcc:.4f}"],
            ["pairs reversed", f"{100 * figures['reversed_pairs']:.2f} %"],
            ["other distortion", str(figures["relabelled"]["distortion"])],
        ],
        "about": [
            ["before", payload.shown(str(comparison.before_file))],
            ["now", payload.shown(str(comparison.now_file))],
            ["only before", str(comparison.only_before)],
            ["only now", str(comparison.only_now)],
            ["failed before, scored now", str(comparison.failed_before)],
            ["scored before, failed now", str(comparison.failed_now)],
        ],
    }
    return write_page(
        out, f"{names[0]} to {names[1]}: {len(rows)} photos", body, rows, files, thumbnails, begin, progress
    )


def _scores(rows: Sequence[Row]) -> npt.NDArray[np.float64]:
    return np.array([row.score for row in rows], dtype=np.float64)


def _reversed_pairs(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> int:
    """Pairs with first[i] < first[j] and second[i] > second[j], in N log N comparisons.

    Sorted by the first score, and by the second where that is equal, so that ties reverse nothing.
    """
    seen: list[float] = []
    count = 0
    for value in second[np.lexsort((second, first))].tolist():
        count += len(seen) - bisect.bisect_right(seen, value)
        bisect.insort(seen, value)
    return count
