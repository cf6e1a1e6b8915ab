"""A whole training run on photos whose blur decides their score: it learns, keeps records, and repeats itself."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tensorboardX.proto.event_pb2 import Event

from defnet_infer.errors import CheckpointError, DatasetError, TrainingError, UsageError
from defnet_train.batches import PhotoViews, resized
from defnet_train.checkpoint import load_checkpoint
from defnet_train.config import DataConfig, TrainConfig
from defnet_train.evaluation import predict
from defnet_train.loop import train
from defnet_train.model import Defnet
from defnet_train.recipe_file import apply_overrides, load_config
from defnet_train.run_data import load_data
from defnet_train.schedule import learning_rate_factor
from defnet_train.trainer import Trainer
from tests.train.conftest import TINY, Recorder, Release, Run, make_release


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
        "tensorboard",
    }
    assert json.loads((out / "metrics.json").read_text()) == smoke_run.result
    stored = json.loads((out / "config.json").read_text())
    assert TrainConfig.from_dict(stored["config"], "test") == smoke_run.config
    assert stored["provenance"]["photos"] == {"clive": 60}
    assert stored["provenance"]["parts"] == {"train": 42, "val": 6, "test": 12}
    assert stored["root"] == str(smoke_run.release.root)
    assert {"python", "torch", "open_clip", "timm", "numpy", "pillow"} <= set(stored["provenance"]["versions"])
    assert set(stored["provenance"]["git"] or {"commit": "", "dirty": False}) == {"commit", "dirty"}
    log = log_of(out)
    assert all(entry["photos_per_second"] > 0 for entry in log)
    assert [entry["val_srcc_by_set"] for entry in log] == [{"clive": entry["val_srcc"]} for entry in log]
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
    total = optim.epochs * optim.steps_per_epoch
    assert [(report.step, report.steps) for report in listener.steps] == [(i + 1, total) for i in range(total)]
    last = listener.steps[optim.steps_per_epoch - 1]
    assert last.losses == listener.epochs[0]["losses"]
    assert last.task_weights == listener.epochs[0]["task_weights"]


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


def test_the_reference_scores_are_those_of_the_test_photos(smoke_run: Run) -> None:
    model, _ = load_checkpoint(smoke_run.out / "best.safetensors")
    data = load_data(smoke_run.config, smoke_run.release.root)
    score = predict(model, PhotoViews(data.records, model.contract().preprocess), data.parts["test"])["score"]
    found = smoke_run.result["reference_scores"]
    assert found["what"] == "12 photos kept out of training"
    assert found["quantiles"][::10] == pytest.approx([score.min(), np.median(score), score.max()], abs=2e-3)


def test_a_trunk_that_is_not_frozen_is_trained_from_the_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = make_release(tmp_path / "data", 50, side=224)
    settings = [
        f"model.tower={TINY}",
        "optim.freeze_trunk=false",
        "optim.learn_kappa=false",
        "optim.epochs=1",
        "optim.steps_per_epoch=2",
        "optim.clip_norm=1.0",
        "data.sets={clive = 4}",
        "data.scales=[0.8, 1.25]",
    ]
    config, factors = load_config("smoke", settings), set()

    def spy(pixels: np.ndarray, factor: float, least: int) -> np.ndarray:
        factors.add(factor)
        return resized(pixels, factor, least)

    monkeypatch.setattr("defnet_train.batches.resized", spy)
    result = train(config, release.root, tmp_path / "run", Recorder(), "cpu")
    torch.manual_seed(config.seed)
    start = Defnet(config.model).state_dict()
    end = load_file(tmp_path / "run" / "last.safetensors")
    changed = {name for name, value in start.items() if not torch.equal(value, end[name])}
    assert any(name.startswith("encoder.clip.visual.trunk.") for name in changed)
    assert not any("running_" in name for name in changed), "batch norm keeps its statistics"
    assert "encoder.clip.logit_scale" not in changed
    assert "scene_accuracy" not in result["test"], "there are no labels"
    assert factors == {1.0, 0.8, 1.25}, "at their own size and at those asked for"


def test_a_run_directory_is_never_overwritten(smoke_run: Run) -> None:
    before = (smoke_run.out / "metrics.json").read_bytes()
    with pytest.raises(
        UsageError,
        match=r"already holds a run; .* --out, or go on with it: defnet train --resume",
    ):
        train(smoke_run.config, smoke_run.release.root, smoke_run.out, Recorder(), "cpu")
    assert (smoke_run.out / "metrics.json").read_bytes() == before


@pytest.mark.parametrize("key", ["weights", "trunk_weights"])
def test_weights_that_are_missing_leave_no_folder_behind(smoke_run: Run, tmp_path: Path, key: str) -> None:
    config = apply_overrides(smoke_run.config, [f"model.{key}=nowhere"])
    with pytest.raises(CheckpointError, match="weights nowhere not found"):
        train(config, smoke_run.release.root, tmp_path / "run", Recorder(), "cpu")
    assert not (tmp_path / "run").exists(), "the corrected command would be told that it holds a run"


def test_too_few_photos_are_an_error_before_any_training(tmp_path: Path) -> None:
    release = make_release(tmp_path / "data", 20, side=224)
    with pytest.raises(DatasetError, match="only 2 rated photos in the val part of 20; 5 are needed"):
        train(load_config("smoke"), release.root, tmp_path / "run", Recorder(), "cpu")
    assert not (tmp_path / "run").exists()


def test_a_photo_that_cannot_be_decoded_is_named_by_the_run(
    tmp_path: Path, new_release: Callable[..., Release]
) -> None:
    release = new_release(50, 224)
    broken = release.images / "2.bmp"
    broken.write_bytes(broken.read_bytes()[:60])
    with pytest.raises(DatasetError, match=rf"^{re.escape(str(broken))} cannot be read: .*data check FOLDER --decode$"):
        train(load_config("smoke", [f"model.tower={TINY}"]), release.root, tmp_path / "run", Recorder(), "cpu")


def test_the_parts_of_a_run_are_those_of_its_session(smoke_run: Run) -> None:
    config = smoke_run.config
    first = load_data(config, smoke_run.release.root)
    other = dataclasses.replace(config, data=DataConfig(session=2))
    second = load_data(other, smoke_run.release.root)
    assert set(first.parts["test"]) != set(second.parts["test"])
    assert sorted(i for part in first.parts.values() for i in part) == list(range(60))
    assert [first.records[i] for i in first.parts["val"]] == first.of("val")


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """What the event files of a folder hold, read as TensorBoard's records are laid out."""
    found: dict[str, list[tuple[int, float]]] = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            size = int.from_bytes(content[:8], "little")
            event = Event.FromString(content[12 : 12 + size])
            content = content[16 + size :]
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_shows_what_the_log_says(smoke_run: Run) -> None:
    found, log = scalars(smoke_run.out / "tensorboard"), log_of(smoke_run.out)
    steps = [entry["epoch"] + 1 for entry in log]
    for name, values in {
        "val_srcc": [entry["val_srcc"] for entry in log],
        "val_srcc_by_set/clive": [entry["val_srcc"] for entry in log],
        "losses/quality": [entry["losses"]["quality"] for entry in log],
        "task_weights/scene": [entry["task_weights"]["scene"] for entry in log],
        "learning_rate": [entry["learning_rate"] for entry in log],
        "photos_per_second": [entry["photos_per_second"] for entry in log],
    }.items():
        assert [step for step, _ in found[name]] == steps
        assert [value for _, value in found[name]] == pytest.approx(values, rel=1e-6)
    assert "epoch" not in found


