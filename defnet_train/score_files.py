"""Scores of photos from a file of any tool: CSV or JSON Lines with `path` and `score`."""

from __future__ import annotations

import csv
import json
import math
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from defnet_infer.errors import DatasetError, UsageError

SUFFIXES = (".csv", ".jsonl", ".ndjson")


def read_scores(path: Path, photos: Path) -> dict[str, float]:
    """Scores by photo, as paths below a folder; photos without a score, which could not be read, are left out.

    A path in the file may be absolute, relative to the folder or to where the tool ran; what is none of these is
    found by its name, if only one photo has it.

    Args:
        path: Written by `defnet score` or by another tool.
        photos: Folder of the photos.

    Raises:
        UsageError: If a path does not exist or the file is of another kind.
        DatasetError: If it has no such columns, a score is not a number, or a photo is not in the folder or has two.
    """
    if not path.is_file():
        folder, out = shlex.quote(str(photos)), shlex.quote(str(path))
        raise UsageError(f"{path} not found; make it with: defnet score {folder} --out {out}")
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path}: scores are read from {', '.join(SUFFIXES)}; make one with: defnet score")
    if not photos.is_dir():
        raise UsageError(f"--photos {photos} is not a folder")
    root = photos.resolve()
    below = [found.relative_to(root).as_posix() for found in root.rglob("*") if found.is_file()]
    counts = Counter(Path(name).name for name in below)
    by_name = {Path(name).name: name for name in below if counts[Path(name).name] == 1}
    inside = set(below)
    scores = {}
    first: dict[str, tuple[int, dict[str, Any]]] = {}
    for line, row in _rows(path):
        if (value := row["score"]) in (None, ""):
            continue
        try:
            score = float(value)
        except (TypeError, ValueError):
            score = math.nan
        if not math.isfinite(score):
            raise DatasetError(f"{path}, line {line}: score {value!r} is not a number")
        name = str(row["path"])
        candidates = (name, _relative(Path(name), root), by_name.get(Path(name).name))
        key = next((candidate for candidate in candidates if candidate in inside), None)
        if key is None:
            raise DatasetError(f"{path}, line {line}: {name} is not in {photos}; pass its folder with --photos")
        if key in first:
            raise DatasetError(f"{path}, line {line}: {_scored_twice(key, *first[key], row)}")
        first[key] = line, row
        scores[key] = score
    return scores


def _scored_twice(name: str, line: int, before: dict[str, Any], now: dict[str, Any]) -> str:
    models = before.get("model"), now.get("model")
    advice = f"keep the rows of {models[0]} or of {models[1]}" if models[0] != models[1] else "keep one row a photo"
    return f"{name} is scored twice, first in line {line}; {advice}"


def _relative(path: Path, root: Path) -> str | None:
    whole = path.resolve()
    return whole.relative_to(root).as_posix() if whole.is_relative_to(root) else None


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        if path.suffix.lower() == ".csv":
            reader = csv.DictReader(file)
            absent = {"path", "score"} - set(reader.fieldnames or ())
            if absent:
                raise DatasetError(f"{path}: no column {' and '.join(sorted(absent))} in its first line")
            for row in reader:
                yield reader.line_num, row
            return
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                found = json.loads(text)
                yield line, {"path": found["path"], "score": found["score"], "model": found.get("model")}
            except (ValueError, KeyError, TypeError) as error:
                raise DatasetError(f"{path}, line {line}: not an object with path and score") from error
