"""Export proves the file on photos, from their files on, and `defnet check` repeats the proof against PyTorch."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from defnet_export.certificate import certify_photos
from defnet_export.onnx_export import ExportReport, export_onnx
from defnet_infer.artifact import Artifact
from defnet_infer.cli import main
from defnet_infer.errors import UsageError
from defnet_infer.saved_reference import SavedReference
from defnet_infer.torch_reference import TorchReference
from defnet_infer.verdict import Verdict
from defnet_train.checkpoint import save_checkpoint
from tests.conftest import MakePhoto
from tests.lively_model import CONFIG, lively_model


def defnet(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def nudged(exported: ExportReport, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported file with one of its weight arrays three hundredths larger."""
    proto = onnx.load(exported.path)
    weights = max(proto.graph.initializer, key=lambda tensor: 495 in tensor.dims)
    weights.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weights) * np.float32(1.03), weights.name))
    path = tmp_path_factory.mktemp("nudged") / "nudged.onnx"
    onnx.save(proto, path)
    return path


@pytest.fixture
def photos(make_photo: MakePhoto, tmp_path: Path) -> Path:
    for k, name in enumerate(("a.jpg", "b.png", "c.webp")):
        make_photo(f"photos/{name}", 250, 240 + 10 * k, seed=k)
    return tmp_path / "photos"


def test_the_certificate_of_photos_is_in_the_metadata_and_its_figures_are_not_all_zero(exported):
    parity = json.loads(Artifact.open(exported.path).metadata["defnet.parity"])
    verdict = Verdict.from_json(parity["verdict"])
    assert verdict.passed and verdict.precision == "float32" and verdict.photos == 4
    assert verdict.reference.startswith("PyTorch ") and "ONNX Runtime" in verdict.candidate
    assert 0 < max(c.value for c in verdict.checks if "difference" in c.what) < 1e-4
    assert "alone, in a batch, in another order: max" in {c.what for c in verdict.checks}


def test_pytorchs_outputs_for_generated_pictures_are_saved(exported, checkpoint):
    saved = SavedReference.of(Artifact.open(exported.path))
    assert saved.indices == (0, 1, 2), "the fourth picture is a JPEG, which decoders differ about"
    assert np.ptp(saved.outputs["score"]) > 1e-3
    reference = TorchReference.open(checkpoint)
    assert saved.made_by == reference.name


def test_an_untouched_file_passes_both_checks(exported, checkpoint, photos):
    assert defnet("check", exported.path, "--device", "cpu", "-q") == 0
    assert defnet("check", exported.path, "--checkpoint", checkpoint, "--photos", photos, "--device", "cpu", "-q") == 0


def test_a_nudged_weight_fails_both_checks_with_exit_4(nudged, checkpoint, photos, capsys):
    assert defnet("check", nudged, "--device", "cpu", "-q") == 4
    assert "score: max difference" in capsys.readouterr().err
    assert defnet("check", nudged, "--checkpoint", checkpoint, "--photos", photos, "--device", "cpu", "-q") == 4
    assert ("worst photo " + str(photos)) in capsys.readouterr().err


def test_the_certificate_of_a_nudged_file_fails_on_the_photos_given(nudged, checkpoint, photos):
    verdict, saved = certify_photos(
        TorchReference.open(checkpoint), nudged, precision="float32", photos=photos, count=2
    )
    assert not verdict.passed and verdict.photos == 2
    assert Path(verdict.worst_photo).parent == Path("photos"), "the file is given away; no path of this machine in it"
    assert len(saved.indices) == 18, "what is saved is of generated pictures, whatever photos are given"


def test_another_models_checkpoint_is_refused_by_its_hash(exported, tmp_path, capsys):
    other = tmp_path / "other.safetensors"
    save_checkpoint(other, lively_model(seed=6), CONFIG, {})
    assert defnet("check", exported.path, "--checkpoint", other) == 2
    assert f"{other} is another model" in capsys.readouterr().err


def test_a_folder_without_photos_is_named_before_any_work(checkpoint, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty"):
        export_onnx(checkpoint, tmp_path / "model.onnx", photos=tmp_path / "empty")
    assert not list(tmp_path.glob("model*"))


def test_without_an_argument_the_best_checkpoint_of_the_newest_run_is_exported_stage_by_stage(
    checkpoint, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert defnet("export") == 2
    assert "no run in ./runs; pass one: defnet export CHECKPOINT" in capsys.readouterr().err
    for age, name in enumerate(("new", "old")):
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        (run / "best.safetensors").write_bytes(checkpoint.read_bytes())
        os.utime(run / "best.safetensors", (2e9 - 100 * age,) * 2)
    killed = tmp_path / "runs" / "killed"
    killed.mkdir()
    save_checkpoint(killed / "best.safetensors", lively_model(), CONFIG, {"epoch": 3})
    os.utime(killed / "best.safetensors", (3e9,) * 2)
    assert defnet("export", "--count", 2) == 0
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.onnx")] == ["runs/new/best.onnx"]
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "export runs/new/best.safetensors"
    stages = [line.split(" s  ")[1] for line in lines[1:-1]]
    assert [stage.split(":")[0] for stage in stages] == [
        "read the checkpoint and encode its prompts",
        "translate to ONNX",
        "compare every output with PyTorch",
        "score photos in both",
        "write and verify the file",
    ]
    assert "PyTorch" in stages[0] and "opset 18" in stages[1] and "MB" in stages[4]
    assert lines[-1].startswith("runs/new/best.onnx: agrees with PyTorch; score a folder with: defnet score FOLDER")


def test_a_run_that_was_not_finished_is_not_exported(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    killed = tmp_path / "runs" / "killed"
    killed.mkdir(parents=True)
    (killed / "config.json").write_text("{}")
    for name in ("best", "last"):
        save_checkpoint(killed / f"{name}.safetensors", lively_model(), CONFIG, {"epoch": 3})
    assert defnet("export", "runs/killed") == 3
    message = capsys.readouterr().err
    assert "runs/killed was not finished, so its intervals are not calibrated" in message
    assert "defnet train --resume --out runs/killed, or calibrate it: defnet calibrate" in message
    assert defnet("export", "runs/killed/last.safetensors") == 3
    assert "last.safetensors was never calibrated" in capsys.readouterr().err
    assert defnet("export") == 2
    assert "no finished run in ./runs" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.onnx"))


def test_info_shows_the_certificate_as_a_table(exported, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert defnet("info", exported.path) == 0
    printed = capsys.readouterr().out
    assert "11 bounds of float32 hold, 4 photos" in printed
    assert "score: max difference" in printed and "at most 0.0001" in printed and "holds" in printed
    assert '"checks"' not in printed, "no JSON where a table says it"
