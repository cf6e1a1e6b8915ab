"""What a module really offers for each use: read from TensorRT's bindings, or from a record of them.

    python -m tests.tensorrt.facts > FILE        with the bindings and the stand-in libraries on the path

A fact is ``["property", writable]``, ``["value"]``, or ``["call", [parameters, ...]]`` with one list an overload, each
parameter as ``[name, required]``. Missing names have no fact.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from types import ModuleType
from typing import Any

from tests.tensorrt.uses import Use, all_uses

Facts = dict[str, list[Any]]


def facts_of(module: ModuleType, names: list[str]) -> Facts:
    found = {name: fact_of(module, name) for name in names}
    return {name: fact for name, fact in found.items() if fact is not None}


def fact_of(module: ModuleType, name: str) -> list[Any] | None:
    thing: Any = module
    for part in name.split("."):
        thing = getattr(thing, part, None)
        if thing is None:
            return None
    if isinstance(thing, property):
        return ["property", thing.fset is not None]
    if isinstance(thing, type) or not callable(thing):
        return ["value"]
    return ["call", _overloads(thing)]


def _overloads(function: Any) -> list[list[list[Any]]]:
    try:
        signature = inspect.signature(function)
    except ValueError:  # pybind11 writes signatures into the docstring.
        last = re.escape(function.__name__)
        lines = re.findall(rf"^(?:\d+\. )?{last}\((.*)\) -> ", function.__doc__ or "", re.MULTILINE)
        parsed = [_parameters(line) for line in lines if not line.startswith("*args")]
        assert parsed, function
        return parsed
    return [[[p.name, p.default is p.empty] for p in signature.parameters.values() if p.name != "self"]]


def _parameters(text: str) -> list[list[Any]]:
    """``self: Builder, flags: typing.SupportsInt = 0`` -> [["flags", False]]."""
    parts, depth = [""], 0
    for letter in text:
        depth += (letter in "[(<") - (letter in "])>")
        if letter == "," and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    parameters = [[part.split(":")[0].strip(), "=" not in part] for part in parts if part.strip()]
    return parameters[1:] if parameters and parameters[0][0] == "self" else parameters


def mistake(use: Use, facts: Facts) -> str | None:
    """What is wrong with a use, or None."""
    fact = facts.get(use.name)
    label = f"{use.where}: {use.module}.{use.name}"
    if fact is None:
        return f"{label} does not exist"
    if use.how == "write" and fact != ["property", True]:
        return f"{label} cannot be set"
    if use.how in ("call", "override"):
        if fact[0] != "call":
            return f"{label} cannot be called"
        fits = _overrides if use.how == "override" else _binds
        if not any(fits(use, overload) for overload in fact[1]):
            return f"{label} takes {fact[1]}, not {use.positional} and {use.keywords}"
    return None


def _binds(use: Use, overload: list[list[Any]]) -> bool:
    names = [name for name, _ in overload]
    given = set(names[: use.positional]) | set(use.keywords)
    required = {name for name, needed in overload if needed}
    return use.positional <= len(names) and set(use.keywords) <= set(names[use.positional :]) and required <= given


def _overrides(use: Use, overload: list[list[Any]]) -> bool:
    return list(use.keywords) == [name for name, _ in overload]


def names_used(module: str) -> list[str]:
    return sorted({use.name for use in all_uses() if use.module == module})


if __name__ == "__main__":
    import tensorrt_bindings

    facts = facts_of(tensorrt_bindings, names_used("trt"))
    json.dump({"version": tensorrt_bindings.__version__, "facts": facts}, sys.stdout, indent=1, sort_keys=True)
