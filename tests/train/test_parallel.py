"""Two processes that share a batch do together what one would have done with the whole of it."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

import lightning_fabric
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from defnet_infer.errors import TrainingError, UsageError
from defnet_train.batches import FeatureViews, targets_of
from defnet_train.config import RunConfig
from defnet_train.fidelity import pair_loss
from defnet_train.labels import Labels
from defnet_train.parallel import Rank, anyone, check_machine, other_processes, share_of, start_fabric
from defnet_train.recipe_file import load_config
from defnet_train.records import ImageRecord
from defnet_train.run_data import RunData
from defnet_train.trainer import Trainer
from tests.train.conftest import make_release, tiny_model
from tests.train.test_model import features

ROOT = Path(__file__).resolve().parents[2]
BATCH = 7  # odd: the shares differ in size
LOSSES = ({"quality": 1.0, "scene": 1.0, "distortion": 1.0}, {"quality": 1.3, "scene": 0.9, "distortion": 0.8})
"""Of two epochs before the step, for weights that are not all 1."""


def batch_records() -> list[ImageRecord]:
    """Two data sets whose pairs lie across the shares; a few labels are missing."""
    return [
        ImageRecord(
            dataset="ab"[i % 2],
            path=Path("x"),
            mos=float((i * 5) % 7),
            target=1 + (i * 5) % 7 / 2,
            group=str(i),
            labels=Labels(scenes=(i % 9,), distortion=i % 11) if i % 3 else None,
        )
        for i in range(BATCH)
    ]


def one_step(fabric: lightning_fabric.Fabric) -> tuple[torch.nn.Module, float]:
    """The model after a step on the joint batch, with the gradients of the step, and the loss."""
    config = load_config("smoke", ["data.sets={a = 4, b = 3}", "optim.clip_norm=0"])  # Clipping would hide a factor.
    model = tiny_model(seed=3, overview_gradient="full").double()
    data = RunData(batch_records(), {"train": list(range(BATCH)), "val": [], "test": []})
    source = FeatureViews(features(BATCH, 2, 6).double())
    trainer = Trainer(fabric, config, model, source, data)
    for losses in LOSSES:
        trainer.weights.end_epoch(losses)
    trainer.begin_epoch()
    trainer.step()
    return model, sum(trainer.mean_losses().values())


def write_gradients(rank: Rank, out: Path) -> None:
    """What each of two processes does, and, in the first, what one process alone would do."""
    torch.set_num_threads(1)
    torch.Tensor.float = torch.Tensor.double  # The model insists on float32; rounding would hide small mistakes.
    if rank.global_rank() == 0:
        model, loss = one_step(lightning_fabric.Fabric(accelerator="cpu", devices=1))
        save_gradients(out / "alone.safetensors", model, loss)
    fabric = start_fabric("cpu", "32-true", rank)
    assert anyone(fabric, rank.global_rank() == 1)
    assert not anyone(fabric, False)
    model, loss = one_step(fabric)
    save_gradients(out / f"{rank.global_rank()}.safetensors", model, loss)
    draws = FeatureViews(torch.arange(BATCH * 32.0).reshape(BATCH, 2, 16, 1))
    views = draws.draw(range(BATCH), 3, np.random.default_rng(5), share_of(BATCH, fabric))
    save_file({"crops": views[0], "overview": views[1]}, out / f"views{rank.global_rank()}.safetensors")


def save_gradients(path: Path, model: torch.nn.Module, loss: float) -> None:
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    save_file({**gradients, "loss": torch.tensor(loss, dtype=torch.float64)}, path)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gradients and views of two real processes connected by gloo."""
    out = tmp_path_factory.mktemp("parallel")
    code = (
        "import sys; from pathlib import Path; from defnet_train.parallel import other_processes;"
        "from tests.train.test_parallel import write_gradients\n"
        "if __name__ == '__main__':\n"
        "    out = Path(sys.argv[1])\n"
        "    with other_processes(2, write_gradients, (out,)) as rank: write_gradients(rank, out)\n"
    )
    (out / "two.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error::FutureWarning", str(out / "two.py"), str(out)],
        capture_output=True,
        text=True,
        env=environment,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return out


