"""The one place where the losses meet: L = L_M + lambda1 L_U + lambda2 L_F (Eqs. 13, 22, 27)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from defnet_train.config import LossConfig
from defnet_train.fidelity import comparable, distortion_loss, masked_mean, pair_loss, scene_loss
from defnet_train.model import Forward
from defnet_train.nig import Nig, nig_loss

EVIDENTIAL = {"cross": "cross", "fusion": "fused"}
"""Evidential loss -> what it is measured on, a field of `Forward`."""


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


def weighted_losses(tasks: tuple[str, ...], config: LossConfig) -> tuple[str, ...]:
    """Names of the losses that dynamic weights weigh: the tasks, and with ``dwa_scope = all`` every evidential one."""
    if config.dwa_scope == "multitask":
        return tasks
    return (*tasks, *(f"{stage}.{task}" for stage in EVIDENTIAL for task in tasks))


def objective(prediction: Forward, targets: Targets, task_weights: Mapping[str, float], config: LossConfig) -> Losses:
    """The whole objective of a batch.

    Args:
        prediction: From `Defnet.forward`; its tasks are those of the objective.
        targets: Labels of the same photos.
        task_weights: Name of `weighted_losses` -> lambda of Eq. (13), from `DynamicWeights`.
        config: Weights and variants.
    """
    tasks = tuple(prediction.fused)
    multitask = {task: _task_loss(task, prediction, targets, config) for task in tasks}
    total = sum(task_weights[task] * multitask[task] for task in tasks)
    parts = dict(multitask)
    for stage, factor in (("cross", config.cross_weight), ("fusion", config.fusion_weight)):
        by_task = evidential_losses(getattr(prediction, EVIDENTIAL[stage]), targets, config)
        parts[stage] = torch.stack(list(by_task.values())).sum()
        if config.dwa_scope == "multitask":
            total = total + factor * parts[stage]
        else:
            parts |= {f"{stage}.{task}": loss for task, loss in by_task.items()}
            total = total + factor * sum(task_weights[f"{stage}.{task}"] * loss for task, loss in by_task.items())
    return Losses(total, parts)


def _task_loss(task: str, prediction: Forward, targets: Targets, config: LossConfig) -> Tensor:
    """Eq. (7), (10) or (12)."""
    if task == "scene":
        return scene_loss(prediction.photo.of(task), targets.scene, targets.scene_known)
    if task == "distortion":
        return distortion_loss(prediction.photo.of(task), targets.distortion, targets.distortion_known)
    return pair_loss(
        prediction.score,
        targets.mos,
        targets.dataset,
        comparable(targets.group, targets.series),
        reduction=config.pair_reduction,
        tie_probability=config.tie_probability,
        weight_B=torch.where(targets.target_known, 1.0, config.order_weight),
        sharpness_B=torch.where(targets.target_known, 1.0, config.order_sharpness),
    )


def evidential_losses(nigs: Mapping[str, Nig], targets: Targets, config: LossConfig) -> dict[str, Tensor]:
    """Mean evidential loss of every task, Eq. (21) or (26)."""
    labels = {
        "quality": (targets.target.unsqueeze(-1), targets.target_known),
        "scene": (targets.scene, targets.scene_known),
        "distortion": (targets.distortion, targets.distortion_known),
    }
    losses = {}
    for task, nig in nigs.items():
        noise = 0.0 if task == "quality" else config.label_noise_aux
        label, known = labels[task]
        per_photo = nig_loss(nig, label, tau=config.tau, label_noise=noise).mean(dim=-1)
        losses[task] = masked_mean(per_photo, known)
    return losses
