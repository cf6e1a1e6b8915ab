"""The folder that `defnet evaluate --out` writes: numbers for programs, figures for people."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from defnet_train.evaluation import FEWEST_PHOTOS
from defnet_train.measuring import Evaluation, photo_rows
from defnet_train.plots.agreement import scatter
from defnet_train.plots.distribution import distribution
from defnet_train.plots.levels import level_curves
from defnet_train.plots.style import save
from defnet_train.plots.uncertainty import uncertainty_figure


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
    content = {"evaluations": [evaluation.to_json() for evaluation in evaluations]}
    (folder / "evaluation.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    rows = [row for evaluation in evaluations for row in photo_rows(evaluation)]
    with (folder / "photos.csv").open("w", newline="", encoding="utf-8") as file:
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
    points = {key: found for key, found in points.items() if len(found[0]) >= FEWEST_PHOTOS}
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
