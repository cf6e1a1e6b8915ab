"""Dynamic weight averaging: the first epochs by hand."""

from __future__ import annotations

import math

import pytest

from defnet_train.weighting import DynamicWeights

TASKS = ("quality", "scene", "distortion")


def losses(quality: float, scene: float, distortion: float) -> dict[str, float]:
    return {"quality": quality, "scene": scene, "distortion": distortion}


def test_the_first_two_epochs_weigh_all_tasks_one() -> None:
    weights = DynamicWeights(TASKS)
    assert weights.weights() == losses(1, 1, 1)
    weights.end_epoch(losses(0.4, 0.2, 0.8))
    assert weights.weights() == losses(1, 1, 1)


def test_the_third_epoch_follows_the_ratio_of_the_two_before() -> None:
    weights = DynamicWeights(TASKS)
    weights.end_epoch(losses(0.4, 0.2, 0.8))
    weights.end_epoch(losses(0.2, 0.18, 0.6))
    powers = [math.exp(0.5 / 2), math.exp(0.9 / 2), math.exp(0.75 / 2)]
    expected = losses(*(3 * power / sum(powers) for power in powers))
    assert weights.weights() == pytest.approx(expected, rel=1e-12)


def test_the_fourth_epoch_forgets_the_first() -> None:
    weights = DynamicWeights(TASKS)
    for first in (99.0, 0.4, 0.2):
        weights.end_epoch(losses(first, 0.2, 0.8))
    powers = [math.exp(0.5 / 2), math.exp(1 / 2), math.exp(1 / 2)]
    expected = losses(*(3 * power / sum(powers) for power in powers))
    assert weights.weights() == pytest.approx(expected, rel=1e-12)


def test_the_task_that_falls_slowest_gets_the_largest_weight() -> None:
    weights = DynamicWeights(TASKS)
    weights.end_epoch(losses(1.0, 1.0, 1.0))
    weights.end_epoch(losses(0.1, 0.9, 0.5))
    by_weight = sorted(TASKS, key=weights.weights().__getitem__)
    assert by_weight == ["quality", "distortion", "scene"]
    assert sum(weights.weights().values()) == pytest.approx(3)


def test_a_task_without_labels_does_not_break_the_weights() -> None:
    weights = DynamicWeights(TASKS)
    weights.end_epoch(losses(0.4, 0.0, 0.0))
    weights.end_epoch(losses(0.4, 0.0, 0.0))
    assert weights.weights() == pytest.approx(losses(1, 1, 1))


def test_a_loss_that_passes_through_zero_does_not_break_the_weights() -> None:
    # A negative log likelihood may: the ratio of its last two means is then nothing one can exponentiate.
    weights = DynamicWeights(TASKS)
    weights.end_epoch(losses(0.4, 1e-9, 0.8))
    weights.end_epoch(losses(0.2, 3.0, 0.6))
    assert sum(weights.weights().values()) == pytest.approx(3)
    weights.end_epoch(losses(-0.4, -5e9, -1e9))
    assert all(math.isfinite(value) and value >= 0 for value in weights.weights().values())
    assert sum(weights.weights().values()) == pytest.approx(3)
