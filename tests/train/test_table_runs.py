"""All runs of a table in one folder: what is finished stays, what was broken off is gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from defnet_infer.errors import CheckpointError, UsageError
from defnet_train.run_data import load_data
from defnet_train.run_directory import RunDirectory
from defnet_train.table_runs import PlannedRun, plan_table, read_sessions, train_table
from tests.train.conftest import Recorder, Run

SHORT = ["optim.epochs=1", "optim.steps_per_epoch=1", "model.tower=tiny-resnet"]


def begin(run: PlannedRun) -> None:
    """What a run leaves that was broken off early."""
    run.out.mkdir()
    about = {"config": run.config.to_dict(), "root": "", "init": None, "data": {}, "provenance": {}}
    (run.out / "config.json").write_text(json.dumps(about))
    (run.out / "log.jsonl").write_text("left over")


def test_a_table_is_planned_session_by_session(tmp_path: Path) -> None:
    runs = plan_table("table5", tmp_path, base="smoke", sessions=[2, 3])
    assert len(runs) == 18
    assert [run.config.data.session for run in runs] == [2] * 9 + [3] * 9
    assert runs[0].out == tmp_path / "table5-cross0.1-fusion0.1.session-2"
    assert len({run.out for run in runs}) == 18
    assert not any(run.finished for run in runs)


def test_what_is_finished_is_not_trained_again_and_what_was_broken_off_goes_on(smoke_run: Run, tmp_path: Path) -> None:
    settings = [*SHORT, f"data.cache={smoke_run.config.data.cache}", f"data.labels={smoke_run.config.data.labels}"]
    runs = plan_table("table4", tmp_path, base="smoke", overrides=settings)[::5]
    assert [run.config.model.tasks for run in runs] == ["q", "q+s", "q+d", "q+s+d"]
    done, broken = runs[0], runs[1]
    begin(done)
    (done.out / "metrics.json").write_text('{"test": {"srcc": 0.5}}')
    RunDirectory(broken.out).begin(
        broken.config, smoke_run.release.root, load_data(broken.config, smoke_run.release.root), None
    )
    listener = Recorder()
    results = train_table(runs, smoke_run.release.root, listener, "cpu")
    assert list(results) == [run.out.name for run in runs]
    assert results[done.out.name] == {"test": {"srcc": 0.5}}
    assert not (done.out / "best.safetensors").exists()
    for run in runs[1:]:
        assert run.finished
        assert results[run.out.name]["test"]["photos"] == 12
        losses = json.loads((run.out / "log.jsonl").read_text())["losses"]
        assert ("scene" in losses) == ("scene_accuracy" in results[run.out.name]["test"])
        assert ("scene" in losses) == ("s" in run.config.model.tasks.split("+"))
    heard = [name for name, _ in listener.stages if name.startswith("table4")]
    assert heard == [f"{run.out.name} ({number} of 4)" for number, run in enumerate(runs[1:], start=2)]


def test_a_run_with_other_settings_is_neither_taken_for_finished_nor_overwritten(tmp_path: Path) -> None:
    first = plan_table("table5", tmp_path, base="smoke")[0]
    begin(first)
    assert plan_table("table5", tmp_path, base="smoke")[0].config == first.config
    with pytest.raises(UsageError, match=r"other settings \(optim.epochs was 4, now 3\); choose another folder"):
        plan_table("table5", tmp_path, base="smoke", overrides=["optim.epochs=3"])
    assert plan_table("table5", tmp_path, base="smoke", overrides=["data.labels=moved"]), "paths may change"


def test_a_table_on_a_csv_file_goes_on_when_it_is_typed_again(tmp_path: Path) -> None:
    (tmp_path / "my.csv").write_text("path,mos\n")
    arguments = {"base": "smoke", "root": tmp_path / "my.csv"}
    first = plan_table("table5", tmp_path, **arguments)[0]
    assert first.config.data.sets == {"csv": 16}
    begin(first)
    assert plan_table("table5", tmp_path, **arguments)[0].config == first.config


def test_a_damaged_run_of_a_table_is_one_line(tmp_path: Path) -> None:
    first = plan_table("table5", tmp_path, base="smoke")[0]
    first.out.mkdir()
    (first.out / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="is damaged or of another version"):
        plan_table("table5", tmp_path, base="smoke")


@pytest.mark.parametrize(
    ("text", "numbers"), [("3", [3]), ("1-4", [1, 2, 3, 4]), ("4,1,2-3,2", [1, 2, 3, 4]), ("9-10", [9, 10])]
)
def test_sessions_are_read_as_numbers_and_ranges(text: str, numbers: list[int]) -> None:
    assert read_sessions(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "1-", "1;2", "0", "3-1", "-1"])
def test_sessions_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--sessions"):
        read_sessions(text)
