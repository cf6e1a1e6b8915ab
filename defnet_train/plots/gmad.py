"""Pairs of a gMAD competition with their photos (the paper's Figs. 4 and 7)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from defnet_infer import photos
from defnet_train.gmad import Pair
from defnet_train.plots.style import in_house_style

THUMBNAIL = 512
"""Long side, pixels."""


@in_house_style
def gmad_figure(pairs: Sequence[Pair], folder: Path) -> Figure:
    """A column a level, a block of two rows a defender: above the photo that the attacker prefers.

    Args:
        pairs: As `gmad.pairs` gives them.
        folder: What their paths are relative to.

    Raises:
        DatasetError: If a photo cannot be decoded.
    """
    defenders = list(dict.fromkeys(pair.defender for pair in pairs))
    levels = list(dict.fromkeys(pair.level for pair in pairs))
    figure = Figure(figsize=(3.0 * len(levels), 5.8 * len(defenders)), layout="constrained")
    blocks = figure.subfigures(len(defenders), 1, squeeze=False)[:, 0]
    for block, defender in zip(blocks, defenders, strict=True):
        of_block = [pair for pair in pairs if pair.defender == defender]
        block.suptitle(f"equal for {defender}, different for {of_block[0].attacker}", fontsize=11)
        axes = block.subplots(2, len(levels), squeeze=False)
        for column, pair in enumerate(of_block):
            for row, name in enumerate((pair.better, pair.worse)):
                axis = axes[row][column]
                axis.imshow(_thumbnail(folder / name))
                axis.set_axis_off()
                axis.set_title(
                    f"{pair.defender} {pair.defender_scores[row]:.2f}   {pair.attacker} "
                    f"{pair.attacker_scores[row]:.2f}\n{Path(name).name}",
                    fontsize=8,
                )
    return figure


def _thumbnail(path: Path) -> Image.Image:
    image = Image.fromarray(photos.decode(path).pixels)
    image.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BICUBIC)
    return image
