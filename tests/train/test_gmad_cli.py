"""`defnet gmad` as it is typed: what it leaves, and what it never replaces."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import typer
from matplotlib.figure import Figure
from PIL import Image
from typer.testing import CliRunner

from defnet_infer.errors import UsageError
from defnet_train.cli import add_commands


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    add_commands(application)
    return application


def competition(folder: Path, first: str = "a", second: str = "b", photo: str = "{}.png") -> list[str]:
    """Six photos, scores of two models, and the arguments that name them."""
    photos = folder / "photos"
    photos.mkdir()
    for i in range(6):
        Image.new("RGB", (40, 30), (40 * i, 0, 0)).save(photos / photo.format(i))
    for name, scores in ((first, (1, 2, 3, 4, 5, 6)), (second, (6, 1, 5, 2, 4, 3))):
        lines = ["path,score", *(f"{photo.format(i)},{s}" for i, s in enumerate(scores))]
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")
    both = [str(folder / f"{name}.csv") for name in (first, second)]
    return ["gmad", *both, "--photos", str(photos), "--out"]


def test_it_writes_pairs_and_pictures(app: typer.Typer, tmp_path: Path) -> None:
    arguments = [*competition(tmp_path), str(tmp_path / "out")]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    with (tmp_path / "out" / "gmad.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert (first["defender"], first["attacker"]) == ("a", "b")
    assert (first["better"], first["worse"]) == ("0.png", "1.png"), "neighbours for a, six and one for b"
    assert float(first["attacker_better"]) - float(first["attacker_worse"]) == 5
    assert (tmp_path / "out" / "gmad.svg").stat().st_size > 1000
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0, "over its own result"


def test_it_replaces_nothing_but_its_own_result(app: typer.Typer, tmp_path: Path) -> None:
    arguments = [*competition(tmp_path, first="gmad"), str(tmp_path)]
    mine = tmp_path / "gmad.csv"
    before = mine.read_text()
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, UsageError)
    assert f"{mine} is what this command reads; name another folder" in str(result.exception)
    assert mine.read_text() == before
    for name in ("gmad.csv", "gmad.png"):
        other = tmp_path / f"with {name}" / name
        other.parent.mkdir()
        other.write_text("path,score\n")
        result = CliRunner().invoke(app, [*arguments[:-1], str(other.parent)])
        assert isinstance(result.exception, UsageError)
        assert f"{other} is not of an earlier defnet gmad; name another folder" in str(result.exception)
        assert other.read_text() == "path,score\n"


def test_the_pairs_stay_where_the_picture_cannot_be_drawn(
    app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [*competition(tmp_path), str(tmp_path / "out")]
    CliRunner().invoke(app, arguments, catch_exceptions=False)
    before = (tmp_path / "out" / "gmad.csv").read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fail)
    assert CliRunner().invoke(app, arguments).exit_code == 1
    assert (tmp_path / "out" / "gmad.csv").read_bytes() == before
