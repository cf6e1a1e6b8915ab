"""A model on rated photos: outputs as arrays, and the figures of the paper's tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from defnet_infer.taxonomy import DISTORTIONS
from defnet_train.batches import ViewSource, targets_of
from defnet_train.metrics import agreement, distortion_accuracy, scatter_ci_width, scene_accuracy, srcc
from defnet_train.model import Defnet
from defnet_train.records import ImageRecord
from defnet_train.uncertainty import uncertainty

PHOTOS_PER_BATCH = 16
FEWEST_PHOTOS = 5
"""The logistic has four parameters; a correlation of fewer photos says nothing."""
STRONG = 4
"""Level from which on a synthetic distortion should be nameable."""

Outputs = dict[str, npt.NDArray[np.float32]]


def predict(
    model: Defnet, source: ViewSource, indices: Sequence[int], progress: Callable[[int], None] = lambda _: None
) -> Outputs:
    """All outputs of the model's contract for photos of a source, in order, scored with the fifteen fixed windows.

    Args:
        model: Put into eval mode for the time of the call.
        source: Where the views come from.
        indices: Photos of the source.
        progress: Called with the number of photos done since the last call.
    """
    was_training = model.training
    model.eval()
    device = model.calibration.device
    chunks: list[dict[str, torch.Tensor]] = []
    with torch.inference_mode():
        text_EJ = model.text_matrix()
        for start in range(0, len(indices), PHOTOS_PER_BATCH):
            some = indices[start : start + PHOTOS_PER_BATCH]
            crops, overview = source.fixed(some)
            outputs = model.score_views(crops.to(device), overview.to(device), text_EJ)
            chunks.append({name: value.cpu() for name, value in outputs.items()})
            progress(len(some))
    model.train(was_training)
    return {name: torch.cat([chunk[name] for chunk in chunks]).numpy() for name in chunks[0]}


def figures(outputs: Mapping[str, npt.NDArray[np.float32]], records: Sequence[ImageRecord]) -> dict[str, Any]:
    """Agreement, class accuracies and uncertainty figures of rated photos, over all and in parts.

    Args:
        outputs: Of the photos, as `predict` gives them.
        records: The same photos, all with a target.

    Returns:
        Numbers by name. Those of `dataset_figures` are means over the data sets, each counting once, because scores
        of two data sets are not on one scale (``logistic_failed`` is the largest, ``photos`` the sum). The figures
        of `uncertainty.uncertainty` are over all photos together, and absent for a model that states none.
        ``datasets`` holds the figures of each data set, ``types`` those of each distortion type in it.
    """
    target = np.array([r.target for r in records])
    of_photo = np.array([r.dataset for r in records])
    type_of_photo = np.array([distortion_type(r) for r in records])
    datasets: dict[str, dict[str, float]] = {}
    types: dict[str, dict[str, dict[str, float]]] = {}
    for key in dict.fromkeys(of_photo.tolist()):
        rows = np.flatnonzero(of_photo == key)
        datasets[key] = dataset_figures(_rows(outputs, rows), [records[row] for row in rows])
        names = sorted(set(type_of_photo[rows].tolist()) - {""})
        of_type = {name: rows[type_of_photo[rows] == name] for name in names}
        types[key] = {name: _type_figures(_rows(outputs, some), target[some]) for name, some in of_type.items()}
    names = dict.fromkeys(name for found in datasets.values() for name in found)
    means = {name: float(np.mean([found[name] for found in datasets.values() if name in found])) for name in names}
    if "logistic_failed" in means:
        means["logistic_failed"] = max(found.get("logistic_failed", 0.0) for found in datasets.values())
    if len(datasets) > 1:
        means |= _defined({**_uncertainty(outputs, target), "photos": float(len(records))})
    return {**means, "datasets": datasets, "types": types}


def dataset_figures(outputs: Mapping[str, npt.NDArray[np.float32]], records: Sequence[ImageRecord]) -> dict[str, float]:
    """Figures of the photos of one data set.

    Correlations are with the opinion scores on [1, 5]; ``fused_srcc`` is that of the fused score. There are none
    of fewer than `FEWEST_PHOTOS` photos, nor where all opinions or all scores are equal. Accuracies are over the photos
    that have labels, and absent when none has or the model has no such task.
    """
    targets = targets_of(records)
    target = targets.target.numpy()
    result: dict[str, float] = {}
    if len(records) >= FEWEST_PHOTOS and np.ptp(target) > 0 and np.ptp(outputs["score"]) > 0:
        result = agreement(outputs["score"], target)
        if "fused_score" in outputs:
            result["fused_srcc"] = srcc(outputs["fused_score"], target)
        result["scatter_ci_width"] = scatter_ci_width(outputs["score"], target)
    for task, known, accuracy in (
        ("scene", targets.scene_known.numpy(), scene_accuracy),
        ("distortion", targets.distortion_known.numpy(), distortion_accuracy),
    ):
        if task in outputs and known.any():
            result[f"{task}_accuracy"] = accuracy(outputs[task][known], getattr(targets, task).numpy()[known])
    return _defined({**result, **_uncertainty(outputs, target), "photos": float(len(records))})


def _defined(figures: Mapping[str, float]) -> dict[str, float]:
    """Those that are numbers: where all opinions are equal there is no correlation, and JSON has no word for that."""
    return {name: value for name, value in figures.items() if math.isfinite(value)}


def _uncertainty(outputs: Mapping[str, npt.NDArray[np.float32]], target: npt.NDArray[np.floating]) -> dict[str, float]:
    """Figures of the uncertainty, of a model that states one."""
    return uncertainty(outputs, target) if "interval" in outputs else {}


def reference_scores(score: npt.NDArray[np.float32]) -> dict[str, Any]:
    """How the scores of photos that trained nothing are spread, for whoever wants to compare others with them.

    Args:
        score: Of the test photos, (N,).

    Returns:
        ``what``, in words, and ``quantiles``: 21 scores from the lowest to the highest photo.
    """
    quantiles = np.quantile(score, np.linspace(0, 1, 21)).round(3).tolist()
    return {"what": f"{len(score)} photos kept out of training", "quantiles": quantiles}


def distortion_type(record: ImageRecord) -> str:
    """What damaged a photo: the name of its synthetic distortion, or its labelled class; empty if unknown."""
    if record.kind or record.distortion_type:
        return record.kind or record.distortion_type
    known = record.labels is not None and record.labels.distortion is not None
    return DISTORTIONS[record.labels.distortion] if known else ""


def _type_figures(outputs: Mapping[str, npt.NDArray[np.float32]], target: npt.NDArray[np.floating]) -> dict[str, float]:
    """The few figures that the photos of one distortion type, often few and alike, can carry."""
    found = {"photos": float(len(target))}
    if "interval" in outputs:
        low, high = outputs["interval"].T
        found["coverage"] = float(np.mean((low <= target) & (target <= high)))
    if len(target) >= FEWEST_PHOTOS and np.ptp(target) > 0 and np.ptp(outputs["score"]) > 0:
        found["srcc"] = srcc(outputs["score"], target)
        found["plcc_raw"] = float(np.corrcoef(outputs["score"], target)[0, 1])
    return found


def _rows(outputs: Mapping[str, npt.NDArray[np.float32]], rows: npt.NDArray[np.intp]) -> Outputs:
    return {name: value[rows] for name, value in outputs.items()}


def series_figures(outputs: Mapping[str, npt.NDArray[np.float32]], records: Sequence[ImageRecord]) -> dict[str, float]:
    """How surely the score falls as a synthetic distortion grows, and how often a strong one is named.

    Args:
        outputs: Of the synthetic copies and their originals: ``score`` (N,) and, of a model that names distortions,
            ``distortion`` (N, 11).
        records: The same photos.

    Returns:
        ``level_order``: Spearman correlation of score and level, original included, mean over photos, then over
        kinds (-1 is perfect). ``level_order_worst``: that of the worst kind. ``original_on_top``: share of copies
        that score below their original. ``strong_distortion_accuracy``: share of the copies at levels 4 and 5 whose
        distortion is named, where there are any.
    """
    score = outputs["score"]
    originals = {r.group: s for r, s in zip(records, score, strict=True) if not r.kind}
    ladders: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for record, value in zip(records, score, strict=True):
        if record.kind:
            ladders.setdefault((record.kind, record.group), []).append((record.level, float(value)))
    by_kind: dict[str, list[float]] = {}
    below: list[bool] = []
    for (kind, group), steps in ladders.items():
        levels, values = zip((0, float(originals[group])), *sorted(steps), strict=True)
        order = srcc(np.array(values), np.array(levels))
        if not math.isnan(order):  # A gray photo has no colour to lose: its copies are all alike.
            by_kind.setdefault(kind, []).append(order)
        below += [value < originals[group] for value in values[1:]]
    means = [float(np.mean(orders)) for orders in by_kind.values()]
    found = {"original_on_top": float(np.mean(below))}
    if means:
        found |= {"level_order": float(np.mean(means)), "level_order_worst": max(means)}
    strong = np.array([record.level >= STRONG for record in records])
    if "distortion" in outputs and strong.any():
        labels = targets_of(records).distortion.numpy()
        found["strong_distortion_accuracy"] = distortion_accuracy(outputs["distortion"][strong], labels[strong])
    return found
