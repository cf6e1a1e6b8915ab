"""Going on with a run: the same bytes as if it had never stopped, or one line that says why not."""

from __future__ import annotations

import csv
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from defnet_infer.cli import main
from defnet_infer.errors import UsageError
from defnet_infer.results import Row
from defnet_infer.resume import RunResults
from tests.conftest import MakePhoto, tiny_metadata, write_tiny_model

Score = Callable[..., int]
SUFFIXES = [".csv", ".jsonl", ".parquet"]


@pytest.fixture
def folder(make_photo: MakePhoto, tmp_path: Path) -> Path:
    """Ten photos; the fourth is broken."""
    for k in range(10):
        make_photo(f"photos/{k}.jpg", 240 + k, 230, seed=k)
    (tmp_path / "photos" / "3.jpg").write_bytes(b"")
    return tmp_path / "photos"


@pytest.fixture
def score(folder: Path, tiny_model: Path) -> Score:
    """`score(out, *options)` runs the command over the folder and returns its exit code."""

    def run(out: Path, *options: object) -> int:
        with pytest.raises(SystemExit) as ended:
            main([*map(str, ("score", folder, "--model", tiny_model, "--out", out, "-q", *options))])
        return int(ended.value.code or 0)

    return run


def record(out: Path) -> dict[str, object]:
    return dict(json.loads(out.with_name(out.name + ".run.json").read_text()))


