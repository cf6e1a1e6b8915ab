"""Score against the level of every synthetic distortion: whether it falls, and how steadily."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from defnet_train.metrics import Array
from defnet_train.plots.style import BLUE, GRAY, in_house_style, panels
from defnet_train.records import ImageRecord


@in_house_style
def level_curves(score: Array, records: Sequence[ImageRecord]) -> Figure:
    """A panel a kind: mean over photos, their middle 80 %, and a thin line a photo.

    Args:
        score: Of synthetic copies and their originals, (N,).
        records: The same photos.
    """
    curves = curves_by_kind(score, records)
    figure, axes = panels(len(curves), columns=6)
    figure.set_size_inches(2.1 * min(len(curves), 6), 2.2 * -(-len(curves) // 6))
    for axis, (kind, (levels, scores_PL)) in zip(axes, sorted(curves.items()), strict=True):
        axis.plot(levels, scores_PL.T, color=GRAY, linewidth=0.4, alpha=0.4)
        low, high = np.quantile(scores_PL, [0.1, 0.9], axis=0)
        axis.fill_between(levels, low, high, color=BLUE, alpha=0.15, linewidth=0)
        axis.plot(levels, scores_PL.mean(axis=0), "o-", color=BLUE, markersize=3, linewidth=1.4)
        axis.set(title=kind, xticks=levels, ylim=(0.9, 5.1))
        axis.title.set_fontsize(8)
        axis.tick_params(labelsize=7)
    figure.supxlabel("level of the distortion (0: the original)", fontsize=9)
    figure.supylabel("predicted score", fontsize=9)
    return figure


def curves_by_kind(score: Array, records: Sequence[ImageRecord]) -> dict[str, tuple[list[int], Array]]:
    """Kind -> levels with 0 for the original, and scores (photos, levels) of the photos that have all of them."""
    originals = {r.group: float(s) for r, s in zip(records, score, strict=True) if not r.kind}
    by_kind: dict[str, dict[str, dict[int, float]]] = {}
    for record, value in zip(records, score, strict=True):
        if record.kind:
            of_photo = by_kind.setdefault(record.kind, {}).setdefault(record.group, {0: originals[record.group]})
            of_photo[record.level] = float(value)
    curves = {}
    for kind, of_photos in by_kind.items():
        levels = sorted({level for found in of_photos.values() for level in found})
        whole = [[found[level] for level in levels] for found in of_photos.values() if len(found) == len(levels)]
        curves[kind] = (levels, np.array(whole))
    return curves
