"""Speed, memory and agreement as one figure.

python plot.py RESULTS.json FOLDER
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter
from table import Tool, median

from defnet_train.plots.style import BLUE, GRAY, GREEN, ORANGE, RED, in_house_style, panels, save

COLOURS = {Tool.PYIQA: GRAY, Tool.FLOAT32: BLUE, Tool.INT8: GREEN, Tool.BUILTIN: ORANGE}
HATCHES = {Tool.PYIQA: "", Tool.FLOAT32: "//", Tool.INT8: "xx", Tool.BUILTIN: ".."}
BAR = 0.19


def bars(axis: Axes, figures: dict[str, Any], key: str, form: str) -> None:
    """A group of bars a size, each with its figure on top."""
    sizes = list(figures["agreement"])
    for place, (tool, colour) in enumerate(COLOURS.items()):
        at = [k + (place - 1.5) * BAR for k in range(len(sizes))]
        heights = [median(figures, tool, size, key) for size in sizes]
        drawn = axis.bar(at, heights, BAR, color=colour, hatch=HATCHES[tool], edgecolor="white", label=str(tool))
        axis.bar_label(drawn, fmt=form, fontsize=6, padding=1)
    axis.set_xticks(range(len(sizes)), [size.replace("x", " × ") for size in sizes])
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter(NullFormatter())
    axis.grid(visible=False, axis="x")


@in_house_style
def draw(figures: dict[str, Any]) -> Figure:
    """Three panels: photos per second, peak memory, and differences of scores over the scores."""
    figure, (speed, memory, agreement) = panels(3)
    figure.set_size_inches(11.5, 3.9)
    bars(speed, figures, "photos_per_second", "%.2g")
    speed.set(title="photos per second", xlabel="photo, pixels")
    bars(memory, figures, "peak_mib", "%.0f")
    memory.set(title="peak memory, MiB", xlabel="photo, pixels")
    for marker, (size, photos) in zip("os^", figures["agreement"].items(), strict=True):
        # A difference of nothing has no place on a logarithmic axis.
        floor = [max(photo["score_difference"], 1e-8) for photo in photos]
        scores = [photo["pyiqa"] for photo in photos]
        agreement.plot(
            scores, floor, marker, color=BLUE, markersize=4, fillstyle="none", label=size.replace("x", " × ")
        )
    agreement.axhline(1e-4, color=RED, linewidth=1, linestyle="--")
    agreement.set(title="|defnet - pyiqa|, float32; dashed: bound", xlabel="pyiqa's LIQE score", yscale="log")
    agreement.set(xlim=(0.9, 5.1), ylim=(5e-9, 3e-4))
    agreement.legend(fontsize=7, loc="upper left", bbox_to_anchor=(0, 0.85))
    handles, names = speed.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    save(draw(json.loads(arguments.results.read_text())), arguments.folder, "peers")


if __name__ == "__main__":
    main()
