"""From upright pixels to what the model sees: 15 crops and one overview, all 224 x 224, 8-bit RGB.

Sizes and rules come from `contract.Preprocess`; this module is their one implementation, used by training,
scoring and the tests of the exported files. Only the windows that are chosen are ever cut out, so memory
does not depend on the number of windows.

Legend: H W height and width, C colour channel, V view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from defnet_infer.contract import Preprocess

Pixels = npt.NDArray[np.uint8]
LETTERBOX_GRAY = 128
Position = tuple[int, int]
"""Left and top edge of a window in the working size, in pixels."""


@dataclass(frozen=True)
class Views:
    """What one photo looks like to the model."""

    crops: Pixels
    """(15, 224, 224, 3)"""
    overview: Pixels
    """(224, 224, 3); (0, 0, 3) for a model that takes none."""
    enlarged: bool
    """The photo was smaller than one crop and had to be enlarged."""


def working_size(width: int, height: int, rule: Preprocess) -> tuple[int, int]:
    """Width and height that crops are cut from: shrunk when both sides are large, enlarged when one is small."""
    short = min(width, height)
    if rule.shrink_short_side and short > rule.shrink_short_side:
        target = rule.shrink_short_side
    elif short < rule.crop_size:
        target = rule.crop_size
    else:
        return width, height
    return width * target // short, height * target // short


def grid(width: int, height: int, rule: Preprocess) -> tuple[int, int, int]:
    """Stride, columns and rows of the window grid over a working size.

    The stride halves until the grid has enough windows for `crop_count` different ones, unless the rule repeats them.
    """
    stride = rule.large_stride if max(width, height) >= rule.large_side else rule.stride
    while True:
        columns = (width - rule.crop_size) // stride + 1
        rows = (height - rule.crop_size) // stride + 1
        if columns * rows >= rule.crop_count or stride == 1 or rule.few_windows == "repeat":
            return stride, columns, rows
        stride //= 2


def window(index: int, stride: int, columns: int) -> Position:
    """Position of the index-th window, row-major."""
    return (index % columns) * stride, (index // columns) * stride


def crop_positions(width: int, height: int, rule: Preprocess) -> list[Position]:
    """The `crop_count` positions that scoring uses, in a working size.

    Fixed, not random: the same photo always gives the same score. A photo with fewer windows than crops,
    at stride 1 or at the rule's own, repeats them in order.
    """
    stride, columns, rows = grid(width, height, rule)
    count = columns * rows
    if count < rule.crop_count:
        chosen = [k % count for k in range(rule.crop_count)]
    elif rule.crop_rule == "every_nth":
        chosen = [k * (count // rule.crop_count) for k in range(rule.crop_count)]
    else:
        chosen = [round(k * (count - 1) / (rule.crop_count - 1)) for k in range(rule.crop_count)]
    return [window(index, stride, columns) for index in chosen]


def cut(photo: Pixels | Image.Image, positions: list[Position], rule: Preprocess) -> Pixels:
    """Cut windows at working-size positions, resizing the photo first where the rule says so.

    Args:
        photo: Upright RGB, an image or (H, W, C) uint8.
        positions: Left and top edges inside `working_size`.
        rule: The preprocessing rule.

    Returns:
        (len(positions), crop_size, crop_size, 3), uint8.
    """
    width, height = _size(photo)
    new_width, new_height = working_size(width, height, rule)
    side = rule.crop_size
    if min(width, height) < side:
        # Enlarging a 1 x 5000 strip whole would make 5000 times its pixels, so each window is enlarged on
        # its own. Pillow samples beyond `box`, hence the window equals that of the whole enlarged photo.
        image = _image(photo)
        x_scale, y_scale = width / new_width, height / new_height
        boxes = [(x * x_scale, y * y_scale, (x + side) * x_scale, (y + side) * y_scale) for x, y in positions]
        return np.stack([np.asarray(_resize(image, (side, side), Image.Resampling.BICUBIC, box)) for box in boxes])
    if (new_width, new_height) != (width, height):
        photo = _resize(_image(photo), (new_width, new_height), Image.Resampling.BILINEAR)
    if isinstance(photo, Image.Image):
        return np.stack([np.asarray(photo.crop((x, y, x + side, y + side))) for x, y in positions])
    return np.stack([photo[y : y + side, x : x + side] for x, y in positions])


def overview(photo: Pixels | Image.Image, rule: Preprocess) -> Pixels:
    """The whole photo as one square view, from the original pixels, (crop_size, crop_size, 3); (0, 0, 3) for none."""
    if rule.overview_mode == "none":
        return np.empty((0, 0, 3), np.uint8)
    image, side = _image(photo), rule.crop_size
    if rule.overview_mode == "letterbox":
        longer = max(image.size)
        new_width, new_height = (max(1, length * side // longer) for length in image.size)
        canvas = np.full((side, side, 3), LETTERBOX_GRAY, np.uint8)
        left, top = (side - new_width) // 2, (side - new_height) // 2
        resized = _resize(image, (new_width, new_height), Image.Resampling.BICUBIC)
        canvas[top : top + new_height, left : left + new_width] = np.asarray(resized)
        return canvas
    if rule.overview_mode == "center_crop":
        short = min(image.size)
        left, top = (image.width - short) // 2, (image.height - short) // 2
        image = image.crop((left, top, left + short, top + short))
    return np.asarray(_resize(image, (side, side), Image.Resampling.BICUBIC))


def make(photo: Pixels | Image.Image, rule: Preprocess) -> Views:
    """All views of one photo.

    Args:
        photo: Upright RGB, an image or (H, W, C) uint8, at least 1 x 1.
        rule: The preprocessing rule of the model's contract.
    """
    width, height = _size(photo)
    size = working_size(width, height, rule)
    return Views(
        crops=cut(photo, crop_positions(*size, rule), rule),
        overview=overview(photo, rule),
        enlarged=min(width, height) < rule.crop_size,
    )


def _resize(
    image: Image.Image,
    size: tuple[int, int],
    resampling: Image.Resampling,
    box: tuple[float, float, float, float] | None = None,
) -> Image.Image:
    """Pillow's `resize`, always across first and then down, rounded to levels in between.

    Pillow before 13 does so too; Pillow 13 goes down first where that is cheaper, as for tall photos. The levels that
    are rounded then differ, and a score by up to 0.01, so the order is not left to the version.
    """
    left, top, right, bottom = box or (0, 0, image.width, image.height)
    # The filters reach at most 2 pixels beyond a box that is enlarged; no box is given where a photo shrinks.
    first, last = max(int(top) - 3, 0), min(math.ceil(bottom) + 3, image.height)
    across = image.resize((size[0], last - first), resampling, (left, first, right, last))
    return across.resize(size, resampling, (0, top - first, size[0], bottom - first))


def _size(photo: Pixels | Image.Image) -> tuple[int, int]:
    return photo.size if isinstance(photo, Image.Image) else (photo.shape[1], photo.shape[0])


def _image(photo: Pixels | Image.Image) -> Image.Image:
    return photo if isinstance(photo, Image.Image) else Image.fromarray(photo)
