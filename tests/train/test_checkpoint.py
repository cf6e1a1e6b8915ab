"""Checkpoints: what comes back is what was saved; what is not ours is refused."""

from __future__ import annotations

import hashlib
import json
import resource
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from defnet_infer.errors import CheckpointError, StorageError
from defnet_train.checkpoint import load_checkpoint, save_checkpoint
from defnet_train.config import ModelConfig, TrainConfig
from defnet_train.model import Defnet
from tests.train.conftest import TINY
from tests.train.test_model import features

CONFIG = TrainConfig(seed=3, model=ModelConfig(tower=TINY, weights="random", prompt_preset="liqe"))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, shared_model: Defnet) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "best.safetensors"
    save_checkpoint(path, shared_model, CONFIG, {"epoch": 7})
    return path


def rewritten(path: Path, target: Path, change: Callable[[dict, dict], None]) -> Path:
    """A copy of a checkpoint with its tensors or its description changed."""
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["defnet"])
    state = load_file(path)
    change(about, state)
    save_file(state, target, metadata={"defnet": json.dumps(about)})
    return target


def test_a_loaded_model_gives_the_same_bits(tmp_path: Path, new_model: Callable[..., Defnet]) -> None:
    model = new_model(seed=4, prompt_preset="liqe", uncertainty_source="cross", overview_gradient="full")
    model.calibration.fill_(1.37)
    config = TrainConfig(model=model.config)
    save_checkpoint(tmp_path / "a.safetensors", model, config, {})
    loaded, _ = load_checkpoint(tmp_path / "a.safetensors")
    with torch.inference_mode():
        arguments = features(3, 15), features(3, seed=1)
        before = model.score_views(*arguments, model.text_matrix())
        after = loaded.score_views(*arguments, loaded.text_matrix())
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert loaded.calibration.item() == pytest.approx(1.37)
    assert not loaded.training


def test_a_checkpoint_describes_itself(saved: Path) -> None:
    _, info = load_checkpoint(saved)
    assert info.config == CONFIG
    assert info.record == {"epoch": 7}
    assert info.sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()


def test_the_weights_files_of_the_training_machine_are_not_needed_again(tmp_path: Path, shared_model: Defnet) -> None:
    path = tmp_path / "a.safetensors"
    model = ModelConfig(tower=TINY, weights="gone/clip.pt", trunk_weights="gone/trunk.safetensors")
    save_checkpoint(path, shared_model, TrainConfig(model=model), {})
    _, info = load_checkpoint(path)
    assert info.config.model == model, "but what the run was started with is still on record"


def test_a_save_that_the_disk_interrupts_keeps_the_previous_file(tmp_path: Path, shared_model: Defnet) -> None:
    path = tmp_path / "best.safetensors"
    save_checkpoint(path, shared_model, CONFIG, {"epoch": 1})
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 3, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"best\.safetensors: .*File too large.*; what it held before"):
            save_checkpoint(path, shared_model, CONFIG, {"epoch": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    save_checkpoint(path, shared_model, CONFIG, {"epoch": 3})
    assert load_checkpoint(path)[1].record == {"epoch": 3}
    assert list(tmp_path.iterdir()) == [path]


def test_a_checkpoint_in_a_folder_that_is_not_there_says_so(tmp_path: Path, shared_model: Defnet) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*gone.*: (?!.*untouched)"):
        save_checkpoint(tmp_path / "gone" / "best.safetensors", shared_model, CONFIG, {})


def test_a_missing_checkpoint_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.safetensors not found; train one with: defnet train"):
        load_checkpoint(tmp_path / "gone.safetensors")


@pytest.mark.parametrize("content", [b"", b"just text, no tensors", b"\x80\x02}q\x00.", bytes(64)])
def test_a_file_that_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.pt is not a safetensors checkpoint"):
        load_checkpoint(path)


@pytest.mark.parametrize("metadata", [None, {"format": "pt"}, {"defnet": "{"}, {"defnet": '{"format": 99}'}])
def test_a_safetensors_file_of_someone_else_is_refused(tmp_path: Path, metadata: dict[str, str] | None) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.zeros(2)}, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"model\.safetensors (was not written by|is not a safetensors)"):
        load_checkpoint(path)


def test_weights_of_another_architecture_are_refused(saved: Path, tmp_path: Path) -> None:
    def other_tower(about: dict, _state: dict) -> None:
        about["config"]["model"]["tower"] = "mobilenetv2_100"

    with pytest.raises(CheckpointError, match="does not fit mobilenetv2_100"):
        load_checkpoint(rewritten(saved, tmp_path / "a.safetensors", other_tower))

    def other_head(_about: dict, state: dict) -> None:
        state["heads.quality.affine.weight"] = torch.zeros(3, 7)

    with pytest.raises(CheckpointError, match=r"does not fit tiny-resnet: .*heads\.quality\.affine\.weight"):
        load_checkpoint(rewritten(saved, tmp_path / "b.safetensors", other_head))


def test_a_model_of_other_classes_is_refused(saved: Path, tmp_path: Path) -> None:
    def other_order(about: dict, _state: dict) -> None:
        about["labels"]["scene"].reverse()

    with pytest.raises(CheckpointError, match="other classes"):
        load_checkpoint(rewritten(saved, tmp_path / "a.safetensors", other_order))
