"""A run that is stopped, killed or starved of disk goes on and ends as if nothing had happened, bit for bit."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from defnet_infer.errors import CheckpointError, StorageError, UsageError
from defnet_train.config import TrainConfig
from defnet_train.listener import Interrupted, StepReport
from defnet_train.loop import train
from defnet_train.recipe_file import load_config
from defnet_train.run_directory import RunDirectory, differences, newest_run
from defnet_train.run_state import load_state
from tests.train.conftest import TINY, Recorder, Release, make_release, textured_photo

ROOT = Path(__file__).resolve().parents[2]
TIMES = ("seconds", "photos_per_second")


class Crash(Exception):  # noqa: N818 - stands for a kill
    """Stands for whatever ends a process without a chance to save."""


class Until(Recorder):
    """Does something after a number of steps of this process, or after an epoch."""

    def __init__(self, do: Callable[[], None], *, step: int = -1, epoch: int = -1) -> None:
        super().__init__()
        self.do, self.at_step, self.at_epoch = do, step, epoch

    def step(self, report: StepReport) -> None:
        super().step(report)
        if len(self.steps) == self.at_step:
            self.do()

    def epoch(self, entry: dict[str, Any]) -> None:
        super().epoch(entry)
        if len(self.epochs) == self.at_epoch:
            self.do()


def crash() -> None:
    raise Crash


@dataclasses.dataclass(frozen=True)
class Unbroken:
    """A run that nothing stopped, and what it takes to repeat it."""

    release: Release
    config: TrainConfig
    out: Path

    def train(self, out: Path, listener: Recorder | None = None, **options: Any) -> dict[str, Any]:
        return train(self.config, self.release.root, out, listener or Recorder(), "cpu", **options)


def same_bits(one: Path, other: Path) -> bool:
    """Weights of both checkpoints, logs without times, and figures."""
    for name in ("best.safetensors", "last.safetensors"):
        weights, others = load_file(one / name), load_file(other / name)
        assert set(weights) == set(others)
        if not all(torch.equal(value, others[key]) for key, value in weights.items()):
            return False
    logs = [
        [
            {k: v for k, v in json.loads(line).items() if k not in TIMES}
            for line in (out / "log.jsonl").read_text().splitlines()
        ]
        for out in (one, other)
    ]
    return logs[0] == logs[1] and (one / "metrics.json").read_bytes() == (other / "metrics.json").read_bytes()


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    made = make_release(tmp_path_factory.mktemp("resume") / "data", 50, side=224)
    (made.root / "pristine").mkdir()
    for seed in range(4):
        textured_photo(1.0, 100 + seed, 224).save(made.root / "pristine" / f"{seed}.png")
    return made


@pytest.fixture(scope="module")
def on_features(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """Two data sets, one of synthetic copies; a frozen trunk, its features from a cache."""
    folder = tmp_path_factory.mktemp("features")
    settings = [
        *(f"model.tower={TINY}", f"data.cache={folder / 'cache'}", "data.sets={clive = 8, synthetic = 6}"),
        *("data.synthetic_levels=[1, 5]", "optim.epochs=4", "optim.steps_per_epoch=3", "optim.clip_norm=1.0"),
    ]
    run = Unbroken(release, load_config("smoke", settings), folder / "run")
    run.train(run.out)
    return run


@pytest.fixture(scope="module")
def on_photos(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Unbroken:
    """Everything trained, from the photos themselves."""
    settings = [
        *(f"model.tower={TINY}", "optim.freeze_trunk=false", "data.sets={clive = 3}", "data.crops=2"),
        *("optim.epochs=2", "optim.steps_per_epoch=2"),
    ]
    run = Unbroken(release, load_config("smoke", settings), tmp_path_factory.mktemp("photos") / "run")
    run.train(run.out)
    return run


@pytest.mark.parametrize("step", [5, 6])
def test_a_run_that_is_asked_to_stop_goes_on_from_its_step(on_features: Unbroken, tmp_path: Path, step: int) -> None:
    stop = threading.Event()
    with pytest.raises(Interrupted, match=f"in epoch {(step - 1) // 3 + 1}, {(step - 1) % 3 + 1} of 3 steps done"):
        on_features.train(tmp_path / "run", Until(stop.set, step=step), stop=stop)
    rest = Recorder()
    result = on_features.train(tmp_path / "run", rest, resume=True)
    assert len(rest.steps) == 12 - step, "no step is done twice"
    assert result == json.loads((on_features.out / "metrics.json").read_text())
    assert same_bits(tmp_path / "run", on_features.out)


def test_a_run_on_photos_goes_on_from_its_step(on_photos: Unbroken, tmp_path: Path) -> None:
    stop = threading.Event()
    with pytest.raises(Interrupted):
        on_photos.train(tmp_path / "run", Until(stop.set, step=3), stop=stop)
    on_photos.train(tmp_path / "run", resume=True)
    assert same_bits(tmp_path / "run", on_photos.out)


def test_a_crash_costs_at_most_its_epoch(on_features: Unbroken, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        on_features.train(tmp_path / "run", Until(crash, step=2))
    with pytest.raises(Crash):
        on_features.train(tmp_path / "run", Until(crash, step=5), resume=True)
    middle = Recorder()
    with pytest.raises(Crash):
        crashing = Until(crash, epoch=2)
        on_features.train(tmp_path / "run", crashing, resume=True)
    on_features.train(tmp_path / "run", middle, resume=True)
    assert crashing.steps[0].step == 4, "the first epoch was whole"
    assert middle.steps[0].step == 10
    assert same_bits(tmp_path / "run", on_features.out)


def test_what_a_crash_left_between_two_writes_is_put_right(on_features: Unbroken, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        on_features.train(tmp_path / "run", Until(crash, epoch=2))
    position = load_state(tmp_path / "run" / "state.safetensors").position
    # As if it had been killed after the state was written: older checkpoints, half a line of the log.
    (tmp_path / "run" / "last.safetensors").unlink()
    if position.best_epoch == 1:
        (tmp_path / "run" / "best.safetensors").unlink()
    log = tmp_path / "run" / "log.jsonl"
    log.write_text(log.read_text()[:-40])
    on_features.train(tmp_path / "run", resume=True)
    assert same_bits(tmp_path / "run", on_features.out)


def test_a_run_stopped_while_it_is_measured_finishes_and_a_finished_run_is_left_alone(
    on_features: Unbroken, tmp_path: Path
) -> None:
    stop = threading.Event()
    with pytest.raises(Interrupted, match="while measuring"):
        on_features.train(tmp_path / "run", Until(stop.set, epoch=4), stop=stop)
    rest = Recorder()
    on_features.train(tmp_path / "run", rest, resume=True)
    assert rest.steps == []
    assert same_bits(tmp_path / "run", on_features.out)
    assert not (tmp_path / "run" / "state.safetensors").exists()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()}
    silent = Recorder()
    assert on_features.train(tmp_path / "run", silent, resume=True)["best_epoch"] >= 0
    assert silent.stages == []
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").iterdir()} == before


def test_a_run_stopped_before_its_first_step_starts_over(on_features: Unbroken, tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted, match="before the first step"):
        on_features.train(tmp_path / "run", stop=stop)
    on_features.train(tmp_path / "run", resume=True)
    assert same_bits(tmp_path / "run", on_features.out)


KILLED = """
import os, signal, sys, threading, time
from pathlib import Path
import numpy as np, torch
torch.set_num_threads(1)
from tests.train.conftest import Recorder
from defnet_train.loop import train
from defnet_train.run_directory import RunDirectory

