"""The `defnet` command: exit codes, one clear line for every mistake, data apart from messages."""

from __future__ import annotations

import csv
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from defnet_infer.cli import main
from defnet_infer.results import COLUMNS
from tests.conftest import MakePhoto, tiny_metadata, write_tiny_model


@pytest.fixture
def folder(make_photo: MakePhoto, tmp_path: Path) -> Path:
    """Three good photos and two broken ones."""
    for k, name in enumerate(("a.jpg", "c.png", "e.webp")):
        make_photo(f"photos/{name}", seed=k)
    (tmp_path / "photos" / "b.jpg").touch()
    broken = make_photo("photos/d.jpg", 500, 400, quality=95)
    broken.write_bytes(broken.read_bytes()[:4000])
    return tmp_path / "photos"


def defnet(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_gives_one_row_a_photo_a_record_and_a_closing_line(
    folder: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "results.csv"
    assert defnet("score", folder, "--model", tiny_model, "--out", out) == 1
    rows = read(out)
    assert tuple(rows[0]) == COLUMNS
    assert [Path(row["path"]).name for row in rows] == ["a.jpg", "b.jpg", "c.png", "d.jpg", "e.webp"]
    assert [row["status"] for row in rows] == ["ok", "error", "ok", "error", "ok"]
    assert rows[1]["error"] == "file is empty"
    assert rows[3]["error"] == "file is truncated"
    assert all(1 < float(row["score"]) < 5 for row in rows if row["status"] == "ok")
    printed = capfd.readouterr()
    assert printed.out == ""
    device, closing = printed.err.splitlines()
    assert device.startswith("device: c")
    assert closing.startswith("scored 3 of 5 photos in ")
    assert printed.err.endswith(f"; 2 failed, see the error column of {out}\n")
    record = json.loads((tmp_path / "results.csv.run.json").read_text())
    assert record["counts"] == {"photos": 5, "scored": 3, "failed": 2, "of_earlier_runs": 0}
    assert (record["finished"], record["resumed"]) == (True, 0)
    assert record["options"]["max_pixels"] == 250_000_000
    assert record["device"] == "cpu"
    assert len(record["model"]["sha256"]) == 64
    assert {"python", "numpy", "pillow", "pillow-heif"} <= set(record["versions"])


def test_good_photos_alone_exit_with_0_and_standard_output_holds_nothing_but_rows(
    make_photo: MakePhoto, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert defnet("score", make_photo("a.jpg"), "--model", tiny_model) == 0
    printed = capfd.readouterr()
    assert printed.out.splitlines()[0] == ",".join(COLUMNS)
    assert len(printed.out.splitlines()) == 2
    assert printed.err.splitlines()[-1].startswith("scored 1 of 1 photo in ")


def test_quiet_says_nothing_at_all(
    folder: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert defnet("score", folder, "--model", tiny_model, "-o", tmp_path / "r.jsonl", "--quiet") == 1
    assert capfd.readouterr() == ("", "")
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [line["score"] is None for line in lines] == [False, True, False, True, False]


def test_a_second_run_gives_the_same_bytes_whatever_workers_and_batches(
    folder: Path, tiny_model: Path, tmp_path: Path
) -> None:
    contents = set()
    for k, (workers, batch) in enumerate([(1, 1), (2, 7), (8, 64)]):
        out = tmp_path / f"{k}.csv"
        defnet("score", folder, "--model", tiny_model, "-o", out, "--workers", workers, "--batch-size", batch)
        contents.add(out.read_bytes())
    assert len(contents) == 1


def one_line(capfd: pytest.CaptureFixture[str]) -> str:
    printed = capfd.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("defnet: ")
    assert printed.err.count("\n") == 1
    return printed.err


def test_paths_without_photos_are_wrong_usage(
    tmp_path: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    empty, texts = tmp_path / "empty", tmp_path / "texts"
    empty.mkdir()
    texts.mkdir()
    (texts / "notes.txt").write_text("no photo")
    for path, words in (
        (tmp_path / "gone", "does not exist"),
        (empty, "is an empty folder"),
        (texts, "is a folder without photos"),
    ):
        assert defnet("score", path, "--model", tiny_model) == 2
        assert words in one_line(capfd)


def test_a_path_with_a_line_break_still_gives_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert defnet("score", "no\nwhere") == 2
    assert r"no\nwhere does not exist" in one_line(capfd)


def test_outputs_that_cannot_be_written_are_wrong_usage_before_the_model_is_opened(
    make_photo: MakePhoto, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photo = make_photo("a.jpg")
    existing = tmp_path / "old.csv"
    existing.write_text("old")
    no_model = tmp_path / "gone.onnx"
    for out, words in (
        (tmp_path / "no" / "r.csv", "mkdir -p"),
        (tmp_path / "a b" / "r.csv", f"mkdir -p '{tmp_path / 'a b'}'"),
        (photo / "r.csv", "does not exist"),
        (existing, "--overwrite"),
        (tmp_path / "r.txt", ".csv"),
    ):
        assert defnet("score", photo, "--model", no_model, "--out", out) == 2
        assert words in one_line(capfd)
    assert existing.read_text() == "old"


def test_a_model_that_cannot_be_used_exits_with_3_and_leaves_no_results(
    make_photo: MakePhoto, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photo = make_photo("a.jpg")
    text = tmp_path / "text.onnx"
    text.write_text("hello")
    foreign = write_tiny_model(tmp_path / "foreign.onnx", metadata={})
    for model, words in (
        (tmp_path / "gone.onnx", "no such model file"),
        (text, "is not an ONNX model"),
        (foreign, "not one of defnet's"),
    ):
        out = tmp_path / "results.csv"
        assert defnet("score", photo, "--model", model, "--out", out) == 3
        assert words in one_line(capfd)
        assert not out.exists()
    assert defnet("info", text) == 3
    assert "is not an ONNX model" in one_line(capfd)


def test_overwriting_replaces_rows_and_record(make_photo: MakePhoto, tiny_model: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.csv"
    out.write_text("x" * 100_000)
    assert defnet("score", make_photo("a.jpg"), "--model", tiny_model, "-o", out, "--overwrite", "-q") == 0
    assert len(read(out)) == 1
    assert (tmp_path / "r.csv.run.json").exists()


def test_a_wrong_option_is_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    assert defnet("score", "--nonsense") == 2
    assert defnet("score", "a.jpg", "--device", "tpu") == 2
    assert "Traceback" not in capfd.readouterr().err


def test_info_shows_every_metadata_entry_and_the_rule(tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert defnet("info", tiny_model) == 0
    shown = capfd.readouterr().out
    for word in ("training_data", "none [made by a test]", "crops uint8", "crop_rule", "every_nth", "sha256"):
        assert word in shown
    assert defnet("info", tiny_model, "--json") == 0
    data = json.loads(capfd.readouterr().out)
    assert set(data["metadata"]) == set(tiny_metadata())
    assert data["metadata"]["defnet.contract"]["preprocess"]["crop_count"] == 15
    assert data["metadata"]["defnet.training_data"] == "none [made by a test]"


def test_info_takes_brackets_in_a_name_for_no_markup(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert defnet("info", write_tiny_model(tmp_path / "[bold]a.onnx")) == 0
    assert "[bold]a.onnx, 0." in capfd.readouterr().out


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "defnet_infer.cli", *arguments], capture_output=True, text=True)


def test_help_names_the_commands_without_loading_what_scores() -> None:
    code = (
        "import sys; sys.argv = ['defnet', '--help']\n"
        "from defnet_infer.cli import main\n"
        "try: main()\n"
        "finally: print(sorted({'numpy', 'onnxruntime', 'PIL', 'torch'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "score" in done.stdout
    assert "info" in done.stdout
    assert done.stderr.strip() == "[]"


def test_a_photo_beyond_a_limit_is_listed_and_the_exit_code_is_1(
    make_photo: MakePhoto, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    photo = make_photo("a.jpg")
    for options, words in ((("--fail-under", 4.9), "a score below 4.9"), (("--review-above", 0.5), "wider than 0.5")):
        assert defnet("score", photo, "--model", tiny_model, "-q", *options) == 1
        assert f"1 photo with {words}" in capfd.readouterr().err.replace("an interval ", "")
    assert defnet("score", photo, "--model", tiny_model, "--fail-under", 1.1, "--review-above", 1.5, "-q") == 0
    for option, number in itertools.product(("--fail-under", "--review-above"), ("nan", "inf")):
        assert defnet("score", photo, "--model", tiny_model, option, number) == 2, "a gate that is always open"
        assert f"{option} {number} is no limit" in capfd.readouterr().err


def test_a_resumed_run_sums_up_and_judges_every_row_of_the_file(
    folder: Path, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("score", folder, "--model", tiny_model, "-o", tmp_path / "r.csv")
    defnet(*command)
    capfd.readouterr()
    assert defnet(*command, "--resume", "--summary", "--fail-under", 5) == 1
    lines = capfd.readouterr().err.splitlines()
    assert ", 5 of them in earlier runs; 2 failed" in lines[1]
    assert lines[2] == "photos 5, scored 3, failed 2"
    assert "3 photos with a score below 5:" in lines


def test_a_device_asked_for_is_not_explained_and_a_missing_engine_is_an_error(
    make_photo: MakePhoto, tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    command = ("score", make_photo("a.jpg"), "--model", tiny_model)
    assert defnet(*command, "--device", "cpu", "--engine", "onnxruntime") == 0
    assert "device:" not in capfd.readouterr().err
    assert defnet(*command, "--engine", "tensorrt") == 3
    assert "--engine onnxruntime" in one_line(capfd)


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_reader_that_goes_away_ends_the_run_without_a_traceback(
    make_photo: MakePhoto, tiny_model: Path, tmp_path: Path
) -> None:
    photo = make_photo("photos/0.jpg")
    for k in range(1, 60):
        os.link(photo, photo.with_name(f"{k}.jpg"))
    command = [sys.executable, "-m", "defnet_infer.cli", "score", str(photo.parent), "--model", str(tiny_model)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        message = process.stderr.read()
    assert process.returncode == 141
    assert "Traceback" not in message
