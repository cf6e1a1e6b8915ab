"""Template, style, scripts and data put into one HTML file that needs nothing else.

What comes from a results file travels as JSON in elements that no browser runs, and is put into the document as
text. As a second wall the page's own policy lets only these scripts run, named by their hashes.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

_FOLDER = importlib.resources.files("defnet_infer") / "report"
_VENDOR = ("d3.min.js", "plot.umd.min.js")
_SCRIPTS = ("photos.js", "state.js", "parts.js", "sheet.js", "table.js", "detail.js", "charts.js", "controls.js")
"""In the order in which they run; they share one scope."""
_MARK = '<meta name="generator" content="defnet report">'
"""Near the start of every page, by which it is known again."""
_HEAD = 200
"""Bytes that the mark stands within."""


def render(*, title: str, payload: Mapping[str, Any], thumbnails: Iterable[str] = ()) -> str:
    """The page.

    Args:
        title: Of the window and the page.
        payload: From `payload.of_rows`, with what else the page shows.
        thumbnails: Address of each photo's picture, empty where there is none.
    """
    own = "\n".join(_text("static", name) for name in _SCRIPTS)
    scripts = [*(_text("vendor", name) for name in _VENDOR), f'(() => {{\n"use strict";\n{own}\n}})();\n']
    for script in scripts:
        assert "</script" not in script.lower()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_text("static", "page.html")).render(
        mark=Markup(_MARK),
        title=title,
        style=Markup(_text("static", "page.css")),
        scripts=[Markup(script) for script in scripts],
        script_hashes=" ".join(f"'sha256-{_hash(script)}'" for script in scripts),
        payload=_json(payload),
        thumbnails=_json(list(thumbnails)),
    )


def is_page(path: Path) -> bool:
    """Whether a file is a page that `render` made."""
    try:
        with path.open("rb") as file:
            return _MARK.encode() in file.read(_HEAD)
    except OSError:
        return False


def _text(folder: str, name: str) -> str:
    return (_FOLDER / folder / name).read_text(encoding="utf-8")


def _hash(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _json(value: object) -> Markup:
    """JSON that cannot end its element or begin another."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))
