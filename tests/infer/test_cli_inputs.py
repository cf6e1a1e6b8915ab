"""`defnet score` with lists, patterns, archives, URLs and shards: what is typed and what is said."""

from __future__ import annotations

import csv
import io
import os
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from defnet_infer.cli import main
from tests.conftest import MakePhoto


def defnet(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folder(make_photo: MakePhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for k in range(4):
        make_photo(f"photos/{k}.jpg", seed=k)
    monkeypatch.chdir(tmp_path / "photos")
    return tmp_path


@pytest.mark.skipif(os.name == "nt", reason="POSIX shell")
def test_a_closed_standard_input_is_named() -> None:
    command = f"{shlex.quote(sys.executable)} -m defnet_infer score --files-from - <&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "standard input is closed; pipe a list into it" in done.stderr


def test_a_list_comes_through_standard_input_with_any_name_in_it(
    folder: Path, tiny_model: Path, make_photo: MakePhoto
) -> None:
    names = [b"0.jpg", b"gone.jpg"]
    if os.name != "nt":
        names += [b"line\nbreak.jpg", b"caf\xe9.jpg"]
        for name in names[2:]:
            Path("1.jpg").rename(os.fsdecode(name))
            make_photo("photos/1.jpg")
    out = folder / "r.csv"
    command = [sys.executable, "-m", "defnet_infer.cli", "score", "--files-from", "-", "3.jpg", "-o", str(out)]
    listed = b"\0".join(names)
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [*command, "--model", str(tiny_model)],
        input=listed,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 1
    found = rows(out)
    assert sorted(os.fsencode(row["path"]) for row in found) == sorted([*names, b"3.jpg"])
    assert [row["path"] for row in found if row["error"]] == ["gone.jpg"]


def test_nothing_to_score_is_wrong_usage(folder: Path, tiny_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (folder / "list").touch()
    for arguments, words in (
        ([], "nothing to score: give photos"),
        (["--files-from", folder / "list"], "lists nothing"),
        (["--files-from", folder / "gone"], "cannot be read: No such file"),
        (["*.gif"], "*.gif matches nothing"),
        ([".", "--shard", "3/2"], "--shard 3/2: give a part"),
    ):
        assert defnet("score", *arguments, "--model", tiny_model) == 2
        printed = capfd.readouterr()
        assert printed.out == ""
        assert words in printed.err
        assert printed.err.count("\n") == 1


def test_a_pattern_and_an_archive_are_scored_side_by_side(folder: Path, tiny_model: Path) -> None:
    with tarfile.open("2.tar", "w") as archive:
        for name in ("b.jpg", "a.txt", "a.jpg"):
            data = Path("0.jpg").read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(data) * (not name.endswith("txt"))
            archive.addfile(member, io.BytesIO(data))
    out = folder / "r.csv"
    assert defnet("score", "[0-3].*", "--model", tiny_model, "-o", out) == 0
    found = rows(out)
    assert [row["path"] for row in found] == ["0.jpg", "1.jpg", "2.jpg", "2.tar::b.jpg", "2.tar::a.jpg", "3.jpg"]
    assert len({row["score"] for row in found if row["path"] in ("0.jpg", "2.tar::a.jpg", "2.tar::b.jpg")}) == 1
    assert len({row["score"] for row in found}) == 4


def test_a_run_over_an_archive_can_be_resumed(folder: Path, tiny_model: Path) -> None:
    with tarfile.open("x.tar", "w") as archive:
        archive.add("0.jpg")
        archive.add("1.jpg")
    out, whole = folder / "r.csv", folder / "whole.csv"
    assert defnet("score", "x.tar", "--model", tiny_model, "-o", out, "-q") == 0
    assert defnet("score", "x.tar", "3.jpg", "--model", tiny_model, "-o", out, "-q", "--resume") == 0
    assert defnet("score", "x.tar", "3.jpg", "--model", tiny_model, "-o", whole, "-q") == 0
    assert out.read_bytes() == whole.read_bytes()


def test_a_shard_without_photos_is_a_run_without_rows(folder: Path, tiny_model: Path) -> None:
    codes = [
        defnet("score", "0.jpg", "--model", tiny_model, "-o", folder / f"{k}.csv", "--shard", f"{k}/2") for k in (1, 2)
    ]
    assert codes == [0, 0]
    assert sorted((folder / f"{k}.csv").exists() for k in (1, 2)) == [False, True]
    assert defnet("merge", folder / "all.csv", folder / "1.csv", folder / "2.csv", "-q") == 0
    assert [row["path"] for row in rows(folder / "all.csv")] == ["0.jpg"]


def test_a_run_does_not_go_on_with_another_shard(
    folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("score", ".", "--model", tiny_model, "-o", folder / "r.csv", "--resume")
    for k in (1, 2):
        code = defnet(*arguments, "--shard", f"{k}/2")
        if rows(folder / "r.csv"):
            break
    before = (folder / "r.csv").read_bytes()
    assert code == 0
    assert defnet(*arguments, "--shard", f"{k}/2") == 0
    assert (folder / "r.csv").read_bytes() == before
    capsys.readouterr()
    assert defnet(*arguments) == 2
    assert "made with another shard" in capsys.readouterr().err
    assert (folder / "r.csv").read_bytes() == before
