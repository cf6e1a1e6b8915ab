"""How predictions and opinions are distributed, and whether they are so in the same way (the paper's Figs. 5 and 6)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from defnet_train.metrics import Array
from defnet_train.plots.style import BLUE, GRAY, ORANGE, in_house_style, panels


@in_house_style
def distribution(name: str, prediction: Array, opinion: Array) -> Figure:
    """Histogram, Q-Q plot against the normal distribution, and quantiles of one against the other.

    Args:
        name: Of the data set.
        prediction: Predicted scores, (N,), N >= 5.
        opinion: Opinion scores on [1, 5], (N,).
    """
    figure, (counts, normal, both) = panels(3, title=f"{name}, {len(opinion)} photos")
    series = (("opinion", opinion, ORANGE, "s"), ("prediction", prediction, BLUE, "o"))
    bins = np.linspace(1, 5, 25)
    for label, values, colour, _ in series:
        counts.hist(values, bins, color=colour, alpha=0.35, density=True)
        counts.hist(values, bins, color=colour, density=True, histtype="step", linewidth=1.2, label=label)
    counts.set(xlabel="score", ylabel="density", title="distribution")
    counts.legend()
    for label, values, colour, marker in series:
        theory, standard = normal_quantiles(values)
        normal.plot(theory, standard, marker, color=colour, markersize=3, alpha=0.6, markeredgewidth=0, label=label)
    reach = max(3.0, *(float(np.abs(line.get_data()).max()) for line in normal.lines)) * 1.05
    normal.plot([-reach, reach], [-reach, reach], color=GRAY, linewidth=0.8, linestyle=":")
    normal.set(xlabel="normal quantile", ylabel="standardised score", title="Q-Q, against the normal")
    normal.legend(loc="upper left")
    both.plot(np.sort(opinion), np.sort(prediction), "o", color=BLUE, markersize=3, alpha=0.6, markeredgewidth=0)
    both.plot([1, 5], [1, 5], color=GRAY, linewidth=0.8, linestyle=":")
    both.set(
        xlabel="opinion quantile",
        ylabel="prediction quantile",
        title="Q-Q, prediction against opinion",
        xlim=(0.9, 5.1),
        ylim=(0.9, 5.1),
    )
    both.set_aspect("equal")
    normal.set_box_aspect(1)
    counts.set_box_aspect(1)
    return figure


def normal_quantiles(values: Array) -> tuple[Array, Array]:
    """Normal quantiles at (i - 1/2) / N, and the sorted values in deviations from their mean."""
    theory = stats.norm.ppf((np.arange(len(values)) + 0.5) / len(values))
    return theory, (np.sort(values) - values.mean()) / values.std(ddof=1)
