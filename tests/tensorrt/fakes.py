"""CUDA's runtime and TensorRT played on host memory, so that what defnet does with them runs where no GPU is.

They hold to what the real ones hold to and a mistake would break: a copy says which way it goes and both addresses must
lie accordingly; nothing on a stream is done before it is waited for; what is captured is done when its graph is
launched, and a capture that is not ended swallows what follows; an error stays until it is fetched, and TensorRT does
not start beside one. Names and signatures are held against the real modules by `test_signatures`.
"""

from __future__ import annotations

import ctypes
import itertools
import json
from collections.abc import Callable
from enum import IntEnum
from types import SimpleNamespace
from typing import Any

import numpy as np

from defnet_infer.contract import Contract
from defnet_infer.sessions import Outputs
from tests.tensorrt.records import H100

Compute = Callable[[np.ndarray, np.ndarray], Outputs]


class Error(IntEnum):
    cudaSuccess = 0
    cudaErrorInvalidValue = 1
    cudaErrorStreamCaptureInvalidated = 901


class Cuda:
    """The CUDA runtime.

    Args:
        failing: The call that fails when work is recorded; none, if empty.
    """

    class cudaMemcpyKind(IntEnum):  # noqa: N801
        cudaMemcpyHostToDevice = 1
        cudaMemcpyDeviceToHost = 2

    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaStreamNonBlocking = 1
    cudaHostAllocDefault = 0

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.host: dict[int, Any] = {}
        self.device: dict[int, Any] = {}
        self.streams: dict[int, list[Callable[[], None]]] = {}
        self.captures: dict[int, list[Callable[[], None]]] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.error = Error.cudaSuccess
        self._handles = itertools.count(1)

    def fail(self, error: Error) -> tuple[Error, None]:
        self.error = error
        return error, None

    def enqueue(self, stream: int, job: Callable[[], None]) -> None:
        self.captures.get(stream, self.streams[stream]).append(job)

    def cudaGetDeviceProperties(self, device: int) -> tuple[Error, Any]:
        return Error.cudaSuccess, SimpleNamespace(name=H100.gpu.encode() + b"\0", major=9, minor=0)

    def cudaDriverGetVersion(self) -> tuple[Error, int]:
        return Error.cudaSuccess, 13000

    def cudaGetLastError(self) -> tuple[Error]:
        error, self.error = self.error, Error.cudaSuccess
        return (error,)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Error, int]:
        return self._allocate(self.host, size)

    def cudaMalloc(self, size: int) -> tuple[Error, int]:
        return self._allocate(self.device, size)

    def _allocate(self, memory: dict[int, Any], size: int) -> tuple[Error, int]:
        buffer = (ctypes.c_uint8 * size)()
        memory[ctypes.addressof(buffer)] = buffer
        return Error.cudaSuccess, ctypes.addressof(buffer)

    def cudaFreeHost(self, address: int) -> tuple[Error]:
        del self.host[address]
        return (Error.cudaSuccess,)

    def cudaFree(self, address: int) -> tuple[Error]:
        del self.device[address]
        return (Error.cudaSuccess,)

    def cudaMemcpyAsync(self, dst: int, src: int, count: int, kind: IntEnum, stream: int) -> tuple[Any, ...]:
        ways = {"cudaMemcpyHostToDevice": (self.device, self.host), "cudaMemcpyDeviceToHost": (self.host, self.device)}
        to, of = ways[kind.name]
        if dst not in to or src not in of or count > min(len(to[dst]), len(of[src])):
            return self.fail(Error.cudaErrorInvalidValue)
        self.enqueue(stream, lambda: ctypes.memmove(dst, src, count))
        return (Error.cudaSuccess,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Error, int]:
        stream = next(self._handles)
        self.streams[stream] = []
        return Error.cudaSuccess, stream

    def cudaStreamSynchronize(self, stream: int) -> tuple[Error]:
        jobs, self.streams[stream] = self.streams[stream], []
        for job in jobs:
            job()
        return (Error.cudaSuccess,)

    def cudaStreamDestroy(self, stream: int) -> tuple[Error]:
        del self.streams[stream]
        return (Error.cudaSuccess,)

    def cudaStreamBeginCapture(self, stream: int, mode: int) -> tuple[Error]:
        self.captures[stream] = []
        return (Error.cudaSuccess,)

    def cudaStreamEndCapture(self, stream: int) -> tuple[Error, int | None]:
        jobs = self.captures.pop(stream)
        if self.failing in ("execute_async_v3", "cudaStreamEndCapture"):  # What fails in a capture spoils it.
            return self.fail(Error.cudaErrorStreamCaptureInvalidated)
        return self._graph(jobs)

    def cudaGraphInstantiate(self, graph: int, flags: int) -> tuple[Error, int | None]:
        if self.failing == "cudaGraphInstantiate":
            return self.fail(Error.cudaErrorInvalidValue)
        return self._graph(self.graphs[graph])

    def _graph(self, jobs: list[Callable[[], None]]) -> tuple[Error, int]:
        graph = next(self._handles)
        self.graphs[graph] = jobs
        return Error.cudaSuccess, graph

    def cudaGraphLaunch(self, graph: int, stream: int) -> tuple[Error]:
        self.streams[stream] += self.graphs[graph]
        return (Error.cudaSuccess,)

    def cudaGraphDestroy(self, graph: int) -> tuple[Error]:
        del self.graphs[graph]
        return (Error.cudaSuccess,)

    cudaGraphExecDestroy = cudaGraphDestroy


