"""How well predictions agree with people: correlations and accuracies as the field computes them, by SciPy."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.special import expit

Array = npt.NDArray[np.floating]


def srcc(prediction: Array, mos: Array) -> float:
    """Spearman rank correlation, -1 to 1; NaN where there is one photo, or one score for all."""
    if np.ptp(prediction) == 0 or np.ptp(mos) == 0:
        return float("nan")
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


def mean_band(prediction: Array, mos: Array, at: Array) -> tuple[Array, Array]:
    """Least-squares line of opinion on prediction, and the half width of its 95 % confidence band.

    The band is where the line may lie, not where photos may: t(0.975, n - 2) s sqrt(1 / n + (x - mean)^2 / Sxx).

    Args:
        prediction: (N,), N >= 3, not all equal.
        mos: (N,).
        at: Predictions to evaluate the line at, (M,).

    Returns:
        Line and half width, each (M,), in the unit of `mos`.
    """
    line = stats.linregress(prediction, mos)
    freedom = len(prediction) - 2
    residual = mos - (line.intercept + line.slope * prediction)
    spread = prediction - prediction.mean()
    error = np.sqrt(np.sum(residual**2) / freedom * (1 / len(mos) + (at - prediction.mean()) ** 2 / np.sum(spread**2)))
    return line.intercept + line.slope * at, stats.t.ppf(0.975, freedom) * error


def scatter_ci_width(prediction: Array, mos: Array) -> float:
    """Mean width of that band over the photos, both axes scaled to [0, 1]; our reading of the paper's Table 6.

    The paper gives this "CI width" for LIQE too, which states no uncertainty: it cannot be an evidential interval and
    must never be compared with one. More photos alone make it narrower.
    """
    x, y = ((values - values.min()) / np.ptp(values) for values in (prediction, mos))
    return float(np.mean(2 * mean_band(x, y, x)[1]))
