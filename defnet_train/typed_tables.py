"""Values read from TOML, checked against the types of a dataclass.

A key that is not a field is an error that names its neighbours.
"""

from __future__ import annotations

import dataclasses
import difflib
from typing import Any, Literal, get_args, get_origin, get_type_hints

from defnet_infer.errors import UsageError


def read_tables(cls: Any, values: dict[str, Any], source: str, prefix: str = "") -> Any:
    """Nested dictionaries as a dataclass of dataclasses.

    Args:
        cls: The dataclass. Its fields are strings, numbers, booleans, `Literal` choices, tuples of numbers, a
            dictionary of counts, or dataclasses of these.
        values: Tables and keys.
        source: Where they came from, for messages.
        prefix: Names of the tables around, each with its dot.

    Returns:
        An instance; what is left out keeps its default.

    Raises:
        UsageError: On an unknown key or a value of another type.
    """
    hints = get_type_hints(cls)
    arguments = {}
    for key, value in values.items():
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1)
            hint = f"; did you mean '{prefix}{near[0]}'?" if near else f"; known keys: {', '.join(hints)}"
            raise UsageError(f"{source}: unknown key '{prefix}{key}'{hint}")
        expected = hints[key]
        if dataclasses.is_dataclass(expected):
            if not isinstance(value, dict):
                raise UsageError(f"{source}: '{prefix}{key}' must be a table")
            arguments[key] = read_tables(expected, value, source, f"{prefix}{key}.")
        else:
            arguments[key] = _checked(value, expected, source, f"{prefix}{key}")
    return cls(**arguments)


def _checked(value: Any, expected: Any, source: str, name: str) -> Any:
    if get_origin(expected) is Literal:
        if value not in get_args(expected):
            raise UsageError(f"{source}: {name} = {value!r}; choose one of {', '.join(map(repr, get_args(expected)))}")
        return value
    if get_origin(expected) is dict:
        if not isinstance(value, dict) or not value or not all(type(v) is int and v > 0 for v in value.values()):
            raise UsageError(f"{source}: {name} must map data sets to photos per batch, for example {{ clive = 48 }}")
        return value
    if expected == tuple[float, ...]:
        if not isinstance(value, (list, tuple)) or not all(type(v) in (int, float) for v in value):
            raise UsageError(f"{source}: {name} must be a list of numbers, for example [0, 100]")
        return tuple(map(float, value))
    if get_origin(expected) is tuple:
        if not isinstance(value, (list, tuple)) or not all(type(v) is int for v in value):
            raise UsageError(f"{source}: {name} must be a list of whole numbers, for example [1, 3, 5]")
        return tuple(value)
    if expected is float and type(value) is int:
        value = float(value)
    if type(value) is not expected:
        raise UsageError(f"{source}: {name} = {value!r} is not of type {expected.__name__}")
    return value
