"""Several processes that train one model: how they are started, and how they share a batch exactly.

Every process computes the predictions of its own share of a batch; all predictions are gathered, and every process
computes the objective of the joint batch, so that pairs across shares count. `gather` lets gradients flow into
the own share only, and `DistributedDataParallel` averages over processes: the objective times the number of
processes therefore gives the gradient that one process would have computed.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import find_free_network_port
from lightning_fabric.strategies import DDPStrategy
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from defnet_infer.errors import DefnetError, TrainingError, UsageError
from defnet_infer.interrupts import ignore_signals
from defnet_train.config import RunConfig

LONGEST_WAIT = timedelta(days=2)
SECONDS_TO_FAIL = 20.0
"""After another process died, the time in which this one's own communication should fail by itself."""


class Rank(ClusterEnvironment):
    """Which of the processes of a run this one is; all are on one machine.

    Args:
        rank: 0 writes files and reports.
        world: Number of processes.
        port: Where they meet.
    """

    main_address = "127.0.0.1"
    creates_processes_externally = True

    def __init__(self, rank: int, world: int, port: int) -> None:
        super().__init__()
        self._rank, self._world, self._port = rank, world, port

    @property
    def main_port(self) -> int:
        """See `ClusterEnvironment`."""
        return self._port

    @staticmethod
    def detect() -> bool:
        """See `ClusterEnvironment`; only used where it is asked for."""
        return False

    def world_size(self) -> int:
        """See `ClusterEnvironment`."""
        return self._world

    def global_rank(self) -> int:
        """See `ClusterEnvironment`."""
        return self._rank

    local_rank = global_rank

    def node_rank(self) -> int:
        """See `ClusterEnvironment`."""
        return 0

    def set_world_size(self, size: int) -> None:
        """Fabric tells what it was told."""
        assert size == self._world

    def set_global_rank(self, rank: int) -> None:
        """Fabric tells what it was told."""
        assert rank == self._rank


