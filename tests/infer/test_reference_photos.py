"""The generated pictures are the same everywhere, and exercise what they are there for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defnet_infer import reference_photos
from defnet_infer.photos import decode


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [reference_photos.make(index) for index in range(reference_photos.COUNT)]


def test_they_are_the_pictures_of_this_version_bit_for_bit(pictures: list[np.ndarray]) -> None:
    # Origin: what this module made when version 1 was fixed. Another digest needs another version.
    assert reference_photos.VERSION == 1
    assert reference_photos.sha256(pictures) == "7fffebc9920cedd07acda3d0811a1d98ce243d9cf2a389023bc9f63e7ccec9c6"


def test_sizes_lie_on_all_sides_of_the_rule(pictures: list[np.ndarray]) -> None:
    shorts = {min(picture.shape[:2]) for picture in pictures}
    assert min(shorts) < 224 and 224 in shorts and max(shorts) > 768
    assert any(p.shape[0] > p.shape[1] for p in pictures) and any(p.shape[0] < p.shape[1] for p in pictures)


def test_no_two_are_alike_and_some_are_gray(pictures: list[np.ndarray]) -> None:
    small = [np.asarray(Image.fromarray(p).resize((16, 16)), float).ravel() for p in pictures]
    for k, one in enumerate(small):
        assert all(np.abs(one - other).mean() > 3 for other in small[k + 1 :])
        assert pictures[k].std() > 3
    gray = [k for k, p in enumerate(pictures) if (p == p[:, :, :1]).all()]
    assert gray == [6, 13, 20]


def test_files_of_kind_png_decode_to_exactly_the_pixels_and_jpegs_do_not(
    tmp_path: Path, pictures: list[np.ndarray]
) -> None:
    paths = reference_photos.write_files(tmp_path, 8)
    assert [path.suffix for path in paths].count(".jpg") == 2
    with Image.open(paths[6]) as gray:
        assert gray.mode == "L"
    for index, path in enumerate(paths):
        assert reference_photos.index_of(path.name) == index
        pixels = np.asarray(decode(path).image)
        assert pixels.shape == pictures[index].shape
        assert np.array_equal(pixels, pictures[index]) == (path.suffix == ".png")
