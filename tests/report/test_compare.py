"""`defnet diff`: its figures against SciPy and by hand, and what it says of files that do not belong together."""

from __future__ import annotations

import itertools
import json
import os
from pathlib import Path

import numpy as np
import pytest

from defnet_infer import parquet
from defnet_infer.errors import UsageError
from defnet_infer.report.compare import compare, lines, write_comparison
from defnet_infer.results import Row
from tests.report.conftest import WriteResults, scored_row
from tests.report.test_make import data_of

SCORES = np.array([1.0, 2.0, 2.0, 3.0, 4.5, 3.25, 2.75])
MOVED = np.array([1.5, 1.25, 2.5, 3.0, 2.25, 4.0, 2.25])


@pytest.fixture
def two_files(write_results: WriteResults) -> tuple[Path, Path]:
    """Seven photos in both, one more in each, one that failed the second time and two the first."""
    first = [scored_row(f"{k}.jpg", k, score=float(score)) for k, score in enumerate(SCORES)]
    second = [scored_row(f"{k}.jpg", k, score=float(score)) for k, score in enumerate(MOVED)]
    second[2] = scored_row("2.jpg", 2, score=float(MOVED[2]), distortion="other", scene="others")
    failed = [Row(path=name, error="gone") for name in ("mended1.jpg", "mended2.jpg", "never.jpg")]
    mended = [scored_row("mended1.jpg", 11), scored_row("mended2.jpg", 12)]
    before = write_results([*first, scored_row("lost.jpg", 9), scored_row("broken.jpg", 8), *failed], "before.csv")
    failed = [Row(path=name, error="gone") for name in ("broken.jpg", "never.jpg")]
    now = write_results([scored_row("new.jpg", 10), *second[::-1], *mended, *failed], "now.jsonl")
    return before, now


def test_figures_agree_with_scipy_and_with_counting(two_files: tuple[Path, Path]) -> None:
    stats = pytest.importorskip("scipy.stats")
    comparison = compare(*two_files)
    figures = comparison.to_json()
    assert (figures["photos"], figures["only_before"], figures["only_now"]) == (7, 1, 1)
    assert (figures["failed_before"], figures["failed_now"]) == (2, 1)
    assert figures["mean_move"] == pytest.approx((MOVED - SCORES).mean())
    assert figures["mean_absolute"] == pytest.approx(np.abs(MOVED - SCORES).mean())
    assert figures["max_absolute"] == 2.25
    assert figures["srcc"] == pytest.approx(stats.spearmanr(SCORES, MOVED).statistic)
    pairs = list(itertools.combinations(range(7), 2))
    flipped = sum((SCORES[i] - SCORES[j]) * (MOVED[i] - MOVED[j]) < 0 for i, j in pairs)
    assert 0 < flipped < len(pairs)
    assert figures["reversed_pairs"] == pytest.approx(flipped / len(pairs))
    assert figures["relabelled"] == {"quality": 0, "scene": 1, "distortion": 1}
    assert figures["moved_most"][0] == ["4.jpg", -2.25]


def test_reversed_pairs_of_many_scores_with_ties_equal_counting(write_results: WriteResults) -> None:
    rng = np.random.default_rng(3)
    first, second = rng.integers(10, 40, (2, 80)) / 10
    files = [
        write_results([scored_row(str(k), k, score=float(s)) for k, s in enumerate(scores)], name)
        for scores, name in ((first, "a.csv"), (second, "b.csv"))
    ]
    flipped = sum((first[i] - first[j]) * (second[i] - second[j]) < 0 for i, j in itertools.combinations(range(80), 2))
    assert compare(*files).flips == pytest.approx(flipped / (80 * 79 / 2))


def test_a_file_compared_with_itself_has_not_moved(two_files: tuple[Path, Path]) -> None:
    comparison = compare(two_files[0], two_files[0])
    assert comparison.srcc == pytest.approx(1.0)
    assert comparison.flips == 0
    assert not np.any(comparison.moves)
    assert not any("moved most" in line for line in lines(comparison))


def test_equal_scores_have_no_rank_correlation(write_results: WriteResults) -> None:
    file = write_results([scored_row(str(k), k, score=3.0) for k in range(4)])
    assert compare(file, file).srcc is None
    assert "SRCC all equal" in "\n".join(lines(compare(file, file)))


def test_the_photo_that_moved_most_comes_first_on_the_terminal(two_files: tuple[Path, Path]) -> None:
    text = lines(compare(*two_files))
    assert text[text.index("moved most:") + 1] == "  -2.2500  4.5000 -> 2.2500  4.jpg"


def test_photos_that_failed_in_one_file_are_told_from_those_it_does_not_hold(
    two_files: tuple[Path, Path], tmp_path: Path
) -> None:
    comparison = compare(*two_files)
    text = lines(comparison)
    assert ", 1 only in " in text[0]
    assert text[1] == "1 scored before and failed now, 2 the other way"
    about = dict(data_of(write_comparison(comparison, tmp_path / "diff.html").path)[0]["about"])
    counts = [about[name] for name in ("only before", "scored before, failed now", "failed before, scored now")]
    assert counts == ["1", "1", "2"]
    assert lines(compare(two_files[0], two_files[0]))[1].startswith("score moved"), "none failed in one alone"


def test_a_photo_is_the_same_in_every_format(write_results: WriteResults) -> None:
    names = ["=formula.png", os.fsdecode(b"caf\xe9.png"), "plain.png"]
    rows = [scored_row(name, k) for k, name in enumerate(names)]
    files = [write_results(rows, f"results.{suffix}") for suffix in ("csv", "jsonl")]
    files.append(files[0].with_suffix(".parquet"))
    parquet.write(rows, files[-1])
    for before, now in itertools.permutations(files, 2):
        comparison = compare(before, now)
        assert (len(comparison.now), comparison.only_before, comparison.only_now) == (3, 0, 0), (before, now)


def test_files_without_a_common_photo_are_refused(two_files, write_results: WriteResults) -> None:
    other = write_results([scored_row("elsewhere.jpg", 1)], "other.csv")
    with pytest.raises(UsageError, match="no scored photo in common"):
        compare(two_files[0], other)


def test_the_page_carries_the_scores_before(two_files: tuple[Path, Path], tmp_path: Path) -> None:
    comparison = compare(*two_files)
    payload, _ = data_of(write_comparison(comparison, tmp_path / "diff.html").path)
    by_path = dict(zip(payload["columns"]["path"], payload["columns"]["before"], strict=True))
    assert by_path["4.jpg"] == 4.5
    assert json.dumps(payload["facts"])