unbroken, root, out = (Path(a) for a in sys.argv[1:])
config = RunDirectory(unbroken).config()
import tensorboardX  # so that no child spends its life importing
rng, kills = np.random.default_rng(), 0
while not (out / "metrics.json").exists():
    child = os.fork()
    if not child:
        train(config, root, out, Recorder(), "cpu", resume=True)
        os._exit(0)
    if kills < 8:
        delay = rng.uniform(0.0, 0.9)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        kills += 1
    os.waitpid(child, 0)
print(kills)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that are forked")
def test_a_run_killed_again_and_again_at_random_moments_ends_with_the_same_bits(
    on_features: Unbroken, tmp_path: Path
) -> None:
    arguments = [str(on_features.out), str(on_features.release.root), str(tmp_path / "run")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, *arguments], capture_output=True, text=True, env=environment, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 2, "the run must have been killed for this to show anything"
    assert same_bits(tmp_path / "run", on_features.out)


def test_a_full_disk_ends_the_run_with_one_line_and_keeps_the_previous_state(
    on_features: Unbroken, tmp_path: Path
) -> None:
    with pytest.raises(Crash):
        on_features.train(tmp_path / "run", Until(crash, epoch=1))
    state = (tmp_path / "run" / "state.safetensors").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(state) // 2, hard))
        with pytest.raises(StorageError) as raised:
            on_features.train(tmp_path / "run", resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "safetensors: " in str(raised.value)
    assert "File too large" in str(raised.value)
    assert "what it held before is untouched" in str(raised.value)
    assert (tmp_path / "run" / "state.safetensors").read_bytes() == state
    assert not list((tmp_path / "run").glob("*.partial")), "the disk is full enough"
    on_features.train(tmp_path / "run", resume=True)
    assert same_bits(tmp_path / "run", on_features.out)


def stopped_after(run: Unbroken, out: Path, step: int = 1) -> None:
    stop = threading.Event()
    with pytest.raises(Interrupted):
        run.train(out, Until(stop.set, step=step), stop=stop)


def test_another_configuration_is_refused_with_what_differs(on_features: Unbroken, tmp_path: Path) -> None:
    stopped_after(on_features, tmp_path / "run")
    optim = dataclasses.replace(on_features.config.optim, epochs=7, head_lr=0.5)
    other = dataclasses.replace(on_features, config=dataclasses.replace(on_features.config, seed=1, optim=optim))
    with pytest.raises(UsageError) as raised:
        other.train(tmp_path / "run", resume=True)
    for difference in ("optim.epochs was 4, now 7", "optim.head_lr was 0.01, now 0.5", "seed was 20200626, now 1"):
        assert difference in str(raised.value)
    assert "optim.steps_per_epoch" not in str(raised.value)
    mixture = dataclasses.replace(on_features.config.data, sets={"synthetic": 6, "clive": 8})
    swapped = dataclasses.replace(on_features, config=dataclasses.replace(on_features.config, data=mixture))
    with pytest.raises(UsageError, match=r"data\.sets was"):
        swapped.train(tmp_path / "run", resume=True)


def test_a_setting_that_came_later_had_its_default(on_features: Unbroken) -> None:
    stored = json.loads(json.dumps(on_features.config.to_dict()))
    del stored["optim"]["text_lr"]
    assert differences(stored, on_features.config) == []
    optim = dataclasses.replace(on_features.config.optim, text_lr=1e-4)
    other = dataclasses.replace(on_features.config, optim=optim)
    assert differences(stored, other) == ["optim.text_lr was 0.0, now 0.0001"]


def test_other_data_is_refused_and_moved_data_is_not(on_photos: Unbroken, tmp_path: Path) -> None:
    stopped_after(on_photos, tmp_path / "run")
    moved = Release(tmp_path / "moved", on_photos.release.names, on_photos.release.scores)
    shutil.copytree(on_photos.release.root, moved.root)
    RunDirectory(tmp_path / "run").refuse_other(on_photos.config, _data(on_photos.config, moved.root))
    textured_photo(0.5, 999, 230).save(moved.images / "3.bmp")
    with pytest.raises(UsageError, match="files, scores, labels or split of data set clive are not what they were"):
        dataclasses.replace(on_photos, release=moved).train(tmp_path / "run", resume=True)
    (moved.images / "3.bmp").unlink()
    skipping = dataclasses.replace(on_photos.config.data, missing="skip")
    fewer = dataclasses.replace(on_photos, config=dataclasses.replace(on_photos.config, data=skipping), release=moved)
    with pytest.raises(UsageError, match="data set clive had 50 photos, now 49"):
        fewer.train(tmp_path / "run", resume=True)


def _data(config: TrainConfig, root: Path) -> Any:
    from defnet_train.run_data import load_data

    return load_data(config, root)


def test_a_damaged_state_is_refused(on_features: Unbroken, tmp_path: Path) -> None:
    stopped_after(on_features, tmp_path / "run")
    state = tmp_path / "run" / "state.safetensors"
    state.write_bytes(state.read_bytes()[:5000])
    with pytest.raises(CheckpointError, match="not a training state that can be read"):
        on_features.train(tmp_path / "run", resume=True)


def test_the_newest_run_is_found_by_recipe(tmp_path: Path) -> None:
    for age, (name, recipe) in enumerate([("a", "lite"), ("b", "paper"), ("c", "lite")]):
        (tmp_path / name).mkdir()
        about = {"config": {"recipe": recipe}, "root": "", "init": None, "data": {}, "provenance": {}}
        (tmp_path / name / "config.json").write_text(json.dumps(about))
        os.utime(tmp_path / name / "config.json", (1000 - age, 1000 - age))
    assert newest_run(tmp_path, None).name == "a"
    assert newest_run(tmp_path, "paper").name == "b"
    with pytest.raises(UsageError, match="no run of recipe 'liqe' to go on with"):
        newest_run(tmp_path, "liqe")
