"""The results file: columns, cells that no reader misunderstands, and lines that are always whole."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import numpy as np
import pytest

from defnet_infer.errors import DefnetError, UsageError
from defnet_infer.results import COLUMNS, ResultsFile, Row, row_from_outputs, row_line

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


def test_a_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    with ResultsFile(tmp_path / "r.csv") as results:
        results.write(Row(path=name))
    assert (tmp_path / "r.csv").read_bytes().splitlines()[1].startswith(b"caf\xe9.jpg,")
    with ResultsFile(tmp_path / "r.jsonl") as results:
        results.write(Row(path=name))
    assert json.loads((tmp_path / "r.jsonl").read_text())["path"] == name


def test_a_row_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    with ResultsFile(path) as results:
        results.write(GOOD)
        assert path.read_text().splitlines() == [",".join(COLUMNS), row_line(GOOD, "csv").rstrip()]


def test_an_existing_file_is_kept_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("precious " * 1000)
    with pytest.raises(UsageError, match="exists; replace it with --overwrite"):
        ResultsFile(path)
    with ResultsFile(path, overwrite=True):
        assert path.read_text().startswith("precious")
    assert path.read_text() == "precious " * 1000
    with ResultsFile(path, overwrite=True) as results:
        results.write(GOOD)
    assert len(path.read_text().splitlines()) == 2


def test_a_run_without_rows_leaves_no_empty_file(tmp_path: Path) -> None:
    with ResultsFile(tmp_path / "r.csv"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in (
        (tmp_path / "no" / "r.csv", "does not exist; make it with: mkdir -p"),
        (tmp_path / "file" / "r.csv", "does not exist"),
        (tmp_path, "is not|must be one of"),
        (tmp_path / "r.xlsx", "must be one of .csv, .jsonl"),
    ):
        with pytest.raises(UsageError, match=reason):
            ResultsFile(path)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder where nobody may create files")
def test_a_folder_that_is_not_writable_is_named() -> None:
    with pytest.raises(UsageError, match=r"cannot be written: .*; name a file somewhere else"):
        ResultsFile(Path("/proc/r.csv"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line_and_not_a_traceback() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        results = ResultsFile(None, stream=full)
        with pytest.raises(DefnetError, match="No space left on device; the rows before are kept"):
            results.write(GOOD)
