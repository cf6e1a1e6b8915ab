"""Results files for the page: whole ones, edited ones, and ones that are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from defnet_infer import parquet
from defnet_infer.errors import UsageError
from defnet_infer.report.rows import read_rows
from defnet_infer.results import COLUMNS, DETAILED_COLUMNS
from tests.report.conftest import WriteResults, scored_row

ROWS = [
    scored_row("a/b.jpg", 1),
    scored_row('ü \n,".jpg', 2),
    scored_row("c.jpg", 3, status="error", error="gone", score=None),
]


@pytest.mark.parametrize("name", ["results.csv", "results.jsonl"])
def test_a_file_of_defnet_score_comes_back_as_it_was(write_results: WriteResults, name: str) -> None:
    assert read_rows(write_results(ROWS, name)) == ROWS


def test_parquet_comes_back_with_its_details(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    parquet.write(ROWS, tmp_path / "results.parquet", DETAILED_COLUMNS)
    assert read_rows(tmp_path / "results.parquet") == ROWS


def test_without_details_the_rows_have_none(write_results: WriteResults) -> None:
    row = read_rows(write_results(ROWS, columns=COLUMNS))[0]
    assert row.score == ROWS[0].score
    assert row.crop_scores == ()


def test_columns_may_be_missing_added_and_in_another_order(tmp_path: Path) -> None:
    path = tmp_path / "edited.csv"
    path.write_bytes("\ufeffnote,score,path\nmine,3.5,a.jpg\n,,b.jpg\n".encode())
    good, bad = read_rows(path)
    assert (good.path, good.score, good.status, good.aleatoric) == ("a.jpg", 3.5, "ok", None)
    assert (bad.score, bad.status) == (None, "error")


def test_parquet_of_another_program_is_read_by_the_names_of_its_columns(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    edited = arrow.table({"note": ["mine", ""], "score": [3.5, None], "path": ["a.jpg", "b.jpg"]})
    arrow.parquet.write_table(edited, tmp_path / "edited.parquet")
    good, bad = read_rows(tmp_path / "edited.parquet")
    assert (good.path, good.score, good.status, good.aleatoric) == ("a.jpg", 3.5, "ok", None)
    assert (bad.path, bad.score, bad.status) == ("b.jpg", None, "error")
    arrow.parquet.write_table(arrow.table({"path": ["a.jpg", "b.jpg"], "score": ["3", "x"]}), tmp_path / "text.parquet")
    with pytest.raises(UsageError, match="row 1: score is a str"):
        read_rows(tmp_path / "text.parquet")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "holds no photo"),
        ("path,score\n", "holds no photo"),
        ("score\n1\n", "no column path"),
        ("path;score\na;1\n", "no column path and no column score"),
        ("path,score\na.jpg,good\n", "line 2: score is 'good', not a number"),
        ("path,score\na.jpg,nan\n", "line 2: score is nan"),
        ("path,score\na.jpg,inf\n", "line 2: score is inf"),
        ("path,score\na.jpg,1,2\n", "line 2 has another number of cells"),
        ("path,score\na.jpg\n", "line 2 has another number of cells"),
        ('path,score\n"a.jpg,1\n', "is not a results file"),
        ("\x00\x01binary", "no column path"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_it(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "results.csv"
    path.write_text(text)
    with pytest.raises(UsageError) as caught:
        read_rows(path)
    assert says in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[1]\n", "line 1 is not a JSON object"),
        ('{"path": "a", "score": 1}\n{"path"\n', "line 2 is not JSON"),
        ('{"path": "a", "score": {}}\n', "line 1: score is a dict, not a number"),
        ('{"path": "a", "score": "4"}\n', "line 1: score is a str, not a number"),
        ('{"path": "a", "score": true}\n', "line 1: score is a bool, not a number"),
        ('{"path": "a", "score": 1' + 400 * "0" + "}\n", "line 1: score is too large"),
        ('{"path": "a", "score": 1, "aleatoric": "x"}\n', "line 1: aleatoric is a str"),
        ('{"path": "a", "score": 1, "width": -5}\n', "line 1: width is -5, not a number of pixels"),
        ('{"path": "a", "score": 1, "height": 2.5}\n', "line 1: height is 2.5, not a number of pixels"),
        ('{"path": "a", "score": 1, "crop_scores": 5}\n', "line 1: crop_scores is a int, not a list"),
        ('{"path": "a", "score": 1, "crop_scores": [NaN]}\n', "line 1: crop_scores is nan"),
        ('{"path": "a", "score": 1, "crop_scores": ["a"]}\n', "line 1: crop_scores is a str"),
        ('{"path": "a", "score": 1, "quality_probs": [1]}\n', "line 1: quality_probs has 1 numbers, not 5"),
        ('{"path": "a", "score": 1, "error": 5}\n', "line 1: error is a int, not a text"),
        ('{"path": null, "score": 1}\n', "line 1: path is empty"),
        ('{"path": "\\ud800", "score": 1}\n', "line 1: path holds half a character"),
    ],
)
def test_json_lines_likewise(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text(text)
    with pytest.raises(UsageError, match=says):
        read_rows(path)


def test_json_lines_of_a_table_program_are_read(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_text('{"path": "a", "score": 3, "width": 300.0, "height": null, "error": null, "quality_probs": null}\n')
    (row,) = read_rows(path)
    assert (row.score, row.width, row.height, row.error, row.quality_probs) == (3, 300, None, "", ())


def test_a_missing_file_and_another_kind_of_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such results file"):
        read_rows(tmp_path / "gone.csv")
    with pytest.raises(UsageError, match=r"\.csv, \.jsonl or \.parquet"):
        read_rows(tmp_path / "photo.jpg")
