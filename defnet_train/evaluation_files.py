"""The folder that `defnet evaluate --out` writes: numbers for programs, figures for people."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from defnet_infer.errors import UsageError
from defnet_train.evaluation import FEWEST_PHOTOS
from defnet_train.measuring import Evaluation, photo_rows
from defnet_train.plots.agreement import scatter
from defnet_train.plots.distribution import distribution
from defnet_train.plots.levels import level_curves
from defnet_train.plots.style import save
from defnet_train.plots.uncertainty import uncertainty_figure
from defnet_train.safe_write import replacing, write_json

FIGURES = tuple(
    f"{place}{name}.{suffix}"
    for place in ("", "model-*/")
    for name in ("scatter", "distribution-*", "levels", "uncertainty")
    for suffix in ("png", "svg")
)
"""Patterns of what `write_evaluations` draws."""


def refuse_to_replace(folder: Path, data: Path) -> None:
    """Stop before the work whose files would replace any but those of an earlier evaluation.

    Args:
        folder: That ``--out`` names.
        data: That ``--data`` names; a CSV file of somebody's own photos is never replaced.

    Raises:
        UsageError: If one would be.
    """
    taken = [path for name in ("evaluation.json", "photos.csv", *FIGURES) for path in sorted(folder.glob(name))]
    if any(data.exists() and path.samefile(data) for path in taken):
        raise UsageError(f"--out {folder}: {data} would be replaced by predictions; name another folder")
    if taken and not _is_ours(folder / "evaluation.json"):
        raise UsageError(f"--out {folder}: {taken[0]} is not of an earlier evaluation; name another folder")


def _is_ours(path: Path) -> bool:
    try:
        return "evaluations" in json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def write_evaluations(folder: Path, evaluations: Sequence[Evaluation]) -> int:
    """Write evaluation.json, photos.csv and, for each model, its figures as PNG and SVG.

    Files of an earlier evaluation are replaced.

    Args:
        folder: Made if absent.
        evaluations: At least one. Figures of several models get a folder each, named by their place.

    Returns:
        Number of figures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # First: by this file the next evaluation knows the folder again, should this one be stopped.
    write_json(folder / "evaluation.json", {"evaluations": [evaluation.to_json() for evaluation in evaluations]})
    rows = [row for evaluation in evaluations for row in photo_rows(evaluation)]
    with replacing(folder / "photos.csv") as draft, draft.open("w", newline="", encoding="utf-8") as file:
        # Models without uncertainty leave those cells empty.
        names = dict.fromkeys(name for row in rows for name in row)
        writer = csv.DictWriter(file, list(names), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    several = len(evaluations) > 1
    return sum(
        _draw(evaluation, folder / f"model-{place}" if several else folder)
        for place, evaluation in enumerate(evaluations, 1)
    )


def _draw(evaluation: Evaluation, folder: Path) -> int:
    target = np.array([record.target for record in evaluation.records])
    keys = np.array([record.dataset for record in evaluation.records])
    score = evaluation.outputs["score"].astype(float)
    points = {key: (score[keys == key], target[keys == key]) for key in dict.fromkeys(keys.tolist())}
    # Of too few photos, or of photos that are all alike, there is nothing to see.
    points = {
        key: found
        for key, found in points.items()
        if len(found[0]) >= FEWEST_PHOTOS and all(np.ptp(values) > 0 for values in found)
    }
    figures = {}
    if "interval" in evaluation.outputs:
        name = " and ".join(dict.fromkeys(keys.tolist()))
        figures["uncertainty"] = uncertainty_figure(name, evaluation.outputs, target)
    if points:
        figures["scatter"] = scatter(points)
    figures |= {f"distribution-{key}": distribution(key, *found) for key, found in points.items()}
    if evaluation.copies:
        figures["levels"] = level_curves(evaluation.copy_scores["score"], evaluation.copies)
    for name, figure in figures.items():
        save(figure, folder, name)
    return len(figures)
