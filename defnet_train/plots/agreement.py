"""Prediction against opinion, with the 95 % confidence band of the regression line (the paper's Fig. 11)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from defnet_train.metrics import Array, logistic_fit, mean_band, scatter_ci_width, srcc
from defnet_train.plots.style import BLUE, GRAY, RED, in_house_style, panels


@in_house_style
def scatter(datasets: Mapping[str, tuple[Array, Array]]) -> Figure:
    """A panel a data set.

    The band says where the line may lie, given so many photos. It is no interval of a photo's score.

    Args:
        datasets: Name -> predictions and opinion scores on [1, 5], (N,) each, N >= 5.
    """
    figure, axes = panels(len(datasets))
    for axis, (name, (prediction, opinion)) in zip(axes, datasets.items(), strict=True):
        axis.scatter(prediction, opinion, s=9, color=BLUE, alpha=0.5, linewidths=0)
        at = np.linspace(prediction.min(), prediction.max(), 200)
        line, half = mean_band(prediction, opinion, at)
        axis.fill_between(at, line - half, line + half, color=RED, alpha=0.25, linewidth=0, label="its 95 % band")
        axis.plot(at, line, color=RED, linewidth=1.4, label="regression line")
        fitted = logistic_fit(prediction, opinion)
        if fitted is not None:
            order = np.argsort(prediction)
            axis.plot(prediction[order], fitted[order], color="black", linewidth=1, linestyle="--", label="logistic")
        axis.plot([1, 5], [1, 5], color=GRAY, linewidth=0.8, linestyle=":", label="equal")
        width = scatter_ci_width(prediction, opinion)
        axis.set(
            title=f"{name}, {len(opinion)} photos\nSRCC {srcc(prediction, opinion):.3f}, band {width:.3f}",
            xlabel="predicted score",
            ylabel="mean opinion score",
            xlim=(0.9, 5.1),
            ylim=(0.9, 5.1),
        )
        axis.set_aspect("equal")
    axes[0].legend(loc="upper left", fontsize=7.5)
    return figure
