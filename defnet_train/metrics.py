"""How well predictions agree with people, and how honest the uncertainty is (method of the field, SciPy underneath)."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.special import expit

Array = npt.NDArray[np.floating]


def srcc(prediction: Array, mos: Array) -> float:
    """Spearman rank correlation, -1 to 1."""
    return float(stats.spearmanr(prediction, mos).statistic)


def krcc(prediction: Array, mos: Array) -> float:
    """Kendall's tau-b, -1 to 1."""
    return float(stats.kendalltau(prediction, mos).statistic)


def logistic_fit(prediction: Array, mos: Array) -> Array | None:
    """Predictions mapped to the opinion scale by the field's 4-parameter logistic; None if the fit fails.

    mos ~ b2 + (b1 - b2) / (1 + exp(-(x - b3) / |b4|)), started at the extremes, mean and deviation.
    """

    def curve(x: Array, high: float, low: float, middle: float, width: float) -> Array:
        return low + (high - low) * expit((x - middle) / abs(width))

    start = [mos.max(), mos.min(), prediction.mean(), prediction.std()]
    with warnings.catch_warnings():
        warnings.simplefilter("error", OptimizeWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # overflow on the way to a step function
        try:
            parameters, _ = curve_fit(curve, prediction, mos, p0=start, maxfev=10000)
        except (RuntimeError, OptimizeWarning, ValueError):
            return None
    fitted = curve(prediction, *parameters)
    return fitted if np.std(fitted) > 0 else None


def agreement(prediction: Array, mos: Array) -> dict[str, float]:
    """SRCC, KRCC, PLCC raw and after the logistic, RMSE after the logistic.

    Args:
        prediction: Scores, (N,), N >= 5, not all equal.
        mos: Opinion scores, (N,). RMSE is in their unit.

    Returns:
        ``plcc`` is the logistic one, the field's headline; where the fit fails it is the raw one and
        ``logistic_failed`` is 1.
    """
    fitted = logistic_fit(prediction, mos)
    mapped = prediction if fitted is None else fitted
    raw = float(np.corrcoef(prediction, mos)[0, 1])
    return {
        "srcc": srcc(prediction, mos),
        "krcc": krcc(prediction, mos),
        "plcc": float(np.corrcoef(mapped, mos)[0, 1]),
        "plcc_raw": raw,
        "rmse": float(np.sqrt(np.mean((mapped - mos) ** 2))),
        "logistic_failed": float(fitted is None),
    }


def scene_accuracy(probability_NS: Array, label_NS: Array) -> float:
    """Of a photo's k true scenes, how many are among the k most probable; hits over all true labels."""
    ranks = np.argsort(np.argsort(-probability_NS, axis=1), axis=1)
    hits = (label_NS > 0) & (ranks < label_NS.sum(axis=1, keepdims=True))
    return float(hits.sum() / label_NS.sum())


def distortion_accuracy(probability_ND: Array, label_ND: Array) -> float:
    """Share of photos whose most probable distortion is the labelled one."""
    return float(np.mean(probability_ND.argmax(axis=1) == label_ND.argmax(axis=1)))


def uncertainty(outputs: Mapping[str, Array], target: Array) -> dict[str, float]:
    """Coverage and mean width of the interval, and whether the predicted deviation ranks the errors.

    Args:
        outputs: ``fused_score``, ``interval``, ``aleatoric``, ``epistemic`` as in schema 1.
        target: Opinion scores on [1, 5], (N,).
    """
    low, high = outputs["interval"].T
    deviation = np.sqrt(outputs["aleatoric"] + outputs["epistemic"])
    return {
        "coverage": float(np.mean((low <= target) & (target <= high))),
        "width": float(np.mean(high - low)),
        "error_rank": srcc(deviation, np.abs(outputs["fused_score"] - target)),
    }


def conformal_factor(residual: Array, half_width: Array, level: float = 0.95) -> float:
    """Split-conformal factor: the interval times this covers `level` of such photos, whatever their law.

    The ceil((n + 1) level)-th smallest of residual / half_width; with fewer photos than that needs, the largest.

    Args:
        residual: |target - fused score| on photos not trained on, (N,).
        half_width: Uncalibrated half widths of the same photos, (N,).
        level: Wanted coverage, 0 to 1.
    """
    ratio = np.sort(residual / half_width)
    rank = min(int(np.ceil((len(ratio) + 1) * level)), len(ratio))
    return float(ratio[rank - 1])
