"""Which epoch is kept: by quality alone, or by all three tasks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from defnet_train.labels import Labels
from defnet_train.records import ImageRecord
from defnet_train.selection import checkpoint_figure
from tests.train.conftest import TINY
from tests.train.test_trainer import config_with, trainer_of


def photo(dataset: str, labels: Labels | None) -> ImageRecord:
    return ImageRecord(dataset=dataset, path=Path("x"), mos=3.0, target=3.0, group="g", labels=labels)


RECORDS = [
    photo("bid", Labels((0,), 0)),
    photo("bid", Labels((1,), 1)),
    photo("bid", Labels((2,), 2)),
    photo("clive", Labels((3,), 3)),
    photo("clive", None),
]
# Scenes: 2 of 3 right in bid, 0 of 1 in clive. Distortions: 3 of 3 and 1 of 1.
OUTPUTS = {
    "scene": np.eye(9, dtype=np.float32)[[0, 1, 5, 0, 0]],
    "distortion": np.eye(11, dtype=np.float32)[[0, 1, 2, 3, 9]],
}


def test_quality_best_looks_at_the_correlation_alone() -> None:
    assert checkpoint_figure("quality_best", 0.4, OUTPUTS, RECORDS) == 0.4


def test_last_is_the_last_epoch_and_not_the_best() -> None:
    kept = {}
    for choice in ("quality_best", "last"):
        trainer = trainer_of(config_with(f"model.tower={TINY}", f"optim.checkpoint_choice={choice}"))
        for figure in (0.2, 0.7, 0.5):
            trainer.position.sums, trainer.position.step = {"quality": 1.0, "scene": 1.0, "distortion": 1.0}, 1
            trainer.end_epoch({}, figure)
        kept[choice] = trainer.position.best_epoch
    assert kept == {"quality_best": 1, "last": 2}


def test_avg_best_is_the_mean_of_three_means_over_data_sets() -> None:
    expected = (0.4 + (2 / 3 + 0) / 2 + 1.0) / 3
    assert checkpoint_figure("avg_best", 0.4, OUTPUTS, RECORDS) == pytest.approx(expected)


def test_avg_best_leaves_out_what_the_model_or_the_labels_do_not_have() -> None:
    without_scene = {"distortion": OUTPUTS["distortion"]}
    assert checkpoint_figure("avg_best", 0.4, without_scene, RECORDS) == pytest.approx((0.4 + 1.0) / 2)
    unlabelled = [photo("bid", None)] * 5
    assert checkpoint_figure("avg_best", 0.4, OUTPUTS, unlabelled) == pytest.approx(0.4)
