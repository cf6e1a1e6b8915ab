"""The results file: lines that are always whole, and places that cannot be written."""

from __future__ import annotations

import errno
import itertools
import json
import os
from pathlib import Path

import pytest

from defnet_infer.errors import DefnetError, UsageError
from defnet_infer.results import COLUMNS, Row, row_line
from defnet_infer.results_file import ResultsFile
from defnet_infer.resume import RunResults

GOOD = Row(path="a.jpg", score=3.14159, width=4, height=3, status="ok")


def test_a_name_that_is_not_utf8_keeps_its_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    with ResultsFile(tmp_path / "r.csv") as results:
        results.write(Row(path=name))
    assert (tmp_path / "r.csv").read_bytes().splitlines()[1].startswith(b"caf\xe9.jpg,")
    with ResultsFile(tmp_path / "r.jsonl") as results:
        results.write(Row(path=name))
    assert json.loads((tmp_path / "r.jsonl").read_text())["path"] == name


def test_a_row_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    with ResultsFile(path) as results:
        results.write(GOOD)
        assert path.read_text().splitlines() == [",".join(COLUMNS), row_line(GOOD, "csv").rstrip()]


def test_an_existing_file_is_kept_unless_overwriting_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("precious " * 1000)
    with pytest.raises(UsageError, match="exists; go on with --resume, replace it with --overwrite"):
        ResultsFile(path)
    with ResultsFile(path, overwrite=True):
        assert path.read_text().startswith("precious")
    assert path.read_text() == "precious " * 1000
    with ResultsFile(path, overwrite=True) as results:
        results.write(GOOD)
    assert len(path.read_text().splitlines()) == 2


def test_results_that_an_interrupted_run_was_to_replace_are_kept_until_its_first_row(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_text("precious")
    with RunResults(path, overwrite=True) as results:
        results.begin({})
        results.finish(interrupted=True)
    assert path.read_text() == "precious"


@pytest.mark.skipif(os.name == "nt", reason="locks are POSIX")
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_file_that_a_run_writes_is_refused_to_another_and_left_alone(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip("pyarrow")
    path = tmp_path / f"r{suffix}"
    for turn in range(2):
        with RunResults(path, resume=True) as results:
            results.begin({})
            for name in results.todo([f"{turn}.jpg", "old.jpg"]):
                for options in ({"resume": True}, {"overwrite": True}):
                    with pytest.raises(UsageError, match=rf"another defnet is writing to .*r{suffix}; wait for it"):
                        RunResults(path, **options)
                results.write(Row(path=name))
            results.finish()
            if suffix == ".csv":  # A rewritten file is another one, and locked too.
                with pytest.raises(UsageError, match="another defnet is writing"):
                    RunResults(path, resume=True)
    with RunResults(path, resume=True) as results:
        results.begin({})
        assert list(results.todo(["0.jpg", "1.jpg", "old.jpg"])) == []


@pytest.mark.skipif(os.name == "nt", reason="locks are POSIX")
def test_a_file_system_without_locks_stops_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with RunResults(tmp_path / "r.csv") as results:
        results.begin({})
        for name in results.todo(["a.jpg"]):
            results.write(Row(path=name))
        results.finish()
    assert (tmp_path / "r.csv").exists()


def test_a_run_without_rows_leaves_no_empty_file(tmp_path: Path) -> None:
    with ResultsFile(tmp_path / "r.csv"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows replaces no file that is open")
@pytest.mark.parametrize("rows_after", [0, 1])
def test_a_file_that_is_replaced_during_the_run_is_left_alone_and_the_rows_are_rescued(
    tmp_path: Path, rows_after: int
) -> None:
    path = tmp_path / "r.csv"
    with RunResults(path, resume=True) as results:
        results.begin({})
        for name in results.todo(["b.jpg"]):
            results.write(Row(path=name))
        results.finish()
    (tmp_path / "mine.csv").write_text("mine")
    with (
        pytest.raises(DefnetError, match=r"r\.csv was replaced during the run; the rows so far are kept in ") as caught,
        RunResults(path, resume=True) as results,
    ):
        results.begin({})
        todo = results.todo(["a.jpg", "b.jpg", "c.jpg"])  # Out of order, so that the file would be rewritten.
        results.write(Row(path=next(todo)))
        os.replace(tmp_path / "mine.csv", path)
        for name in itertools.islice(todo, rows_after):
            results.write(Row(path=name))
        results.finish()
    rescued = Path(str(caught.value).rpartition(" ")[2])
    names = [line.partition(",")[0] for line in rescued.read_text().splitlines()]
    rescued.unlink()
    assert names == ["path", "b.jpg", "a.jpg", "c.jpg"][: 3 + rows_after]
    assert path.read_text() == "mine"


@pytest.mark.skipif(os.name == "nt", reason="Windows replaces no file that is open")
def test_a_file_that_was_put_there_before_the_first_row_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    (tmp_path / "mine.csv").write_text("mine")
    with ResultsFile(path):
        os.replace(tmp_path / "mine.csv", path)
    assert path.read_text() == "mine"


def test_places_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, reason in (
        (tmp_path / "no" / "r.csv", "does not exist; make it with: mkdir -p"),
        (tmp_path / "file" / "r.csv", "does not exist"),
        (tmp_path, "is not|must be one of"),
        (tmp_path / "r.xlsx", "must be one of .csv, .jsonl, .ndjson, .parquet"),
    ):
        with pytest.raises(UsageError, match=reason):
            ResultsFile(path)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder where nobody may create files")
def test_a_folder_that_is_not_writable_is_named() -> None:
    with pytest.raises(UsageError, match=r"cannot be written: .*; name a file somewhere else"):
        ResultsFile(Path("/proc/r.csv"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_one_line_and_not_a_traceback() -> None:
    with Path("/dev/full").open("wb", buffering=0) as full:
        results = ResultsFile(None, stream=full)
        with pytest.raises(DefnetError, match="No space left on device; the rows before are kept"):
            results.write(GOOD)
