"""Every use that defnet makes of TensorRT's and CUDA's Python modules, read from its source.

The code keeps to a convention that makes this possible: the modules are called `trt` and `cudart`, each kind of object
has one name wherever it appears, and calls through a helper hand over the function itself (`checked(cudart.f, ...)`,
`made(trt.Kind, ...)`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "defnet_infer/sessions/tensorrt_api.py",
    "defnet_infer/sessions/tensorrt_lane.py",
    "defnet_infer/sessions/tensorrt.py",
    "defnet_export/tensorrt_network.py",
    "defnet_export/tensorrt_build.py",
    "defnet_export/tensorrt_log.py",
)
KINDS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "problem": "ParserError",
    "profile": "IOptimizationProfile",
    "cache": "ITimingCache",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
}
MODULES = ("trt", "cudart")


@dataclass(frozen=True, order=True)
class Use:
    """One use: `module` is ``trt`` or ``cudart``, `name` is dotted below it."""

    module: str
    name: str
    how: str
    """``read``, ``write``, ``call``, or ``override``: a method that a subclass of ours replaces."""
    positional: int = 0
    keywords: tuple[str, ...] = ()
    """Of a call, its keywords; of an override, all its parameters in order."""
    where: str = ""


def all_uses() -> list[Use]:
    """Uses in all `SOURCES`."""
    return sorted({use for source in SOURCES for use in uses_of((ROOT / source).read_text(encoding="utf-8"), source)})


def uses_of(text: str, source: str = "") -> Iterator[Use]:
    """Uses in one source text."""
    tree = ast.parse(text)
    called: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield from _call(node, source, called)
        elif isinstance(node, ast.ClassDef):
            yield from _overrides(node, source)
    inner = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in called and id(node) not in inner:
            found = _resolve(node)
            if found:
                yield Use(*found, "write" if isinstance(node.ctx, ast.Store) else "read", where=source)


def _call(node: ast.Call, source: str, called: set[int]) -> Iterator[Use]:
    function, arguments, keywords = node.func, list(node.args), [k.arg for k in node.keywords]
    if isinstance(function, ast.Name) and function.id in ("checked", "made") and arguments:
        found = _resolve(arguments[0])
        suffix = ".__init__" if function.id == "made" else ""
        arguments, keywords = arguments[1:], []
        called.add(id(node.args[0]))
    else:
        found, suffix = _resolve(function), ""
        called.add(id(function))
    if not found:
        called.discard(id(function))
        return
    # `*batch.shapes(...)` stands for the three shapes of a profile.
    count = sum(3 if isinstance(argument, ast.Starred) else 1 for argument in arguments)
    if found[1].endswith(".__init__"):
        count -= 1  # `Base.__init__(self)` names its object.
    yield Use(found[0], found[1] + suffix, "call", count, tuple(k for k in keywords if k), source)


def _overrides(node: ast.ClassDef, source: str) -> Iterator[Use]:
    for base in node.bases:
        found = _resolve(base)
        if found:
            for method in node.body:
                if isinstance(method, ast.FunctionDef) and method.name != "__init__":
                    parameters = tuple(argument.arg for argument in method.args.args[1:])
                    yield Use(found[0], f"{found[1]}.{method.name}", "override", 0, parameters, source)


def _resolve(node: ast.AST) -> tuple[str, str] | None:
    """Module and dotted name of an attribute chain that begins at a module or an object we know."""
    names: list[str] = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name):
        return None
    names = [node.id, *reversed(names)]
    if names[0] == "self":
        names = [names[1].lstrip("_"), *names[2:]] if len(names) > 1 else []
    if len(names) < 2:
        return None
    if names[0] in MODULES:
        return names[0], ".".join(names[1:])
    if names[0] in KINDS:
        return "trt", ".".join([KINDS[names[0]], *names[1:2]])
    return None
