"""Real files that break readers, where the folder with them lies beside the checkout: each as its manifest says."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from defnet_infer import photos
from defnet_infer.errors import PhotoError

MESSY = Path(__file__).resolve().parents[3] / "shared" / "data" / "messy"
pytestmark = pytest.mark.skipif(not MESSY.is_dir(), reason="needs the messy photos beside the checkout")


def manifest(expected: str) -> list[Path]:
    with (MESSY / "manifest.tsv").open(newline="", encoding="utf-8") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return [MESSY / row["category"] / row["file"] for row in rows if row["expected"] == expected]


def outcome(path: Path) -> str:
    try:
        pixels = photos.decode(path).pixels
    except PhotoError as error:
        assert 0 < len(str(error)) < 200
        assert "\n" not in str(error)
        return "FAIL"
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
    return "OK"


@pytest.mark.parametrize("expected", ["OK", "FAIL"])
def test_good_files_are_read_and_bad_ones_refused(expected: str) -> None:
    wrong = [path.name for path in manifest(expected) if outcome(path) != expected]
    assert wrong == []


def test_files_that_may_go_either_way_and_bombs_neither_crash_nor_print(capfd: pytest.CaptureFixture[str]) -> None:
    files = manifest("EITHER") + manifest("LIMIT")
    assert {outcome(path) for path in files} == {"OK", "FAIL"}
    assert capfd.readouterr() == ("", "")


def test_eight_lossless_orientations_give_identical_pixels() -> None:
    first, *others = (photos.decode(MESSY / "generated" / f"exif_lossless_{k}.png").pixels for k in range(1, 9))
    assert first.shape == (768, 512, 3)
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("shape", ["Landscape", "Portrait"])
def test_camera_orientations_give_nearly_identical_pixels(shape: str) -> None:
    upright = [photos.decode(MESSY / "exif" / f"{shape}_{k}.jpg").pixels for k in range(9)]
    for other in upright:
        assert np.abs(other.astype(int) - upright[1]).mean() < 8


@pytest.mark.parametrize("other", ["gray16.png", "gray8_as_rgb.png"])
def test_the_gray_photo_is_the_same_in_every_depth(other: str) -> None:
    gray = photos.decode(MESSY / "generated" / "gray8.png").pixels
    assert np.array_equal(gray, photos.decode(MESSY / "generated" / other).pixels)


@pytest.mark.parametrize("other", ["rgba_opaque.png", "exif_lossless_1.png"])
def test_the_colour_photo_is_the_same_with_an_opaque_alpha_channel(other: str) -> None:
    colour = photos.decode(MESSY / "generated" / "png_named.jpg").pixels
    assert np.array_equal(colour, photos.decode(MESSY / "generated" / other).pixels)
