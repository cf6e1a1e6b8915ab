"""A model on rated photos: outputs as arrays, and the figures of the paper's tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch

from defnet_train.batches import ViewSource, targets_of
from defnet_train.metrics import agreement, conformal_factor, distortion_accuracy, scene_accuracy, srcc, uncertainty
from defnet_train.model import Defnet
from defnet_train.readers import ImageRecord

PHOTOS_PER_BATCH = 16

Outputs = dict[str, npt.NDArray[np.float32]]


def predict(
    model: Defnet, source: ViewSource, indices: Sequence[int], progress: Callable[[int], None] = lambda _: None
) -> Outputs:
    """All schema-1 outputs for photos of a source, in order, scored with the fifteen fixed windows.

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


def figures(outputs: Mapping[str, npt.NDArray[np.float32]], records: Sequence[ImageRecord]) -> dict[str, float]:
    """Agreement, class accuracies and uncertainty figures of one data set's photos.

    Correlations are with the opinion scores on [1, 5]; ``fused_srcc`` is that of the fused score. Accuracies
    are over the photos that have labels and absent when there is none.
    """
    targets = targets_of(records)
    target = targets.target.numpy()
    result = agreement(outputs["score"], target)
    result["fused_srcc"] = srcc(outputs["fused_score"], target)
    for task, known, accuracy in (
        ("scene", targets.scene_known.numpy(), scene_accuracy),
        ("distortion", targets.distortion_known.numpy(), distortion_accuracy),
    ):
        if known.any():
            result[f"{task}_accuracy"] = accuracy(outputs[task][known], getattr(targets, task).numpy()[known])
    return {**result, **uncertainty(outputs, target), "photos": float(len(records))}


def series_figures(score: npt.NDArray[np.float32], records: Sequence[ImageRecord]) -> dict[str, float]:
    """How surely the score falls as a synthetic distortion grows.

    Args:
        score: Of the synthetic copies and their originals, (N,).
        records: The same photos.

    Returns:
        ``level_order``: Spearman correlation of score and level, original included, mean over photos, then over
        kinds (-1 is perfect). ``level_order_worst``: that of the worst kind. ``original_on_top``: share of copies
        that score below their original.
    """
    originals = {r.group: s for r, s in zip(records, score, strict=True) if not r.kind}
    ladders: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for record, value in zip(records, score, strict=True):
        if record.kind:
            ladders.setdefault((record.kind, record.group), []).append((record.level, float(value)))
    by_kind: dict[str, list[float]] = {}
    below: list[bool] = []
    for (kind, group), steps in ladders.items():
        levels, values = zip((0, float(originals[group])), *sorted(steps), strict=True)
        by_kind.setdefault(kind, []).append(srcc(np.array(values), np.array(levels)))
        below += [value < originals[group] for value in values[1:]]
    means = [float(np.mean(orders)) for orders in by_kind.values()]
    return {
        "level_order": float(np.mean(means)),
        "level_order_worst": max(means),
        "original_on_top": float(np.mean(below)),
    }


def calibrate(model: Defnet, source: ViewSource, indices: Sequence[int], records: Sequence[ImageRecord]) -> float:
    """Fit the conformal factor on photos not trained on and store it in the model.

    Args:
        model: Its `calibration` is set.
        source: Where the views come from.
        indices: The photos of the source that `records` describe.
        records: Their labels.
    """
    model.calibration.fill_(1.0)
    outputs = predict(model, source, indices)
    half = (outputs["interval"][:, 1] - outputs["interval"][:, 0]) / 2
    target = np.array([r.target for r in records])
    factor = conformal_factor(np.abs(target - outputs["fused_score"]), half)
    model.calibration.fill_(factor)
    return factor
