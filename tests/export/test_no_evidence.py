"""A model without evidential head, as imported weights are: exported, scored, checked and reported without it."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from typer.testing import CliRunner

from defnet_export.onnx_export import export_onnx
from defnet_infer.artifact import Artifact
from defnet_infer.cli import app
from defnet_train.checkpoint import load_checkpoint, save_checkpoint
from defnet_train.config import TrainConfig
from defnet_train.initial_weights import describe_initial, load_initial
from defnet_train.model import Defnet
from tests.conftest import picture

runner = CliRunner()
BARE = {
    "tower": "tiny-resnet",
    "weights": "random",
    "prompt_preset": "pyiqa",
    "preprocess": "pyiqa",
    "local_aggregation": "logit_mean",
    "head": {"kind": "none"},
}
EMPTY = ("interval_low", "interval_high", "aleatoric", "epistemic", "fused_score")


def bare_checkpoint(path: Path, tasks: str) -> Path:
    config = TrainConfig.from_dict({"model": {**BARE, "tasks": tasks}}, "test")
    torch.manual_seed(0)
    model = Defnet(config.model)
    with torch.no_grad():
        model.encoder.clip.logit_scale.fill_(4.0)
        # Random text towers give nearly equal vectors; wider token embeddings spread them.
        model.encoder.clip.token_embedding.weight.mul_(30)
    save_checkpoint(path, model, config, {"imported": {"kind": "liqe"}})
    return path


@pytest.fixture(scope="module", params=["q", "q+s+d"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    checkpoint = bare_checkpoint(folder / "bare.safetensors", request.param)
    return export_onnx(checkpoint, folder / "bare.onnx", count=4).path


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from PIL import Image

    folder = tmp_path_factory.mktemp("photos")
    for seed, size in enumerate([(320, 260), (500, 400), (240, 230)]):
        Image.fromarray(picture(*size, seed)).save(folder / f"{seed}.png")
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    return folder


def run(*arguments: object, code: int = 0) -> str:
    result = runner.invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, (result.output, result.exception)
    return result.output


def test_the_file_has_the_tensors_of_its_contract_and_no_others(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported)
    classes = ["quality"] if [len(session.get_outputs())] == [3] else ["quality", "scene", "distortion"]
    assert [tensor.name for tensor in session.get_inputs()] == ["crops"]
    assert [tensor.name for tensor in session.get_outputs()] == ["score", *classes, "crop_score"]
    artifact = Artifact.open(exported)
    assert not artifact.contract.uncertainty
    assert artifact.contract.preprocess.overview_mode == "none"
    assert "defnet.calibration" not in artifact.metadata
    assert artifact.metadata["defnet.license"] == "other"


def test_the_score_is_the_expected_level_of_the_mean_logits(exported: Path) -> None:
    model, _ = load_checkpoint(exported.with_suffix(".safetensors"))
    crops = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 15, 224, 224, 3), dtype=np.uint8))
    with torch.inference_mode():
        text_JE = model.encoder.encode_text()
        image_BVE = model.encoder.project(model.encoder.trunk_features(crops))
        logits = (model.encoder.logit_scale() * image_BVE @ text_JE.T).mean(dim=1)
        expected = (logits.softmax(-1).reshape(2, 5, -1).sum(-1) * torch.arange(1, 6)).sum(-1)
    (found,) = onnxruntime.InferenceSession(exported).run(["score"], {"crops": crops.numpy()})
    assert found == pytest.approx(expected.numpy(), abs=1e-4)


def test_cells_of_what_it_does_not_tell_are_empty_and_every_command_works(
    exported: Path, photos: Path, tmp_path: Path
) -> None:
    out, page = tmp_path / "results.csv", tmp_path / "page.html"
    run("score", photos, "--model", exported, "--out", out, "--report", page, "--summary", code=1)
    rows = {Path(row["path"]).name: row for row in csv.DictReader(out.read_text().splitlines())}
    assert rows["broken.jpg"]["status"] == "error"
    del rows["broken.jpg"]
    tasks = Artifact.open(exported).contract.tasks
    for row in rows.values():
        assert 1 <= float(row["score"]) <= 5
        assert all(row[name] == "" for name in EMPTY)
        assert row["quality"]
        assert bool(row["scene"]) == bool(row["scene_prob"]) == ("scene" in tasks)
        assert len(row["crop_scores"].split()) == 15
    assert "<html" in page.read_text(encoding="utf-8")
    parts = [tmp_path / f"part{k}.csv" for k in (1, 2)]
    for k, part in enumerate(parts, 1):
        run(
            "score",
            photos,
            "--model",
            exported,
            "--out",
            part,
            "--shard",
            f"{k}/2",
            "--details",
            "-q",
            code=1 if k == _of_broken(photos) else 0,
        )
    run("merge", tmp_path / "all.csv", *parts)
    assert (tmp_path / "all.csv").read_bytes() == out.read_bytes()
    run("diff", out, tmp_path / "all.csv", "--out", tmp_path / "diff.html")
    assert json.loads(run("check", exported, "-q", "--out", tmp_path / "check.json") or "{}") == {}
    assert json.loads((tmp_path / "check.json").read_text())["passed"]
    assert "crop_score" in run("info", exported)


def _of_broken(photos: Path) -> int:
    """Which of two shards scores the broken photo."""
    from defnet_infer import inputs
    from defnet_infer.shards import Shard

    return next(k for k in (1, 2) if any("broken" in s.name for s in inputs.find([str(photos)], shard=Shard(k, 2))))


def test_intervals_cannot_be_asked_of_it(exported: Path, photos: Path, tmp_path: Path) -> None:
    result = runner.invoke(app, ["score", str(photos), "--model", str(exported), "--review-above", "1"])
    assert result.exit_code == 2 or "states no intervals" in str(result.exception)


def test_its_end_to_end_form_needs_no_overview_either(exported: Path, tmp_path: Path) -> None:
    from defnet_export.end_to_end import write_end_to_end

    report = write_end_to_end(exported, tmp_path / "bare.e2e.onnx")
    assert report.differences["score"] <= report.score_bound


def test_a_run_starts_from_it_with_a_fresh_head(tmp_path: Path) -> None:
    path = bare_checkpoint(tmp_path / "bare.safetensors", "q+s+d")
    config = TrainConfig.from_dict({"model": {"tower": "tiny-resnet", "weights": "random"}}, "test")
    model = Defnet(config.model)
    fresh = {name: value.clone() for name, value in model.heads.state_dict().items()}
    load_initial(model, describe_initial(path, config))
    bare, _ = load_checkpoint(path)
    for name, value in bare.encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[name], value), name
    assert fresh
    assert all(torch.equal(model.heads.state_dict()[name], value) for name, value in fresh.items())
