"""Figures as tables on standard output."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_parts(parts: dict[str, dict[str, float]], title: str) -> None:
    """A table on standard output: a row a part, a column a figure."""
    names = list(dict.fromkeys(name for figures in parts.values() for name in figures))
    table = Table("", *names, title=escape(title), title_justify="left")
    for part, figures in parts.items():
        table.add_row(escape(part), *(f"{figures[name]:.4g}" if name in figures else "" for name in names))
    Console().print(table)


def print_figures(parts: dict[str, dict[str, Any]], title: str = "Agreement with people's scores") -> None:
    """A table on standard output: a column a part, a row a figure. What is not a number is left out."""
    table = Table("", *map(escape, parts), title=escape(title), title_justify="left")
    numbers = [{k: v for k, v in figures.items() if isinstance(v, float)} for figures in parts.values()]
    for key in dict.fromkeys(key for figures in numbers for key in figures):
        table.add_row(key, *(f"{figures[key]:.4g}" if key in figures else "" for figures in numbers))
    Console().print(table)
