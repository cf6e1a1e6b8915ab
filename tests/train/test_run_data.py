"""Photos that a run could not train or measure on: refused by the run and by `defnet data check` in the same words."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from defnet_infer.errors import DatasetError
from defnet_train.cli import add_commands
from defnet_train.run_data import load_data
from tests.train.test_data_check import config, write_different_photos


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    add_commands(application)
    return application


def test_too_few_groups_are_called_groups(tmp_path: Path) -> None:
    write_different_photos(tmp_path, 60)
    rows = [f"{i}.png,{i},{'trip' if i < 58 else i}" for i in range(60)]
    (tmp_path / "my.csv").write_text("\n".join(["path,mos,group", *rows]) + "\n")
    wanted = r"only 1 rated photos in the train part of 60; .* in 3 groups, .*: add groups, or fill the column `split`$"
    with pytest.raises(DatasetError, match=wanted):
        load_data(config("data.sets={csv = 4}", "data.csv=my.csv"), tmp_path)


def test_a_part_whose_opinions_are_all_alike_is_refused(app: typer.Typer, tmp_path: Path) -> None:
    write_different_photos(tmp_path, 50)
    asked = ["data.sets={csv = 4}", "data.csv=my.csv"]
    drawn = {r.path.name for r in load_data(config(*asked), tmp_path).of("val")}
    named = [(f"{i}.png", "train" if i < 30 else "val" if i < 40 else "test") for i in range(50)]
    dealt = [f"{name},{i if part != 'test' else 3},{part}" for i, (name, part) in enumerate(named)]
    undealt = [f"{name},{3 if name in drawn else i}" for i, (name, _) in enumerate(named)]
    for header, rows, said in (
        ("path,mos,split", dealt, "all 10 rated photos in the test part of 50 have one score, .* the column `split`"),
        ("path,mos", undealt, "all 5 rated photos in the val part of 50 have one score, .* another --set data.session"),
    ):
        (tmp_path / "my.csv").write_text("\n".join([header, *rows]) + "\n")
        result = CliRunner().invoke(app, ["data", "check", str(tmp_path / "my.csv")])
        assert isinstance(result.exception, DatasetError)
        with pytest.raises(DatasetError, match=said) as caught:
            load_data(config(*asked), tmp_path)
        assert str(caught.value) == str(result.exception)
