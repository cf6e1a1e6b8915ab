"""A whole training run on photos whose blur decides their score: it learns, keeps records, and repeats itself."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from defnet_infer.errors import DatasetError, UsageError
from defnet_train.config import DataConfig, TrainConfig, load_config
from defnet_train.loop import load_data, train
from defnet_train.model import Defnet
from defnet_train.schedule import learning_rate_factor
from tests.train.conftest import TINY, Recorder, Run, make_release


def log_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_training_learns_to_rank_blur(smoke_run: Run) -> None:
    assert smoke_run.result["val"]["srcc"] > 0.8
    assert smoke_run.result["test"]["srcc"] > 0.8, "also on photos that chose nothing"
    losses = [entry["losses"]["quality"] for entry in log_of(smoke_run.out)]
    assert losses[-1] < 0.75 * losses[0]


def test_a_run_leaves_its_records(smoke_run: Run) -> None:
    out, epochs = smoke_run.out, smoke_run.config.optim.epochs
    assert {p.name for p in out.iterdir()} == {
        "config.json",
        "log.jsonl",
        "best.safetensors",
        "last.safetensors",
        "metrics.json",
    }
    assert json.loads((out / "metrics.json").read_text()) == smoke_run.result
    stored = json.loads((out / "config.json").read_text())
    assert TrainConfig.from_dict(stored["config"], "test") == smoke_run.config
    assert stored["provenance"]["photos"] == {"clive": 60}
    assert stored["provenance"]["parts"] == {"train": 42, "val": 6, "test": 12}
    log = log_of(out)
    assert [entry["epoch"] for entry in log] == list(range(epochs))
    best = max(log, key=lambda entry: entry["val_srcc"])
    assert log[smoke_run.result["best_epoch"]]["val_srcc"] == best["val_srcc"]


def test_the_log_shows_the_schedule_and_the_task_weights(smoke_run: Run) -> None:
    optim, log = smoke_run.config.optim, log_of(smoke_run.out)
    rates = [
        optim.encoder_lr * learning_rate_factor(optim.schedule, epoch, optim.epochs) for epoch in range(optim.epochs)
    ]
    assert [entry["learning_rate"] for entry in log] == pytest.approx(rates)
    assert [set(entry["task_weights"].values()) for entry in log[:2]] == [{1.0}, {1.0}]
    third = log[2]["task_weights"]
    assert len(set(third.values())) == 3
    assert sum(third.values()) == pytest.approx(3)
    ratio = {task: log[1]["losses"][task] / log[0]["losses"][task] for task in third}
    assert sorted(third, key=third.__getitem__) == sorted(ratio, key=ratio.__getitem__)


def test_the_listener_hears_of_every_stage(smoke_run: Run) -> None:
    listener, optim = smoke_run.listener, smoke_run.config.optim
    assert listener.epochs == log_of(smoke_run.out)
    names = [name for name, _ in listener.stages]
    assert names[0] == "features of the frozen trunk"
    assert names[1] == f"epoch 1/{optim.epochs}"
    assert [total for _, total in listener.stages] == listener.advanced, "every bar fills"


def test_a_frozen_trunk_stays_bit_equal_while_the_rest_learns(smoke_run: Run) -> None:
    torch.manual_seed(smoke_run.config.seed)
    start = Defnet(smoke_run.config.model).state_dict()
    end = load_file(smoke_run.out / "last.safetensors")
    assert set(start) == set(end)
    changed = {name for name, value in start.items() if not torch.equal(value, end[name])}
    trunk = {name for name in start if name.startswith("encoder.clip.visual.trunk.")}
    assert trunk
    assert not changed & trunk
    for learnt in (
        "encoder.clip.visual.head.proj.weight",
        "encoder.clip.text_projection",
        "encoder.clip.logit_scale",
        "heads.quality.affine.weight",
        "heads.scene.affine.bias",
        "heads.distortion.affine.weight",
    ):
        assert learnt in changed


def test_the_best_checkpoint_is_calibrated(smoke_run: Run) -> None:
    stored = load_file(smoke_run.out / "best.safetensors")["calibration"].item()
    assert stored == pytest.approx(smoke_run.result["calibration"])
    assert stored != 1
    assert smoke_run.result["val"]["coverage"] >= 5 / 6, "fitted on these; the largest may touch the edge"


def test_the_same_seed_gives_the_same_losses_and_other_settings_give_others(smoke_run: Run, tmp_path: Path) -> None:
    short = dataclasses.replace(smoke_run.config.optim, epochs=1, steps_per_epoch=4)
    config = dataclasses.replace(smoke_run.config, optim=short)
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, crops=3))
    logs = {}
    for name, variant in {"one": config, "two": config, "other": other}.items():
        train(variant, smoke_run.release.root, tmp_path / name, Recorder(), "cpu")
        logs[name] = [(entry["losses"], entry["val_srcc"]) for entry in log_of(tmp_path / name)]
    assert logs["one"] == logs["two"]
    assert logs["one"] != logs["other"]


def test_a_trunk_that_is_not_frozen_is_trained_from_the_photos(tmp_path: Path) -> None:
    release = make_release(tmp_path / "data", 50, side=224)
    settings = [
        f"model.tower={TINY}",
        "optim.freeze_trunk=false",
        "optim.learn_kappa=false",
        "optim.epochs=1",
        "optim.steps_per_epoch=2",
        "optim.clip_norm=1.0",
        "data.sets={clive = 4}",
    ]
    config = load_config("smoke", settings)
    result = train(config, release.root, tmp_path / "run", Recorder(), "cpu")
    torch.manual_seed(config.seed)
    start = Defnet(config.model).state_dict()
    end = load_file(tmp_path / "run" / "last.safetensors")
    changed = {name for name, value in start.items() if not torch.equal(value, end[name])}
    assert any(name.startswith("encoder.clip.visual.trunk.") for name in changed)
    assert not any("running_" in name for name in changed), "batch norm keeps its statistics"
    assert "encoder.clip.logit_scale" not in changed
    assert "scene_accuracy" not in result["test"], "there are no labels"


def test_a_run_directory_is_never_overwritten(smoke_run: Run) -> None:
    before = (smoke_run.out / "metrics.json").read_bytes()
    with pytest.raises(UsageError, match="already holds a run; choose another folder with --out"):
        train(smoke_run.config, smoke_run.release.root, smoke_run.out, Recorder(), "cpu")
    assert (smoke_run.out / "metrics.json").read_bytes() == before


def test_too_few_photos_are_an_error_before_any_training(tmp_path: Path) -> None:
    release = make_release(tmp_path / "data", 20, side=224)
    with pytest.raises(DatasetError, match="only 2 rated photos in the val part of 20; 5 are needed"):
        train(load_config("smoke"), release.root, tmp_path / "run", Recorder(), "cpu")
    assert not (tmp_path / "run").exists()


def test_the_parts_of_a_run_are_those_of_its_session(smoke_run: Run) -> None:
    config = smoke_run.config
    first = load_data(config, smoke_run.release.root)
    other = dataclasses.replace(config, data=DataConfig(session=2))
    second = load_data(other, smoke_run.release.root)
    assert set(first.parts["test"]) != set(second.parts["test"])
    assert sorted(i for part in first.parts.values() for i in part) == list(range(60))
    assert [first.records[i] for i in first.parts["val"]] == first.of("val")


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what happens without a CUDA device")
def test_asking_for_a_device_that_is_not_there_says_so(smoke_run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no CUDA device is visible"):
        train(smoke_run.config, smoke_run.release.root, tmp_path / "run", Recorder(), "cuda")
