"""Evidential heads: marginals of one task to normal-inverse-gammas (Eqs. 14 to 17; departures 10, 11, 14, 15, 16).

The paper splits one number in four, and 9 and 11 are not divisible by four. Here every quantity of a task has its own
NIG, whose delta is the bracket of Eq. (14) itself. How v, alpha and beta come about is `model.head.kind`:

    linear   an affine map of the marginals (default)
    mlp      the same after one hidden layer
    moment   two numbers a task; beta follows from the variance of the marginals
    tied     no parameters: delta = v = alpha = beta = softplus of the bracket, as near to the published code as one
             photo at a time can be. alpha may be below 1, so its variances mean nothing; for ablations
    none     no head: the model tells scores and probabilities only, as LIQE does

Legend: K quantities of a task: 1 quality, 9 scenes, 11 distortions.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from defnet_infer.evidential import ALPHA_FLOOR, BETA_FLOOR, V_FLOOR
from defnet_infer.taxonomy import QUALITY_VALUES
from defnet_train.config import HeadConfig
from defnet_train.nig import Nig

START_V, START_ALPHA = 1.0, 2.0
START_BETA = {"quality": 0.10, "scene": 0.05, "distortion": 0.05}


def make_head(task: str, classes: int, config: HeadConfig, embed_dim: int) -> nn.Module:
    """The head that a configuration asks for.

    Args:
        task: ``quality`` (one NIG) or ``scene`` / ``distortion`` (one NIG per class).
        classes: Length of the marginal.
        config: Which head, any kind but ``none``.
        embed_dim: Length of the image embedding, for heads that see it.

    Returns:
        A module called with the marginal (..., classes) and the embedding (..., E), that gives a NIG (..., K).
    """
    if config.kind == "moment":
        return MomentHead(task)
    if config.kind == "tied":
        return TiedHead(task)
    return EvidentialHead(
        task,
        classes,
        hidden=config.hidden if config.kind == "mlp" else 0,
        embed_dim=embed_dim if config.input == "marginal+embedding" else 0,
        residual_delta=config.residual_delta,
        marginal_noise=config.noise == "marginal",
    )


class _Anchored(nn.Module):
    """What every head shares: delta comes from the marginal, the expected level or the probabilities themselves."""

    marginal_noise = False
    """Whether a fitted `noise_factor` scales noise from the marginal; see `EvidentialHead`."""

    def __init__(self, task: str) -> None:
        super().__init__()
        self.is_quality = task == "quality"
        self.register_buffer("levels", torch.tensor(QUALITY_VALUES), persistent=False)

    def anchor(self, marginal: Tensor) -> Tensor:
        """The bracket of Eqs. (14) to (16), (..., classes) -> (..., K)."""
        return (marginal * self.levels).sum(-1, keepdim=True) if self.is_quality else marginal

    def variance(self, marginal: Tensor) -> Tensor:
        """Of the level, sum_c p_c (c - delta)^2, or of a class being there, p (1 - p); (..., classes) -> (..., K)."""
        if not self.is_quality:
            return marginal * (1 - marginal)
        return (marginal * (self.levels - self.anchor(marginal)).square()).sum(-1, keepdim=True)


class EvidentialHead(_Anchored):
    """Affine map of the marginals, after a hidden layer where one is asked for.

    Output rows are component-major: all v, then all alpha, then all beta (then what is added to delta). The export
    depends on it.

    Args:
        task: As in `make_head`.
        classes: Length of the marginal.
        hidden: Width of the hidden layer; 0 for none.
        embed_dim: Length of the image embedding that is seen beside the marginal; 0 for none.
        residual_delta: Also learn what to add to delta.
        marginal_noise: When scoring, take beta from the variance of the marginal, as `MomentHead` does, times
            `noise_factor`, which `conformal.calibrate` fits for quality: no output tells of other tasks' noise. What
            is learned from training photos is how large their errors are, and a model that fits them closely finds
            nearly the same for all. Where it hesitates between levels it errs more on other photos too. Training is not
            changed: errors weighed by such a beta would count least where there is most to learn.
    """

    def __init__(
        self,
        task: str,
        classes: int,
        *,
        hidden: int = 0,
        embed_dim: int = 0,
        residual_delta: bool = False,
        marginal_noise: bool = False,
    ) -> None:
        super().__init__(task)
        self.marginal_noise = marginal_noise
        if marginal_noise:
            self.register_buffer("noise_factor", torch.tensor(1.0))
        self.quantities = 1 if self.is_quality else classes
        self.sees_embedding, self.residual_delta = embed_dim > 0, residual_delta
        inputs = classes + embed_dim
        self.hidden = nn.Sequential(nn.Linear(inputs, hidden), nn.GELU()) if hidden else nn.Identity()
        self.affine = nn.Linear(hidden or inputs, (3 + residual_delta) * self.quantities)
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)
        starts = [(START_V, V_FLOOR), (START_ALPHA, ALPHA_FLOOR), (START_BETA[task], BETA_FLOOR)]
        for row, (start, floor) in enumerate(starts):
            rows = slice(row * self.quantities, (row + 1) * self.quantities)
            nn.init.constant_(self.affine.bias[rows], _inverse_softplus(start - floor))

    def forward(self, marginal: Tensor, embedding: Tensor | None = None) -> Nig:
        """(..., classes), (..., E) -> NIG with arrays (..., K). No gradient flows into the embedding."""
        seen = marginal
        if self.sees_embedding:
            assert embedding is not None
            seen = torch.cat([marginal, embedding.detach()], dim=-1)
        raw_v, raw_alpha, raw_beta, *shift = self.affine(self.hidden(seen)).split(self.quantities, dim=-1)
        alpha = F.softplus(raw_alpha) + ALPHA_FLOOR
        if self.marginal_noise and not self.training:
            beta = ((alpha - 1) * self.noise_factor * self.variance(marginal)).clamp_min(BETA_FLOOR)
        else:
            beta = F.softplus(raw_beta) + BETA_FLOOR
        return Nig(
            delta=self.anchor(marginal) + shift[0] if shift else self.anchor(marginal),
            v=F.softplus(raw_v) + V_FLOOR,
            alpha=alpha,
            beta=beta,
        )


class MomentHead(_Anchored):
    """Two learned numbers, v and alpha; beta makes the aleatoric variance that of the marginal itself.

    Args:
        task: As in `make_head`.
    """

    def __init__(self, task: str) -> None:
        super().__init__(task)
        self.raw = nn.Parameter(
            torch.tensor([_inverse_softplus(START_V - V_FLOOR), _inverse_softplus(START_ALPHA - ALPHA_FLOOR)])
        )

    def forward(self, marginal: Tensor, embedding: Tensor | None = None) -> Nig:
        """(..., classes) -> NIG with arrays (..., K); the embedding is not looked at."""
        delta = self.anchor(marginal)
        v, alpha = F.softplus(self.raw[0]) + V_FLOOR, F.softplus(self.raw[1]) + ALPHA_FLOOR
        beta = ((alpha - 1) * self.variance(marginal)).clamp_min(BETA_FLOOR)
        return Nig(delta, v.expand_as(delta), alpha.expand_as(delta), beta)


class TiedHead(_Anchored):
    """All four parameters the same number, softplus of the bracket."""

    def forward(self, marginal: Tensor, embedding: Tensor | None = None) -> Nig:
        """(..., classes) -> NIG with arrays (..., K); the embedding is not looked at."""
        value = F.softplus(self.anchor(marginal))
        return Nig(value, value, value, value)


def _inverse_softplus(value: float) -> float:
    return math.log(math.expm1(value))
