"""The three multitask losses of Section 3.2: quality pairs, scenes, distortion.

All are fidelity losses (Tsai et al., SIGIR 2007): 1 minus the overlap of two distributions. Each ignores
photos whose label is missing, given as a mask, and is 0 with a gradient of 0 when none is left.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

EPSILON = 1e-8
"""Inside each root: its slope at 0 is infinite."""


def pair_loss(
    score_B: Tensor,
    mos_B: Tensor,
    dataset_B: Tensor,
    comparable_BB: Tensor | None = None,
    *,
    reduction: str = "per_dataset",
    tie_probability: float = 0.5,
    weight_B: Tensor | None = None,
    sharpness_B: Tensor | None = None,
) -> Tensor:
    """Fidelity of the order of two photos of one data set, Eqs. (7) and (8).

    p_hat = Phi((q1 - q2) / sqrt 2) is the chance that the first is better, p = 1, 0 or, for equal scores, 1/2.

    Args:
        score_B: Predicted scores, (B,).
        mos_B: Opinion scores on any scale, higher is better, (B,).
        dataset_B: Integer id of the data set of each photo, (B,). Pairs across data sets are not compared.
        comparable_BB: True for pairs whose order is known, symmetric (B, B); all, if absent.
        reduction: ``per_dataset``: mean over a data set's pairs, then over data sets. ``flat``: mean over pairs.
        tie_probability: p for equal opinion scores; the paper's ">=" would give 1 to whichever comes first.
        weight_B: What a data set, or with ``flat`` a pair, counts in the mean, the same for all photos of a data set,
            (B,); 1 each, if absent.
        sharpness_B: What score differences of a data set are multiplied by before p_hat, the same for all its photos,
            (B,); 1, if absent.
    """
    first, second = torch.triu_indices(len(score_B), len(score_B), offset=1, device=score_B.device)
    same = dataset_B[first] == dataset_B[second]
    if comparable_BB is not None:
        same &= comparable_BB[first, second]
    first, second = first[same], second[same]
    if not len(first):
        return score_B.sum() * 0.0
    order = torch.sign(mos_B[first] - mos_B[second])
    truth = torch.where(order == 0, tie_probability, 0.5 * (order + 1))
    difference = score_B[first] - score_B[second]
    if sharpness_B is not None:
        difference = difference * sharpness_B[first].to(difference.dtype)
    predicted = torch.special.ndtr(difference / math.sqrt(2))
    loss = 1 - _overlap(truth, predicted) - _overlap(1 - truth, 1 - predicted)
    weight = torch.ones_like(loss) if weight_B is None else weight_B[first].to(loss.dtype)
    if reduction == "per_dataset":
        pair_dataset = dataset_B[first]
        loss, weight = (
            torch.stack([values[pair_dataset == k].mean() for k in pair_dataset.unique()]) for values in (loss, weight)
        )
    return (loss * weight).sum() / weight.sum().clamp_min(1e-12)


def comparable(group_B: Tensor, series_B: Tensor) -> Tensor:
    """Pairs of one group that share a series, or of which one is series 0; (B,), (B,) -> (B, B).

    For rated photos every photo is group 0 and series 0: all pairs count. Of synthetic copies the group is the
    photo and the series the distortion: how blur compares with noise is nobody's knowledge.
    """
    same_group = group_B[:, None] == group_B
    same_series = series_B[:, None] == series_B
    undistorted = (series_B == 0)[:, None] | (series_B == 0)
    return same_group & (same_series | undistorted)


def scene_loss(probability_BS: Tensor, label_BS: Tensor, known_B: Tensor) -> Tensor:
    """Eq. (10): mean over nine yes/no questions, since a photo may show several scenes.

    Args:
        probability_BS: Scene marginals, (B, 9).
        label_BS: Multi-hot labels, (B, 9).
        known_B: True where the photo has a scene label, (B,).
    """
    overlap = _overlap(label_BS, probability_BS) + _overlap(1 - label_BS, 1 - probability_BS)
    return masked_mean((1 - overlap).mean(dim=-1), known_B)


def distortion_loss(probability_BD: Tensor, label_BD: Tensor, known_B: Tensor) -> Tensor:
    """Eq. (12): 1 minus the overlap with the one-hot label; (B, 11), (B, 11), (B,)."""
    return masked_mean(1 - _overlap(label_BD, probability_BD).sum(dim=-1), known_B)


def _overlap(p: Tensor, q: Tensor) -> Tensor:
    return torch.sqrt(p * q + EPSILON)


def masked_mean(values_B: Tensor, known_B: Tensor) -> Tensor:
    """Mean over the photos whose label is known, (B,), (B,) -> (); 0 if there is none."""
    known = known_B.to(values_B.dtype)
    return (values_B * known).sum() / known.sum().clamp(min=1)
