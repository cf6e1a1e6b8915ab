"""The row of a photo: columns, and cells that no reader misunderstands."""

from __future__ import annotations

import csv
import io
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from defnet_infer.results import (
    COLUMNS,
    DETAILED_COLUMNS,
    Row,
    header_line,
    row_from_outputs,
    row_line,
    rows_from_lines,
)

GOOD = Row(path="a.jpg", score=3.14159, width=4, height=3, status="ok")


def outputs() -> dict[str, np.ndarray]:
    return {
        "score": np.array([1.5, 4.25], np.float32),
        "fused_score": np.array([1.625, 4.5], np.float32),
        "aleatoric": np.array([0.25, 0.5], np.float32),
        "epistemic": np.array([0.125, 0.0625], np.float32),
        "interval": np.array([[0.5, 2.75], [3.0, 6.0]], np.float32),
        "quality": np.eye(5, dtype=np.float32)[[0, 4]],
        "scene": np.eye(9, dtype=np.float32)[[2, 8]] * 0.75,
        "distortion": np.eye(11, dtype=np.float32)[[3, 0]] * 0.5,
        "crop_score": np.array([[1.25, 1.75], [4.0, 4.5]], np.float32),
    }


def parsed(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def test_the_columns_are_those_of_the_design_in_order() -> None:
    designed = (
        *("path", "score", "interval_low", "interval_high", "aleatoric", "epistemic", "fused_score", "quality"),
        *("scene", "scene_prob", "distortion", "distortion_prob", "width", "height", "status", "error"),
    )
    assert designed == COLUMNS


def test_a_row_takes_every_number_of_its_own_photo() -> None:
    row = row_from_outputs("b.jpg", outputs(), 1, width=40, height=30, notes=("first frame", "enlarged"))
    assert row == Row(
        path="b.jpg",
        score=4.25,
        interval_low=3.0,
        interval_high=6.0,
        aleatoric=0.5,
        epistemic=0.0625,
        fused_score=4.5,
        quality="perfect",
        scene="others",
        scene_prob=0.75,
        distortion="JPEG2000",
        distortion_prob=0.5,
        width=40,
        height=30,
        status="ok: first frame; enlarged",
        quality_probs=(0.0, 0.0, 0.0, 0.0, 1.0),
        crop_scores=(4.0, 4.5),
    )
    other = row_from_outputs("a.jpg", outputs(), 0, width=1, height=1)
    assert (other.score, other.quality, other.scene, other.distortion, other.status) == (
        *(1.5, "bad", "human", "blur", "ok"),
    )


@pytest.mark.parametrize("name", ["score", "aleatoric", "interval"])
def test_a_nan_is_an_error_and_not_a_score(name: str) -> None:
    broken = outputs()
    broken[name][0] = np.nan
    row = row_from_outputs("a.jpg", broken, 0, width=1, height=1)
    assert row.failed
    assert row.score is None
    assert name in row.error
    assert not row_from_outputs("a.jpg", broken, 1, width=1, height=1).failed


def test_numbers_have_fixed_decimals_and_missing_ones_are_empty() -> None:
    assert row_line(GOOD, "csv") == "a.jpg,3.1416,,,,,,,,,,,4,3,ok,\n"


@pytest.mark.parametrize("name", ["a,b.jpg", 'say "x".jpg', "two\nlines.jpg", "carriage\rreturn.jpg", "é中.jpg", " a "])
def test_any_name_survives_csv_and_json(name: str) -> None:
    row = Row(path=name, error="x")
    assert parsed(row_line(row, "csv"))[0][0] == name
    assert len(parsed(row_line(row, "csv"))) == 1
    assert json.loads(row_line(row, "jsonl"))["path"] == name


@pytest.mark.parametrize("name", ["=1+1.jpg", "+a.jpg", "-dash.jpg", "@home.jpg", "\tx.jpg"])
def test_no_cell_is_a_formula_and_the_path_still_leads_to_the_file(name: str) -> None:
    cells = parsed(row_line(Row(path=name, error="=HYPERLINK(1)"), "csv"))[0]
    assert cells[0] == "./" + name
    assert os.path.normpath(cells[0]) == name
    assert cells[-1] == "'=HYPERLINK(1)"


def test_a_negative_number_is_not_taken_for_a_formula() -> None:
    assert ",-0.2500," in row_line(Row(path="a", interval_low=-0.25), "csv")


@pytest.mark.parametrize("columns", [COLUMNS, DETAILED_COLUMNS], ids=["plain", "details"])
@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_was_written_is_read_back(form: str, columns: tuple[str, ...]) -> None:
    full = row_from_outputs("b.jpg", outputs(), 1, width=40, height=30, notes=("first frame",))
    rows = [full, Row(path="two\r\nlines, é.jpg", error="file is empty"), Row(path=os.fsdecode(b"caf\xe9.jpg"))]
    text = header_line(form, columns) + "".join(row_line(row, form, columns) for row in rows)
    if columns == COLUMNS:
        rows[0] = replace(full, quality_probs=(), crop_scores=())
    assert list(rows_from_lines(io.BytesIO(text.encode("utf-8", "surrogateescape")), form)) == rows
