"""Which epoch of a run is kept: the figure of its validation photos that is to be highest. Never of test photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from defnet_train.batches import targets_of
from defnet_train.metrics import distortion_accuracy, scene_accuracy
from defnet_train.records import ImageRecord

Outputs = Mapping[str, npt.NDArray[np.float32]]


def checkpoint_figure(choice: str, val_srcc: float, outputs: Outputs, records: Sequence[ImageRecord]) -> float:
    """What an epoch is worth.

    Args:
        choice: ``quality_best``: `val_srcc`, and ``last`` too, though it chooses nothing. ``avg_best``: mean of
            `val_srcc`, scene accuracy and distortion accuracy, each a mean over data sets; a task that the model or
            the labels do not have is left out.
        val_srcc: Mean over data sets of the SRCC.
        outputs: Of the rated validation photos.
        records: The same photos.
    """
    if choice != "avg_best":
        return val_srcc
    targets = targets_of(records)
    keys = np.array([record.dataset for record in records])
    figures = [val_srcc]
    for task, known, accuracy in (
        ("scene", targets.scene_known.numpy(), scene_accuracy),
        ("distortion", targets.distortion_known.numpy(), distortion_accuracy),
    ):
        if task in outputs and known.any():
            labels = getattr(targets, task).numpy()
            rows = [known & (keys == key) for key in np.unique(keys[known])]
            figures.append(float(np.mean([accuracy(outputs[task][row], labels[row]) for row in rows])))
    return float(np.mean(figures))
