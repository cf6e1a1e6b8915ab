"""The plan of a run: what it counts is true, what it estimates is near what is measured."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from defnet_train.config import TrainConfig
from defnet_train.features import trunk_features
from defnet_train.model import Defnet
from defnet_train.plan import Plan, lines, make_plan, saved_for_backward
from defnet_train.recipe_file import load_config
from defnet_train.run_data import RunData, load_data
from tests.train.conftest import TINY, Run

ROOT = Path(__file__).resolve().parents[2]


def plan_of(smoke_run: Run, *settings: str) -> tuple[Plan, TrainConfig, RunData]:
    config = load_config("smoke", [f"model.tower={TINY}", *settings])
    data = load_data(config, smoke_run.release.root)
    return make_plan(config, data), config, data


def test_parameters_are_those_of_the_model_and_frozen_ones_are_not_trained(smoke_run: Run) -> None:
    plan, config, _ = plan_of(smoke_run)
    model = Defnet(config.model)
    assert sum(part.count for part in plan.parts) == sum(p.numel() for p in model.parameters())
    counts = {part.name: (part.count, part.trained) for part in plan.parts}
    trunk = sum(p.numel() for p in model.encoder.trunk.parameters())
    assert counts["image tower"] == (trunk, 0)
    assert counts["evidential heads"] == (18 + 270 + 396, 684), "method: 5*3+3, 9*27+27, 11*33+33"
    assert counts["temperature"] == (1, 1)
    trained = sum(p.numel() for p in model.parameters()) - trunk
    assert (plan.memory.gradients, plan.memory.moments) == (4 * trained, 8 * trained)
    unfrozen, _, _ = plan_of(smoke_run, "optim.freeze_trunk=false", "optim.learn_kappa=false")
    assert {part.name: part.trained for part in unfrozen.parts}["image tower"] == trunk
    assert {part.name: part.trained for part in unfrozen.parts}["temperature"] == 0


def test_photos_steps_and_features_are_counted(smoke_run: Run) -> None:
    plan, config, data = plan_of(smoke_run)
    assert plan.photos == {"clive": {"train": 42, "val": 6, "test": 12, "rated": 60, "batch": 16}}
    text = "\n".join(lines(plan))
    assert "4 epochs of 12 = 48, each of 16 photos, 80 views" in text
    assert "4.57" in text, "12 steps of 16 photos pass over 42 photos 4.57 times"
    model = Defnet(config.model)
    (one,) = trunk_features(model.encoder, data.records[:1], model.contract().preprocess, None, lambda _: None)
    assert plan.memory.features == 60 * one.numel() * 4


def test_memory_grows_with_the_photos_and_shrinks_with_devices_and_precision(smoke_run: Run) -> None:
    model = Defnet(load_config("smoke", [f"model.tower={TINY}"]).model)

    def kept(rows: int, *settings: str) -> int:
        return saved_for_backward(model, rows, load_config("smoke", ["optim.freeze_trunk=false", *settings]))

    few, some, many = kept(2), kept(4), kept(8)
    assert many - some == pytest.approx(2 * (some - few), rel=0.01), "the prompts' part is constant, the photos' grows"
    assert kept(8, 'run.precision="bf16-mixed"') < 0.7 * many
    assert kept(8, "optim.freeze_trunk=true", "data.crops=4") < 0.5 * many
    two, _, _ = plan_of(smoke_run, "optim.freeze_trunk=false", "run.devices=2")
    one, _, _ = plan_of(smoke_run, "optim.freeze_trunk=false")
    assert two.memory.activations < 0.7 * one.memory.activations
    assert two.memory.weights == one.memory.weights


MEASURED = """
import resource, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from lightning_fabric import Fabric
from defnet_train.recipe_file import load_config
from defnet_train.initial_weights import bare_model
from defnet_train.plan import make_plan
from defnet_train.run_data import load_data
from defnet_train.trainer import Trainer
from tests.train.conftest import TINY

class Blank:
    def draw(self, indices, crops, rng, share=slice(None)):
        views = torch.zeros(len(indices), crops + 1, 224, 224, 3, dtype=torch.uint8)
        return views[:, 1:], views[:, 0]

config = load_config("smoke", [f"model.tower={TINY}", "optim.freeze_trunk=false", "data.sets={clive = 16}"])
data = load_data(config, Path(sys.argv[1]))
estimated = make_plan(config, data).memory.on_device
before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
trainer = Trainer(Fabric(accelerator="cpu", devices=1), config, bare_model(config), Blank(), data)
trainer.begin_epoch()
trainer.step()
trainer.step()
# Not ru_maxrss: a process inherits that of the one it was forked from, and test runners grow large.
status = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
print((peak - before) / estimated)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads its own memory the Linux way")
def test_the_estimate_is_near_the_memory_that_a_step_takes(smoke_run: Run) -> None:
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, str(smoke_run.release.root)],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert 0.5 < float(done.stdout) < 3
