"""Models trained without a part of the rated photos: who sees what, and that a stopped run does not do them twice."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from pathlib import Path

import pytest

from defnet_infer.errors import UsageError
from defnet_train.config import CalibrationConfig, RunConfig, TrainConfig, apply_overrides
from defnet_train.conformal import calibrate
from defnet_train.folds import deal
from defnet_train.listener import Interrupted
from defnet_train.loop import train
from defnet_train.plan import lines, make_plan
from defnet_train.records import ImageRecord
from defnet_train.run_data import RunData, load_data
from tests.train.conftest import Recorder, Run


def mixed_data() -> RunData:
    """60 photos of clive, 40 of kadid in groups of 4, 10 copies nobody rated."""
    about = {"mos": 0.0, "target": 2.0, "labels": None}
    clive = [ImageRecord(dataset="clive", path=Path(f"c{i}"), group=f"c{i}", **about) for i in range(60)]
    kadid = [ImageRecord(dataset="kadid", path=Path(f"k{i}"), group=f"k{i // 4}", **about) for i in range(40)]
    unrated = {"mos": 0.0, "target": None, "labels": None}
    copies = [ImageRecord(dataset="synthetic", path=Path("s"), group="s", **unrated) for _ in range(10)]
    parts = {"train": [*range(50), *range(64, 110)], "val": [*range(50, 55), *range(60, 64)], "test": [*range(55, 60)]}
    return RunData([*clive, *kadid, *copies], parts)


def test_every_rated_photo_of_training_and_validation_is_in_one_fold() -> None:
    data = mixed_data()
    folds = deal(data, 5, seed=3)
    assert sorted(index for fold in folds for index in fold) == [*range(55), *range(60, 100)]
    assert max(map(len, folds)) - min(map(len, folds)) <= 4, "a group is dealt whole"
    for name in ("clive", "kadid"):
        sizes = [sum(data.records[index].dataset == name for index in fold) for fold in folds]
        assert max(sizes) - min(sizes) <= 4
    where = {data.records[index].group: set() for fold in folds for index in fold}
    for number, fold in enumerate(folds):
        for index in fold:
            where[data.records[index].group].add(number)
    assert all(len(numbers) == 1 for numbers in where.values())
    assert deal(data, 5, seed=3) == folds != deal(data, 5, seed=4)


@pytest.fixture(scope="module")
def in_folds(smoke_run: Run) -> TrainConfig:
    short = dataclasses.replace(smoke_run.config.optim, epochs=2, steps_per_epoch=3, checkpoint_choice="last")
    return dataclasses.replace(smoke_run.config, optim=short, calibration=CalibrationConfig(folds=3))


class StopIn(Recorder):
    """Asks the run to stop in a stage."""

    def __init__(self, name: str, stop: threading.Event) -> None:
        super().__init__()
        self._name, self._stop, self.names = name, stop, []

    def stage(self, name: str, total: int) -> None:
        super().stage(name, total)
        self.names.append(name)
        if name == self._name:
            self._stop.set()


def test_the_interval_is_fitted_on_what_each_model_has_not_seen(
    smoke_run: Run, in_folds: TrainConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def spy(model, held_out, *rest):  # type: ignore[no-untyped-def]
        seen.append((model, held_out))
        return calibrate(model, held_out, *rest)

    monkeypatch.setattr("defnet_train.loop.calibrate", spy)
    result = train(in_folds, smoke_run.release.root, tmp_path / "run", Recorder(), "cpu")
    (model, held_out), data = seen[0], load_data(in_folds, smoke_run.release.root)
    photos = Counter(index for _, part in held_out.parts for index in part)
    assert photos == Counter([*data.rated("train"), *data.rated("val")])
    assert result["calibration_photos"] == len(photos) > len(data.rated("val"))
    assert result["out_of_fold"]["photos"] == len(photos)
    assert result["out_of_fold"]["coverage"] >= 0.95, "by construction"
    assert result["out_of_fold"]["srcc"] != result["val"]["srcc"]
    assert len(held_out.parts) == 3
    weights = [scorer.state_dict()["heads.quality.affine.weight"] for scorer, _ in held_out.parts]
    assert not (weights[0] == weights[1]).all(), "trained on other photos"
    assert all(scorer is not model for scorer, _ in held_out.parts)
    assert not list((tmp_path / "run").glob("fold-*")), "they have done what they were for"
    plain = dataclasses.replace(in_folds, calibration=CalibrationConfig())
    alone = train(plain, smoke_run.release.root, tmp_path / "plain", Recorder(), "cpu")
    assert "out_of_fold" not in alone
    assert alone["calibration_photos"] == len(data.rated("val"))
    assert alone["calibration"] != result["calibration"]
    assert alone["test"]["srcc"] == result["test"]["srcc"], "the run's own model is the same"


def test_a_run_stopped_in_a_fold_goes_on_with_it(smoke_run: Run, in_folds: TrainConfig, tmp_path: Path) -> None:
    whole = train(in_folds, smoke_run.release.root, tmp_path / "whole", Recorder(), "cpu")
    stop = threading.Event()
    with pytest.raises(Interrupted, match="in fold 2 of 3"):
        train(in_folds, smoke_run.release.root, tmp_path / "run", StopIn("fold 2/3", stop), "cpu", stop=stop)
    assert (tmp_path / "run" / "fold-0.safetensors").is_file()
    after = StopIn("", threading.Event())
    resumed = train(in_folds, smoke_run.release.root, tmp_path / "run", after, "cpu", resume=True)
    assert [name for name in after.names if name.startswith("fold")] == ["fold 2/3", "fold 3/3"]
    assert resumed == whole


def test_folds_that_cannot_be_are_refused(smoke_run: Run) -> None:
    with pytest.raises(UsageError, match=r"calibration\.folds = 1 would leave nothing"):
        apply_overrides(smoke_run.config, ["calibration.folds=1"])
    with pytest.raises(UsageError, match=r"one process; set run\.devices = 1"):
        TrainConfig(calibration=CalibrationConfig(folds=3), run=RunConfig(devices=2))


def test_the_plan_says_what_folds_cost(smoke_run: Run, in_folds: TrainConfig) -> None:
    data = load_data(in_folds, smoke_run.release.root)
    assert "2 epochs of 3 = 6" in "\n".join(lines(make_plan(in_folds, data)))
    assert "; 3 times as many again for models that calibrate" in "\n".join(lines(make_plan(in_folds, data)))
