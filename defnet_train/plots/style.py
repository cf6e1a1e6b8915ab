"""How every figure looks, and how it is saved: PNG to show, SVG to print. No window, no global state.

Colours are those of Okabe and Ito, which people with any colour vision can tell apart; series also differ in
marker or line, so that a figure survives a gray printer.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, RED, GRAY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
PANEL_INCHES = 3.6
SETTINGS = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E4E4E4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "text.parse_math": False,  # names of photos and models may hold dollar signs, which mean nothing
    "svg.fonttype": "none",  # text stays text: searchable, and in the reader's font
    "svg.hashsalt": "defnet",  # the same figure gives the same bytes
}

in_house_style = mpl.rc_context(SETTINGS)
"""Decorates whatever draws: most settings are read when a legend or an axis is made."""


def panels(count: int, columns: int = 3, title: str = "") -> tuple[Figure, list[Axes]]:
    """An empty figure with `count` square panels, row by row."""
    columns = min(count, columns)
    rows = -(-count // columns)
    figure = Figure(figsize=(PANEL_INCHES * columns, PANEL_INCHES * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel().tolist()
    for unused in axes[count:]:
        unused.remove()
    if title:
        figure.suptitle(title, fontsize=11)
    return figure, axes[:count]


@in_house_style
def save(figure: Figure, folder: Path, name: str) -> list[Path]:
    """Write NAME.png and NAME.svg; the folder is made. Letters that the font lacks are boxes in the PNG."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.png", folder / f"{name}.svg"]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from ")
        figure.savefig(paths[0], dpi=150)
        figure.savefig(paths[1], metadata={"Date": None})
    return paths
