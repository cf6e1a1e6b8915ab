"""The row of one photo, and the results file: CSV or JSON Lines, written as rows come.

A file only ever holds whole lines: a row goes out in one write, and what a failing write left behind is cut
off again. Numbers have fixed decimals, so that a second run gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal

import numpy as np

from defnet_infer.errors import DefnetError, UsageError
from defnet_infer.sessions import Outputs
from defnet_infer.taxonomy import DISTORTIONS, QUALITIES, SCENES

Format = Literal["csv", "jsonl"]
FORMAT_BY_SUFFIX: dict[str, Format] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is reported for one photo; the fields are the columns, in order. None is an empty cell."""

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

    @property
    def failed(self) -> bool:
        """Whether the photo has no score."""
        return self.status == "error"


COLUMNS = tuple(field.name for field in fields(Row))
DECIMALS = {
    **dict.fromkeys(("score", "interval_low", "interval_high", "fused_score"), 4),
    **dict.fromkeys(("aleatoric", "epistemic"), 6),
    **dict.fromkeys(("scene_prob", "distortion_prob"), 4),
}


def row_from_outputs(
    path: str, outputs: Outputs, index: int, *, width: int, height: int, notes: Sequence[str] = ()
) -> Row:
    """The row of the index-th photo of a batch.

    An output that is not a finite number makes an error row: a NaN must not look like a score.
    """
    numbers = {
        "score": outputs["score"][index],
        "interval_low": outputs["interval"][index, 0],
        "interval_high": outputs["interval"][index, 1],
        "aleatoric": outputs["aleatoric"][index],
        "epistemic": outputs["epistemic"][index],
        "fused_score": outputs["fused_score"][index],
        "scene_prob": outputs["scene"][index].max(),
        "distortion_prob": outputs["distortion"][index].max(),
    }
    bad = [name for name, value in numbers.items() if not np.isfinite(value)]
    if bad:
        return Row(path=path, width=width, height=height, error=f"the model returned no number for {', '.join(bad)}")
    rounded: dict[str, Any] = {name: round(float(value), DECIMALS[name]) for name, value in numbers.items()}
    return Row(
        path=path,
        **rounded,
        quality=QUALITIES[int(outputs["quality"][index].argmax())],
        scene=SCENES[int(outputs["scene"][index].argmax())],
        distortion=DISTORTIONS[int(outputs["distortion"][index].argmax())],
        width=width,
        height=height,
        status="ok: " + "; ".join(notes) if notes else "ok",
    )


def header_line(form: Format) -> str:
    """The line before the first row; empty for JSON Lines."""
    return ",".join(COLUMNS) + "\n" if form == "csv" else ""


def row_line(row: Row, form: Format) -> str:
    """One row as a line. A CSV line holds line breaks only inside quotes."""
    if form == "jsonl":
        return json.dumps({name: getattr(row, name) for name in COLUMNS}) + "\n"
    return ",".join(_quoted(_cell(name, getattr(row, name))) for name in COLUMNS) + "\n"


def _cell(name: str, value: str | float | None) -> str:
    if value is None:
        return ""
    if name in DECIMALS:
        return f"{value:.{DECIMALS[name]}f}"
    text = str(value)
    if text.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) and isinstance(value, str):
        # A spreadsheet would run it as a formula. "./" keeps a path the same file; an apostrophe marks text.
        return ("./" if name == "path" else "'") + text
    return text


def _quoted(cell: str) -> str:
    # Not `csv.writer`: with "\n" as its line end it leaves a lone "\r" unquoted, which readers take for one.
    return '"' + cell.replace('"', '""') + '"' if any(mark in cell for mark in ',"\r\n') else cell


class ResultsFile:
    """A results file that grows while photos are scored.

    It is opened, and so proven writable, before any model is loaded; an existing file keeps its content until
    the first write.

    Args:
        path: ``.csv`` or ``.jsonl``; None writes CSV to `stream`.
        overwrite: Replace an existing file.
        stream: Where rows go without a path, binary.

    Raises:
        UsageError: If the file exists, has another suffix, or cannot be written.
    """

    def __init__(self, path: Path | None, *, overwrite: bool = False, stream: IO[bytes] | None = None) -> None:
        assert (path is None) != (stream is None), "either a path or a stream"
        self.path = path
        self.form: Format = "csv"
        self._good = 0
        self._started = False
        self._created = False
        if path is not None:
            self.form = _form(path)
            self._created = not path.exists()
            stream = _open_for_writing(path, overwrite)
        assert stream is not None
        self._stream = stream

    def write(self, row: Row) -> None:
        """Append a row in one write to the operating system, so that a crash loses none that was written.

        Raises:
            DefnetError: If the disk is full or gone; the lines written before stay whole.
        """
        text = row_line(row, self.form)
        if not self._started:
            text = header_line(self.form) + text
        data = text.encode("utf-8", "surrogateescape")
        try:
            if self.path is not None and not self._started:
                self._stream.truncate(0)
            view = memoryview(data)
            while view:
                view = view[self._stream.write(view) :]
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            if self.path is not None:
                self._stream.truncate(self._good)
            where = self.path or "standard output"
            raise DefnetError(f"cannot write to {where}: {error.strerror}; the rows before are kept") from error
        self._started = True
        self._good += len(data)

    def close(self) -> None:
        """Close the file; one that was created for this run and got no row is removed again."""
        if self.path is None:
            return
        self._stream.close()
        if self._created and not self._started:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> ResultsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _form(path: Path) -> Format:
    try:
        return FORMAT_BY_SUFFIX[path.suffix.lower()]
    except KeyError:
        known = ", ".join(FORMAT_BY_SUFFIX)
        raise UsageError(f"--out {path}: the suffix says the format and must be one of {known}") from None


def _open_for_writing(path: Path, overwrite: bool) -> IO[bytes]:
    if path.exists():
        if not path.is_file():
            raise UsageError(f"--out {path} is not a file; name a file, such as results.csv")
        if not overwrite:
            raise UsageError(f"--out {path} exists; replace it with --overwrite, or name another file")
    elif not path.parent.is_dir():
        raise UsageError(f"--out {path}: the folder {path.parent} does not exist; make it with: mkdir -p {path.parent}")
    try:
        # Opening is the only honest test: permission bits say nothing on a read-only disk, or to root.
        return path.open("r+b" if path.exists() else "xb", buffering=0)
    except OSError as error:
        raise UsageError(f"--out {path} cannot be written: {error.strerror}; name a file somewhere else") from error