def test_a_run_may_start_from_the_weights_of_another(smoke_run: Run, tmp_path: Path) -> None:
    start = smoke_run.out / "best.safetensors"
    short = dataclasses.replace(smoke_run.config.optim, epochs=1, steps_per_epoch=1, encoder_lr=0.0, head_lr=0.0)
    config = dataclasses.replace(smoke_run.config, optim=short)
    train(config, smoke_run.release.root, tmp_path / "run", Recorder(), "cpu", init=start)
    before, after = load_file(start), load_file(tmp_path / "run" / "last.safetensors")
    assert before.pop("calibration") != after.pop("calibration") == 1
    assert all(torch.equal(value, after[name]) for name, value in before.items()), "at rate 0 they stay"
    init = json.loads((tmp_path / "run" / "config.json").read_text())["init"]
    assert init["path"] == str(start)
    assert init["sha256"] == load_checkpoint(start)[1].sha256


def test_noise_from_the_marginal_is_fitted_anew_wherever_the_weights_come_from(smoke_run: Run, tmp_path: Path) -> None:
    start, factors = smoke_run.out / "best.safetensors", {}
    for name in ("first", "second"):  # The second starts from a model that has such a factor, the first does not.
        settings = ["optim.epochs=1", "optim.steps_per_epoch=1", "model.head.noise=marginal"]
        config = apply_overrides(smoke_run.config, settings)
        train(config, smoke_run.release.root, tmp_path / name, Recorder(), "cpu", init=start)
        start = tmp_path / name / "best.safetensors"
        factors[name] = load_file(start)["heads.quality.noise_factor"].item()
        assert load_file(tmp_path / name / "last.safetensors")["heads.quality.noise_factor"].item() == 1
    assert 1 not in factors.values()


