"""Results as a Parquet file. The only module that imports pyarrow, which the `parquet` extra brings.

A Parquet file is nothing until its footer is written, so it cannot grow safely: rows are collected as JSON
Lines and become Parquet, in row groups of fixed size, when the run ends.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from defnet_infer.errors import MissingExtraError
from defnet_infer.out_file import behind
from defnet_infer.results import COLUMNS, DECIMALS, DETAILED_COLUMNS, DETAILS, Row

ROW_GROUP = 10_000
"""Rows held in memory at a time."""


def check_installed() -> None:
    """Raise MissingExtraError where pyarrow is not installed, before anything is scored."""
    _pyarrow()


def write(rows: Iterable[Row], path: Path, columns: Sequence[str] = COLUMNS) -> None:
    """Write these columns of rows as Parquet, in one step: there is never half a file.

    Bytes of a path that are not UTF-8 are written as ``\\xe9``.

    Raises:
        OSError: If the disk is full or gone.
        MissingExtraError: If pyarrow is not installed.
    """
    arrow, parquet = _pyarrow()
    schema = arrow.schema([(name, _type(arrow, name)) for name in columns])
    target = behind(path)
    draft = target.with_name(target.name + ".part")
    try:
        with parquet.ParquetWriter(draft, schema) as writer:
            rest = iter(rows)
            while group := list(islice(rest, ROW_GROUP)):
                table = {name: [storable(getattr(row, name)) for row in group] for name in columns}
                writer.write_table(arrow.table(table, schema=schema), row_group_size=ROW_GROUP)
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path) -> Iterator[Row]:
    """The rows of a file that `write` made.

    Raises:
        ValueError: If it has other columns, or is not Parquet.
        MissingExtraError: If pyarrow is not installed.
    """
    for record in records(path):
        if tuple(record) not in (COLUMNS, DETAILED_COLUMNS):
            raise ValueError("other columns")
        yield Row(**record | {name: tuple(record[name]) for name in DETAILS if name in record})


def columns(path: Path) -> tuple[str, ...]:
    """The names of the columns of any Parquet file.

    Raises:
        ValueError: If it is not Parquet.
        MissingExtraError: If pyarrow is not installed.
    """
    _, parquet = _pyarrow()
    return tuple(parquet.read_schema(path).names)


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of any Parquet file, values by column.

    Raises:
        ValueError: If it is not Parquet.
        MissingExtraError: If pyarrow is not installed.
    """
    _, parquet = _pyarrow()
    with parquet.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            yield from file.read_row_group(group).to_pylist()


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow  # type: ignore[import-untyped,unused-ignore]
        import pyarrow.parquet  # type: ignore[import-untyped,unused-ignore]
    except ModuleNotFoundError as error:
        raise MissingExtraError("defnet score --out FILE.parquet", "parquet", "pyarrow") from error
    return pyarrow, pyarrow.parquet


def _type(arrow: Any, name: str) -> Any:
    if name in DETAILS:
        return arrow.list_(arrow.float64())
    if name in DECIMALS:
        return arrow.float64()
    return arrow.int32() if name in ("width", "height") else arrow.string()


def storable(value: Any) -> Any:
    """A value as it stands in a file: text with bytes that are not UTF-8 spelled out, anything else as it is."""
    if not isinstance(value, str):
        return value
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
