"""Label files of every format to rows that know their place: text tables, spreadsheets, MATLAB arrays."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from defnet_infer.errors import DatasetError

Cell = str | float | None
ANOTHER_VERSION = "is this another version of the file?"


def required(path: Path) -> Path:
    """A path that must exist.

    Raises:
        DatasetError: If it does not.
    """
    if not path.exists():
        raise DatasetError(f"{path} not found; it is part of the release")
    return path


def first_of(folder: Path, patterns: Sequence[str]) -> Path:
    """The first file that matches the first pattern that any file matches.

    Raises:
        DatasetError: If none does, naming the first pattern.
    """
    for pattern in patterns:
        for path in sorted(folder.glob(pattern)):
            return path
    raise DatasetError(f"{folder / patterns[0]} not found; it is part of the release")


def number(cell: object, where: str, what: str) -> float:
    """A cell as a finite number.

    Raises:
        DatasetError: If it is not one.
    """
    try:
        value = float(str(cell))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DatasetError(f"{where}: {what} '{'' if cell is None else cell}' is not a number")
    return value


def text_rows(
    path: Path, columns: Sequence[str], delimiter: str = ",", advice: str = ANOTHER_VERSION
) -> Iterator[tuple[str, dict[str, str]]]:
    """Rows of a text table with a header, each with its place.

    Args:
        path: UTF-8 file, with or without a byte-order mark.
        columns: Those that must be there; others come along.
        delimiter: Between cells.
        advice: What to think or do of a file that lacks a column.

    Raises:
        DatasetError: If the file is missing, not text, lacks a column or has one twice, or a row is too long.
    """
    try:
        with required(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter=delimiter, restval="")
            present = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = present
            _refuse_header(path, columns, present, advice)
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if None in row:
                    raise DatasetError(f"{where}: more cells than the header has columns")
                yield where, {name: cell.strip() for name, cell in row.items()}
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} is not a text table in UTF-8 ({error}); save it as one or copy it again") from error


def headed_rows(path: Path, columns: Sequence[str], sheet: str = "") -> Iterator[tuple[str, dict[str, Cell]]]:
    """Rows below the first row of a spreadsheet that holds all `columns`, each with its place; empty rows are left out.

    Args:
        path: .xlsx or .xls file.
        columns: Header cells to look for, in any case.
        sheet: Name of the sheet; empty, or not there: the first.

    Raises:
        DatasetError: If the file is missing or damaged, or no row holds the columns.
    """
    rows = sheet_rows(path, sheet)
    wanted = [column.lower() for column in columns]
    for start, (_, cells) in enumerate(rows):
        header = [str(cell).strip().lower() for cell in cells]
        if set(wanted) <= set(header):
            places = [header.index(name) for name in wanted]
            for where, values in rows[start + 1 :]:
                found = dict(zip(columns, (values[place] for place in places), strict=True))
                if any(cell not in ("", None) for cell in found.values()):
                    yield where, found
            return
    raise DatasetError(f"{path}: no row with the columns {', '.join(columns)}; {ANOTHER_VERSION}")


def sheet_rows(path: Path, sheet: str = "") -> list[tuple[str, list[Cell]]]:
    """All rows of one sheet, each with its place.

    Raises:
        DatasetError: If the file is missing or damaged.
    """
    # Reads both formats, .xls of 1997 and .xlsx, and nothing else of ours needs it.
    from python_calamine import CalamineError, CalamineWorkbook

    try:
        with required(path).open("rb") as file:
            workbook = CalamineWorkbook.from_filelike(file)
            name = sheet if sheet in workbook.sheet_names else workbook.sheet_names[0]
            rows = workbook.get_sheet_by_name(name).to_python(skip_empty_area=False)
    except (CalamineError, OSError, IndexError) as error:
        raise DatasetError(f"{path} cannot be read ({error}); copy it again from the release") from error
    return [(f"{path}, row {index}", list(cells)) for index, cells in enumerate(rows, start=1)]


def matlab_array(path: Path, variable: str) -> np.ndarray:
    """A variable of a MATLAB file, flat.

    Raises:
        DatasetError: If the file is missing or damaged, or has no such variable.
    """
    required(path)
    try:
        variables = loadmat(path)
    except Exception as error:  # SciPy raises OSError, ValueError, zlib.error, ... on damaged files
        raise DatasetError(f"{path} cannot be read ({error}); copy it again from the release") from error
    if variable not in variables:
        held = ", ".join(name for name in variables if not name.startswith("__"))
        raise DatasetError(f"{path} holds {held or 'nothing'}, not {variable}; {ANOTHER_VERSION}")
    return variables[variable].ravel()


def matlab_texts(path: Path, variable: str) -> list[str]:
    """A cell array of texts in a MATLAB file; see `matlab_array`."""
    return [str(cell.item()) for cell in matlab_array(path, variable)]


def _refuse_header(path: Path, columns: Sequence[str], present: Sequence[str], advice: str) -> None:
    missing = [column for column in columns if column not in present]
    if missing:
        there = ", ".join(present) or "none"
        raise DatasetError(f"{path}, line 1: no column {', '.join(missing)} (there are: {there}); {advice}")
    if twice := [name for name, count in Counter(present).items() if name and count > 1]:
        raise DatasetError(f"{path}, line 1: more than one column {', '.join(twice)}; keep one of them")
