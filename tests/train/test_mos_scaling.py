"""Scales of the evidential target: what changes, for which photos, and what never does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from defnet_train.batches import targets_of
from defnet_train.mos_scaling import scaled_targets
from defnet_train.records import ImageRecord


def record(dataset: str, mos: float, target: float | None) -> ImageRecord:
    return ImageRecord(
        dataset=dataset, path=Path("x"), mos=mos, target=target, group=f"{mos}", labels=None, series=target is None
    )


RECORDS = [
    record("clive", 20.0, 1.8),
    record("clive", 60.0, 3.4),
    record("clive", 40.0, 2.6),
    record("clive", 90.0, 4.6),
    record("csiq", 0.25, 2.0),
    record("csiq", 0.75, 4.0),
    record("synthetic", -3.0, None),
]
TRAIN = [0, 1, 2, 4, 5, 6]


def scaled(scaling: str) -> list[float]:
    return scaled_targets(targets_of(RECORDS), TRAIN, scaling).target.tolist()


def test_nominal_leaves_targets_alone() -> None:
    assert scaled("nominal") == pytest.approx([1.8, 3.4, 2.6, 4.6, 2.0, 4.0, 3.0])


def test_observed_spans_the_scores_of_the_training_photos_of_each_data_set() -> None:
    # 90 was not trained on: it must not stretch the scale, and is clipped.
    assert scaled("observed") == pytest.approx([1.0, 5.0, 3.0, 5.0, 1.0, 5.0, 3.0])


def test_raw_is_the_scale_of_the_data_set() -> None:
    assert scaled("raw") == pytest.approx([20.0, 60.0, 40.0, 90.0, 0.25, 0.75, 3.0])


@pytest.mark.parametrize("scaling", ["observed", "raw"])
def test_nothing_but_the_target_changes(scaling: str) -> None:
    before = targets_of(RECORDS)
    after = scaled_targets(before, TRAIN, scaling)
    for name, value in before._asdict().items():
        assert torch.equal(value, getattr(after, name)) is (name != "target"), name


def test_a_data_set_of_equal_scores_keeps_its_nominal_target() -> None:
    alike = [record("bid", 3.0, 3.4), record("bid", 3.0, 3.4)]
    assert scaled_targets(targets_of(alike), [0, 1], "observed").target.tolist() == pytest.approx([3.4, 3.4])
