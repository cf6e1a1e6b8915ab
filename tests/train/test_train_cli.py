"""`defnet train` and `defnet evaluate` as they are typed."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from defnet_infer.errors import MissingExtraError, UsageError
from defnet_train.cli import add_commands, require_extra
from tests.train.conftest import Run


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
        (["train", "smoke"], "no data folder; pass it with --data"),
        (["train", "smok", "--data", "x"], "recipe 'smok' not found"),
        (["train", "smoke", "--data", "x", "--set", "optim.epoch=3"], "did you mean 'optim.epochs'"),
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


def test_a_missing_extra_names_the_install_line() -> None:
    with pytest.raises(MissingExtraError, match=r"`defnet train` needs no_such_module; .*'defnet\[train\]'"):
        require_extra("defnet train", "train", "json", "no_such_module")
    require_extra("defnet train", "train", "json")
