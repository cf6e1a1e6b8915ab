"""Models trained without a part of the rated photos: who sees what, and that a stopped run does not do them twice."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from defnet_infer.errors import TrainingError, UsageError
from defnet_train.batches import EVERYTHING, FeatureViews
from defnet_train.checkpoint import save_checkpoint
from defnet_train.config import CalibrationConfig, RunConfig, TrainConfig
from defnet_train.folds import FoldTraining, deal, without_fold
from defnet_train.initial_weights import bare_model
from defnet_train.listener import Interrupted
from defnet_train.loop import train
from defnet_train.model import Defnet
from defnet_train.plan import lines, make_plan
from defnet_train.recipe_file import apply_overrides
from defnet_train.records import ImageRecord
from defnet_train.run_data import RunData, load_data
from defnet_train.run_directory import RunDirectory
from tests.train.conftest import Recorder, Run, StopIn


def photos(dataset: str, count: int, group_of: int = 1, target: float | None = 2.0) -> list[ImageRecord]:
    """Photos in groups of so many; without a target, a series of copies of one photo."""
    return [
        ImageRecord(
            dataset=dataset,
            path=Path(f"{dataset}{i}.png"),
            mos=float(i),
            target=target and 1 + 4 * i / count,
            group=f"{dataset}{i // group_of}",
            labels=None,
            series=target is None,
            kind="" if target or i == 0 else "jpeg compression",
            level=0 if target else i,
        )
        for i in range(count)
    ]


def mixed_data() -> RunData:
    """300 photos in groups of 25, then 60 single ones, then 6 copies nobody rated."""
    records = [*photos("kadid", 300, 25), *photos("clive", 60), *photos("synthetic", 6, 6, None)]
    parts = {"train": [*range(250), *range(300, 345), *range(360, 366)], "val": [*range(250, 275), *range(345, 350)]}
    return RunData(records, {**parts, "test": [*range(275, 300), *range(350, 360)]})


def test_every_rated_photo_of_training_and_validation_is_in_one_fold() -> None:
    data = mixed_data()
    folds = deal(data, 5, seed=3)
    assert sorted(index for fold in folds for index in fold) == [*range(275), *range(300, 350)]
    of_clive = [sum(data.records[index].dataset == "clive" for index in fold) for fold in folds]
    assert of_clive == [10] * 5, "the single photos do not fill up what groups left uneven"
    of_kadid = [sum(data.records[index].dataset == "kadid" for index in fold) for fold in folds]
    assert sorted(of_kadid) == [50, 50, 50, 50, 75], "eleven groups of 25"
    for group in {data.records[index].group for index in range(275)}:
        assert sum(any(data.records[index].group == group for index in fold) for fold in folds) == 1
    assert deal(data, 5, seed=3) == folds != deal(data, 5, seed=4)


def test_more_folds_than_groups_are_refused_before_any_training(in_folds: TrainConfig, smoke_run: Run) -> None:
    with pytest.raises(UsageError, match=r"folds = 12: kadid has only 11 .* take at most 11, or 0"):
        deal(mixed_data(), 12, seed=0)
    many = dataclasses.replace(in_folds, calibration=CalibrationConfig(folds=500))
    with pytest.raises(UsageError, match="clive has only"):
        train(many, smoke_run.release.root, Path("nowhere"), Recorder(), "cpu")
    assert not Path("nowhere").exists()
    with pytest.raises(UsageError, match="clive has only"):
        make_plan(many, load_data(many, smoke_run.release.root))


class Recording(FeatureViews):
    """Remembers which photos were drawn to train on."""

    def __init__(self, features: Sequence[torch.Tensor]) -> None:
        super().__init__(features)
        self.drawn: set[int] = set()

    def draw(
        self, indices: Sequence[int], crops: int, rng: np.random.Generator, share: slice = EVERYTHING
    ) -> tuple[torch.Tensor, torch.Tensor]:
        self.drawn |= set(indices)
        return super().draw(indices, crops, rng, share)


class DrawnByStage(Recorder):
    """Takes down at every stage what was drawn in the one before."""

    def __init__(self, source: Recording) -> None:
        super().__init__()
        self.source, self.by_stage = source, []

    def stage(self, name: str, total: int) -> None:
        super().stage(name, total)
        self.by_stage.append(self.source.drawn)
        self.source.drawn = set()


@pytest.fixture(scope="module")
def in_folds(smoke_run: Run) -> TrainConfig:
    """Two epochs of three steps, and three folds."""
    short = dataclasses.replace(smoke_run.config.optim, epochs=2, steps_per_epoch=3, checkpoint_choice="last")
    return dataclasses.replace(smoke_run.config, optim=short, calibration=CalibrationConfig(folds=3))


@pytest.fixture
def of_features(in_folds: TrainConfig, tmp_path: Path) -> tuple[FoldTraining, Defnet]:
    """Folds of 48 rated photos, 12 for the test part and 6 copies, on made-up features; and where the run started."""
    records = [*photos("clive", 60), *photos("synthetic", 6, 6, None)]
    data = RunData(records, {"train": [*range(40), *range(60, 66)], "val": [*range(40, 48)], "test": [*range(48, 60)]})
    sets = dataclasses.replace(in_folds.data, sets={"clive": 20, "synthetic": 4})
    config = dataclasses.replace(in_folds, data=sets, optim=dataclasses.replace(in_folds.optim, steps_per_epoch=6))
    config = apply_overrides(config, ["model.tower=mobilenetv2_100"])  # Its features are standardised.
    run = RunDirectory(tmp_path)
    torch.manual_seed(0)
    start = bare_model(config)
    save_checkpoint(run.start_file, start, config, {})
    source = Recording([torch.randn(2, 16, start.encoder.trunk.num_features) + i / 10 for i in range(66)])
    return FoldTraining(config, run, data, source, "cpu", 2), start


def test_a_model_sees_nothing_of_its_fold_nor_of_the_test_part(of_features: tuple[FoldTraining, Defnet]) -> None:
    folds, start = of_features
    source = folds.source
    listener = DrawnByStage(source)
    unseen = folds.models(listener)
    listener.stage("end", 0)
    rated = set(range(48))
    for (model, fold), drawn in zip(unseen, listener.by_stage[1:], strict=True):
        assert drawn == (rated - set(fold)) | set(range(60, 66)), "the validation part trains too, copies as in the run"
        others = torch.cat([source.features[i].flatten(0, 1) for i in sorted(rated - set(fold))])
        torch.testing.assert_close(model.encoder.clip.visual.head.norm.mean, others.mean(0))
        same = model.encoder.trunk.state_dict()
        assert all(torch.equal(value, same[name]) for name, value in start.encoder.trunk.state_dict().items())
    assert [fold for _, fold in unseen] == deal(folds.data, 3, folds.config.seed)
    (first, _), (second, _), _ = unseen
    assert not torch.equal(first.heads.quality.affine.weight, second.heads.quality.affine.weight)


class SpoilIn(Recorder):
    """Makes a photo's features no numbers when a stage begins."""

    def __init__(self, name: str, features: torch.Tensor) -> None:
        super().__init__()
        self._name, self._features = name, features

    def stage(self, name: str, total: int) -> None:
        super().stage(name, total)
        if name == self._name:
            self._features.fill_(torch.nan)


