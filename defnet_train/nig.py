r"""Normal-inverse-gamma distributions in torch: fusion (Eqs. 18 to 25) and loss (Eqs. 1 to 3).

The same arithmetic as `defnet_infer.evidential`, differentiable; `tests/agreement` holds the two together. Where the
distributions come from is in `heads`. Departures from the paper, by row of the table in the README: fifteen crops
weigh as four (17), and nothing is soft-plussed twice (19).

Legend: B photo, V view (crop), K the quantities of a task: 1 quality, 9 scenes, 11 distortions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from defnet_infer.evidential import TEMPERED_VIEWS, Z_975, sampled_views


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


def fuse_crops(views_BVK: Nig, rule: str) -> Nig:
    """Cross-region fusion when scoring; see `evidential.fuse_crops`."""
    if rule == "tempered":
        return fuse_tempered(views_BVK, dim=1)
    if rule == "sum":
        return fuse(views_BVK, dim=1)
    chosen = sampled_views(views_BVK.delta.shape[1])
    return fuse(Nig(*(parameter[:, chosen] for parameter in views_BVK)), dim=1)


def fuse_two(first: Nig, second: Nig) -> Nig:
    """Eq. (20) as printed, for two NIGs whose shapes broadcast."""
    v = first.v + second.v
    delta = (first.v * first.delta + second.v * second.delta) / v
    spread = first.v * (first.delta - delta).square() + second.v * (second.delta - delta).square()
    return Nig(delta, v, first.alpha + second.alpha + 0.5, first.beta + second.beta + spread / 2)


def fuse_local_global(local_BVK: Nig, overview_BK: Nig, average: str = "param") -> Nig:
    """Eqs. (24) and (25): each crop fused with the overview, parameters averaged over crops, arrays (B, K).

    With ``moment`` the spread of delta between crops counts as ignorance too; see `evidential.fuse_local_global`.
    """
    overview_B1K = Nig(*(parameter.unsqueeze(1) for parameter in overview_BK))
    fused_BVK = fuse_two(local_BVK, overview_B1K)
    mean = Nig(*(parameter.mean(dim=1) for parameter in fused_BVK))
    if average == "param":
        return mean
    spread = (fused_BVK.delta - mean.delta.unsqueeze(1)).square().mean(dim=1)
    return mean._replace(v=mean.aleatoric / (mean.epistemic + spread))


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
