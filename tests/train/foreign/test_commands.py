"""The commands of training and measuring, given a model without evidential head, as imported ones are."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
import torch
import typer
from typer.testing import CliRunner

from defnet_infer.errors import UsageError
from defnet_train.checkpoint import save_checkpoint
from defnet_train.cli import add_commands
from defnet_train.config import TrainConfig
from defnet_train.model import Defnet
from tests.train.conftest import Run


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    add_commands(application)
    return application


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = TrainConfig.from_dict(
        {
            "recipe": "imported",
            "data": {"sets": {"clive": 4}},
            "model": {"tower": "tiny-resnet", "weights": "random", "prompt_preset": "liqe", "head": {"kind": "none"}},
        },
        "test",
    )
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("bare") / "bare.defnet.safetensors"
    save_checkpoint(path, Defnet(config.model), config, {"imported": {"kind": "liqe"}})
    return path


def test_it_is_measured_beside_others_without_figures_of_uncertainty(
    app: typer.Typer, bare: Path, smoke_run: Run, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = ["evaluate", str(bare), str(smoke_run.out), "--data", str(smoke_run.release.root), "--out", str(out)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert f"{bare} may have been trained on some of these photos" in result.stderr, "nobody knows which it has seen"
    first, second = json.loads((out / "evaluation.json").read_text())["evaluations"]
    assert "srcc" in first["figures"]
    assert not {"coverage", "width", "fused_srcc", "error_rank"} & first["figures"].keys()
    assert {"coverage", "width", "fused_srcc", "error_rank"} <= second["figures"].keys()
    rows = list(csv.DictReader((out / "photos.csv").read_text().splitlines()))
    assert {row["interval_low"] == "" for row in rows if row["model"] == str(bare)} == {True}
    assert not {row["interval_low"] == "" for row in rows if row["model"] != str(bare)} & {True}
    assert (out / "model-1" / "scatter.svg").is_file()
    assert not (out / "model-1" / "uncertainty.svg").exists()
    made = CliRunner().invoke(app, ["tables", str(out), "--out", str(tmp_path / "tables")], catch_exceptions=False)
    assert made.exit_code == 0


def test_it_has_no_interval_to_calibrate(app: typer.Typer, bare: Path, smoke_run: Run, tmp_path: Path) -> None:
    path = Path(shutil.copy(bare, tmp_path))
    before = path.read_bytes()
    result = CliRunner().invoke(app, ["calibrate", str(path), "--data", str(smoke_run.release.root)])
    assert isinstance(result.exception, UsageError)
    assert f"train one on top of it with: defnet train paper --init {path}" in str(result.exception)
    assert path.read_bytes() == before


@pytest.mark.parametrize("extra", [[], ["--dry-run"]])
def test_a_model_without_head_is_not_trained(
    app: typer.Typer, smoke_run: Run, tmp_path: Path, extra: list[str]
) -> None:
    arguments = ["train", "smoke", "--data", str(smoke_run.release.root), "--out", str(tmp_path / "run"), *extra]
    result = CliRunner().invoke(app, [*arguments, "--set", "model.head.kind=none"])
    assert isinstance(result.exception, UsageError)
    assert "start from them with: defnet train RECIPE --init CHECKPOINT" in str(result.exception)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_training_goes_on_from_it(app: typer.Typer, bare: Path, smoke_run: Run, tmp_path: Path) -> None:
    arguments = ["train", "smoke", "--data", str(smoke_run.release.root), "--out", str(tmp_path / "run")]
    arguments += ["--init", str(bare), "--set", "optim.epochs=1", "--set", "optim.steps_per_epoch=1"]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "coverage" in json.loads((tmp_path / "run" / "metrics.json").read_text())["test"]
