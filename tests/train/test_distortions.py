"""Synthetic distortions: reproducible, ordered by level, and mapped to the classes of the label files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defnet_infer.errors import DatasetError
from defnet_infer.taxonomy import DISTORTIONS
from defnet_train.distortion_effects import Pixels
from defnet_train.distortions import DISTORTION_KINDS, LEVELS, distort
from defnet_train.labels import DISTORTION_IDS
from defnet_train.synthetic import load_distorted

RANDOM_KINDS = (
    *("motion", "white noise", "white with color", "impulse", "multiplicative", "white noise with denoise"),
    *("white balance", "jitter", "color blocking", "noneccentricity patch"),
)
every_kind = pytest.mark.parametrize("kind", DISTORTION_KINDS)


@pytest.fixture(scope="module")
def photo() -> Pixels:
    """Coloured areas with sharp edges under texture whose spectrum falls like that of natural photos."""
    rng = np.random.default_rng(7)
    height, width = 160, 208
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)) + 1 / width
    spectrum = np.fft.rfft2(rng.standard_normal((height, width))) / frequency
    texture = np.fft.irfft2(spectrum, (height, width))
    pixels = 120 + 22 * (texture / texture.std())[..., None] * np.array([1, 0.9, 0.8])
    y, x = np.mgrid[:height, :width]
    pixels[np.hypot(y - 70, x - 60) < 40] += (50, 10, -50)
    pixels[(x > 120) & (y > 40) & (y < 130)] += (-40, 20, 60)
    return np.clip(pixels, 0, 255).astype(np.uint8)


@every_kind
def test_the_same_seed_gives_the_same_bytes(kind: str, photo: Pixels) -> None:
    assert np.array_equal(distort(photo, kind, 3, "a.png"), distort(photo, kind, 3, "a.png"))


@pytest.mark.parametrize("kind", RANDOM_KINDS)
def test_another_seed_gives_other_bytes(kind: str, photo: Pixels) -> None:
    assert not np.array_equal(distort(photo, kind, 3, "a.png"), distort(photo, kind, 3, "b.png"))


def test_the_mean_moves_up_for_some_seeds_and_down_for_others(photo: Pixels) -> None:
    brighter = {bool(distort(photo, "shifting the mean", 1, seed).mean() > photo.mean()) for seed in range(12)}
    assert brighter == {True, False}


def test_two_kinds_of_noise_do_not_share_their_random_numbers(photo: Pixels) -> None:
    gray = np.full_like(photo, 128)
    white, relative = (distort(gray, kind, 1, 0).astype(float).ravel() for kind in ("white noise", "multiplicative"))
    assert abs(np.corrcoef(white, relative)[0, 1]) < 0.05


def test_a_higher_level_is_the_same_noise_amplified(photo: Pixels) -> None:
    gray = np.full_like(photo, 128)
    weak, strong = (distort(gray, "white noise", level, 0).astype(float).ravel() for level in (2, 3))
    assert np.corrcoef(weak, strong)[0, 1] > 0.99


@pytest.mark.parametrize("kind", ["impulse", "color blocking"])
def test_a_higher_level_keeps_what_a_lower_one_hit(kind: str, photo: Pixels) -> None:
    weak, strong = distort(photo, kind, 2, 0), distort(photo, kind, 4, 0)
    hit = weak != photo
    assert hit.any()
    assert np.array_equal(strong[hit], weak[hit])


@every_kind
@pytest.mark.parametrize("shape", [(37, 53), (53, 37), (1, 1)])
def test_shape_and_type_are_kept_at_any_size(kind: str, shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    for level in LEVELS:
        damaged = distort(pixels, kind, level, 0)
        assert (damaged.shape, damaged.dtype) == (pixels.shape, np.uint8)


@every_kind
@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_flat_gray_photo_is_no_error(kind: str, value: int) -> None:
    pixels = np.full((40, 60, 3), value, np.uint8)
    assert distort(pixels, kind, 5, 0).shape == pixels.shape


@every_kind
def test_the_photo_itself_is_left_alone(kind: str, photo: Pixels) -> None:
    pixels = photo.copy()
    pixels.flags.writeable = False  # As `decode` hands them out.
    damaged = distort(pixels, kind, 5, 0)
    assert np.array_equal(pixels, photo)
    assert not np.shares_memory(pixels, damaged)
    assert damaged.flags.writeable


@every_kind
def test_every_level_is_farther_from_the_photo_than_the_one_below(kind: str, photo: Pixels) -> None:
    errors = [distort(photo, kind, level, "photo.png").astype(float) - photo for level in LEVELS]
    for distances in ([np.abs(error).mean() for error in errors], [np.square(error).mean() for error in errors]):
        assert np.all(np.diff([0, *distances]) > 0), distances


def test_a_blur_of_any_shape_keeps_the_mean_and_spreads_a_point(photo: Pixels) -> None:
    point = np.zeros((101, 101, 3), np.uint8)
    point[48:53, 48:53] = 255
    for kind in ("gaussian blur", "lens", "motion"):
        spread = [np.count_nonzero(distort(point, kind, level, 0)[..., 0]) for level in LEVELS]
        assert np.all(np.diff(spread) > 0), kind
        assert distort(photo, kind, 3, 0).mean() == pytest.approx(photo.mean(), abs=0.5), kind
        centre = np.argwhere(distort(point, kind, 4, 0)[..., 0]).mean(0)
        assert centre == pytest.approx([50, 50], abs=0.3), f"{kind} must not move the photo"


def test_every_coarse_class_is_reached() -> None:
    assert {kind.coarse for kind in DISTORTION_KINDS.values()} == set(DISTORTIONS)


def test_a_name_that_label_files_use_means_their_class() -> None:
    shared = [kind for kind in DISTORTION_KINDS.values() if kind.name in DISTORTION_IDS]
    assert len(shared) == len(DISTORTION_KINDS) - 4
    assert {kind.name: kind.coarse for kind in shared} == {
        kind.name: DISTORTIONS[DISTORTION_IDS[kind.name]] for kind in shared
    }


@pytest.mark.parametrize(
    ("kind", "coarse"),
    [
        ("webp compression", "JPEG"),
        ("contrast loss", "contrast"),
        ("contrast excess", "contrast"),
        ("white balance", "color"),
    ],
)
def test_a_name_that_label_files_lack_has_the_closest_class(kind: str, coarse: str) -> None:
    assert DISTORTION_KINDS[kind].coarse == coarse


def test_an_unknown_kind_names_the_known_ones(photo: Pixels) -> None:
    with pytest.raises(DatasetError, match=r"'fog'; known: gaussian blur, .*noneccentricity patch"):
        distort(photo, "fog", 1, 0)


@pytest.mark.parametrize("level", [-1, 0, 6])
def test_an_unknown_level_names_the_known_ones(level: int, photo: Pixels) -> None:
    with pytest.raises(DatasetError, match=rf"level {level}; known: 1, 2, 3, 4, 5"):
        distort(photo, "lens", level, 0)


def test_a_file_is_damaged_by_its_name_and_level_0_is_the_photo(photo: Pixels, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(photo).save(path)
    assert np.array_equal(load_distorted(path, "jitter", 0), photo)
    assert np.array_equal(load_distorted(path, "jitter", 2), distort(photo, "jitter", 2, "photo.png"))
