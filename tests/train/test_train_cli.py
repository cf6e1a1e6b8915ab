"""`defnet train` and `defnet evaluate` as they are typed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from defnet_infer.errors import CheckpointError, MissingExtraError, UsageError
from defnet_train.cli import add_commands
from defnet_train.extras import require_extra
from tests.train.conftest import TINY, Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    add_commands(application)
    return application


def test_evaluate_repeats_the_figures_of_the_run(app: typer.Typer, smoke_run: Run) -> None:
    arguments = ["evaluate", str(smoke_run.out / "best.safetensors"), "--data", str(smoke_run.release.root)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    table = {line.split()[1]: line for line in result.stdout.splitlines() if len(line.split()) > 3}
    for figure in ("srcc", "plcc", "coverage", "scene_accuracy"):
        assert f"{smoke_run.result['test'][figure]:.4g}"[:5] in table[figure]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "lite"], "no data folder; pass it with --data"),
        (["train", "table4"], "no data folder; pass it with --data"),
        (["train", "table4", "--data", "x", "--sessions", "0-2"], "sessions count from 1"),
        (["train", "table4-q+x", "--data", "x"], "table4 has no row 'table4-q+x'; its rows are table4-q-M"),
        (["train", "lite", "--data", "x", "--base", "paper"], "--base paper goes with a table"),
        (["train", "smok", "--data", "x"], "recipe 'smok' not found"),
        (["train", "smoke", "--data", "x", "--set", "optim.epoch=3"], "did you mean 'optim.epochs'"),
        (
            ["train", "smoke", "--data", "x", "--set", "optim.epochs=many"],
            "--set: optim.epochs = 'many' is not",
        ),
        (["train", "smoke", "--data", "x", "--sessions", "1-3"], "--sessions 1-3 goes with a table"),
        (["train", "smoke", "--data", "x", "--precision", "16"], "choose one of '32-true', 'bf16-mixed', '16-mixed'"),
        (["train", "--resume"], "no run to go on with in runs; name its folder with --out"),
        (["train", "lite", "--resume"], "no run of recipe 'lite' to go on with in runs"),
        (["train", "--resume", "--out", "gone"], "no run to go on with in gone; start one with: defnet train"),
        (["evaluate", "best.safetensors"], "no data folder"),
        (["evaluate", "best.safetensors", "--data", "x", "--part", "tests"], "choose one of train, val, test, all"),
    ],
)
def test_a_command_typed_wrong_says_what_to_type(
    app: typer.Typer, arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DEFNET_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
    assert list(tmp_path.iterdir()) == [], "nothing was written"


@pytest.mark.parametrize("typed", [["lite"], ["lite", "--dry-run"], ["table4", "--base", "lite", "--sessions", "1"]])
def test_a_frozen_trunk_without_weights_is_refused(
    app: typer.Typer, smoke_run: Run, tmp_path: Path, typed: list[str]
) -> None:
    typed = ["train", *typed, "--data", str(smoke_run.release.root), "--out", str(tmp_path / "run")]
    result = CliRunner().invoke(app, typed)
    assert isinstance(result.exception, UsageError)
    assert "frozen trunk of mobilenetv2_100 would keep random weights" in str(result.exception)
    assert "--set model.trunk_weights=FILE" in str(result.exception)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("more", [[], ["--dry-run"]])
@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--set", "model.weights=gone.pt"], "CLIP weights gone.pt not found"),
        (["--set", "model.trunk_weights=gone.safetensors"], "trunk weights gone.safetensors not found"),
        (["--set", f"model.trunk_weights={__file__}"], f"do not fit {TINY}"),
        (["--init", "gone.safetensors"], "checkpoint gone.safetensors not found"),
    ],
)
def test_weights_that_are_not_there_leave_no_run_behind(
    app: typer.Typer, smoke_run: Run, tmp_path: Path, wrong: list[str], message: str, more: list[str]
) -> None:
    typed = ["train", "smoke", "--data", str(smoke_run.release.root), "--out", str(tmp_path / "run")]
    typed += ["--set", f"data.labels={smoke_run.config.data.labels}"]
    result = CliRunner().invoke(app, [*typed, *wrong, *more])
    assert isinstance(result.exception, CheckpointError)
    assert message in str(result.exception)
    assert not (tmp_path / "run").exists()


def test_a_run_replaces_no_file_of_somebody_else(app: typer.Typer, smoke_run: Run, tmp_path: Path) -> None:
    typed = ["train", "smoke", "--data", str(smoke_run.release.root), "--out", str(tmp_path)]
    typed += ["--set", f"data.labels={smoke_run.config.data.labels}"]
    for name in ("best.safetensors", "metrics.json", "log.jsonl", "tensorboard", "fold-3.safetensors"):
        (tmp_path / name).write_text("mine")
        result = CliRunner().invoke(app, typed)
        assert isinstance(result.exception, UsageError)
        assert f"{tmp_path / name} is of no run here and would be replaced" in str(result.exception)
        assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]
        (tmp_path / name).unlink()


def test_a_dry_run_prints_the_plan_and_writes_nothing(
    app: typer.Typer, smoke_run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEFNET_DATA", str(smoke_run.release.root))
    settings = ["--set", f"model.tower={TINY}", "--set", "optim.epochs=7", "--devices", "2"]
    result = CliRunner().invoke(app, ["train", "smoke", "--dry-run", *settings], catch_exceptions=False)
    assert result.exit_code == 0
    assert "7 epochs of 12 = 84, each of 16 photos, 80 views on 2 devices" in result.stdout
    assert "evidential heads" in result.stdout
    assert "note: no training photo has a scene or distortion label" in result.stderr
    assert "note: 6 validation photos promise an interval of 85 %, not 95 %" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folds", [0, 2])
def test_figures_out_of_fold_are_shown_where_there_are_any(
    app: typer.Typer, smoke_run: Run, tmp_path: Path, folds: int
) -> None:
    config, root = smoke_run.config, str(smoke_run.release.root)
    few = ["optim.epochs=1", "optim.steps_per_epoch=2", f"calibration.folds={folds}", f"data.cache={config.data.cache}"]
    settings = [f"model.tower={TINY}", f"data.labels={config.data.labels}", *few]
    typed = ["train", "smoke", "--data", root, "--out", str(tmp_path / "run")]
    typed += [word for setting in settings for word in ("--set", setting)]
    result = CliRunner().invoke(app, typed, catch_exceptions=False)
    assert ("out of fold" in result.stdout) == bool(folds)
    assert ("note: 6 validation photos promise an interval of 85 %" in result.stderr) == (not folds)
    assert "validation" in result.stdout


def test_a_dry_run_without_data_leaves_no_generated_photos(
    app: typer.Typer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DEFNET_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["train", "smoke", "--dry-run"], catch_exceptions=False)
    assert "140" in result.stdout, "the training part of 200 photos"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_line(app: typer.Typer, smoke_run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    out, root = str(tmp_path / "file" / "run"), str(smoke_run.release.root)
    for typed in (
        ["train", "smoke", "--data", root, "--out", out, "--set", f"data.labels={smoke_run.config.data.labels}"],
        ["evaluate", str(smoke_run.out), "--data", root, "--out", out],
        ["tables", str(smoke_run.out), "--out", out],
    ):
        result = CliRunner().invoke(app, typed)
        assert isinstance(result.exception, UsageError), result.exception
        assert str(result.exception) == f"--out {out}: {tmp_path / 'file'} is a file; name a folder"
    result = CliRunner().invoke(app, ["data", "check", root, "--out", str(tmp_path / "gone" / "report.json")])
    assert isinstance(result.exception, UsageError)
    assert "mkdir -p" in str(result.exception)


SCRIPT = (
    "import sys; import tests.train.conftest; from defnet_train import display, listener\n"
    "step = display.Display.step\n"
    "def tell(self, report):\n"
    "    step(self, report); print('step', report.step, flush=True)\n"
    "display.Display.step = tell\n"
    "from defnet_infer.cli import main; main(sys.argv[1:])"
)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGTERM])
def test_a_signal_saves_and_the_line_it_ends_with_goes_on(smoke_run: Run, tmp_path: Path, number: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    typed = ["train", str(tmp_path / "short.toml"), "--data", str(smoke_run.release.root)]
    (tmp_path / "short.toml").write_text(
        f"[model]\ntower = '{TINY}'\nweights = 'random'\n[data]\nsets = {{ clive = 16 }}\n"
        f"cache = '{smoke_run.config.data.cache}'\n[optim]\nfreeze_trunk = true\nepochs = 2\nsteps_per_epoch = 20\n"
    )
    command = [sys.executable, "-c", SCRIPT]
    with subprocess.Popen(
        [*command, *typed], cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        next(line for line in running.stdout if line == "step 3\n")
        running.send_signal(number)
        _, message = running.communicate(timeout=120)
    assert running.returncode == 130, message
    *_, stopping, closing = message.splitlines()
    assert stopping.startswith("stopping: the step in work is being finished and saved")
    (run,) = (tmp_path / "runs").iterdir()
    go_on = f"go on with: defnet train --resume --out runs/{run.name}"
    assert re.fullmatch(rf"interrupted in epoch 1, \d+ of 20 steps done; {go_on}", closing)
    rest = subprocess.run(
        [*command, "train", "--resume"], cwd=tmp_path, env=environment, text=True, capture_output=True
    )
    assert rest.returncode == 0, rest.stderr
    assert "step 3\n" not in rest.stdout
    assert "step 40\n" in rest.stdout
    assert "best checkpoint" in rest.stdout
    again = subprocess.run(
        [*command, "train", "--resume", "--set", "optim.epochs=3"],
        cwd=tmp_path, env=environment, text=True, capture_output=True,
    )  # fmt: skip
    assert again.returncode == 2
    assert "cannot go on: optim.epochs was 2, now 3" in again.stderr
    assert len(again.stderr.splitlines()) == 1


def test_a_missing_extra_names_the_install_line() -> None:
    with pytest.raises(MissingExtraError, match=r"`defnet train` needs no_such_module; .*'defnet\[train\]'"):
        require_extra("defnet train", "train", "json", "no_such_module")
    require_extra("defnet train", "train", "json")
