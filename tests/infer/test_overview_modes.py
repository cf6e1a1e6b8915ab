"""How a photo becomes a square: three ways that see different parts of it, and the contract that names them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from defnet_infer import views
from defnet_infer.contract import Contract, Preprocess


def half_and_half(width: int, height: int) -> np.ndarray:
    """Left third red, middle third green, right third blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    for third in range(3):
        pixels[:, third * width // 3 : (third + 1) * width // 3, third] = 200
    return pixels


def overview(pixels: np.ndarray, mode: str) -> np.ndarray:
    return views.overview(pixels, Preprocess(overview_mode=mode))  # type: ignore[arg-type]


def test_a_center_crop_sees_the_middle_only() -> None:
    made = overview(half_and_half(900, 300), "center_crop")
    assert made.shape == (224, 224, 3)
    assert (made == (0, 200, 0)).all()
    tall = overview(half_and_half(900, 300).transpose(1, 0, 2).copy(), "center_crop")
    assert (tall == (0, 200, 0)).all()


def test_a_letterbox_sees_everything_between_gray_bars() -> None:
    made = overview(half_and_half(900, 300), "letterbox")
    height = 300 * 224 // 900
    top = (224 - height) // 2
    assert (made[:top] == 128).all()
    assert (made[top + height :] == 128).all()
    inside = made[top : top + height]
    by_pillow = Image.fromarray(half_and_half(900, 300)).resize((224, height), Image.Resampling.BICUBIC)
    assert np.array_equal(inside, np.asarray(by_pillow))


def test_squashing_sees_everything_and_no_bars() -> None:
    made = overview(half_and_half(900, 300), "squash")
    assert [made[112, column].argmax() for column in (20, 112, 204)] == [0, 1, 2]
    assert not (made == 128).all(axis=-1).any()


@pytest.mark.parametrize("mode", ["squash", "center_crop", "letterbox"])
@pytest.mark.parametrize("size", [(1, 900), (900, 1), (224, 224), (1, 1)])
def test_every_mode_makes_a_square_of_any_photo(mode: str, size: tuple[int, int]) -> None:
    pixels = np.full((size[1], size[0], 3), 77, np.uint8)
    made = overview(pixels, mode)
    assert made.shape == (224, 224, 3)
    assert (made[111:113, 111:113] == 77).all(axis=-1).any(), "what is there of it is in the middle"


def test_all_modes_agree_on_a_square_photo() -> None:
    pixels = half_and_half(300, 300)
    squash, center, letterbox = (overview(pixels, mode) for mode in ("squash", "center_crop", "letterbox"))
    assert np.array_equal(squash, center)
    assert np.array_equal(squash, letterbox)


def test_the_contract_carries_the_mode() -> None:
    contract = Contract(encoder="x", prompt_preset="paper", preprocess=Preprocess(overview_mode="letterbox"))
    assert Contract.from_json(contract.to_json()) == contract
    assert contract.fingerprint != Contract(encoder="x", prompt_preset="paper").fingerprint
