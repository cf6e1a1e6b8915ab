"""The row of one photo, and its form as a line of CSV or JSON Lines.

Numbers have fixed decimals, so that a second run gives the same bytes.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from defnet_infer.sessions import Outputs
from defnet_infer.taxonomy import CLASSES

Format = Literal["csv", "jsonl"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is reported for one photo; the fields are the columns, in order. None is an empty cell.

    The last two are details: they are always there in Python, and in a file where `--details` asks for them.
    """

    path: str
    score: float | None = None
    """1 (bad) to 5 (perfect)."""
    interval_low: float | None = None
    interval_high: float | None = None
    """Calibrated 95 % interval around `fused_score`."""
    aleatoric: float | None = None
    epistemic: float | None = None
    """Variances, in score units squared."""
    fused_score: float | None = None
    quality: str = ""
    scene: str = ""
    scene_prob: float | None = None
    distortion: str = ""
    distortion_prob: float | None = None
    width: int | None = None
    height: int | None = None
    """Pixels, upright."""
    status: str = "error"
    """``ok``, ``ok: <notes>`` or ``error``."""
    error: str = ""
    quality_probs: tuple[float, ...] = ()
    """Probabilities of the five quality levels, from bad to perfect."""
    crop_scores: tuple[float, ...] = ()
    """Score of each crop, in the order of `views.crop_positions`."""

    @property
    def failed(self) -> bool:
        """Whether the photo has no score."""
        return self.status == "error"


DETAILS = ("quality_probs", "crop_scores")
"""Columns of several numbers."""
COLUMNS = tuple(field.name for field in fields(Row) if field.name not in DETAILS)
"""The columns of a results file."""
DETAILED_COLUMNS = (*COLUMNS, *DETAILS)
"""Those of one written with `--details`."""
DECIMALS = {
    **dict.fromkeys(("score", "interval_low", "interval_high", "fused_score"), 4),
    **dict.fromkeys(("aleatoric", "epistemic"), 6),
    **dict.fromkeys(("scene_prob", "distortion_prob"), 4),
    **dict.fromkeys(DETAILS, 4),
}


_PLAIN = ("score", "fused_score", "aleatoric", "epistemic")
"""Outputs that are columns as they are."""
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A cell that begins so is a formula to a spreadsheet."""


def row_from_outputs(
    path: str, outputs: Outputs, index: int, *, width: int, height: int, notes: Sequence[str] = ()
) -> Row:
    """The row of the index-th photo of a batch.

    What the model does not tell (`Contract.tasks`, `Contract.uncertainty`) leaves its cells empty. An output that is
    not a finite number makes an error row: a NaN must not look like a score.
    """
    numbers: dict[str, Any] = {name: outputs[name][index] for name in _PLAIN if name in outputs}
    if "interval" in outputs:
        numbers["interval_low"], numbers["interval_high"] = outputs["interval"][index]
    numbers |= {f"{task}_prob": outputs[task][index].max() for task in ("scene", "distortion") if task in outputs}
    bad = [name for name, value in numbers.items() if not np.isfinite(value)]
    if bad:
        return Row(path=path, width=width, height=height, error=f"the model returned no number for {', '.join(bad)}")
    told: dict[str, Any] = {name: round(float(value), DECIMALS[name]) for name, value in numbers.items()}
    told |= {task: names[int(outputs[task][index].argmax())] for task, names in CLASSES.items() if task in outputs}
    return Row(
        path=path,
        **told,
        quality_probs=_rounded("quality_probs", outputs["quality"][index]),
        crop_scores=_rounded("crop_scores", outputs["crop_score"][index]),
        width=width,
        height=height,
        status="ok: " + "; ".join(notes) if notes else "ok",
    )


def _rounded(name: str, values: npt.NDArray[Any]) -> tuple[float, ...]:
    return tuple(round(float(value), DECIMALS[name]) for value in values)


def header_line(form: Format, columns: Sequence[str] = COLUMNS) -> str:
    """The line before the first row; empty for JSON Lines."""
    return ",".join(columns) + "\n" if form == "csv" else ""


def row_line(row: Row, form: Format, columns: Sequence[str] = COLUMNS) -> str:
    """One row as a line. A CSV line holds line breaks only inside quotes; details stand in one cell, with spaces."""
    if form == "jsonl":
        return json.dumps({name: getattr(row, name) for name in columns}) + "\n"
    return ",".join(_quoted(_cell(name, getattr(row, name))) for name in columns) + "\n"


def _cell(name: str, value: str | float | tuple[float, ...] | None) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return " ".join(f"{number:.{DECIMALS[name]}f}" for number in value)
    if name in DECIMALS:
        return f"{value:.{DECIMALS[name]}f}"
    text = str(value)
    if not isinstance(value, str):
        return text
    if name == "path":
        return guarded_path(text)
    return "'" + text if text.startswith(FORMULA_STARTS) else text


def guarded_path(path: str) -> str:
    """As it stands in CSV, where a spreadsheet would run some as a formula: ``./=a.png`` is the same file."""
    return "./" + path if path.startswith(FORMULA_STARTS) else path


def _quoted(cell: str) -> str:
    # Not `csv.writer`: with "\n" as its line end it leaves a lone "\r" unquoted, which readers take for one.
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\r\n') else cell


def rows_from_lines(file: IO[bytes], form: Format) -> Iterator[Row]:
    """Read back what `row_line` wrote, header included, row by row.

    A path that `row_line` kept from being a formula keeps its "./"; names that are not UTF-8 keep their bytes.

    Args:
        file: Binary; is not closed.
        form: The format that the file was written in.
    """
    text = io.TextIOWrapper(file, encoding="utf-8", errors="surrogateescape", newline="")
    try:
        if form == "jsonl":
            for line in text:
                values = json.loads(line)
                yield Row(**values | {name: tuple(values[name]) for name in DETAILS if name in values})
        else:
            for record in csv.DictReader(text):
                yield Row(**{name: cell_value(name, cell) for name, cell in record.items()})
    finally:
        text.detach()


def cell_value(name: str, cell: str) -> Any:
    """What a CSV cell of this column holds; ValueError if it should be a number and is none."""
    if name in DETAILS:
        return tuple(float(number) for number in cell.split())
    if name in DECIMALS:
        return float(cell) if cell else None
    if name in ("width", "height"):
        return int(cell) if cell else None
    return cell