def test_a_fold_that_breaks_down_says_how_to_go_on_without(of_features: tuple[FoldTraining, Defnet]) -> None:
    folds, _ = of_features
    broken = deal(folds.data, 3, folds.config.seed)[0][0]  # Of the first fold, so the second trains on it.
    command = rf"resume --out {folds.run.path} --set calibration\.folds=0"
    with pytest.raises(TrainingError, match=rf"^fold 2 broke down in epoch 1: .*nan.*{command}$"):
        folds.models(SpoilIn("fold 2/3", folds.source.features[broken]))
    assert folds.run.fold_file(0).is_file(), "what is done stays"
    assert not folds.run.fold_file(1).exists()


def test_the_validation_part_of_a_fold_is_the_fold() -> None:
    data = mixed_data()
    without = without_fold(data, [*range(25), 300, 346])
    assert without.parts["val"] == [*range(25), 300, 346]
    assert set(without.parts["train"]) == {*range(25, 275), *range(301, 346), *range(347, 350), *range(360, 366)}
    assert without.parts["test"] == []


def test_folds_change_the_interval_and_nothing_else(smoke_run: Run, in_folds: TrainConfig, tmp_path: Path) -> None:
    listener = Recorder()
    result = train(in_folds, smoke_run.release.root, tmp_path / "run", listener, "cpu")
    data = load_data(in_folds, smoke_run.release.root)
    count = len(data.rated("train")) + len(data.rated("val"))
    assert result["calibration_photos"] == result["out_of_fold"]["photos"] == count
    assert result["out_of_fold"]["coverage"] >= 0.95, "by construction"
    assert [name for name, _ in listener.stages[-5:-2]] == ["fold 1/3", "fold 2/3", "fold 3/3"]
    left = {path.name for path in (tmp_path / "run").glob("*.safetensors")}
    assert left == {"best.safetensors", "last.safetensors"}, "the others have done what they were for"
    plain = dataclasses.replace(in_folds, calibration=CalibrationConfig())
    alone = train(plain, smoke_run.release.root, tmp_path / "plain", Recorder(), "cpu")
    assert "out_of_fold" not in alone
    assert alone["calibration_photos"] == len(data.rated("val"))
    assert alone["calibration"] != result["calibration"]
    with_folds, without = (load_file(tmp_path / name / "best.safetensors") for name in ("run", "plain"))
    different = [name for name in without if not torch.equal(with_folds[name], without[name])]
    assert {name.rpartition(".")[2] for name in different} <= {"calibration", "noise_factor"}


