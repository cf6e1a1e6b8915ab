"""Rows of a results file for people to look at: more forgiving than `--resume`, which needs its own bytes back.

A file may lack columns (a model without uncertainty, a spreadsheet that dropped some) or have more of them;
only `path` and `score` must be there.
"""

from __future__ import annotations

import csv
import io
import json
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from defnet_infer import parquet
from defnet_infer.errors import UsageError
from defnet_infer.results import DECIMALS, DETAILED_COLUMNS, DETAILS, Row, cell_value
from defnet_infer.results_file import FORMAT_BY_SUFFIX, PARQUET
from defnet_infer.taxonomy import QUALITIES

_NEEDED = ("path", "score")
_SIDES = ("width", "height")
_LONGEST_CELL = 1 << 20
_LARGEST = 1e6
"""No number of a results file is larger, but for sides; in score units or shares."""
_LARGEST_SIDE = 1 << 32


def read_rows(path: Path) -> list[Row]:
    """All rows of a results file, in its order.

    Args:
        path: ``.csv``, ``.jsonl`` or ``.parquet``.

    Raises:
        UsageError: If it is missing, is not a results file, lacks `path` or `score`, or holds no photo; what is
            wrong in a line names the line.
        MissingExtraError: If it is Parquet and pyarrow is not installed.
    """
    suffix, typed = path.suffix.lower(), shlex.quote(str(path))
    if suffix not in FORMAT_BY_SUFFIX and suffix != PARQUET:
        raise UsageError(f"{path}: a results file is .csv, .jsonl or .parquet, as `defnet score --out` writes it")
    try:
        if suffix == PARQUET:
            rows = list(_checked("row", _named(enumerate(parquet.records(path), start=1))))
        else:
            text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
            records = _from_csv(text) if FORMAT_BY_SUFFIX[suffix] == "csv" else _from_json_lines(text)
            rows = list(_checked("line", records))
    except FileNotFoundError as error:
        raise UsageError(
            f"{path}: there is no such results file; make one with: defnet score FOLDER --out {typed}"
        ) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}") from error
    except (csv.Error, ValueError) as error:
        raise UsageError(f"{path} is not a results file of `defnet score`: {error}") from error
    if not rows:
        raise UsageError(f"{path} holds no photo; score some first: defnet score FOLDER --out {typed} --overwrite")
    return rows


def _from_csv(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Line numbers and cells. A row with more cells than columns is damaged; one with fewer was cut off."""
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    if reader.fieldnames is not None:
        _need(reader.fieldnames)
    for cells in reader:
        if None in cells or None in cells.values():
            raise ValueError(f"line {reader.line_num} has another number of cells than there are columns")
        values = {}
        for name, cell in cells.items():
            if name not in DETAILED_COLUMNS:
                continue
            try:
                values[name] = cell_value(name, cell)
            except ValueError:
                raise ValueError(f"line {reader.line_num}: {name} is {cell[:40]!r}, not a number") from None
        yield reader.line_num, values


def _from_json_lines(text: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError:
            raise ValueError(f"line {number} is not JSON") from None
        if not isinstance(values, dict):
            raise ValueError(f"line {number} is not a JSON object")
        yield from _named([(number, values)])


def _named(records: Iterable[tuple[int, Mapping[str, Any]]]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The values that are ours, of records in which each value has its name."""
    for number, values in records:
        _need(values)
        yield number, {name: values[name] for name in DETAILED_COLUMNS if name in values}


def _need(columns: Iterable[str]) -> None:
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        raise ValueError(f"it has no column {' and no column '.join(missing)}")


def _checked(place: str, records: Iterable[tuple[int, Mapping[str, Any]]]) -> Iterator[Row]:
    for number, values in records:
        cells = {name: _cell(f"{place} {number}: {name}", name, value) for name, value in values.items()}
        # A row with a score is a photo that was scored, whatever became of its status.
        status = cells.get("status") or ("error" if cells["score"] is None else "ok")
        yield Row(**{**cells, "path": sys.intern(cells["path"]), "status": status})


def _cell(where: str, name: str, value: Any) -> Any:
    """A value of the kind that its column has; ValueError for any other."""
    if name in DETAILS:
        if not isinstance(value, (list, tuple, type(None))):
            raise ValueError(f"{where} is a {type(value).__name__}, not a list of numbers")
        numbers = tuple(_number(where, part) for part in value or ())
        if name == "quality_probs" and len(numbers) not in (0, len(QUALITIES)):
            raise ValueError(f"{where} has {len(numbers)} numbers, not {len(QUALITIES)}")
        return numbers
    if name in DECIMALS:
        return None if value is None else _number(where, value)
    if name in _SIDES:
        if value is None or (_number(where, value, _LARGEST_SIDE) >= 1 and value == int(value)):
            return value and int(value)
        raise ValueError(f"{where} is {value}, not a number of pixels")
    if name == "path" and value in (None, ""):
        raise ValueError(f"{where} is empty")
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(f"{where} is a {type(value).__name__}, not a text")
    try:
        value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        raise ValueError(f"{where} holds half a character") from None
    return value


def _number(where: str, value: Any, largest: float = _LARGEST) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"{where} is a {type(value).__name__}, not a number")
    if not -largest < value < largest:
        raise ValueError(f"{where} is {value:.6g}" if isinstance(value, float) else f"{where} is too large")
    return value
