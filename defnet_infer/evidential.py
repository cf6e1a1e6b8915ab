r"""Normal-inverse-gamma (NIG) arithmetic in NumPy: from per-view logits to a score and its interval.

This module is the oracle. The training code says the same in torch, the exported graph says it in ONNX,
and `tests/agreement` holds all three together. It needs nothing but NumPy.

A NIG (delta, v, alpha, beta) is a belief about a quantity y: delta is the expected value, v the number of
virtual observations behind it, alpha and beta the shape and scale of the noise (Amini et al. 2020). Axes:

    B photo   V view (crops)   J joint class (495)   Q S D quality, scene, distortion   E embedding
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
import numpy.typing as npt

from defnet_infer.taxonomy import JOINT_SHAPE, QUALITY_VALUES

Array = npt.NDArray[np.floating]

V_FLOOR, ALPHA_FLOOR, BETA_FLOOR = 1e-3, 1.0 + 1e-3, 1e-4
TEMPERED_VIEWS = 4
"""Evidence of any number of crops counts as that of this many: the paper trains with four."""
Z_975 = 1.959963984540054
SAMPLE_SEED = 20200626

CrossInference = Literal["tempered", "sum", "sample4"]
LocalGlobalAverage = Literal["param", "moment"]


@dataclass(frozen=True)
class Nig:
    """Four arrays of one shape. delta is in score units, beta in score units squared; v > 0, alpha > 1, beta > 0."""

    delta: Array
    v: Array
    alpha: Array
    beta: Array

    def __getitem__(self, index: object) -> Nig:
        return Nig(*(getattr(self, f.name)[index] for f in fields(self)))

    @property
    def aleatoric(self) -> Array:
        """Expected noise variance E[sigma^2] = beta / (alpha - 1), in score units squared."""
        return self.beta / (self.alpha - 1)

    @property
    def epistemic(self) -> Array:
        """Variance of the mean, Var[mu] = beta / (v (alpha - 1)), in score units squared."""
        return self.beta / (self.v * (self.alpha - 1))

    @property
    def t_scale(self) -> Array:
        """Scale of the predictive Student-t with 2 alpha degrees of freedom around delta."""
        return np.sqrt(self.beta * (1 + self.v) / (self.v * self.alpha))


def fuse(views: Nig, axis: int = -1, *, weight: float = 1.0) -> Nig:
    r"""Fuse NIGs along an axis: the sum of Eqs. (19) and (20), in closed form.

    The paper defines the sum of two. It is associative and commutative, and n of them give

        v     = sum v_i                     delta = sum v_i delta_i / v
        alpha = sum alpha_i + (n - 1) / 2   beta  = sum beta_i + sum v_i (delta_i - delta)^2 / 2

    With ``weight`` w every sum of evidence counts w-fold and n becomes w n, as if there were w n views:
    `fuse_tempered` uses it so that evidence does not grow with the crop count.

    Args:
        views: Arrays with n >= 1 entries along `axis`.
        axis: The axis to fuse; it disappears.
        weight: How much each view counts.

    Raises:
        ValueError: If there is no view, which would claim a belief from no evidence.
    """
    count = views.delta.shape[axis]
    if count == 0:
        raise ValueError("cannot fuse zero views")
    v = views.v.sum(axis)
    delta = (views.v * views.delta).sum(axis) / v
    spread = (views.v * (views.delta - np.expand_dims(delta, axis)) ** 2).sum(axis)
    return Nig(
        delta=delta,
        v=weight * v,
        alpha=weight * views.alpha.sum(axis) + (weight * count - 1) / 2,
        beta=weight * (views.beta.sum(axis) + spread / 2),
    )


def fuse_tempered(views: Nig, axis: int = -1) -> Nig:
    """Cross-region fusion at inference: n crops weigh as much as the four of training.

    Equals `fuse` for four views, and does not change when every crop is duplicated. A plain sum over 15
    crops would narrow the interval below its coverage (README, departures, row 17).
    """
    return fuse(views, axis, weight=TEMPERED_VIEWS / views.delta.shape[axis])


def sampled_views(count: int) -> list[int]:
    """Which views stand for all when only four are fused: seeded, so that a photo always scores the same."""
    chosen = np.random.default_rng(SAMPLE_SEED).permutation(count)[:TEMPERED_VIEWS]
    return sorted(int(index) for index in chosen)


def fuse_crops(views_BV: Nig, rule: CrossInference) -> Nig:
    """Cross-region fusion at inference, Eq. (18); departure 17.

    Args:
        views_BV: One NIG per crop, arrays (B, V).
        rule: ``tempered``: all crops, weighing as four. ``sum``: Eq. (20) over all, whose evidence grows with the
            crop count. ``sample4``: Eq. (20) over four of them, drawn once and for all.
    """
    if rule == "tempered":
        return fuse_tempered(views_BV)
    if rule == "sum":
        return fuse(views_BV)
    return fuse(views_BV[:, sampled_views(views_BV.delta.shape[1])])


def fuse_local_global(local_BV: Nig, overview_B: Nig, average: LocalGlobalAverage = "param") -> Nig:
    """Local-global fusion, Eqs. (24) and (25): each crop with the overview, then the mean of the parameters.

    The mean of parameters is no mixture: crops that disagree leave no trace in it. With ``moment`` the variance of
    delta between crops is added to the epistemic variance, by fewer virtual observations v (departure 23).

    Args:
        local_BV: One NIG per crop, arrays (B, V).
        overview_B: One NIG per whole photo, arrays (B,).
        average: ``param``, the paper's, or ``moment``.

    Returns:
        One NIG per photo, arrays (B,). Its alpha exceeds 2.5, so its Student-t has more than 5 degrees of freedom.
    """
    pairs = Nig(
        *(
            np.stack(np.broadcast_arrays(getattr(local_BV, f.name), getattr(overview_B, f.name)[:, None]), axis=-1)
            for f in fields(Nig)
        )
    )
    fused_BV = fuse(pairs)
    mean = Nig(*(getattr(fused_BV, f.name).mean(axis=-1) for f in fields(Nig)))
    if average == "param":
        return mean
    total = mean.epistemic + fused_BV.delta.var(axis=-1)
    return Nig(mean.delta, mean.aleatoric / total, mean.alpha, mean.beta)


def t_quantile_975(dof: Array) -> Array:
    """97.5 % quantile of Student's t by the Cornish-Fisher expansion in 1/dof.

    Four terms, so that it fits into an ONNX graph; the error is below 3e-4 for dof >= 5, 1e-5 for dof >= 10.
    """
    z = Z_975
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    inverse = 1.0 / np.asarray(dof)
    return z + inverse * (terms[0] + inverse * (terms[1] + inverse * (terms[2] + inverse * terms[3])))


def interval_95(nig: Nig, calibration: float = 1.0) -> Array:
    """Predictive interval delta -/+ c t(0.975, 2 alpha) scale, shape (..., 2), not clipped to the score range.

    Args:
        nig: Arrays of any shape.
        calibration: The conformal factor c, fitted on validation photos.
    """
    half = calibration * t_quantile_975(2 * nig.alpha) * nig.t_scale
    return np.stack([nig.delta - half, nig.delta + half], axis=-1)


def softmax(logits: Array) -> Array:
    """Softmax over the last axis."""
    shifted: Array = np.exp(logits - logits.max(axis=-1, keepdims=True))
    total: Array = shifted.sum(axis=-1, keepdims=True)
    return shifted / total


def marginals(joint_J: Array) -> tuple[Array, Array, Array]:
    """Quality, scene and distortion probabilities from joint ones, (..., 495) -> (..., 5), (..., 9), (..., 11)."""
    grid_QSD = joint_J.reshape(*joint_J.shape[:-1], *JOINT_SHAPE)
    return grid_QSD.sum((-2, -1)), grid_QSD.sum((-3, -1)), grid_QSD.sum((-3, -2))


def expected_score(quality: Array) -> Array:
    """Eq. (5): the mean of the levels 1 to 5 under the quality probabilities, (..., 5) -> (...)."""
    return quality @ np.asarray(QUALITY_VALUES, dtype=quality.dtype)


@dataclass(frozen=True, kw_only=True)
class ReadOut:
    """Everything after the encoder, as arrays: what the exported graph carries as constants."""

    text_EJ: Array
    """Unit text embeddings times exp(logit_scale)."""
    head_weight: Array
    """(3, 5): the quality head's rows for v, alpha, beta."""
    head_bias: Array
    """(3,)"""
    calibration: float = 1.0
    local_aggregation: Literal["prob_mean", "logit_mean"] = "prob_mean"
    uncertainty_source: Literal["fusion", "cross"] = "fusion"
    cross_inference: CrossInference = "tempered"
    local_global_average: LocalGlobalAverage = "param"
    noise: Literal["learned", "marginal"] = "learned"
    noise_factor: float = 1.0


