"""Recipes: TOML files of `defnet_train/recipes`, rows of a table, or a user's own, with changes from the command line.

    config = load_config("lite", overrides=["optim.epochs=5"])

The tables and their keys are those of `defnet_train.config`.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from defnet_infer.errors import UsageError
from defnet_train.config import TrainConfig
from defnet_train.variants import find_variant, table_names

RECIPES = Path(__file__).parent / "recipes"


def load_config(recipe: str, overrides: list[str] | None = None, base: str = "") -> TrainConfig:
    """A recipe with ``table.key=value`` overrides.

    Args:
        recipe: Name of a file in defnet_train/recipes, row of a table (see `variants`), or path of a .toml file.
        overrides: Changes to it.
        base: For a row of a table, the recipe to use instead of the table's own.

    Raises:
        UsageError: If the recipe is not found or not TOML, or a key or value does not fit.
    """
    variant = find_variant(recipe, base)
    if base and not variant:
        raise UsageError(f"--base {base} goes with a table ({', '.join(table_names())}), not with recipe '{recipe}'")
    path = _recipe_path(variant.base if variant else recipe)
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: a recipe is a text in UTF-8, and this is none: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path}: not valid TOML: {error}") from error
    if variant:
        for key, value in variant.settings.items():
            _set(values, key, value, f"{recipe}: {key}")
    recipe_of = variant.name if variant else path.stem
    # Read before it is changed: a mistake in --set must not be looked for in the file.
    config = TrainConfig.from_dict({"recipe": recipe_of, **values}, str(path))
    return apply_overrides(config, overrides or [])


def _recipe_path(recipe: str) -> Path:
    path = Path(recipe) if recipe.endswith(".toml") else RECIPES / f"{recipe}.toml"
    if not path.is_file():
        known = ", ".join([*sorted(p.stem for p in RECIPES.glob("*.toml")), *table_names()])
        raise UsageError(f"recipe '{recipe}' not found; use one of {known}, or the path of a .toml file")
    return path


def apply_overrides(config: TrainConfig, overrides: list[str]) -> TrainConfig:
    """A configuration with ``table.key=value`` changes.

    Raises:
        UsageError: If a key or value does not fit.
    """
    values = config.to_dict()
    for override in overrides:
        _apply(values, override)
    return TrainConfig.from_dict(values, "--set")


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator:
        raise UsageError(f"--set {override}: write it as table.key=value, for example --set optim.epochs=5")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text  # a bare word is a string: quoting inside a shell is a nuisance
    _set(values, key, value, f"--set {override}")


def _set(values: dict[str, Any], key: str, value: Any, source: str) -> None:
    *tables, name = key.split(".")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise UsageError(f"{source}: '{table}' is not a table")
    values[name] = value