def check_machine(device: str, config: RunConfig) -> None:
    """Refuse what the machine cannot do, before anything is done.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        config: How the run is to use the machine.

    Raises:
        UsageError: If there is no such device, or not as many, or it has no such precision.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is visible to PyTorch; leave out --device or use --device cpu")
    if not _on_gpu(device):
        if config.precision == "16-mixed":
            raise UsageError("run.precision = '16-mixed' needs a GPU; on the CPU use bf16-mixed or 32-true")
    elif config.devices > torch.cuda.device_count():
        raise UsageError(f"run.devices = {config.devices}, but PyTorch sees {torch.cuda.device_count()} GPUs")


def start_fabric(device: str, precision: str, rank: Rank) -> Fabric:
    """The device and precision of one process, connected to the others where there are any.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        precision: As `RunConfig.precision`.
        rank: Which process this is.
    """
    if rank.world_size() == 1:
        return Fabric(accelerator=device, devices=1, precision=precision)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # It announces every process.
    # The others may wait long while rank 0 computes features; should it die, they die with it.
    strategy = DDPStrategy(cluster_environment=rank, timeout=LONGEST_WAIT)
    accelerator = "cuda" if _on_gpu(device) else "cpu"
    fabric = Fabric(accelerator=accelerator, devices=rank.world_size(), precision=precision, strategy=strategy)
    fabric.launch()
    return fabric


def _on_gpu(device: str) -> bool:
    return device != "cpu" and torch.cuda.is_available()


def share_of(batch: int, fabric: Fabric) -> slice:
    """The rows of a batch that this process sees; shares differ by at most one row.

    Raises:
        UsageError: If there are more processes than photos.
    """
    world, rank = fabric.world_size, fabric.global_rank
    if batch < world:
        raise UsageError(f"a batch of {batch} photos cannot be shared by {world} devices; use fewer with --devices")
    return slice(rank * batch // world, (rank + 1) * batch // world)


def anyone(fabric: Fabric, own: bool) -> bool:
    """Whether any process of the run says yes; every one of them must ask."""
    if fabric.world_size == 1:
        return own
    return bool(fabric.all_reduce(torch.tensor(float(own), device=fabric.device), reduce_op="sum"))


def of_every_process(own: Tensor, fabric: Fabric) -> list[Tensor]:
    """A tensor of every process, in the order of their ranks; shapes must agree."""
    if fabric.world_size == 1:
        return [own]
    own = own.to(fabric.device)
    tensors = [torch.empty_like(own) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(tensors, own)
    return tensors


def gather(prediction: Any, batch: int, fabric: Fabric) -> Any:
    """Predictions of the joint batch from those of every process's share.

    Gradients flow into this process's rows alone; see the module's first lines for why that is right.

    Args:
        prediction: Any nest of tensors (rows of the share, ...).
        batch: Rows of the joint batch.
        fabric: Tells this process from the others.
    """
    world, own = fabric.world_size, fabric.global_rank
    if world == 1:
        return prediction
    sizes = [(rank + 1) * batch // world - rank * batch // world for rank in range(world)]

    def joint(share: Tensor) -> Tensor:
        padded = share.new_zeros(max(sizes), *share.shape[1:])
        padded[: len(share)] = share.detach()
        rows = of_every_process(padded, fabric)
        rows[own] = share
        return torch.cat([part[:size] for part, size in zip(rows, sizes, strict=True)])

    return apply_to_collection(prediction, Tensor, joint)


@contextlib.contextmanager
def other_processes(world: int, work: Callable[..., None], arguments: tuple[Any, ...]) -> Iterator[Rank]:
    """Run `work(rank, *arguments)` in `world - 1` other processes while the block runs as rank 0.

    If one of them fails, the block's communication with it fails too, or never ends; either way the cause is
    what is raised or, should the block hang, said before the process ends.

    Args:
        world: Number of processes, this one included.
        work: Importable function.
        arguments: Picklable.

    Raises:
        DefnetError: What stopped another process.
    """
    rank = Rank(0, world, find_free_network_port() if world > 1 else 0)
    context = multiprocessing.get_context("spawn")
    children, ends = [], []
    for number in range(1, world):
        here, there = context.Pipe(duplex=False)
        child_rank = (number, world, rank.main_port)
        child = context.Process(target=_other, args=(there, work, child_rank, arguments), daemon=True)
        child.start()
        there.close()
        children.append(child)
        ends.append(here)
    done = threading.Event()
    failures: list[DefnetError] = []
    watcher = threading.Thread(target=_watch, args=(ends, children, failures, done), daemon=True)
    watcher.start()
    try:
        yield rank
    except BaseException as error:
        watcher.join(1.0 if isinstance(error, RuntimeError) else 0.0)  # RuntimeError: the connection broke.
        if failures:
            raise failures[0] from error
        raise
    finally:
        done.set()
        for child in children:
            child.join(SECONDS_TO_FAIL if sys.exc_info()[0] is None else 0.0)
            child.kill()
        _disconnect()


def _other(end: Connection, work: Callable[..., None], rank: tuple[int, int, int], arguments: tuple[Any, ...]) -> None:
    """One of the other processes: works, and tells its parent why it stopped."""
    ignore_signals()  # Rank 0 decides when to stop, and tells the others in the middle of a step.
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        work(Rank(*rank), *arguments)
        end.send(None)
    except DefnetError as error:
        end.send(error)
    except BaseException as error:
        traceback.print_exc()
        end.send(TrainingError(f"process {rank[0]} of {rank[1]} stopped: {type(error).__name__}: {error}"))
    finally:
        _disconnect()


def _disconnect() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _watch(ends: list[Connection], children: list[Any], failures: list[DefnetError], done: threading.Event) -> None:
    """Wait for word from every other process; when one failed and this process hangs, end it with the cause."""
    open_ends = dict(zip(ends, children, strict=True))
    while open_ends and not failures:
        for end in wait(list(open_ends)):
            child = open_ends.pop(end)
            try:
                word = end.recv()
            except EOFError:  # Killed: no time for a word.
                child.join()
                word = TrainingError(f"a process of the run was ended from outside (exit code {child.exitcode})")
            if word is not None:
                failures.append(word)
    if failures and not done.wait(SECONDS_TO_FAIL):
        os.write(sys.stderr.fileno(), f"defnet: {failures[0]}\n".encode())
        os._exit(failures[0].exit_code)