@pytest.mark.parametrize("epochs", [1, 2])
def test_a_run_that_breaks_down_names_checkpoints_only_where_there_are_any(
    smoke_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    losses = Trainer.mean_losses

    def breaks_in_the_last(trainer: Trainer) -> dict[str, float]:
        return losses(trainer) | ({"quality": float("nan")} if trainer.position.epoch == epochs - 1 else {})

    monkeypatch.setattr(Trainer, "mean_losses", breaks_in_the_last)
    config = apply_overrides(smoke_run.config, [f"optim.epochs={epochs}", "optim.steps_per_epoch=1"])
    with pytest.raises(TrainingError, match=rf"broke down in epoch {epochs}: .*try lower rates in a new run") as caught:
        train(config, smoke_run.release.root, tmp_path / "run", Recorder(), "cpu")
    named = f"the checkpoints before it are in {tmp_path / 'run'}; " in str(caught.value)
    assert named == (tmp_path / "run" / "best.safetensors").exists() == (epochs > 1)


def test_a_run_does_not_start_from_another_architecture(smoke_run: Run, tmp_path: Path) -> None:
    config = load_config("smoke", ["model.tower=mobilenetv2_100"])
    with pytest.raises(CheckpointError, match="holds a tiny-resnet model, the run trains mobilenetv2_100"):
        train(
            config, smoke_run.release.root, tmp_path / "run", Recorder(), "cpu", init=smoke_run.out / "best.safetensors"
        )
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="shows what happens without a CUDA device")
def test_asking_for_a_device_that_is_not_there_says_so(smoke_run: Run, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no CUDA device is visible"):
        train(smoke_run.config, smoke_run.release.root, tmp_path / "run", Recorder(), "cuda")


def test_options_of_training_change_what_they_are_about_and_nothing_else(smoke_run: Run, tmp_path: Path) -> None:
    short = ["optim.epochs=1", "optim.steps_per_epoch=2"]
    variants = {"plain": [], "raw": ["loss.mos_scaling=raw"], "fixed": ["optim.train_text=false"]}
    logs, ends = {}, {}
    for name, settings in variants.items():
        config = apply_overrides(smoke_run.config, [*short, *settings])
        train(config, smoke_run.release.root, tmp_path / name, Recorder(), "cpu")
        logs[name] = log_of(tmp_path / name)[0]["losses"]
        ends[name] = load_file(tmp_path / name / "last.safetensors")
    assert logs["raw"]["cross"] > 5 * logs["plain"]["cross"], "nothing in [1, 5] can follow a score of 80"
    assert logs["raw"]["distortion"] == pytest.approx(logs["plain"]["distortion"], rel=0.1)
    torch.manual_seed(smoke_run.config.seed)
    start = Defnet(smoke_run.config.model).state_dict()
    text = [n for n in start if n.startswith("encoder.clip.") and not n.startswith("encoder.clip.visual")]
    text.remove("encoder.clip.logit_scale")
    assert len(text) > 10
    assert all(torch.equal(start[name], ends["fixed"][name]) for name in text)
    assert not any(torch.equal(start[name], ends["plain"][name]) for name in text if name.endswith("projection"))
    assert not torch.equal(
        start["encoder.clip.visual.head.proj.weight"], ends["fixed"]["encoder.clip.visual.head.proj.weight"]
    )