def test_folds_are_trained_until_the_epoch_that_the_run_chose(
    smoke_run: Run, in_folds: TrainConfig, tmp_path: Path
) -> None:
    """At rate 0 all epochs are worth the same, and the first of the best is kept."""
    settings = ["optim.encoder_lr=0", "optim.head_lr=0", "optim.steps_per_epoch=1", "calibration.folds=2"]
    config = apply_overrides(in_folds, [*settings, "optim.checkpoint_choice=quality_best"])
    listener = Recorder()
    assert train(config, smoke_run.release.root, tmp_path / "run", listener, "cpu")["best_epoch"] == 0
    steps = [done for (name, _), done in zip(listener.stages, listener.advanced, strict=True) if "fold" in name]
    assert steps == [1, 1], "of the 2 that the run took"


def test_a_run_stopped_in_a_fold_goes_on_with_it(smoke_run: Run, in_folds: TrainConfig, tmp_path: Path) -> None:
    root = smoke_run.release.root
    whole = train(in_folds, root, tmp_path / "whole", Recorder(), "cpu")
    stop = threading.Event()
    with pytest.raises(Interrupted, match="in a fold, which will begin anew"):
        train(in_folds, root, tmp_path / "run", StopIn("fold 2/3", stop), "cpu", stop=stop)
    assert (tmp_path / "run" / "fold-0.safetensors").is_file()
    after = Recorder()
    resumed = train(in_folds, root, tmp_path / "run", after, "cpu", resume=True)
    assert [name for name, _ in after.stages if name.startswith("fold")] == ["fold 2/3", "fold 3/3"]
    assert resumed == whole
    first, second = (load_file(tmp_path / name / "best.safetensors") for name in ("whole", "run"))
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_folds_can_be_given_up_when_a_run_goes_on(smoke_run: Run, in_folds: TrainConfig, tmp_path: Path) -> None:
    stop = threading.Event()
    with pytest.raises(Interrupted):
        train(in_folds, smoke_run.release.root, tmp_path, StopIn("fold 2/3", stop), "cpu", stop=stop)
    plain = dataclasses.replace(in_folds, calibration=CalibrationConfig())
    result = train(plain, smoke_run.release.root, tmp_path, Recorder(), "cpu", resume=True)
    assert "out_of_fold" not in result
    assert not list(tmp_path.glob("fold-*"))
    other = dataclasses.replace(in_folds, calibration=CalibrationConfig(folds=4))
    with pytest.raises(UsageError, match=r"calibration\.folds was 3, now 4"):
        train(other, smoke_run.release.root, tmp_path, Recorder(), "cpu", resume=True)


def test_folds_that_cannot_be_are_refused(smoke_run: Run, in_folds: TrainConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"calibration\.folds = 1 would leave nothing"):
        apply_overrides(smoke_run.config, ["calibration.folds=1"])
    with pytest.raises(UsageError, match=r"one process; set run\.devices = 1"):
        TrainConfig(calibration=CalibrationConfig(folds=3), run=RunConfig(devices=2))
    init = smoke_run.out / "best.safetensors"
    with pytest.raises(UsageError, match=r"may have been trained on the photos of a fold.*calibration\.folds=0"):
        train(in_folds, smoke_run.release.root, tmp_path / "run", Recorder(), "cpu", init=init)
    assert not (tmp_path / "run").exists()


def test_the_plan_says_what_folds_cost(smoke_run: Run, in_folds: TrainConfig) -> None:
    text = "\n".join(lines(make_plan(in_folds, load_data(in_folds, smoke_run.release.root))))
    assert "2 epochs of 3 = 6" in text
    assert "; 3 times as many again for models that calibrate" in text
