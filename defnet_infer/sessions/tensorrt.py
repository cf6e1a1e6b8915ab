"""Run an engine that `defnet export --tensorrt` built, on the GPU it was built for.

The sidecar is checked first, so that an engine for another GPU or another TensorRT is refused with the reason and the
command that builds the right one. Not covered by tests on machines without a GPU (marker `tensorrt`).
"""

from __future__ import annotations

import contextlib
import queue
from os import PathLike
from pathlib import Path

import numpy as np
import numpy.typing as npt

from defnet_infer.contract import Contract
from defnet_infer.engine_file import EngineMachine, EngineRecord, build_command, misfits, other_model, read_record
from defnet_infer.errors import SessionError
from defnet_infer.sessions import Outputs
from defnet_infer.sessions.tensorrt_api import (
    LastErrors,
    import_cuda_runtime,
    import_tensorrt,
    made,
    make_logger,
    this_machine,
)
from defnet_infer.sessions.tensorrt_lane import Lane

_COMMAND = "--engine tensorrt"
_BATCHES_IN_FLIGHT = 2


class TensorRtSession:
    """A model in TensorRT. Two batches are in flight, so that one is copied while the other is computed.

    Every call is padded to one fixed batch: a photo meets the same kernels whatever is scored beside it.

    Args:
        path: A `.plan` file with its sidecar.
        batch_size: Photos per call; None takes the batch that the engine was tuned for.
        use_graph: Launch each batch as one recorded CUDA graph.

    Raises:
        ArtifactError: If the plan or its sidecar is missing or damaged.
        MissingExtraError: If TensorRT is not installed.
        SessionError: If there is no GPU, the engine was built for another machine or model, or it cannot be loaded.
    """

    device = "cuda"

    def __init__(self, path: str | PathLike[str], *, batch_size: int | None = None, use_graph: bool = True) -> None:
        plan = Path(path)
        record = read_record(plan)
        self.photos_per_call = fitting_batch(record, plan, batch_size)
        self.calls_at_once = _BATCHES_IN_FLIGHT
        trt = import_tensorrt(_COMMAND)
        cudart = import_cuda_runtime(_COMMAND)
        here = this_machine(trt, cudart)
        refuse_misfit(record, plan, here)
        errors = LastErrors()
        self._logger = make_logger(trt, errors.hear)
        # Engines must not outlive their runtime.
        runtime = made(trt.Runtime, self._logger, reason=errors.reason)
        self._runtime = runtime
        if record.version_compatible:
            # Such a plan carries its own runtime, which is program code; the flag says that we trust the file.
            runtime.engine_host_code_allowed = True
        engine = runtime.deserialize_cuda_engine(plan.read_bytes())
        if engine is None:
            raise SessionError(f"TensorRT refuses {plan}: {errors.reason()}; build again: {_again(record)}")
        self._engine = engine
        self._trt = trt
        self._lanes: list[Lane] = []
        self._free: queue.SimpleQueue[Lane | None] = queue.SimpleQueue()
        contract = Contract.from_json(record.metadata["defnet.contract"])
        try:
            for _ in range(self.calls_at_once):
                lane = Lane(
                    trt, cudart, engine, contract, self.photos_per_call, use_graph=use_graph, reason=errors.reason
                )
                self._lanes.append(lane)
                self._free.put(lane)
        except BaseException:
            self.close()
            raise
        self.has_graph = all(lane.has_graph for lane in self._lanes)
        self.why = _why(record, here, self.photos_per_call, self.has_graph)

    def run(self, crops: npt.NDArray[np.uint8], overview: npt.NDArray[np.uint8]) -> Outputs:
        """Score a batch of any size, in calls of `photos_per_call`; see `Session.run`."""
        lane = self._free.get()
        if lane is None:
            self._free.put(None)  # For the next one that waits.
            raise SessionError("this session is closed; open another")
        try:
            step = self.photos_per_call
            parts = [lane.run(crops[k : k + step], overview[k : k + step]) for k in range(0, len(crops), step)]
        finally:
            if lane in self._lanes:  # It is not if the session was closed meanwhile.
                self._free.put(lane)
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def inspect(self) -> str:
        """What TensorRT's engine inspector says about every layer, JSON, at the session's batch."""
        return self._lanes[0].inspect(self._trt)

    def close(self) -> None:
        """Free the engine and its memory."""
        for lane in self._lanes:
            lane.close()
        self._lanes = []
        # The queue stays: whoever waits at it is told.
        with contextlib.suppress(queue.Empty):
            while True:
                self._free.get_nowait()
        self._free.put(None)
        self._engine = None
        self._runtime = None


def fitting_batch(record: EngineRecord, plan: Path, batch_size: int | None) -> int:
    """The fixed batch of a session.

    Raises:
        SessionError: If more is asked for than the engine takes.
    """
    if batch_size is None:
        return record.batch.best
    if not record.batch.smallest <= batch_size <= record.batch.largest:
        raise SessionError(
            f"--batch-size {batch_size}: {plan.name} takes {record.batch.smallest} to {record.batch.largest} photos; "
            f"build one for more: {_again(record)} --max-batch {batch_size}"
        )
    return batch_size


def refuse_misfit(record: EngineRecord, plan: Path, here: EngineMachine) -> None:
    """Stop before TensorRT would, with all reasons.

    Raises:
        SessionError: If the engine does not belong to this machine, or no longer to its model.
    """
    reasons = misfits(record, here)
    changed = other_model(record, plan)
    if changed is not None:
        reasons.append(changed)
    if reasons:
        raise SessionError(f"{plan} cannot be used here: {'; '.join(reasons)}. Build one: {_again(record)}")


def _again(record: EngineRecord) -> str:
    return build_command(record.model_file)


def _why(record: EngineRecord, here: EngineMachine, batch: int, graph: bool) -> str:
    how = "CUDA graph" if graph else "no CUDA graph"
    tuned = "" if here.gpu == record.machine.gpu else f"; tuned on another GPU, {record.machine.gpu}"
    return (
        f"{here.gpu} with TensorRT {here.tensorrt}, {batch} photos a batch, {how} (a {record.precision} engine{tuned})"
    )
