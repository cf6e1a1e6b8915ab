"""Tables as text: means, deviations, and cells that nobody measured."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest

from defnet_train.table_files import Mean, Table, mean_of


def table(*rows: tuple) -> Table:
    return Table(name="t", title="A title", note="A note.", columns=("model", "SRCC", "photos"), rows=list(rows))


def test_means_and_deviations_are_those_of_numpy_and_nan_counts_as_not_measured() -> None:
    values = [0.81, 0.78, 0.8, 0.9]
    found = mean_of([*values, float("nan")])
    assert found is not None
    assert found.value == pytest.approx(np.mean(values))
    assert found.deviation == pytest.approx(np.std(values, ddof=1))
    assert np.isnan(mean_of([0.5]).deviation), "one session has none"
    assert mean_of([]) is None
    assert mean_of([float("nan")]) is None


def test_markdown_shows_deviations_and_leaves_unknown_cells_empty() -> None:
    text = table(
        ("a|b", Mean(0.8125, 0.0123), Mean(151277313, decimals=0)), ("c", None, Mean(7, decimals=0))
    ).markdown()
    lines = text.splitlines()
    assert lines[0] == "## A title"
    assert "| a\\|b | 0.812 ± 0.012 | 151,277,313 |" in lines, "a bar in a name must not split its cell"
    assert "| c |  | 7 |" in lines
    assert lines[-1] == "A note."


def test_csv_has_a_deviation_column_only_where_one_is_known() -> None:
    text = table(("a, b", Mean(0.8125, 0.0123), Mean(151277313, decimals=0)), ("c", None, Mean(7, decimals=0))).csv()
    header, first, second = csv.reader(io.StringIO(text))
    assert header == ["model", "SRCC", "SRCC deviation", "photos"]
    assert first == ["a, b", "0.8125", "0.0123", "151277313"]
    assert second == ["c", "", "", "7"]
