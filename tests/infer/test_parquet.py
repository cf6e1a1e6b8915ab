"""Parquet results: the rows of the CSV file, in a file that is whole or not there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from defnet_infer import parquet
from defnet_infer.errors import MissingExtraError
from defnet_infer.results import COLUMNS, Row
from defnet_infer.resume import RunResults

arrow = pytest.importorskip("pyarrow.parquet")

ROWS = [
    Row(path="a.jpg", score=3.25, aleatoric=0.125, width=4, height=3, quality="good", status="ok"),
    Row(path="é\n.jpg", error="file is empty"),
]


def test_rows_survive_and_columns_are_typed(tmp_path: Path) -> None:
    path = tmp_path / "r.parquet"
    parquet.write(ROWS, path)
    assert list(parquet.read(path)) == ROWS
    schema = arrow.read_schema(path)
    assert tuple(schema.names) == COLUMNS
    assert str(schema.field("score").type) == "double"
    assert str(schema.field("width").type) == "int32"
    assert list(tmp_path.iterdir()) == [path]


def test_row_groups_have_a_fixed_size_so_that_memory_does_not_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 3)
    path = tmp_path / "r.parquet"
    parquet.write((Row(path=str(k)) for k in range(8)), path)
    assert arrow.ParquetFile(path).num_row_groups == 3
    assert [row.path for row in parquet.read(path)] == [str(k) for k in range(8)]


def test_a_name_that_is_not_utf8_is_written_so_that_it_can_be_read(tmp_path: Path) -> None:
    parquet.write([Row(path=os.fsdecode(b"caf\xe9.jpg"))], tmp_path / "r.parquet")
    assert next(parquet.read(tmp_path / "r.parquet")).path == r"caf\xe9.jpg"


def test_without_pyarrow_the_extra_is_named_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'defnet\[parquet\]'"):
        RunResults(tmp_path / "r.parquet")
    assert list(tmp_path.iterdir()) == []
