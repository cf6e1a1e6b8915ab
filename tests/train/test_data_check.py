"""`defnet data check`: what it finds, what it says, and how it exits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from defnet_infer.cli import main
from defnet_infer.errors import DatasetError, UsageError
from defnet_train.cli import add_commands
from defnet_train.config import TrainConfig
from defnet_train.data_check import SetReport, check_data, inspect_data
from defnet_train.recipe_file import apply_overrides
from defnet_train.run_data import load_data
from tests.train.conftest import textured_photo
from tests.train.releases import WRITERS, put, write_bid, write_csiq, write_koniq10k


def config(*settings: str) -> TrainConfig:
    return apply_overrides(TrainConfig(), list(settings))


def one(root: Path, key: str, *settings: str, look: str = "headers") -> SetReport:
    return inspect_data(config(*settings).data, root, [key], look).sets[0]  # type: ignore[arg-type]


def write_different_photos(root: Path, count: int = 10) -> list[Path]:
    """A CSV data set whose photos differ in their bytes."""
    rows = []
    for index in range(count):
        textured_photo(index / count, index, 32).save(root / f"{index}.png")
        rows.append(f"{index}.png,{10 * index}")
    (root / "my.csv").write_text("\n".join(["path,mos", *rows]) + "\n")
    return [root / f"{index}.png" for index in range(count)]


def test_a_report_counts_what_is_there(tmp_path: Path) -> None:
    dmos = write_csiq(tmp_path)
    found = one(tmp_path, "csiq")
    assert (found.name, found.photos, found.official, found.groups, found.absent) == ("CSIQ", 90, 866, 3, 0)
    assert found.rated == pytest.approx((1 - max(dmos.values()), 1 - min(dmos.values())))
    assert found.scale == (0, 1)
    assert sum(found.split) == 90
    assert all(size % 30 == 0 for size in found.split), "whole references"
    assert (found.scenes, found.distortions) == (0, 1), "the distortion is known from the name"
    assert found.error == ""
    assert any("rates 90 photos, the official release 866" in note for note in found.notes)


def test_the_share_of_labelled_photos_is_counted(tmp_path: Path) -> None:
    scores = write_koniq10k(tmp_path)
    rows = [f"{path}\trealistic blur\t{'human' if i < 3 else ''}\t\t" for i, path in enumerate(scores) if i < 6]
    header = "path\tdistortion\tscene1\tscene2\tscene3"
    (tmp_path / "koniq10k.tsv").write_text("\n".join([header, *rows]) + "\n")
    found = one(tmp_path, "koniq10k", f"data.labels={tmp_path}")
    assert (found.scenes, found.distortions) == pytest.approx((0.3, 0.6))


@pytest.mark.parametrize("missing", ["error", "skip"])
def test_missing_photos_are_counted_and_stop_a_run_that_does_not_skip_them(tmp_path: Path, missing: str) -> None:
    write_koniq10k(tmp_path)
    (tmp_path / "koniq-10k" / "1024x768" / "10004473377.jpg").unlink()
    found = one(tmp_path, "koniq10k", f"data.missing={missing}")
    assert (found.photos, found.absent) == (9, 1)
    assert ("10004473377.jpg" in found.error) == (missing == "error")


def test_a_file_that_is_no_photo_is_found_by_its_header(tmp_path: Path) -> None:
    write_bid(tmp_path)
    broken = tmp_path / "BID" / "ImageDatabase" / "DatabaseImage0004.JPG"
    broken.write_text("<html>not found</html>")
    found = one(tmp_path, "bid")
    assert found.unreadable == 1
    assert str(broken) in found.unreadable_examples[0]
    assert "BID: 1 of 5 photos cannot be read; " in found.error
    assert one(tmp_path, "bid", look="names").error == ""


def test_a_file_that_is_cut_off_is_found_by_decoding_only(tmp_path: Path) -> None:
    photos = write_different_photos(tmp_path)
    whole = photos[3].read_bytes()
    photos[3].write_bytes(whole[: len(whole) // 2])
    assert one(tmp_path, "csv", "data.csv=my.csv").unreadable == 0
    found = one(tmp_path, "csv", "data.csv=my.csv", look="pixels")
    assert found.unreadable == 1
    assert "3.png" in found.error


def test_equal_files_are_found_by_decoding_and_those_across_parts_are_counted(tmp_path: Path) -> None:
    photos = write_different_photos(tmp_path)
    assert one(tmp_path, "csv", "data.csv=my.csv", look="pixels").duplicates == 0
    photos[4].write_bytes(photos[1].read_bytes())
    rows = [f"{i}.png,{i},{'test' if i == 4 else 'train' if i else 'val'}" for i in range(10)]
    (tmp_path / "my.csv").write_text("\n".join(["path,mos,split", *rows]) + "\n")
    found = one(tmp_path, "csv", "data.csv=my.csv", look="pixels")
    assert found.duplicate_examples == ((str(photos[1]), str(photos[4])),)
    assert any(
        "the bytes of another one: 1, and in another part of the split than that: 1;" in note for note in found.notes
    )


def test_a_scale_taken_from_the_scores_is_said_and_one_that_was_given_is_not(tmp_path: Path) -> None:
    write_different_photos(tmp_path)
    assert any("0 to 90" in note and "data.csv_range" in note for note in one(tmp_path, "csv", "data.csv=my.csv").notes)
    given = one(tmp_path, "csv", "data.csv=my.csv", "data.csv_range=[0,100]").notes
    assert not any("scale" in note for note in given)


def test_a_part_without_photos_is_said(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        put(tmp_path / name)
    (tmp_path / "my.csv").write_text("path,mos,split\na.jpg,1,train\nb.jpg,2,test\n")
    assert "photos in the val part: 0; a run needs 5 in each" in one(tmp_path, "csv", "data.csv=my.csv").notes


def test_one_broken_data_set_does_not_hide_another(tmp_path: Path) -> None:
    write_bid(tmp_path)
    (tmp_path / "kadid10k").mkdir()
    report = inspect_data(config().data, tmp_path, ["kadid10k", "bid"])
    assert [bool(found.error) for found in report.sets] == [True, False]
    assert report.sets[1].photos == 5
    assert "LIVE" in report.elsewhere
    assert "KADID-10k" not in report.elsewhere


def test_checking_a_run_stops_at_what_would_break_it(tmp_path: Path) -> None:
    write_different_photos(tmp_path, 50)
    assert check_data(config("data.sets={csv = 4}", "data.csv=my.csv"), tmp_path).sets[0].photos == 50
    write_bid(tmp_path)
    with pytest.raises(DatasetError, match="only 3 rated photos in the train part of 5"):
        check_data(config("data.sets={bid = 4}"), tmp_path)
    with pytest.raises(DatasetError, match=r"KonIQ-10k: .*csv not found"):
        check_data(config("data.sets={bid = 4, koniq10k = 4}"), tmp_path)
    with pytest.raises(UsageError, match="unknown data set 'koniq'"):
        check_data(config("data.sets={koniq = 4}"), tmp_path)


def test_every_photo_is_reported_as_progress(tmp_path: Path) -> None:
    write_different_photos(tmp_path, 50)
    done: list[int] = []
    check_data(config("data.sets={csv = 4}", "data.csv=my.csv"), tmp_path, progress=done.append)
    assert sum(done) == 50


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    add_commands(application)
    return application


def test_the_command_shows_every_data_set_that_is_there(app: typer.Typer, tmp_path: Path) -> None:
    for key, write in WRITERS.items():
        if key != "live":
            write(tmp_path / "data")
    put(tmp_path / "data" / "pristine" / "a.png")
    out = tmp_path / "report.json"
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path / "data"), "--out", str(out)])
    assert result.exit_code == 0, result.output
    for name in ("CSIQ", "BID", "LIVE Challenge", "KonIQ-10k", "KADID-10k", "TID2013", "SPAQ", "PIPAL", "synthetic"):
        assert name in result.stdout
    assert "not here: LIVE\n" in result.stdout
    report = json.loads(out.read_text())
    assert {found["key"]: found["photos"] for found in report["sets"]}["tid2013"] == 240
    assert report["errors"] == []


def test_the_command_takes_a_csv_file_alone(app: typer.Typer, tmp_path: Path) -> None:
    write_different_photos(tmp_path, 50)
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path / "my.csv")])
    assert result.exit_code == 0, result.output
    assert "35/5/10" in result.stdout
    assert "not here" not in result.stdout, "one file was asked for"
    assert "generated split 1" in result.stdout
    assert "note: no training photo has a scene or distortion label" in result.stdout
    assert "note: 5 validation photos promise an interval of 83 %, not 95 %" in result.stdout
    rows = [f"{i}.png,{i},{('train', 'val', 'test')[i % 3]}" for i in range(50)]
    (tmp_path / "my.csv").write_text("\n".join(["path,mos,split", *rows]) + "\n")
    result = CliRunner().invoke(app, ["data", "check", str(tmp_path / "my.csv")])
    assert "the split of the file" in result.stdout
    assert "generated" not in result.stdout
    assert "17/17/16" in result.stdout


def test_brackets_in_a_folder_are_no_markup(app: typer.Typer, tmp_path: Path) -> None:
    folder = tmp_path / "b[" / "x]"
    folder.mkdir(parents=True)
    write_different_photos(folder, 50)
    result = CliRunner().invoke(app, ["data", "check", str(folder / "my.csv")], catch_exceptions=False)
    assert "35/5/10" in result.stdout


def test_a_file_that_a_run_would_refuse_is_no_success(app: typer.Typer, tmp_path: Path) -> None:
    write_different_photos(tmp_path)
    wanted = "only 1 rated photos in the val part of 10; 5 are needed: add photos"
    asked = ["--set", "data.sets={csv = 4}", "--set", "data.csv=my.csv"]
    for typed in ([str(tmp_path / "my.csv")], [str(tmp_path), *asked]):
        result = CliRunner().invoke(app, ["data", "check", *typed])
        assert isinstance(result.exception, DatasetError)
        assert str(result.exception) == wanted
        assert "7/1/2" in result.stdout, "the table is shown all the same"
    with pytest.raises(DatasetError) as caught:
        load_data(config(*asked[1::2]), tmp_path)
    assert str(caught.value) == wanted, "as the run says it"


def test_a_report_never_replaces_what_is_checked(app: typer.Typer, tmp_path: Path) -> None:
    write_different_photos(tmp_path, 50)
    mine, report = tmp_path / "my.csv", tmp_path / "report.json"
    scores = mine.read_text()
    report.write_text("old")
    named = [str(tmp_path), "--set", "data.sets={csv = 4}", "--set", "data.csv=my.csv", "--overwrite"]
    for out, typed, said in (
        (mine, [str(mine), "--overwrite"], "is what this command reads"),
        (mine, named, "is what this command reads"),
        (report, [str(mine)], "--overwrite"),
    ):
        result = CliRunner().invoke(app, ["data", "check", *typed, "--out", str(out)])
        assert isinstance(result.exception, UsageError)
        assert said in str(result.exception)
    assert (mine.read_text(), report.read_text()) == (scores, "old")
    assert CliRunner().invoke(app, ["data", "check", str(mine), "--out", str(report), "--overwrite"]).exit_code == 0
    assert report.read_text() != "old"


def test_a_recipe_decides_what_must_be_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEFNET_DATA", raising=False)
    write_bid(tmp_path)
    with pytest.raises(SystemExit) as caught:
        main(["data", "check", str(tmp_path), "--recipe", "smoke"])
    assert caught.value.code == 3
    assert "LIVE Challenge" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["EMPTY"], 3, "no data set found in"),
        (["nowhere"], 2, "not found"),
        ([], 2, "no data folder; type defnet data check FOLDER"),
        (["EMPTY", "--recipe", "papre"], 2, "recipe 'papre' not found"),
        (["EMPTY", "--set", "data.split=liqe"], 2, "did you mean 'data.splits'"),
    ],
)
def test_a_mistake_ends_in_one_line_and_its_exit_code(
    arguments: list[str],
    code: int,
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DEFNET_DATA", raising=False)
    with pytest.raises(SystemExit) as caught:
        main(["data", "check", *[str(tmp_path) if a == "EMPTY" else a for a in arguments]])
    assert caught.value.code == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_stored_size_is_read_without_decoding(tmp_path: Path) -> None:
    from defnet_infer.photos import stored_size

    Image.effect_noise((300, 200), 50).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    assert stored_size(tmp_path / "a.png") == (300, 200)