def quality_head(quality: Array, read_out: ReadOut) -> Nig:
    """The evidential head of the quality task on marginals (..., 5); departure 10 replaces Eq. (14) by it.

    delta is the bracket of Eq. (14), the expected score. v, alpha, beta are softplus of an affine map; with noise from
    the marginal beta makes the aleatoric variance `noise_factor` times that of the level.
    """
    raw = np.logaddexp(0.0, quality @ read_out.head_weight.T + read_out.head_bias)
    delta, alpha, beta = expected_score(quality), raw[..., 1] + ALPHA_FLOOR, raw[..., 2] + BETA_FLOOR
    if read_out.noise == "marginal":
        second = quality @ np.square(np.asarray(QUALITY_VALUES, dtype=quality.dtype))
        beta = np.maximum((alpha - 1) * read_out.noise_factor * (second - delta**2), BETA_FLOOR)
    return Nig(delta=delta, v=raw[..., 0] + V_FLOOR, alpha=alpha, beta=beta)


def predict(crops_BVE: Array, overview_BE: Array, read_out: ReadOut) -> dict[str, Array]:
    """All outputs of schema 1 from unit image embeddings.

    Args:
        crops_BVE: One unit vector per crop.
        overview_BE: One unit vector per whole photo.
        read_out: Text matrix, head and calibration.

    Returns:
        Output name -> array, as in `Contract.outputs`.
    """
    logits_BVJ = crops_BVE @ read_out.text_EJ
    prob_BVJ = softmax(logits_BVJ)
    by_probability = read_out.local_aggregation == "prob_mean"  # Eq. (6)
    joint_BJ = prob_BVJ.mean(axis=1) if by_probability else softmax(logits_BVJ.mean(axis=1))
    quality, scene, distortion = marginals(joint_BJ)
    crop_quality_BVQ = marginals(prob_BVJ)[0]
    overview_quality_BQ = marginals(softmax(overview_BE @ read_out.text_EJ))[0]
    local_BV = quality_head(crop_quality_BVQ, read_out)
    if read_out.uncertainty_source == "fusion":
        nig = fuse_local_global(local_BV, quality_head(overview_quality_BQ, read_out), read_out.local_global_average)
    else:
        nig = fuse_crops(local_BV, read_out.cross_inference)
    return {
        "score": expected_score(quality),
        "fused_score": nig.delta,
        "aleatoric": nig.aleatoric,
        "epistemic": nig.epistemic,
        "interval": interval_95(nig, read_out.calibration),
        "nig": np.stack([nig.delta, nig.v, nig.alpha, nig.beta], axis=-1),
        "quality": quality,
        "scene": scene,
        "distortion": distortion,
        "crop_score": expected_score(crop_quality_BVQ),
    }
