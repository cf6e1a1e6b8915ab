r"""Normal-inverse-gamma distributions in torch: head, fusion (Eqs. 14 to 25) and loss (Eqs. 1 to 3).

The same arithmetic as `defnet_infer.evidential`, differentiable; `tests/agreement` holds the two together.
Departures from the paper, by row of the table in the README: the head is an affine map of the marginals (10,
14, 16), delta is the paper's own bracket without softplus (11), alpha is at least 1 (15), and nothing is
soft-plussed twice (19).

Legend: B photo, V view (crop), K the quantities of a task: 1 quality, 9 scenes, 11 distortions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defnet_infer.evidential import ALPHA_FLOOR, BETA_FLOOR, TEMPERED_VIEWS, V_FLOOR, Z_975
from defnet_infer.taxonomy import QUALITY_VALUES


class Nig(NamedTuple):
    """Parameters of one shape: mean delta, virtual observations v > 0, noise shape alpha > 1 and scale beta > 0."""

    delta: Tensor
    v: Tensor
    alpha: Tensor
    beta: Tensor

    @property
    def aleatoric(self) -> Tensor:
        """Expected noise variance."""
        return self.beta / (self.alpha - 1)

    @property
    def epistemic(self) -> Tensor:
        """Variance of the mean."""
        return self.beta / (self.v * (self.alpha - 1))


class EvidentialHead(nn.Module):
    """Marginals of one task to NIGs; one head serves crops and overview.

    Output rows are component-major: all v, then all alpha, then all beta. The export depends on it.

    Args:
        task: ``quality`` (one NIG, its delta is the expected score) or ``scene`` / ``distortion`` (one NIG per
            class, its delta is the probability).
        classes: Length of the marginal.
    """

    def __init__(self, task: str, classes: int) -> None:
        super().__init__()
        self.is_quality = task == "quality"
        self.quantities = 1 if self.is_quality else classes
        self.affine = nn.Linear(classes, 3 * self.quantities)
        nn.init.zeros_(self.affine.weight)
        start_beta = 0.10 if self.is_quality else 0.05
        for row, (start, floor) in enumerate([(1.0, V_FLOOR), (2.0, ALPHA_FLOOR), (start_beta, BETA_FLOOR)]):
            rows = slice(row * self.quantities, (row + 1) * self.quantities)
            nn.init.constant_(self.affine.bias[rows], math.log(math.expm1(start - floor)))  # inverse softplus
        self.register_buffer("levels", torch.tensor(QUALITY_VALUES), persistent=False)

    def forward(self, marginal: Tensor) -> Nig:
        """(..., classes) -> NIG with arrays (..., K)."""
        delta = (marginal * self.levels).sum(-1, keepdim=True) if self.is_quality else marginal
        raw_v, raw_alpha, raw_beta = self.affine(marginal).split(self.quantities, dim=-1)
        return Nig(
            delta=delta,
            v=F.softplus(raw_v) + V_FLOOR,
            alpha=F.softplus(raw_alpha) + ALPHA_FLOOR,
            beta=F.softplus(raw_beta) + BETA_FLOOR,
        )


def fuse(views: Nig, dim: int, *, weight: float = 1.0) -> Nig:
    """The operator of Eqs. (19) and (20) over all entries of an axis at once; see `evidential.fuse`."""
    v = views.v.sum(dim)
    delta = (views.v * views.delta).sum(dim) / v
    spread = (views.v * (views.delta - delta.unsqueeze(dim)).square()).sum(dim)
    return Nig(
        delta=delta,
        v=weight * v,
        alpha=weight * views.alpha.sum(dim) + (weight * views.delta.shape[dim] - 1) / 2,
        beta=weight * (views.beta.sum(dim) + spread / 2),
    )


def fuse_tempered(views: Nig, dim: int) -> Nig:
    """Cross-region fusion in which any number of crops weighs as much as four."""
    return fuse(views, dim, weight=TEMPERED_VIEWS / views.delta.shape[dim])


def fuse_two(first: Nig, second: Nig) -> Nig:
    """Eq. (20) as printed, for two NIGs whose shapes broadcast."""
    v = first.v + second.v
    delta = (first.v * first.delta + second.v * second.delta) / v
    spread = first.v * (first.delta - delta).square() + second.v * (second.delta - delta).square()
    return Nig(delta, v, first.alpha + second.alpha + 0.5, first.beta + second.beta + spread / 2)


def fuse_local_global(local_BVK: Nig, overview_BK: Nig) -> Nig:
    """Eqs. (24) and (25): each crop fused with the overview, parameters averaged over crops, arrays (B, K)."""
    overview_B1K = Nig(*(parameter.unsqueeze(1) for parameter in overview_BK))
    return Nig(*(parameter.mean(dim=1) for parameter in fuse_two(local_BVK, overview_B1K)))


def t_quantile_975(dof: Tensor) -> Tensor:
    """97.5 % quantile of Student's t, the series of `evidential.t_quantile_975`."""
    z = Z_975
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    inverse = dof.reciprocal()
    return z + inverse * (terms[0] + inverse * (terms[1] + inverse * (terms[2] + inverse * terms[3])))


def half_width_95(nig: Nig) -> Tensor:
    """Half the width of the uncalibrated 95 % predictive interval."""
    scale = (nig.beta * (1 + nig.v) / (nig.v * nig.alpha)).sqrt()
    return t_quantile_975(2 * nig.alpha) * scale


def nig_nll(nig: Nig, target: Tensor, label_noise: float = 0.0) -> Tensor:
    """Eq. (1): negative log likelihood of a target under the NIG's Student-t, elementwise.

    Args:
        nig: Float32 or float64 arrays.
        target: Same shape.
        label_noise: sigma_0. Its square is added to the squared error, because the density on exact 0/1
            labels has no upper bound and would reward ever smaller noise. 0 is the paper's loss.
    """
    delta, v, alpha, beta = nig
    omega = 2 * beta * (1 + v)
    squared = (target - delta).square() + label_noise**2
    return (
        0.5 * torch.log(math.pi / v)
        - alpha * torch.log(omega)
        + (alpha + 0.5) * torch.log(v * squared + omega)
        + torch.lgamma(alpha)
        - torch.lgamma(alpha + 0.5)
    )


def nig_loss(nig: Nig, target: Tensor, *, tau: float, label_noise: float = 0.0) -> Tensor:
    """Eqs. (1) to (3), elementwise: likelihood plus tau times error times evidence, |y - delta| (2 v + alpha)."""
    wrong_evidence = (target - nig.delta).abs() * (2 * nig.v + nig.alpha)
    return nig_nll(nig, target, label_noise) + tau * wrong_evidence
