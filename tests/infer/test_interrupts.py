"""Runs that something stops: Ctrl-C, SIGTERM, a full disk, a folder that goes away. Nothing written is lost."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from defnet_infer.__main__ import main as start
from tests.conftest import MakePhoto

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals and uses POSIX files")

LIMITED = (
    "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000));"
    "from defnet_infer.cli import main; main(sys.argv[1:])"
)


@pytest.fixture
def command(make_photo: MakePhoto, tiny_model: Path, tmp_path: Path) -> list[str]:
    """Scores 300 photos that take a while into `r.csv`."""
    photo = make_photo("photos/000.jpg", 1200, 900)
    for k in range(1, 300):
        os.link(photo, photo.with_name(f"{k:03}.jpg"))
    results = tmp_path / "out"
    results.mkdir()
    return ["score", str(photo.parent), "--model", str(tiny_model), "-o", str(results / "r.csv")]


@pytest.fixture
def process(command: list[str]) -> Iterator[subprocess.Popen[str]]:
    """The run, some rows after its start."""
    out = Path(command[-1])
    with subprocess.Popen([*CLI, *command], stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 60
        while not (out.exists() and out.stat().st_size > 500) and time.monotonic() < deadline:
            time.sleep(0.01)
        yield running
        running.kill()


CLI = [sys.executable, "-m", "defnet_infer"]


def resumed_equals_unbroken(command: list[str]) -> bool:
    out = Path(command[-1])
    assert subprocess.run([*CLI, *command, "--resume", "-q"]).returncode == 0
    resumed = out.read_bytes()
    assert subprocess.run([*CLI, *command, "--overwrite", "-q"]).returncode == 0
    return resumed == out.read_bytes()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_finishes_what_is_in_work_keeps_the_rows_and_says_how_to_go_on(
    process: subprocess.Popen[str], command: list[str], number: int
) -> None:
    process.send_signal(number)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    _, stopping, closing = message.splitlines()
    assert stopping.startswith("stopping: the photos in work are being finished")
    assert closing.startswith("interrupted: scored ")
    assert closing.endswith("go on with the same command and --resume")
    out = Path(command[-1])
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert 0 < len(rows) < 300
    assert {row["status"] for row in rows} == {"ok"}
    record = json.loads(out.with_name("r.csv.run.json").read_text())
    assert record["counts"]["photos"] == len(rows)
    assert record["finished"] is False
    assert resumed_equals_unbroken(command)


def test_two_signals_stop_at_once_and_the_run_can_still_be_resumed(
    process: subprocess.Popen[str], command: list[str]
) -> None:
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    while "stopping" not in process.stderr.readline():
        pass
    process.send_signal(signal.SIGINT)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in message
    # The first signal may have ended the run before the second one came.
    assert message.splitlines()[-1].endswith("go on with the same command and --resume")
    assert resumed_equals_unbroken(command)


def test_a_disk_that_is_full_is_one_line_exit_code_3_and_every_row_before_it(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-c", LIMITED, *command, "-q"], capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stderr.startswith("defnet: cannot write to ")
    assert done.stderr.count("\n") == 1
    text = Path(command[-1]).read_text()
    assert text.endswith("\n")
    assert len(text.splitlines()) > 10
    assert resumed_equals_unbroken(command)


def test_a_results_folder_that_is_deleted_ends_the_run_and_the_rows_are_rescued(
    process: subprocess.Popen[str], command: list[str]
) -> None:
    shutil.rmtree(Path(command[-1]).parent)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 3
    last = message.splitlines()[-1]
    assert "was deleted during the run; the rows so far are kept in " in last
    rescued = Path(last.rpartition(" ")[2])
    lines = rescued.read_text().splitlines()
    rescued.unlink()
    assert lines[0].startswith("path,score,")
    assert len(lines) > 3


def test_photos_that_are_deleted_during_the_run_are_rows_with_an_error(
    process: subprocess.Popen[str], command: list[str]
) -> None:
    shutil.rmtree(command[1])
    assert process.wait(timeout=60) == 1
    with Path(command[-1]).open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 300
    assert {row["error"] for row in rows} == {"", "cannot be opened: No such file or directory"}


def test_a_signal_while_modules_load_ends_without_a_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    class Loading(types.ModuleType):
        def __getattr__(self, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "defnet_infer.cli", Loading("defnet_infer.cli"))
    with pytest.raises(SystemExit) as ended:
        start()
    assert ended.value.code == 130


def test_sigterm_while_the_model_loads_leaves_nothing_behind(make_photo: MakePhoto, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "slow.onnx")  # Opening it waits for a writer that never comes.
    command = ["score", str(make_photo("a.png")), "--model", str(tmp_path / "slow.onnx"), "-o", str(tmp_path / "r.csv")]
    with subprocess.Popen([*CLI, *command], stderr=subprocess.PIPE, text=True) as running:
        deadline = time.monotonic() + 60
        while not (tmp_path / "r.csv").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.3)
        running.terminate()
        _, message = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "Traceback" not in message
    assert not (tmp_path / "r.csv").exists(), "the same command can be typed again"


def test_the_installed_command_is_the_one_that_can_be_interrupted_early() -> None:
    (installed,) = entry_points(group="console_scripts", name="defnet")
    assert installed.load() is start
    shown = subprocess.run([sys.executable, "-m", "defnet_infer", "--version"], capture_output=True, text=True)
    assert shown.stdout.startswith("defnet "), shown.stderr
