"""The one place where the losses meet: L = L_M + lambda1 L_U + lambda2 L_F (Eqs. 13, 22, 27)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from defnet_train.config import LossConfig
from defnet_train.fidelity import comparable, distortion_loss, masked_mean, pair_loss, scene_loss
from defnet_train.joint import TASK_SIZES
from defnet_train.model import Forward
from defnet_train.nig import Nig, nig_loss

TASKS = tuple(TASK_SIZES)


class Targets(NamedTuple):
    """Labels of a batch. A row without a label is zero and not known."""

    mos: Tensor
    """Opinion score on the data set's own scale, higher is better, (B,); what pairs are ordered by."""
    target: Tensor
    """Opinion score on [1, 5], (B,); any number where it is not known."""
    target_known: Tensor
    """False where only an order is known, (B,)."""
    dataset: Tensor
    """Integer id of the data set, (B,)."""
    group: Tensor
    """Photos are only compared inside a group, (B,)."""
    series: Tensor
    """Inside a group only with the same series, or with series 0, (B,)."""
    scene: Tensor
    """Multi-hot, (B, 9)."""
    distortion: Tensor
    """One-hot, (B, 11)."""
    scene_known: Tensor
    """True where at least one scene is labelled, (B,)."""
    distortion_known: Tensor
    """True where the distortion is labelled, (B,)."""


class Losses(NamedTuple):
    """The total to minimise, and its unweighted parts for the log and for the task weights."""

    total: Tensor
    parts: dict[str, Tensor]


def objective(prediction: Forward, targets: Targets, task_weights: Mapping[str, float], config: LossConfig) -> Losses:
    """The whole objective of a batch.

    Args:
        prediction: From `Defnet.forward`.
        targets: Labels of the same photos.
        task_weights: Task -> lambda of Eq. (13), from `DynamicWeights`.
        config: Weights and variants.
    """
    multitask = {
        "quality": pair_loss(
            prediction.score,
            targets.mos,
            targets.dataset,
            comparable(targets.group, targets.series),
            reduction=config.pair_reduction,
            tie_probability=config.tie_probability,
        ),
        "scene": scene_loss(prediction.photo.scene, targets.scene, targets.scene_known),
        "distortion": distortion_loss(prediction.photo.distortion, targets.distortion, targets.distortion_known),
    }
    cross = evidential_loss(prediction.cross, targets, config)
    fusion = evidential_loss(prediction.fused, targets, config)
    total = sum(task_weights[task] * multitask[task] for task in TASKS)
    total = total + config.cross_weight * cross + config.fusion_weight * fusion
    return Losses(total, {**multitask, "cross": cross, "fusion": fusion})


def evidential_loss(nigs: Mapping[str, Nig], targets: Targets, config: LossConfig) -> Tensor:
    """Sum over tasks of the mean evidential loss, Eq. (22) or (27)."""
    labels = {
        "quality": (targets.target.unsqueeze(-1), targets.target_known),
        "scene": (targets.scene, targets.scene_known),
        "distortion": (targets.distortion, targets.distortion_known),
    }
    losses = []
    for task, nig in nigs.items():
        noise = 0.0 if task == "quality" else config.label_noise_aux
        label, known = labels[task]
        per_photo = nig_loss(nig, label, tau=config.tau, label_noise=noise).mean(dim=-1)
        losses.append(masked_mean(per_photo, known))
    return torch.stack(losses).sum()
