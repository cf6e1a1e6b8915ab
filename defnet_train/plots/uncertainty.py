"""Is the uncertainty honest? Coverage at every level, and whether setting the unsure photos aside helps."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from defnet_train.metrics import Array
from defnet_train.plots.style import BLUE, GRAY, GREEN, ORANGE, in_house_style, panels
from defnet_train.uncertainty import LEVELS, reliability, sparsification, total_variance

LEAST_SPAN = 0.05
"""Of predicted deviations, in their mean: below it they are shown as what they are, alike, and are not sorted."""


@in_house_style
def uncertainty_figure(name: str, outputs: Mapping[str, Array], target: Array) -> Figure:
    """Reliability diagram, sparsification curve, and the errors against the predicted deviation.

    Args:
        name: Of the photos.
        outputs: As in schema 1.
        target: Opinion scores on [1, 5], (N,).
    """
    figure, (levels, sparse, errors) = panels(3, title=f"{name}, {len(target)} photos")
    covered = reliability(outputs, target)
    # Two standard errors of a share of so many photos: what chance alone explains.
    chance = 2 * np.sqrt(LEVELS * (1 - LEVELS) / len(target))
    levels.fill_between(LEVELS, LEVELS - chance, LEVELS + chance, color=GRAY, alpha=0.15, linewidth=0, label="chance")
    levels.plot([0, 1], [0, 1], color=GRAY, linewidth=0.8, linestyle=":", label="honest")
    levels.plot(LEVELS, covered, "o-", color=BLUE, markersize=3.5, linewidth=1.2, label="intervals")
    levels.set(xlabel="nominal level", ylabel="share of photos inside", title="reliability", xlim=(0, 1), ylim=(0, 1))
    levels.legend(loc="lower right", fontsize=7.5)
    levels.set_aspect("equal")

    error, variance = np.abs(outputs["fused_score"] - target), total_variance(outputs)
    aside, by_variance, oracle = sparsification(error, variance)
    sparse.plot(aside, by_variance, "-", color=BLUE, linewidth=1.4, label="least sure aside")
    sparse.plot(aside, oracle, "--", color=GREEN, linewidth=1.2, label="largest errors aside (best possible)")
    sparse.axhline(1, color=GRAY, linewidth=0.8, linestyle=":", label="any photos aside")
    area = np.trapezoid(by_variance - oracle, aside)
    sparse.set(
        xlabel="share of photos set aside",
        ylabel="mean error of the rest / of all",
        title=f"sparsification, AUSE {area:.3f}",
        xlim=(0, 1),
        ylim=(0, max(1.6, 1.05 * by_variance.max())),
    )
    sparse.legend(loc="upper left", fontsize=7.5)
    sparse.set_box_aspect(1)

    deviation = np.sqrt(variance)
    errors.scatter(deviation, error, s=9, color=BLUE, alpha=0.4, linewidths=0, label="photo")
    least, middle = LEAST_SPAN * deviation.mean(), (deviation.min() + deviation.max()) / 2
    if np.ptp(deviation) >= least:
        middles, means = binned(deviation, error)
        errors.plot(middles, means, "s-", color=ORANGE, markersize=4, linewidth=1.4, label="mean of a tenth of them")
    else:
        errors.set_xlim(middle - least / 2, middle + least / 2)
    errors.ticklabel_format(axis="x", useOffset=False)
    errors.set(xlabel="predicted deviation", ylabel="|fused score - opinion|", title="error against uncertainty")
    errors.set_ylim(0, 1.3 * error.max())
    errors.legend(loc="upper left", fontsize=7.5)
    errors.set_box_aspect(1)
    return figure


def binned(x: Array, y: Array, bins: int = 10) -> tuple[Array, Array]:
    """Means of x and of y over groups of equal size, in the order of x."""
    groups = [group for group in np.array_split(np.argsort(x, kind="stable"), bins) if len(group)]
    return np.array([x[group].mean() for group in groups]), np.array([y[group].mean() for group in groups])
