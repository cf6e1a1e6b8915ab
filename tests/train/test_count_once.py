"""Crops that are there again count once, and only those."""

from __future__ import annotations

import pytest
import torch

from defnet_train.joint import CountOnce, JointReadOut


def logits(photos: int, seed: int = 0) -> torch.Tensor:
    return 10 * torch.randn(photos, 15, 495, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("windows", range(1, 16))
def test_windows_shown_again_and_again_count_once_each(windows: int) -> None:
    different = logits(2)[:, :windows]
    shown = different[:, torch.arange(15) % windows]
    weights = CountOnce(15)(shown)
    assert weights.sum(dim=1) == pytest.approx([1, 1])
    for aggregation, expected in (
        ("logit_mean", different.mean(dim=1).softmax(dim=-1)),
        ("prob_mean", different.softmax(dim=-1).mean(dim=1)),
    ):
        found = JointReadOut().photo_joint(shown, aggregation, weights)
        assert torch.allclose(found, expected, atol=1e-6)


def test_a_single_window_that_is_there_twice_is_no_repetition() -> None:
    crops = logits(1)
    crops[:, 7] = crops[:, 2]
    assert CountOnce(15)(crops) == pytest.approx(torch.full((1, 15), 1 / 15))


def test_each_photo_of_a_batch_has_its_own_weights() -> None:
    crops = logits(3)
    crops[1] = crops[1, torch.arange(15) % 4]
    crops[2] = crops[2, :1]
    weights = CountOnce(15)(crops)
    assert weights[0] == pytest.approx(torch.full((15,), 1 / 15))
    assert weights[1].tolist() == pytest.approx([0.25] * 4 + [0.0] * 11)
    assert weights[2].tolist() == pytest.approx([1.0] + [0.0] * 14)


def test_rounding_hides_no_repetition() -> None:
    crops = logits(1)[:, torch.arange(15) % 6]
    noisy = crops + 1e-5 * torch.randn(crops.shape, generator=torch.Generator().manual_seed(1))
    assert CountOnce(15)(noisy)[0].tolist() == pytest.approx([1 / 6] * 6 + [0.0] * 9)
