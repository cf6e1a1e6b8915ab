r"""How honest the uncertainty is: coverage, likelihood, whether it ranks the errors, and the conformal factor.

Every function takes arrays of the outputs of schema 1 and opinion scores on [1, 5]. The predictive distribution
of a photo is Student's t with 2 alpha degrees of freedom, location delta and scale sqrt(beta (1 + v) / (v alpha)); the
calibrated interval widens its 95 % interval by one factor for all photos.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats

Array = npt.NDArray[np.floating]

FIGURES = ("coverage", "width", "nll", "error_rank", "error_rank_low", "error_rank_high", "ause", "ause_random")
"""What `uncertainty` finds."""
RESAMPLES = 1000
"""Bootstrap samples of a confidence interval: its ends then vary by about a hundredth of its width."""
RESAMPLES_AT_ONCE = 100
LEVELS = np.round(np.arange(0.05, 1.0, 0.05), 2)
"""Nominal levels of a reliability diagram."""


def uncertainty(outputs: Mapping[str, Array], target: Array) -> dict[str, float]:
    """Figures of the interval and of the variances.

    Args:
        outputs: ``fused_score``, ``interval``, ``aleatoric``, ``epistemic`` and ``nig`` as in schema 1.
        target: Opinion scores on [1, 5], (N,).

    Returns:
        ``coverage`` and mean ``width`` of the calibrated 95 % interval; ``nll``, the mean of Eq. (1);
        ``error_rank``, the Spearman correlation of |error| and total variance, with the ends of its 95 % bootstrap
        confidence interval; ``ause`` of that ranking, and ``ause_random`` of a ranking by chance.
    """
    low, high = outputs["interval"].T
    error = np.abs(outputs["fused_score"] - target)
    variance = total_variance(outputs)
    rank_low, rank_high = spearman_interval(error, variance)
    fractions, by_variance, oracle = sparsification(error, variance)
    return {
        "coverage": float(np.mean((low <= target) & (target <= high))),
        "width": float(np.mean(high - low)),
        "nll": float(np.mean(student_nll(outputs["nig"], target))),
        "error_rank": float(stats.spearmanr(error, variance).statistic) if _differ(error, variance) else float("nan"),
        "error_rank_low": rank_low,
        "error_rank_high": rank_high,
        "ause": float(np.trapezoid(by_variance - oracle, fractions)),
        "ause_random": float(np.trapezoid(1 - oracle, fractions)),
    }


def _differ(*values: Array) -> bool:
    """What is the same for all photos correlates with nothing."""
    return all(np.ptp(some) > 0 for some in values)


def total_variance(outputs: Mapping[str, Array]) -> Array:
    """Aleatoric plus epistemic variance in score units squared: that of the Student-t prediction, (N,)."""
    return outputs["aleatoric"] + outputs["epistemic"]


def student_scale(nig_N4: Array) -> Array:
    """Scale of the predictive Student-t of (delta, v, alpha, beta), (N,)."""
    _, v, alpha, beta = nig_N4.astype(float).T
    return np.sqrt(beta * (1 + v) / (v * alpha))


def student_nll(nig_N4: Array, target: Array) -> Array:
    """Negative log likelihood of every target, Eq. (1), (N,). It knows nothing of the calibration."""
    return -stats.t.logpdf(target, 2 * nig_N4[:, 2], loc=nig_N4[:, 0], scale=student_scale(nig_N4))


def spearman_interval(first: Array, second: Array, seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a Spearman correlation, over photos drawn with replacement.

    NaN where no draw has one: of one photo, or where one side is the same for all.
    """
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(RESAMPLES // RESAMPLES_AT_ONCE):
        rows_RN = rng.integers(len(first), size=(RESAMPLES_AT_ONCE, len(first)))
        ranks = [stats.rankdata(values[rows_RN], axis=1) for values in (first, second)]
        x_RN, y_RN = (rank - rank.mean(axis=1, keepdims=True) for rank in ranks)
        norm_R = np.sqrt((x_RN**2).sum(axis=1) * (y_RN**2).sum(axis=1))
        # A tiny sample may be one photo many times, which correlates with nothing.
        found.append((x_RN * y_RN).sum(axis=1)[norm_R > 0] / norm_R[norm_R > 0])
    if not sum(map(len, found)):
        return float("nan"), float("nan")
    low, high = np.quantile(np.concatenate(found), [0.025, 0.975])
    return float(low), float(high)


def sparsification(error: Array, uncertainty: Array) -> tuple[Array, Array, Array]:
    """What is left of the mean error when the photos the model is least sure of are set aside.

    Args:
        error: Absolute errors, (N,).
        uncertainty: Any number that is larger for the less certain, (N,).

    Returns:
        Shares set aside, 0 to (N - 1) / N; mean error of the rest over that of all, for the given order; and for the
        order of the errors themselves, which no uncertainty can beat. The area between the two is AUSE.
    """
    kept = np.arange(len(error), 0, -1)

    def left(order: npt.NDArray[np.intp]) -> Array:
        return np.cumsum(error[order])[::-1] / kept / error.mean()

    fractions = 1 - kept / len(error)
    # Stable, so that equal uncertainties keep the order of the photos and the figure is the same everywhere.
    return fractions, left(np.argsort(uncertainty, kind="stable")), left(np.argsort(error, kind="stable"))


def reliability(outputs: Mapping[str, Array], target: Array, levels: Array = LEVELS) -> Array:
    """Share of photos inside the calibrated interval of every nominal level, (levels,).

    The intervals of other levels than 95 % are those of the same Student-t, widened by the same factor.

    Args:
        outputs: ``interval`` and ``nig`` of schema 1.
        target: Opinion scores, (N,).
        levels: Between 0 and 1.
    """
    nig = outputs["nig"].astype(float)
    dof = 2 * nig[:, 2]
    half_95 = (outputs["interval"][:, 1] - outputs["interval"][:, 0]) / 2
    widened = half_95 / stats.t.ppf(0.975, dof)
    needed = 2 * stats.t.cdf(np.abs(target - nig[:, 0]) / widened, dof) - 1
    return np.array([np.mean(needed <= level) for level in levels])


def conformal_factor(residual: Array, half_width: Array, level: float = 0.95) -> float:
    """Split-conformal factor: the interval times this covers `level` of such photos, whatever their law.

    The ceil((n + 1) level)-th smallest of residual / half_width; with fewer photos than that needs
    (`photos_needed`), the largest, which promises n / (n + 1) only.

    Args:
        residual: |target - fused score| on photos not trained on, (N,).
        half_width: Uncalibrated half widths of the same photos, (N,).
        level: Wanted coverage, 0 to 1.
    """
    ratio = np.sort(residual / half_width)
    rank = min(int(np.ceil((len(ratio) + 1) * level)), len(ratio))
    return float(ratio[rank - 1])


def photos_needed(level: float = 0.95) -> int:
    """The fewest photos with which split conformal can promise a level: n / (n + 1) must reach it."""
    return int(np.ceil(level / (1 - level) - 1e-9))
