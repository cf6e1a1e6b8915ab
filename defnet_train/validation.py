"""The figures after every epoch, measured on the validation part by all processes of a run together."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric

from defnet_infer.taxonomy import DISTORTIONS, SCENES
from defnet_train.batches import ViewSource
from defnet_train.evaluation import predict
from defnet_train.metrics import srcc
from defnet_train.model import Defnet
from defnet_train.run_data import RunData
from defnet_train.selection import checkpoint_figure


class Validation(NamedTuple):
    """What an epoch is worth."""

    by_set: dict[str, float]
    """SRCC of the rated validation photos of every data set that has one."""
    figure: float
    """What chooses the checkpoint, see `selection.checkpoint_figure`."""

    @property
    def mean(self) -> float:
        """Mean over data sets of the SRCC."""
        return _mean(self.by_set)


def _mean(by_set: dict[str, float]) -> float:
    return float(np.mean(list(by_set.values()))) if by_set else float("nan")


def validate(
    fabric: Fabric,
    model: Defnet,
    source: ViewSource,
    data: RunData,
    choice: str,
    progress: Callable[[int], None],
) -> Validation:
    """Score the rated validation photos.

    Every process of a run must call it: each scores its share.

    Args:
        fabric: Tells the processes apart.
        model: In training; its mode is restored.
        source: Views of all photos.
        data: The photos and their parts.
        choice: ``optim.checkpoint_choice``.
        progress: Called with the number of photos done since the last call.
    """
    rated = data.rated("val")
    own = slice(fabric.global_rank, None, fabric.world_size)
    share = rated[own]
    predicted = predict(model, source, share, progress) if share else {}
    outputs = {}
    for name, width in (("score", ()), ("scene", (len(SCENES),)), ("distortion", (len(DISTORTIONS),))):
        if name in model.tasks or name == "score":
            values = torch.zeros(len(rated), *width, device=fabric.device)
            if share:
                values[own] = torch.from_numpy(predicted[name]).to(fabric.device)
            outputs[name] = fabric.all_reduce(values, reduce_op="sum").cpu().numpy()
    records = data.at(rated)
    keys = np.array([r.dataset for r in records])
    target = np.array([r.target for r in records])
    by_set = {str(key): srcc(outputs["score"][keys == key], target[keys == key]) for key in np.unique(keys)}
    # A set of one validation photo has no correlation, and must not take that of the others away.
    by_set = {key: value for key, value in by_set.items() if np.isfinite(value)}
    return Validation(by_set, checkpoint_figure(choice, _mean(by_set), outputs, records))
