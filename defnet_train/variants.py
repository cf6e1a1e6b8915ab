"""The paper's tables as recipes: a base recipe and axes of settings, whose products are the table's rows.

    defnet train table4                    all of them, see `table_runs`
    defnet train table4-q+s-M+U            one of them, like any recipe

A table is a file in recipes/tables: `base`, a recipe, and `axes`, each a choice of settings by name. A row takes one
name of every axis and is called after them.
"""

from __future__ import annotations

import itertools
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from defnet_infer.errors import UsageError

TABLES = Path(__file__).parent / "recipes" / "tables"
PLAIN = {"calibration.folds": 0}
"""What every row has, whatever its base: tables hold no intervals, and folds would train as many models again."""


class Variant(NamedTuple):
    """One row of a table."""

    name: str
    """``table4-q+s-M+U``"""
    base: str
    """The recipe that it changes."""
    settings: dict[str, Any]
    """Dotted key -> value."""


def table_names() -> list[str]:
    """The tables there are."""
    return sorted(path.stem for path in TABLES.glob("*.toml"))


def table_variants(table: str, base: str = "") -> list[Variant]:
    """All rows of a table, the last axis changing fastest.

    Args:
        table: One of `table_names`.
        base: Recipe to use instead of the table's own, by name or path.

    Raises:
        UsageError: If there is no such table.
    """
    if table not in table_names():
        raise UsageError(f"table '{table}' not found; use one of {', '.join(table_names())}")
    content = tomllib.loads((TABLES / f"{table}.toml").read_text(encoding="utf-8"))
    return [
        Variant(
            name="-".join([table, *(name for name, _ in choice)]),
            base=base or content["base"],
            settings=PLAIN | {key: value for _, settings in choice for key, value in settings.items()},
        )
        for choice in itertools.product(*(axis.items() for axis in content.get("axes", [])))
    ]


def find_variant(name: str, base: str = "") -> Variant | None:
    """The row of that name, or None if no table is meant.

    Raises:
        UsageError: If the table has no such row.
    """
    table = name.partition("-")[0]
    if table not in table_names():
        return None
    variants = table_variants(table, base)
    for variant in variants:
        if variant.name == name:
            return variant
    rows = ", ".join(variant.name for variant in variants)
    raise UsageError(f"{table} has no row '{name}'; its rows are {rows}")
