"""The tones of a view: partial moments of its histogram, held against NumPy on 8-bit pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defnet_train.distortions import distort
from defnet_train.tones import BRIGHTNESS, COLOUR, FLOOR, STRIDE, Tones
from tests.conftest import picture

MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)


def tones_of(pixels_HWC: np.ndarray) -> np.ndarray:
    planes = torch.tensor(pixels_HWC).permute(2, 0, 1)[None] / 255
    normalised = (planes - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    return Tones(MEAN, STD)(normalised)[0].numpy()


def named() -> dict[str, slice]:
    """Where each kind of tone lies; colours alternate between the two sides of a threshold."""
    above, below = slice(0, len(BRIGHTNESS)), slice(len(BRIGHTNESS), 2 * len(BRIGHTNESS))
    return {"above": above, "below": below, "colour": slice(2 * len(BRIGHTNESS), None)}


def test_tones_are_logarithms_of_what_lies_beyond_each_threshold_on_average() -> None:
    pixels = picture(224, 224, 3)
    seen = pixels[::STRIDE, ::STRIDE].reshape(-1, 3).astype(float)
    red, green, blue = seen.T
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    beyond = [np.clip(luma - level, 0, None).mean() for level in BRIGHTNESS]
    beyond += [np.clip(level - luma, 0, None).mean() for level in BRIGHTNESS]
    for axis in (red - green, (red + green) / 2 - blue):
        for level in COLOUR:
            beyond += [np.clip(axis - level, 0, None).mean(), np.clip(-axis - level, 0, None).mean()]
    found = tones_of(pixels)
    assert found.shape == (Tones.width,)
    np.testing.assert_allclose(found, np.log(np.array(beyond) / 255 + FLOOR), atol=1e-4)
    assert len(np.unique(found.round(3))) > Tones.width / 2, "not a degenerate picture"


def test_above_less_below_a_threshold_is_the_mean_brightness() -> None:
    """E max(x - t, 0) - E max(t - x, 0) = E x - t, whatever t is."""
    pixels = picture(224, 224, 5)
    where = named()
    moments = np.exp(tones_of(pixels)) - FLOOR
    means = moments[where["above"]] - moments[where["below"]] + np.array(BRIGHTNESS) / 255
    expected = (pixels[::STRIDE, ::STRIDE] @ np.array([0.299, 0.587, 0.114])).mean() / 255
    np.testing.assert_allclose(means, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("kind", "grows", "shrinks"),
    [("brighten", "above", "below"), ("darken", "below", "above"), ("oversaturation", "colour", None)],
)
def test_each_damage_to_tones_moves_those_it_should(kind: str, grows: str, shrinks: str | None) -> None:
    pixels = picture(224, 224, 7)
    change = tones_of(distort(pixels, kind, 4, 0)) - tones_of(pixels)
    assert change[named()[grows]].mean() > 0.1
    if shrinks:
        assert change[named()[shrinks]].mean() < -0.1


def test_a_gray_view_has_no_colour() -> None:
    gray = np.repeat(picture(224, 224, 1)[..., :1], 3, axis=2)
    np.testing.assert_allclose(tones_of(gray)[named()["colour"]], np.log(FLOOR), atol=1e-3)