def test_gradients_of_two_processes_are_those_of_one_on_the_joint_batch(together: Path) -> None:
    alone = load_file(together / "alone.safetensors")
    assert len(alone) > 20
    for rank in range(2):
        shared = load_file(together / f"{rank}.safetensors")
        assert set(shared) == set(alone)
        for name, gradient in alone.items():
            assert gradient.dtype == torch.float64
            size = gradient.abs().max().item()
            assert size > 0, name
            assert (shared[name] - gradient).abs().max().item() < 1e-9 * size, name


def test_a_share_alone_would_give_other_gradients() -> None:
    torch.manual_seed(0)
    score = torch.randn(BATCH, requires_grad=True)
    targets = targets_of(batch_records())
    joint = torch.autograd.grad(pair_loss(score, targets.mos, targets.dataset), score)[0]
    half = slice(0, 3)
    alone = torch.autograd.grad(pair_loss(score[half], targets.mos[half], targets.dataset[half]), score)[0]
    assert not torch.allclose(joint[half], alone[half], rtol=0.1), "pairs across shares count"


def test_together_the_processes_see_what_one_would_have_seen(together: Path) -> None:
    draws = FeatureViews(torch.arange(BATCH * 32.0).reshape(BATCH, 2, 16, 1))
    crops, overview = draws.draw(range(BATCH), 3, np.random.default_rng(5))
    parts = [load_file(together / f"views{rank}.safetensors") for rank in range(2)]
    assert [len(part["crops"]) for part in parts] == [3, 4]
    assert torch.equal(torch.cat([part["crops"] for part in parts]), crops)
    assert torch.equal(torch.cat([part["overview"] for part in parts]), overview)


def fail(rank: Rank, error: Exception) -> None:
    """A process that cannot go on."""
    raise error


def test_what_stops_another_process_is_raised_here() -> None:
    with (
        pytest.raises(TrainingError, match="process 1 of 2 stopped: ValueError: a bug"),
        other_processes(2, fail, (ValueError("a bug"),)),
    ):
        multiprocessing.active_children()[0].join()
        raise RuntimeError("Connection closed by peer")  # what a collective call ends with


@pytest.mark.slow
def test_a_process_that_waits_for_a_dead_one_for_ever_is_ended_with_the_cause(tmp_path: Path) -> None:
    code = (
        "import time; from defnet_infer.errors import DatasetError; from defnet_train import parallel;"
        "from tests.train.test_parallel import fail\n"
        "if __name__ == '__main__':\n"
        "    parallel.SECONDS_TO_FAIL = 0.1\n"
        "    with parallel.other_processes(2, fail, (DatasetError('photo 7 is gone'),)): time.sleep(300)\n"
    )
    (tmp_path / "two.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, tmp_path / "two.py"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (3, "defnet: photo 7 is gone\n")


def test_what_the_machine_cannot_do_is_said_before_anything_is_done() -> None:
    with pytest.raises(UsageError, match="'16-mixed' needs a GPU; on the CPU use bf16-mixed"):
        check_machine("cpu", RunConfig(precision="16-mixed"))
    check_machine("cpu", RunConfig(precision="bf16-mixed", devices=3))
    with pytest.raises(UsageError, match="must be at least 1"):
        RunConfig(devices=0)


def test_more_processes_than_photos_are_refused() -> None:
    class Three:
        world_size, global_rank = 3, 0

    with pytest.raises(UsageError, match="a batch of 2 photos cannot be shared by 3 devices"):
        share_of(2, Three())


@pytest.mark.slow
def test_a_run_on_two_processes_trains_measures_and_keeps_its_records(tmp_path: Path) -> None:
    release = make_release(tmp_path / "data", 50, side=224)
    arguments = ["train", "smoke", "--data", str(release.root), "--out", str(tmp_path / "run"), "--device", "cpu"]
    arguments += ["--devices", "2", "--set", "optim.freeze_trunk=false", "--set", "data.sets={clive = 3}"]
    arguments += ["--set", "data.crops=1", "--set", "optim.epochs=1", "--set", "optim.steps_per_epoch=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "defnet_infer.cli", *arguments], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    (entry,) = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert np.isfinite(entry["val_srcc"])
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["best_epoch"] == 0