class TensorRt:
    """TensorRT.

    Args:
        cuda: Where it runs.
        contract: Tensors of every engine.
        compute: What every engine computes, from `crops` and `overview`.
    """

    class ILogger: ...

    class IProgressMonitor: ...

    __version__ = H100.tensorrt
    NetworkDefinitionCreationFlag = SimpleNamespace(STRONGLY_TYPED=1)
    ProfilingVerbosity = SimpleNamespace(DETAILED="detailed")
    BuilderFlag = SimpleNamespace(TF32="TF32", VERSION_COMPATIBLE="VERSION_COMPATIBLE")
    MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    HardwareCompatibilityLevel = SimpleNamespace(NONE="none", AMPERE_PLUS="ampere+", SAME_COMPUTE_CAPABILITY="same")
    LayerInformationFormat = SimpleNamespace(JSON="json")

    def __init__(self, cuda: Cuda, contract: Contract, compute: Compute) -> None:
        self.cuda, self.contract, self.compute = cuda, contract, compute

    @staticmethod
    def nptype(dtype: str) -> type:
        return np.dtype(dtype).type

    def Runtime(self, logger: object) -> Any:
        return SimpleNamespace(deserialize_cuda_engine=lambda plan: Engine(self))

    def Builder(self, logger: object) -> Builder:
        return Builder()

    def OnnxParser(self, network: object, logger: object) -> Any:
        return SimpleNamespace(parse=lambda data: True)


class Engine:
    def __init__(self, trt: TensorRt) -> None:
        self._trt = trt

    def get_tensor_dtype(self, name: str) -> str:
        contract = self._trt.contract
        return next(spec.dtype for spec in (*contract.inputs, *contract.outputs) if spec.name == name)

    def create_execution_context(self) -> Context:
        return Context(self, self._trt)

    def create_engine_inspector(self) -> Any:
        return SimpleNamespace(get_engine_information=lambda form: "{}")


class Context:
    def __init__(self, engine: Engine, trt: TensorRt) -> None:
        self.engine, self._trt = engine, trt
        self._batch, self._address = 0, {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._batch = shape[0]
        return True

    def infer_shapes(self) -> list[str]:
        return []

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        contract = self._trt.contract
        shape = next(spec.shape for spec in (*contract.inputs, *contract.outputs) if spec.name == name)
        return (self._batch, *shape[1:])

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._address[name] = address
        return address in self._trt.cuda.device

    def execute_async_v3(self, stream: int) -> bool:
        cuda = self._trt.cuda
        if cuda.error or (cuda.failing == "execute_async_v3" and stream in cuda.captures):
            cuda.fail(Error.cudaErrorStreamCaptureInvalidated)
            return False
        cuda.enqueue(stream, self._execute)
        return True

    def _execute(self) -> None:
        outputs = self._trt.compute(*(self._tensor(spec.name) for spec in self._trt.contract.inputs))
        for name, values in outputs.items():
            self._tensor(name)[:] = values

    def _tensor(self, name: str) -> np.ndarray:
        memory = self._trt.cuda.device[self._address[name]]
        return np.frombuffer(memory, self.engine.get_tensor_dtype(name)).reshape(self.get_tensor_shape(name))


class Builder:
    """Its plan tells in JSON what it was built with: the shapes of the profile, and the flags."""

    def create_network(self, flags: int) -> object:
        assert flags == 1 << TensorRt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return object()

    def create_builder_config(self) -> Config:
        return Config()

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: object, config: Config) -> bytes | None:
        return json.dumps({"shapes": config.profile.shapes, "flags": sorted(config.flags)}).encode()


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[tuple[int, ...], ...]] = {}

    def set_shape(self, input: str, min: tuple[int, ...], opt: tuple[int, ...], max: tuple[int, ...]) -> None:
        self.shapes[input] = (min, opt, max)


class Config:
    def __init__(self) -> None:
        self.flags = {TensorRt.BuilderFlag.TF32}  # As TensorRT begins.
        self.profile = Profile()

    def add_optimization_profile(self, profile: Profile) -> int:
        self.profile = profile
        return 0 if all(low <= best <= high for low, best, high in profile.shapes.values()) else -1

    def clear_flag(self, flag: str) -> None:
        self.flags.discard(flag)

    def set_flag(self, flag: str) -> None:
        self.flags.add(flag)
