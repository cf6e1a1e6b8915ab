"""Rows as the JSON that the page reads: columns side by side, classes as numbers, sizes once."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote_from_bytes

from defnet_infer import views
from defnet_infer.contract import Preprocess
from defnet_infer.results import Row
from defnet_infer.taxonomy import CLASSES, SCORE_RANGE

_NUMBERS = ("score", "interval_low", "interval_high", "fused_score", "scene_prob", "distortion_prob")
_ALWAYS = ("path", "score", "status")


def of_rows(rows: Sequence[Row], files: Sequence[Path | None], beside: Path, rule: Preprocess | None) -> dict[str, Any]:
    """Everything about the photos that is in the results file.

    Args:
        rows: The photos.
        files: Where each photo lies, or None.
        beside: Folder of the page; links are relative to it.
        rule: How crops were cut, to outline them; None if it is not known.
    """
    columns: dict[str, list[Any]] = {
        "path": [shown(row.path) for row in rows],
        "folder": [shown(_folder(row.path)) for row in rows],
        "deviation": [_deviation(row) for row in rows],
        "width": [row.width for row in rows],
        "height": [row.height for row in rows],
        "status": [row.status for row in rows],
        "error": [shown(row.error) for row in rows],
        "link": [_link(file, beside) for file in files],
        "qualityProbs": [list(row.quality_probs) for row in rows],
        "cropScores": [list(row.crop_scores) for row in rows],
    }
    for name in _NUMBERS:
        columns[_camel(name)] = [getattr(row, name) for row in rows]
    for name, classes in CLASSES.items():
        # A class that is none of ours was typed by hand: shown as no class.
        columns[name] = [classes.index(value) if (value := getattr(row, name)) in classes else -1 for row in rows]
    return {
        "classes": {name: list(classes) for name, classes in CLASSES.items()},
        "range": list(SCORE_RANGE),
        "columns": {name: values for name, values in columns.items() if name in _ALWAYS or not _empty(values)},
        "failures": _failures(rows),
        "crops": _crops(rows, rule) if rule else {},
    }


def _empty(values: Sequence[Any]) -> bool:
    return all(value in (None, "", -1, []) for value in values)


def shown(text: str) -> str:
    """Text that every browser can show: bytes that are not UTF-8 as ``\\xe9``."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _deviation(row: Row) -> float | None:
    """Predicted standard deviation, score units."""
    if row.aleatoric is None or row.epistemic is None:
        return None
    return round(math.sqrt(max(row.aleatoric + row.epistemic, 0.0)), 4)


def _folder(path: str) -> str:
    parent = str(PurePosixPath(path.replace(os.sep, "/")).parent)
    return "" if parent == "." else parent


def _link(file: Path | None, beside: Path) -> str:
    """Relative address of a photo, percent-encoded byte by byte, so that nothing in a name means anything."""
    if file is None:
        return ""
    try:
        relative = os.path.relpath(file, beside)
    except ValueError:  # On another drive.
        return file.absolute().as_uri()
    # "./" keeps a name such as "javascript:x" a file.
    return "./" + quoted(relative.replace(os.sep, "/"))


def quoted(path: str) -> str:
    """A relative path as part of an address; bytes that are not UTF-8 are kept."""
    return quote_from_bytes(os.fsencode(path))


def _failures(rows: Sequence[Row]) -> list[list[Any]]:
    """Reasons and how often; two photos of different sizes over the limit fail for one reason, with # for numbers."""
    texts = Counter(shown(row.error) or "no reason given" for row in rows if row.failed)
    counts: Counter[str] = Counter()
    example = {}
    for text, count in texts.items():
        # Whole numbers only: the one in JPEG2000 is part of a name.
        reason = re.sub(r"\b\d+\b", "#", text)
        counts[reason] += count
        example[reason] = text
    # A reason that was given in one form only keeps its numbers.
    return [
        [example[reason] if texts[example[reason]] == count else reason, count]
        for reason, count in counts.most_common()
    ]


def _crops(rows: Sequence[Row], rule: Preprocess) -> dict[str, list[list[float]]]:
    """``WxH`` -> left, top, width, height of each crop as shares of the photo's sides."""
    boxes: dict[str, list[list[float]]] = {}
    for row in rows:
        key = f"{row.width}x{row.height}"
        if not row.crop_scores or not row.width or not row.height or key in boxes:
            continue
        width, height = views.working_size(row.width, row.height, rule)
        size = (rule.crop_size / width, rule.crop_size / height)
        positions = views.crop_positions(width, height, rule)
        boxes[key] = [[round(n, 4) for n in (x / width, y / height, *size)] for x, y in positions]
    return boxes


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.title() for part in tail)
