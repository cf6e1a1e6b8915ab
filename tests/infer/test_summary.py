"""The summary and the limits of a build pipeline."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from defnet_infer.results import Row
from defnet_infer.summary import Summary, fail_under, review_above


def scored(name: str, score: float, width: float = 1.0) -> Row:
    return Row(path=name, score=score, interval_low=score - width / 2, interval_high=score + width / 2, status="ok")


def test_mean_and_spread_are_those_of_the_scores() -> None:
    scores = np.random.default_rng(0).uniform(1, 5, 500).tolist()
    summary = Summary()
    for k, score in enumerate(scores):
        summary.add(scored(str(k), score))
    expected = f"mean score {statistics.fmean(scores):.3f}, spread (standard deviation) {statistics.pstdev(scores):.3f}"
    assert summary.lines()[1] == expected


def test_the_ten_worst_come_worst_first_and_equal_ones_in_the_order_of_the_run() -> None:
    summary = Summary()
    for k in range(30):
        summary.add(scored(f"{k:02}", 2.0 if k in (7, 3, 21) else 2.5 + (29 - k) / 100))
    worst = [line.split()[1] for line in summary.lines()[3:13]]
    assert worst == ["03", "07", "21", "29", "28", "27", "26", "25", "24", "23"]
    assert len(summary.lines()) == 13


def test_failures_are_counted_by_reason_the_commonest_first() -> None:
    summary = Summary()
    for error in ("file is empty", "5 x 6 is more than the limit", "50 x 7 is more than the limit"):
        summary.add(Row(path="a", error=error))
    assert summary.lines() == [
        "photos 3, scored 0, failed 3",
        "failed because:",
        "       2  # x # is more than the limit",
        "       1  file is empty",
    ]


def test_a_photo_at_the_limit_passes_and_one_beyond_it_is_listed() -> None:
    low, wide = fail_under(2.5), review_above(1.5)
    for row in (scored("at", 2.5, 1.5), scored("below\nit", 2.4), scored("wide", 3, 1.75), Row(path="x", error="y")):
        low.add(row)
        wide.add(row)
    assert low.lines() == ["1 photo with a score below 2.5:", "  2.4000  below\\nit"]
    assert wide.lines() == ["1 photo with an interval wider than 1.5:", "  1.7500  wide"]


def test_a_long_list_is_cut_and_says_so() -> None:
    low = fail_under(3)
    for k in range(25):
        low.add(scored(str(k), 1))
    assert low.lines()[0].startswith("25 photos")
    assert len(low.lines()) == 22
    assert low.lines()[-1] == "  and 5 more"


@pytest.mark.parametrize("limit", [fail_under(0), review_above(9)])
def test_nothing_beyond_a_limit_is_nothing_to_say(limit) -> None:
    limit.add(scored("a", 3))
    assert limit.lines() == []
