"""`defnet evaluate`, `calibrate` and `tables` as they are typed, and `gmad` typed wrong."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from defnet_infer.errors import CheckpointError, DatasetError, DefnetError, UsageError
from defnet_train.checkpoint import load_checkpoint, save_checkpoint
from defnet_train.cli import add_commands
from defnet_train.run_results import read_results
from tests.train.conftest import Run


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    add_commands(application)
    return application


def test_two_sessions_of_a_recipe_get_their_mean_and_a_folder_for_tables(
    app: typer.Typer, smoke_run: Run, tmp_path: Path
) -> None:
    other = tmp_path / "second" / "best.safetensors"
    other.parent.mkdir()
    model, info = load_checkpoint(smoke_run.out / "best.safetensors")
    second = replace(info.config, data=replace(info.config.data, session=2))
    save_checkpoint(other, model, second, info.record)
    arguments = ["evaluate", str(smoke_run.out), str(other), "--data", str(smoke_run.release.root)]
    result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")], catch_exceptions=False)
    assert result.exit_code == 0
    assert "mean" in result.stdout
    assert "deviation" in result.stdout
    assert "By distortion type of clive" in result.stdout
    entries = json.loads((tmp_path / "out" / "evaluation.json").read_text())["evaluations"]
    assert [entry["session"] for entry in entries] == [1, 2]
    assert (tmp_path / "out" / "model-2" / "scatter.svg").is_file()
    made = CliRunner().invoke(
        app, ["tables", str(tmp_path / "out"), "--out", str(tmp_path / "tables")], catch_exceptions=False
    )
    assert made.exit_code == 0
    assert len(list((tmp_path / "tables").glob("*.md"))) == len(list((tmp_path / "tables").glob("*.csv"))) == 7
    with (tmp_path / "tables" / "8-cost.csv").open(newline="") as file:
        counts = {row["model"]: row for row in csv.DictReader(file)}["smoke (2 sessions)"]
    assert counts["heads"] == "684", "18 of quality, 270 of scenes, 396 of distortions"


def test_an_unfinished_run_is_measured_with_a_note_and_reaches_no_table(
    app: typer.Typer, smoke_run: Run, tmp_path: Path
) -> None:
    killed = tmp_path / "killed"
    killed.mkdir()
    shutil.copy(smoke_run.out / "config.json", killed)
    model, info = load_checkpoint(smoke_run.out / "best.safetensors")
    save_checkpoint(killed / "best.safetensors", model, info.config, {"epoch": 0})
    arguments = ["evaluate", str(killed), "--data", str(smoke_run.release.root), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert f"{killed} was not finished, so its intervals are not calibrated" in result.stderr
    (entry,) = json.loads((tmp_path / "out" / "evaluation.json").read_text())["evaluations"]
    assert entry["unfinished"]
    with pytest.raises(DatasetError, match="holds no finished run"):
        read_results(tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "best.safetensors"], "no data folder"),
        (["evaluate", "best.safetensors", "--data", "x", "--part", "tests"], "choose one of train, val, test, all"),
        (["evaluate", "best.safetensors", "--data", "x", "--sets", "bid,bid"], "--sets bid,bid: bid is named twice"),
        (["evaluate", "best.safetensors", "--data", "x"], r"checkpoint best.safetensors not found; train one"),
        (["evaluate", "model.onnx", "--data", "x"], r"model.onnx"),
        (["calibrate", "best.safetensors"], "no data folder"),
        (["calibrate", "model.onnx", "--data", "x"], "calibrate the checkpoint it was made of"),
        (["tables", "runs", "--out", "tables"], "runs is not a folder"),
        (["gmad", "a.csv", "a.csv", "--photos", ".", "--out", "out"], "given twice"),
        (["gmad", "a.csv", "b.csv", "--photos", ".", "--out", "out"], "a.csv not found; make it with: defnet score"),
    ],
)
def test_a_command_typed_wrong_says_what_to_type(
    app: typer.Typer, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DEFNET_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, DefnetError)
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == [], "nothing was written"


def test_an_evaluation_replaces_only_an_evaluation(app: typer.Typer, tmp_path: Path) -> None:
    mine = tmp_path / "photos.csv"
    mine.write_text("path,mos\na.jpg,3\n")
    for data, said in ((mine, "would be replaced by predictions"), (tmp_path, "is not of an earlier evaluation")):
        result = CliRunner().invoke(app, ["evaluate", "x", "--data", str(data), "--out", str(tmp_path)])
        assert isinstance(result.exception, UsageError)
        assert said in str(result.exception)
    (tmp_path / "evaluation.json").write_text('{"evaluations": []}')
    result = CliRunner().invoke(app, ["evaluate", "x", "--data", str(mine), "--out", str(tmp_path)])
    assert "would be replaced by predictions" in str(result.exception), "also beside an evaluation"
    result = CliRunner().invoke(app, ["evaluate", "x", "--data", str(tmp_path), "--out", str(tmp_path)])
    assert "checkpoint x not found" in str(result.exception), "one may be replaced"
    assert mine.read_text().startswith("path,mos")
    for name in ("scatter.png", "model-2/distribution-csv.svg"):
        figure = tmp_path / "other" / name
        figure.parent.mkdir(parents=True)
        figure.touch()
        result = CliRunner().invoke(app, ["evaluate", "x", "--data", str(mine), "--out", str(tmp_path / "other")])
        assert f"{figure} is not of an earlier evaluation" in str(result.exception)
        shutil.rmtree(tmp_path / "other")


def test_other_data_sets_than_the_file_that_is_given_are_refused(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("path,mos\na.jpg,3\n")
    result = CliRunner().invoke(app, ["evaluate", "x", "--data", str(tmp_path / "my.csv"), "--sets", "tid2013"])
    assert isinstance(result.exception, UsageError)
    assert "is one file of your own photos; leave it out" in str(result.exception)


def test_one_session_measured_twice_has_no_deviation(app: typer.Typer, smoke_run: Run) -> None:
    both = [str(smoke_run.out), str(smoke_run.out / ".." / smoke_run.out.name)]
    result = CliRunner().invoke(app, ["evaluate", *both, "--data", str(smoke_run.release.root)], catch_exceptions=False)
    assert "deviation" not in result.stdout


def test_a_folder_given_as_a_model_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is a folder; name a checkpoint, such as"):
        load_checkpoint(tmp_path)
    (tmp_path / "best.safetensors").touch()
    with pytest.raises(CheckpointError, match=r"is a folder; name the checkpoint in it: .*best\.safetensors"):
        load_checkpoint(tmp_path)


def test_an_output_that_is_a_file_is_refused_before_any_work(app: typer.Typer, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    for arguments in (["evaluate", "x", "--data", "x"], ["tables", "x"], ["gmad", "a", "b", "--photos", "x"]):
        result = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out")])
        assert isinstance(result.exception, UsageError)
        assert "is a file; name a folder" in str(result.exception)
    assert (tmp_path / "out").read_text() == "mine"
