"""One batch in flight on the GPU: an execution context, a stream, pinned host memory, device memory, a CUDA graph.

Shapes and addresses never change, so copying in, computing and copying out are recorded once and launched as one.
Padding costs nothing: rows past the photos of a call hold what an earlier call left, and their results are not read.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from defnet_infer.contract import Contract, TensorSpec
from defnet_infer.errors import SessionError
from defnet_infer.sessions import Outputs
from defnet_infer.sessions.tensorrt_api import checked


class Lane:
    """Runs batches of one fixed size, one at a time.

    Args:
        trt: TensorRT.
        cudart: The CUDA runtime.
        engine: A deserialised engine. The lane uses its only optimisation profile.
        contract: Names, types and shapes of the tensors.
        batch: Photos of a call, within the engine's range.
        use_graph: Record a CUDA graph, where the engine can be recorded.
        reason: Gives TensorRT's last error.

    Raises:
        SessionError: If a tensor is not as the contract says, memory is short, or the engine fails.
    """

    def __init__(
        self,
        trt: ModuleType,
        cudart: ModuleType,
        engine: Any,
        contract: Contract,
        batch: int,
        *,
        use_graph: bool,
        reason: Callable[[], str],
    ) -> None:
        self._cudart = cudart
        self._contract = contract
        self._reason = reason
        self._graph: Any = None
        self._host: dict[str, npt.NDArray[Any]] = {}
        self._pinned: dict[str, int] = {}
        self._device: dict[str, int] = {}
        self._stream: Any = None
        self._context: Any = engine.create_execution_context()
        if self._context is None:
            raise SessionError(f"TensorRT cannot prepare the engine: {reason()}; try a smaller --batch-size")
        try:
            self._stream = checked(cudart.cudaStreamCreateWithFlags, cudart.cudaStreamNonBlocking)
            for spec in (*contract.inputs, *contract.outputs):
                self._check_type(trt, engine, spec)
                self._allocate(spec, batch)
            self._set_shapes(batch)
            # Set-up work of the first call must not be recorded.
            self._work()
            checked(cudart.cudaStreamSynchronize, self._stream)
            if use_graph:
                self._graph = self._record()
        except BaseException:
            self.close()
            raise

    @property
    def has_graph(self) -> bool:
        """Whether calls launch a recorded graph; some engines cannot be recorded."""
        return self._graph is not None

    def run(self, crops: npt.NDArray[np.uint8], overview: npt.NDArray[np.uint8]) -> Outputs:
        """Score at most `batch` photos.

        Raises:
            SessionError: If the GPU fails.
        """
        count = len(crops)
        given = {"crops": crops, "overview": overview}
        for spec in self._contract.inputs:
            self._host[spec.name][:count] = given[spec.name]
        if self._graph is None:
            self._work()
        else:
            cudart = self._cudart
            checked(cudart.cudaGraphLaunch, self._graph, self._stream)
        checked(self._cudart.cudaStreamSynchronize, self._stream)
        return {spec.name: self._host[spec.name][:count].copy() for spec in self._contract.outputs}

    def inspect(self, trt: ModuleType) -> str:
        """The engine inspector's JSON; with this lane's shapes, so that no size is left open."""
        engine = self._context.engine
        inspector = engine.create_engine_inspector()
        inspector.execution_context = self._context
        return str(inspector.get_engine_information(trt.LayerInformationFormat.JSON))

    def close(self) -> None:
        """Free everything, whatever of it is there. What cannot be freed is left to the end of the process."""
        cudart = self._cudart
        if self._stream is not None:
            cudart.cudaStreamSynchronize(self._stream)
        if self._graph is not None:
            cudart.cudaGraphExecDestroy(self._graph)
        self._host.clear()
        for address in self._pinned.values():
            cudart.cudaFreeHost(address)
        for address in self._device.values():
            cudart.cudaFree(address)
        self._context = None  # Before its stream: it may still hold events on it.
        if self._stream is not None:
            cudart.cudaStreamDestroy(self._stream)
        self._pinned, self._device, self._graph, self._stream = {}, {}, None, None

    def _check_type(self, trt: ModuleType, engine: Any, spec: TensorSpec) -> None:
        dtype = engine.get_tensor_dtype(spec.name)
        found = np.dtype(trt.nptype(dtype)).name
        if found != spec.dtype:
            raise SessionError(f"the engine's tensor {spec.name} is {found} and not {spec.dtype}; build it again")

    def _allocate(self, spec: TensorSpec, batch: int) -> None:
        cudart = self._cudart
        shape = _fixed(spec, batch)
        size = math.prod(shape) * np.dtype(spec.dtype).itemsize
        self._pinned[spec.name] = int(checked(cudart.cudaHostAlloc, size, cudart.cudaHostAllocDefault))
        self._device[spec.name] = int(checked(cudart.cudaMalloc, size))
        memory = (ctypes.c_uint8 * size).from_address(self._pinned[spec.name])
        self._host[spec.name] = np.ctypeslib.as_array(memory).view(spec.dtype).reshape(shape)
        self._host[spec.name].fill(0)

    def _set_shapes(self, batch: int) -> None:
        context = self._context
        for spec in self._contract.inputs:
            if not context.set_input_shape(spec.name, _fixed(spec, batch)):
                raise SessionError(f"the engine does not take {batch} photos at once: {self._reason()}")
        unknown = context.infer_shapes()
        if unknown:
            raise SessionError(f"the engine leaves the shape of {', '.join(unknown)} open; build it again")
        for spec in (*self._contract.inputs, *self._contract.outputs):
            shape = tuple(context.get_tensor_shape(spec.name))
            if shape != _fixed(spec, batch):
                raise SessionError(f"the engine's tensor {spec.name} has shape {shape}, not {_fixed(spec, batch)}")
            if not context.set_tensor_address(spec.name, self._device[spec.name]):
                raise SessionError(f"TensorRT does not take the memory of {spec.name}: {self._reason()}")

    def _work(self) -> None:
        """Copy in, compute, copy out, all on the stream; returns before it is done."""
        cudart = self._cudart
        for spec in self._contract.inputs:
            self._copy(spec, self._device, self._pinned, cudart.cudaMemcpyKind.cudaMemcpyHostToDevice)
        context = self._context
        if not context.execute_async_v3(int(self._stream)):
            raise SessionError(f"TensorRT failed: {self._reason()}; try a smaller --batch-size")
        for spec in self._contract.outputs:
            self._copy(spec, self._pinned, self._device, cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost)

    def _copy(self, spec: TensorSpec, target: dict[str, int], source: dict[str, int], kind: Any) -> None:
        cudart = self._cudart
        size = self._host[spec.name].nbytes
        checked(cudart.cudaMemcpyAsync, target[spec.name], source[spec.name], size, kind, self._stream)

    def _record(self) -> Any:
        """The work as an executable graph, or None for an engine that cannot be recorded."""
        cudart = self._cudart
        mode = cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        checked(cudart.cudaStreamBeginCapture, self._stream, mode)
        try:
            try:
                self._work()
            except SessionError:
                cudart.cudaStreamEndCapture(self._stream)  # The capture is broken and must be ended all the same.
                raise
            graph = checked(cudart.cudaStreamEndCapture, self._stream)
            try:
                return checked(cudart.cudaGraphInstantiate, graph, 0)
            finally:
                cudart.cudaGraphDestroy(graph)
        except SessionError:
            cudart.cudaGetLastError()  # It would stay behind for the next call.
            return None


def _fixed(spec: TensorSpec, batch: int) -> tuple[int, ...]:
    return (batch, *(size for size in spec.shape[1:] if isinstance(size, int)))
