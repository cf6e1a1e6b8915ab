"""Which epoch is kept: by quality alone, or by all three tasks."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from defnet_train.batches import FeatureViews
from defnet_train.epochs import Epochs
from defnet_train.evaluation import predict
from defnet_train.labels import Labels
from defnet_train.listener import Silent
from defnet_train.records import ImageRecord
from defnet_train.run_data import RunData
from defnet_train.run_directory import RunDirectory
from defnet_train.safe_write import write_json
from defnet_train.selection import checkpoint_figure
from tests.train.conftest import TINY
from tests.train.test_trainer import config_with, trainer_of


def photo(dataset: str, labels: Labels | None, score: float = 3.0) -> ImageRecord:
    return ImageRecord(dataset=dataset, path=Path("x"), mos=score, target=score, group="g", labels=labels)


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


def test_an_epoch_is_kept_for_the_figure_that_was_chosen_and_logged_with_its_correlation(tmp_path: Path) -> None:
    short = ("optim.epochs=1", "optim.steps_per_epoch=2")
    config = config_with(f"model.tower={TINY}", "optim.checkpoint_choice=avg_best", *short)
    trainer = trainer_of(config)
    source = FeatureViews(torch.randn(15, 2, 16, trainer.model.encoder.trunk.num_features))
    found = [photo("bid", Labels((k % 9,), k % 11), 1 + k / 4) for k in range(15)]
    data = RunData(found, {"train": [], "val": list(range(15)), "test": []})
    run = RunDirectory(tmp_path)
    about = {"config": config.to_dict(), "root": "", "init": None, "data": {}, "provenance": {}}
    write_json(run.config_file, about)
    Epochs(trainer.fabric, config, run, trainer, source, data, Silent(), threading.Event()).run_all()
    outputs = predict(trainer.model, source, range(15))
    right = [np.mean(outputs["scene"].argmax(1) == np.arange(15) % 9)]
    right.append(np.mean(outputs["distortion"].argmax(1) == np.arange(15) % 11))
    correlation = spearmanr(outputs["score"], np.arange(15)).statistic
    assert trainer.position.entries[0]["val_srcc"] == pytest.approx(correlation)
    assert trainer.position.best_figure == pytest.approx((correlation + sum(right)) / 3)
    assert trainer.position.best_figure != pytest.approx(correlation, abs=0.05)
