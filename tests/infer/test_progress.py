"""The display: plain lines where nobody watches a bar."""

from __future__ import annotations

import re

import pytest

from defnet_infer.progress import Progress
from defnet_infer.results import Row


def test_a_log_file_gets_plain_lines_with_rate_time_left_failures_and_the_last_score(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with Progress(4, quiet=False, every=0) as progress:
        progress.advance(Row(path="a", score=3.14159, status="ok"))
        progress.advance(Row(path="b", error="file is empty"))
    lines = capfd.readouterr().err.splitlines()
    assert re.fullmatch(r"1 of 4 photos, [\d.]+ a second, \d+ s left, 0 failed, last 3\.14", lines[0])
    assert re.fullmatch(r"2 of 4 photos, [\d.]+ a second, \d+ s left, 1 failed, last failed", lines[1])


def test_without_a_total_there_is_no_time_left(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(None, quiet=False, every=0) as progress:
        progress.advance(Row(path="a", score=2, status="ok"))
    assert re.fullmatch(r"1 photos, [\d.]+ a second, 0 failed, last 2\.00\n", capfd.readouterr().err)


def test_quiet_is_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(1, quiet=True, every=0) as progress:
        progress.advance(Row(path="a", score=2, status="ok"))
    progress.summarise("r.csv", interrupted=False)
    assert capfd.readouterr() == ("", "")


def test_rows_of_earlier_runs_count_as_done_but_not_for_the_speed(capfd: pytest.CaptureFixture[str]) -> None:
    with Progress(3, quiet=False) as progress:
        progress.keep(False)
        progress.keep(True)
    assert (progress.done, progress.kept, progress.failed, progress.rate) == (2, 2, 1, 0)
    progress.summarise("r.csv", interrupted=True, resumable=True)
    assert capfd.readouterr().err.endswith("kept in r.csv, go on with the same command and --resume\n")
