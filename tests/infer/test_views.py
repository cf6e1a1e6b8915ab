"""Fifteen crops and an overview: where the windows are, and what they show."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from defnet_infer import views
from defnet_infer.contract import Preprocess
from tests.conftest import picture

RULE = Preprocess()


def positions(width: int, height: int) -> list[tuple[int, int]]:
    return views.crop_positions(*views.working_size(width, height, RULE), RULE)


@pytest.mark.parametrize(
    ("size", "working", "stride", "columns", "rows"),
    [
        ((1024, 768), (1024, 768), 48, 17, 12),
        ((512, 384), (512, 384), 32, 10, 6),
        ((4000, 3000), (1024, 768), 48, 17, 12),
        ((3000, 4000), (768, 1024), 48, 12, 17),
        ((900, 700), (900, 700), 32, 22, 15),
        # Three columns and rows at stride 32 are nine windows, too few: 16 gives five times five.
        ((288, 288), (288, 288), 16, 5, 5),
        ((100, 100), (224, 224), 1, 1, 1),
        ((50, 100), (224, 448), 16, 1, 15),
    ],
)
def test_the_window_grid(size: tuple[int, int], working: tuple[int, int], stride: int, columns: int, rows: int) -> None:
    assert views.working_size(*size, RULE) == working
    assert views.grid(*working, RULE) == (stride, columns, rows)


def test_1024_x_768_takes_every_13th_of_its_204_windows() -> None:
    expected = [(48 * (k * 13 % 17), 48 * (k * 13 // 17)) for k in range(15)]
    assert positions(1024, 768) == expected


def test_512_x_384_takes_every_4th_of_its_60_windows() -> None:
    assert positions(512, 384) == [(32 * (k * 4 % 10), 32 * (k * 4 // 10)) for k in range(15)]


def test_288_x_288_takes_the_first_15_of_its_25_windows() -> None:
    assert positions(288, 288) == [(16 * (k % 5), 16 * (k // 5)) for k in range(15)]


@pytest.mark.parametrize("size", [(1024, 768), (512, 384), (288, 288), (228, 228), (300, 4000), (4000, 300), (50, 100)])
def test_fifteen_crops_are_fifteen_different_places_inside_the_photo(size: tuple[int, int]) -> None:
    chosen = positions(*size)
    width, height = views.working_size(*size, RULE)
    assert len(set(chosen)) == 15
    assert all(0 <= x <= width - 224 and 0 <= y <= height - 224 for x, y in chosen)


def test_fifteen_crops_of_a_photo_show_fifteen_different_things() -> None:
    crops = views.make(picture(640, 480), RULE).crops
    assert len({crop.tobytes() for crop in crops}) == 15


def test_a_square_smaller_than_a_crop_repeats_its_only_window() -> None:
    assert positions(100, 100) == [(0, 0)] * 15


def test_a_crop_shows_exactly_the_pixels_at_its_position() -> None:
    pixels = picture(512, 384)
    made = views.make(pixels, RULE)
    for crop, (x, y) in zip(made.crops, positions(512, 384), strict=True):
        assert np.array_equal(crop, pixels[y : y + 224, x : x + 224])
    assert not made.enlarged


def test_large_photos_are_shrunk_before_crops_are_cut() -> None:
    pixels = picture(2048, 1536)
    shrunk = np.asarray(Image.fromarray(pixels).resize((1024, 768), Image.Resampling.BILINEAR))
    x, y = positions(2048, 1536)[7]
    assert np.array_equal(views.make(pixels, RULE).crops[7], shrunk[y : y + 224, x : x + 224])


@pytest.mark.parametrize("size", [(90, 400), (400, 90), (200, 150)])
def test_an_enlarged_window_is_that_of_the_whole_enlarged_photo(size: tuple[int, int]) -> None:
    pixels = picture(*size)
    made = views.make(pixels, RULE)
    whole = Image.fromarray(pixels).resize(views.working_size(*size, RULE), Image.Resampling.BICUBIC)
    for crop, (x, y) in zip(made.crops, positions(*size), strict=True):
        difference = np.abs(crop.astype(int) - np.asarray(whole.crop((x, y, x + 224, y + 224))))
        # One level from the box in 32-bit floats; a second one where both passes round the other way.
        assert difference.max() <= 2
        assert (difference > 1).mean() < 1e-4
        assert (difference > 0).mean() < 0.05
    assert made.enlarged


def test_the_overview_is_the_whole_photo_and_turns_with_it() -> None:
    pixels = np.zeros((300, 600, 3), np.uint8)
    pixels[:150, 300:] = 200
    overview = views.make(pixels, RULE).overview
    assert overview.shape == (224, 224, 3)
    assert (overview[:100, 124:] == 200).all()
    assert (overview[124:] == 0).all()
    turned = views.make(np.ascontiguousarray(np.rot90(pixels)), RULE).overview
    assert np.abs(np.rot90(overview).astype(int) - turned).max() <= 1


@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (3000, 1), (223, 223), (224, 224)])
def test_no_size_is_too_small_or_too_narrow(size: tuple[int, int]) -> None:
    made = views.make(np.full((size[1], size[0], 3), 77, np.uint8), RULE)
    assert made.crops.shape == (15, 224, 224, 3)
    assert (made.crops == 77).all()
    assert (made.overview == 77).all()
    assert made.enlarged == (min(size) < 224)


@pytest.mark.parametrize("size", [(640, 480), (1600, 1200), (100, 300), (1024, 768)])
def test_an_image_gives_the_views_of_its_pixels(size: tuple[int, int]) -> None:
    pixels = picture(*size)
    from_pixels, from_image = views.make(pixels, RULE), views.make(Image.fromarray(pixels), RULE)
    assert np.array_equal(from_pixels.crops, from_image.crops)
    assert np.array_equal(from_pixels.overview, from_image.overview)


@pytest.mark.parametrize("size", [(300, 1500), (1500, 300), (800, 2400)])
def test_a_photo_is_resized_across_and_then_down_whatever_its_shape(size: tuple[int, int]) -> None:
    # Pillow 13 goes down first where that is cheaper, and rounds other levels.
    noise = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    photo, cubic, linear = Image.fromarray(noise), Image.Resampling.BICUBIC, Image.Resampling.BILINEAR
    made = views.make(photo, RULE)
    across_first = photo.resize((224, size[1]), cubic).resize((224, 224), cubic)
    down_first = photo.resize((size[0], 224), cubic).resize((224, 224), cubic)
    assert np.array_equal(made.overview, np.asarray(across_first))
    assert not np.array_equal(made.overview, np.asarray(down_first))
    working = views.working_size(*size, RULE)
    if working != size:
        shrunk = np.asarray(photo.resize((working[0], size[1]), linear).resize(working, linear))
        x, y = positions(*size)[7]
        assert np.array_equal(made.crops[7], shrunk[y : y + 224, x : x + 224])
