"""A table of means and deviations, as Markdown for people and as CSV for programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Mean(NamedTuple):
    """A figure over sessions."""

    value: float
    deviation: float = float("nan")
    """Sample deviation; NaN where there is one session, or where it is not known."""
    decimals: int = 3


Cell = Mean | str | None
"""None is a figure that nobody measured: an empty cell."""


def mean_of(values: Sequence[float], decimals: int = 3) -> Mean | None:
    """Mean and sample deviation of the figures that there are, NaN counting as none."""
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return None
    mean = math.fsum(known) / len(known)
    spread = math.fsum((value - mean) ** 2 for value in known)
    return Mean(mean, math.sqrt(spread / (len(known) - 1)) if len(known) > 1 else float("nan"), decimals)


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under columns, with what a reader must know to read them."""

    name: str
    """File name without suffix."""
    title: str
    note: str
    columns: tuple[str, ...]
    rows: list[tuple[Cell, ...]]

    def markdown(self) -> str:
        """Title, table and note."""
        lines = [self.columns, ["---"] * len(self.columns), *([_text(cell) for cell in row] for row in self.rows)]
        body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
        return f"## {self.title}\n\n{body}\n\n{self.note}\n"

    def csv(self) -> str:
        """The table alone, a deviation in a column of its own wherever one is known."""
        spread = [any(isinstance(row[i], Mean) and not math.isnan(row[i].deviation) for row in self.rows)
                  for i in range(len(self.columns))]  # fmt: skip
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        names = zip(self.columns, spread, strict=True)
        writer.writerow([part for name, has in names for part in ((name, f"{name} deviation") if has else (name,))])
        for row in self.rows:
            line: list[str] = []
            for cell, has in zip(row, spread, strict=True):
                line += [_number(cell, 0)] + ([_number(cell, 1)] if has else [])
            writer.writerow(line)
        return text.getvalue()


def _text(cell: Cell) -> str:
    if not isinstance(cell, Mean):
        return (cell or "").replace("|", "\\|")
    shown = f"{cell.value:,.{cell.decimals}f}"
    return shown if math.isnan(cell.deviation) else f"{shown} ± {cell.deviation:,.{cell.decimals}f}"


def _number(cell: Cell, part: int) -> str:
    """Value (0) or deviation (1) of a cell, with more decimals than a reader wants."""
    if not isinstance(cell, Mean):
        return (cell or "") if part == 0 else ""
    return "" if math.isnan(cell[part]) else f"{cell[part]:.6g}" if cell.decimals else f"{cell[part]:.0f}"