def test_what_failed_behind_a_url_is_tried_again(make_photo: MakePhoto, tiny_model: Path, tmp_path: Path) -> None:
    system, out = fsspec.filesystem("memory"), tmp_path / "r.csv"
    (tmp_path / "list").write_text("memory://late/a.jpg\nmemory://late/b.jpg\n")
    system.pipe_file("/late/a.jpg", make_photo("a.jpg").read_bytes())
    command = [
        "score",
        "--files-from",
        str(tmp_path / "list"),
        "--model",
        str(tiny_model),
        "-o",
        str(out),
        "--resume",
        "-q",
    ]
    for code in (1, 0):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert (ended.value.code or 0) == code
        system.pipe_file("/late/b.jpg", make_photo("b.jpg", seed=1).read_bytes())
    with out.open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["ok", "ok"]
    system.rm("/late", recursive=True)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_finished_run_has_nothing_left_to_do(score: Score, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"r{suffix}"
    assert score(out) == 1
    before = out.read_bytes()
    assert score(out, "--resume") == 1
    assert out.read_bytes() == before
    assert record(out)["counts"] == {"photos": 10, "scored": 9, "failed": 1, "of_earlier_runs": 10}
    assert record(out)["resumed"] == 1


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_wherever_the_files_are_cut_off_the_resumed_file_is_the_unbroken_one(
    score: Score, tmp_path: Path, suffix: str
) -> None:
    whole = tmp_path / f"whole{suffix}"
    score(whole)
    expected = whole.read_bytes()
    journal = (tmp_path / f"whole{suffix}.resume").read_bytes()
    random.seed(1)
    cuts = [(size, len(journal)) for size in random.sample(range(len(expected)), 12)]
    cuts += [(len(expected), size) for size in random.sample(range(journal.index(b"\n") + 1, len(journal)), 8)]
    out = tmp_path / f"r{suffix}"
    side = tmp_path / f"r{suffix}.resume"
    for size, journal_size in cuts:
        out.write_bytes(expected[:size])
        side.write_bytes(journal[:journal_size])
        assert score(out, "--resume") == 1
        assert out.read_bytes() == expected, (size, journal_size)


def test_rows_that_a_power_cut_left_as_zeros_are_scored_again(score: Score, tmp_path: Path) -> None:
    out = tmp_path / "r.csv"
    score(out)
    whole = out.read_bytes()
    last_two = len(b"".join(whole.splitlines(keepends=True)[-2:]))
    out.write_bytes(whole[:-last_two] + bytes(last_two))
    assert score(out, "--resume") == 1
    assert out.read_bytes() == whole


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_failed_photo_that_was_repaired_is_retried_and_its_row_stands_in_its_place(
    score: Score, folder: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"r{suffix}"
    score(out)
    good, broken = folder / "4.jpg", folder / "3.jpg"
    broken.write_bytes(good.read_bytes())
    assert score(out, "--retry-failed") == 0
    fresh = tmp_path / f"fresh{suffix}"
    score(fresh)
    assert out.read_bytes() == fresh.read_bytes()
    assert record(out)["counts"] == {"photos": 10, "scored": 10, "failed": 0, "of_earlier_runs": 9}


def test_a_failure_is_tried_again_only_when_asked_for(score: Score, tmp_path: Path) -> None:
    out = tmp_path / "r.csv"
    score(out)
    assert score(out, "--resume") == 1
    assert record(out)["counts"]["of_earlier_runs"] == 10  # type: ignore[index]
    assert score(out, "--retry-failed") == 1
    assert record(out)["counts"]["of_earlier_runs"] == 9  # type: ignore[index]


def test_new_and_changed_photos_are_scored_and_stand_where_they_belong(
    score: Score, folder: Path, make_photo: MakePhoto, tmp_path: Path
) -> None:
    out = tmp_path / "r.csv"
    score(out)
    make_photo("photos/05.jpg", 300, 300, seed=50)
    make_photo("photos/5.jpg", 310, 300, seed=51)
    assert score(out, "--resume") == 1
    assert record(out)["counts"] == {"photos": 11, "scored": 10, "failed": 1, "of_earlier_runs": 9}
    fresh = tmp_path / "fresh.csv"
    score(fresh)
    assert out.read_bytes() == fresh.read_bytes()
    assert (tmp_path / "r.csv.resume").read_bytes().count(b"05.jpg") == 1


def test_rows_of_photos_that_are_gone_are_kept_where_they_stood(score: Score, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "r.csv"
    score(out)
    before = out.read_bytes()
    for name in ("0.jpg", "5.jpg", "6.jpg"):
        (folder / name).unlink()
    (folder / "3.jpg").write_bytes((folder / "4.jpg").read_bytes())
    score(out, "--resume")
    lines, old = out.read_text().splitlines(), before.decode().splitlines()
    assert [line.split(",")[0] for line in lines] == [line.split(",")[0] for line in old]
    assert [a == b for a, b in zip(lines, old, strict=True)].count(False) == 1


@pytest.fixture
def twice(make_photo: MakePhoto, tmp_path: Path) -> Path:
    """An archive to which a photo was appended anew, as `tar -r` does: two members of one name, another between."""
    with tarfile.open(tmp_path / "twice.tar", "w") as archive:
        for k, name in enumerate(("same.jpg", "other.jpg", "same.jpg", "last.jpg")):
            archive.add(make_photo(f"members/{k}.jpg", 300 + k, 240, seed=k), name)
    return tmp_path / "twice.tar"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_two_members_of_one_name_keep_a_row_each(score: Score, twice: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"r{suffix}"
    score(out, twice)
    whole = out.read_bytes()
    assert score(out, twice, "--resume") == 1
    assert out.read_bytes() == whole
    assert record(out)["counts"]["of_earlier_runs"] == 14  # type: ignore[index]
    assert score(out, twice, "--retry-failed") == 1
    assert out.read_bytes() == whole


def test_a_run_cut_off_between_two_members_of_one_name_scores_the_second(
    score: Score, twice: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.csv"
    score(out, twice)
    whole = out.read_bytes()
    rows = whole.splitlines(keepends=True)
    of_second = [k for k, row in enumerate(rows) if b"::same.jpg" in row][1]
    out.write_bytes(b"".join(rows[:of_second]))
    assert score(out, twice, "--resume") == 1
    assert out.read_bytes() == whole


@pytest.mark.parametrize("killed", [False, True])
def test_a_run_that_stops_between_two_members_of_one_name_keeps_the_row_of_the_second(
    tmp_path: Path, killed: bool
) -> None:
    out = tmp_path / "r.csv"

    def run(members: list[tuple[str, int]], error: str, rows: int, *, killed: bool = False) -> list[str]:
        """Score this many rows of members of these times, then stop; the errors that stand in the file."""
        with RunResults(out, resume=True) as results:
            results.begin({})
            todo = results.todo(members, name=lambda member: member[0], identify=lambda member: (1, member[1]))
            for name, _ in itertools.islice(todo, rows):
                results.write(Row(path=name, error=error))
            if not killed:
                results.finish()
        with out.open(newline="") as file:
            return [row["error"] for row in csv.DictReader(file)]

    same, other = "x.tar::same.jpg", "x.tar::other.jpg"
    assert run([(same, 1), (same, 2)], "old", 9) == ["old", "old"]
    run([(same, 3), (same, 2)], "changed", 1, killed=killed)
    assert sorted(run([(same, 3), (other, 4), (same, 2)], "between", 1)) == ["between", "changed", "old"]
    assert run([(same, 3), (other, 4), (same, 2)], "again", 9) == ["changed", "between", "old"]
    assert run([(same, 2)], "again", 9) == ["old", "between"], (
        "of a name there is one less; a photo that is gone is kept"
    )


def test_members_of_an_archive_that_is_not_given_are_all_kept(
    score: Score, folder: Path, twice: Path, tmp_path: Path
) -> None:
    out = tmp_path / "r.csv"
    score(out, twice)
    whole = out.read_bytes()
    (folder / "3.jpg").touch()  # replaces a row, so that the file is put in order
    score(out, "--resume")
    assert out.read_bytes() == whole


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_missing_results_file_is_begun(score: Score, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"r{suffix}"
    assert score(out, "--resume") == 1
    assert out.exists()


def refusal(capfd: pytest.CaptureFixture[str]) -> str:
    line = capfd.readouterr().err
    assert line.startswith("defnet: ")
    assert line.count("\n") == 1
    return line


def test_another_model_or_another_rule_is_refused_and_nothing_changes(
    score: Score, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.csv"
    score(out)
    before = {path: path.read_bytes() for path in tmp_path.glob("r.csv*")}
    model = write_tiny_model(tmp_path / "changed.onnx", metadata=tiny_metadata() | {"defnet.version": "1"})
    for options, word in (
        (("--model", model), "model"),
        (("--max-pixels", 1000), "max pixels"),
        (("--fast-decode",), "fast decode"),
    ):
        assert score(out, "--resume", *options) == 2
        line = refusal(capfd)
        assert f"another {word}" in line
        assert "--overwrite" in line
    assert {path: path.read_bytes() for path in tmp_path.glob("r.csv*")} == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("file,score\na.jpg,3\n", "other columns"),
        ("path,score,interval_low,interval_high\n", "other columns"),
    ],
)
def test_results_of_another_schema_are_refused(
    score: Score, tmp_path: Path, capfd: pytest.CaptureFixture[str], content: str, words: str
) -> None:
    out = tmp_path / "r.csv"
    out.write_text(content)
    assert score(out, "--resume") == 2
    assert words in refusal(capfd)
    assert out.read_text() == content


def test_results_that_were_edited_are_refused_and_left_as_they_are(
    score: Score, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.csv"
    score(out)
    edited = out.read_bytes().replace(b",ok,", b",OK,", 1)
    out.write_bytes(edited)
    assert score(out, "--resume") == 2
    assert "its row 1 " in refusal(capfd)
    assert out.read_bytes() == edited


def test_results_without_their_journal_are_refused(
    score: Score, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "r.csv"
    score(out)
    (tmp_path / "r.csv.resume").unlink()
    assert score(out, "--resume") == 2
    assert "no r.csv.resume beside it" in refusal(capfd)


def test_a_parquet_file_of_somebody_else_is_refused(
    score: Score, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pyarrow")
    out = tmp_path / "r.parquet"
    out.write_bytes(b"no parquet")
    assert score(out, "--resume") == 2
    assert "not a Parquet file of this defnet" in refusal(capfd)
    assert out.read_bytes() == b"no parquet"


@pytest.mark.parametrize(
    ("right", "wrong", "words"),
    [
        (("--details",), (), "other columns than this run writes (with or without --details"),
        ((), ("--details",), "other columns than this run writes (with or without --details"),
        ((), ("--fast-decode",), "made with another fast decode"),
        ((), ("--model", "gone.onnx"), "no such model file"),
    ],
)
def test_a_refused_resume_leaves_a_parquet_file_as_it_was(
    score: Score,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    right: tuple[str, ...],
    wrong: tuple[str, ...],
    words: str,
) -> None:
    pytest.importorskip("pyarrow")
    out = tmp_path / "r.parquet"
    assert score(out, *right) == 1
    before = {path: path.read_bytes() for path in tmp_path.glob("r.parquet*")}
    assert score(out, "--resume", *wrong) in (2, 3)
    assert words in refusal(capfd)
    assert {path: path.read_bytes() for path in tmp_path.glob("r.parquet*")} == before
    assert score(out, "--resume", *right) == 1
    assert out.read_bytes() == before[out]


def test_a_log_that_a_killed_run_left_without_rows_stops_no_fresh_run(score: Score, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "r.parquet.rows.jsonl").touch()
    assert score(tmp_path / "r.parquet") == 1
    assert not (tmp_path / "r.parquet.rows.jsonl").exists()


def test_resume_and_overwrite_exclude_each_other_and_resume_needs_a_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give one of them"):
        RunResults(tmp_path / "r.csv", overwrite=True, resume=True)
    with pytest.raises(UsageError, match="--out FILE"):
        RunResults(None, stream=sys.stdout.buffer, resume=True)


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_results_and_journal_behind_links_are_put_in_order_where_they_are(
    score: Score, folder: Path, tmp_path: Path, suffix: str
) -> None:
    out, store = tmp_path / f"r{suffix}", tmp_path / "store"
    store.mkdir()
    score(out)
    links = [out, tmp_path / f"r{suffix}.resume"]
    for path in links:
        path.rename(store / path.name)
        path.symlink_to(Path("store", path.name))
    (folder / "3.jpg").write_bytes((folder / "4.jpg").read_bytes())
    assert score(out, "--retry-failed") == 0
    fresh = tmp_path / f"fresh{suffix}"
    score(fresh)
    assert all(path.is_symlink() for path in links)
    assert (store / out.name).read_bytes() == fresh.read_bytes()
    assert sorted(path.name for path in store.iterdir()) == [path.name for path in links]
    assert score(out, "--resume") == 0


def test_a_kill_in_the_middle_of_the_final_rewrite_loses_nothing(score: Score, tmp_path: Path) -> None:
    out, side = tmp_path / "r.csv", tmp_path / "r.csv.resume"
    score(out)
    whole, journal = out.read_bytes(), side.read_bytes()
    # Killed before the first rename: both drafts are there and count for nothing.
    (tmp_path / "r.csv.part").write_bytes(b"draft")
    (tmp_path / "r.csv.resume.part").write_bytes(b"draft")
    assert score(out, "--resume") == 1
    assert out.read_bytes() == whole
    assert list(tmp_path.glob("*.part")) == []
    # Killed between the renames: the results are new already, and so must their journal be.
    side.write_bytes(b"the old journal")
    (tmp_path / "r.csv.resume.part").write_bytes(journal)
    assert score(out, "--resume") == 1
    assert out.read_bytes() == whole


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_run_that_is_killed_again_and_again_ends_with_the_bytes_of_an_unbroken_one(
    make_photo: MakePhoto, tiny_model: Path, tmp_path: Path, suffix: str
) -> None:
    for k in range(60):
        make_photo(f"photos/{k:02}.jpg", 700, 500, seed=k)
    (tmp_path / "photos" / "30.jpg").write_bytes(b"")
    photos = str(tmp_path / "photos")
    command = [sys.executable, "-m", "defnet_infer.cli", "score", photos, "--model", str(tiny_model), "-q"]
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"r{suffix}"
    assert subprocess.run([*command, "-o", str(whole)]).returncode == 1
    log = out if suffix == ".csv" else tmp_path / f"r{suffix}.rows.jsonl"
    kills = 0
    random.seed(2)
    for _ in range(5):
        size = log.stat().st_size if log.exists() else 0
        with subprocess.Popen([*command, "-o", str(out), "--resume"]) as process:
            while process.poll() is None and not (log.exists() and log.stat().st_size > size + 100):
                time.sleep(0.002)
            time.sleep(random.random() * 0.05)
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
    assert kills >= 2
    assert subprocess.run([*command, "-o", str(out), "--resume"]).returncode == 1
    assert out.read_bytes() == whole.read_bytes()
