"""Run an exported file with ONNX Runtime, on the CPU or on an NVIDIA GPU.

On the CPU every call takes one photo and one thread, and as many calls run at once as there are cores. That is
faster than spreading one photo over the cores, and a photo gives the same bits whatever is scored beside it.

The GPU path is not covered by tests on machines without a GPU (marker `cuda`): a batch of fixed size, its last
one padded, in buffers on the device that are bound once; two batches in flight, so that one is copied while
the other is computed.
"""

from __future__ import annotations

import ctypes
import queue
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from defnet_infer.errors import SessionError
from defnet_infer.machine import cores
from defnet_infer.sessions import BATCH_SIZE, Outputs
from defnet_infer.wording import first_line

Device = Literal["auto", "cpu", "cuda"]

_CUDA = "CUDAExecutionProvider"
_CUDA_OPTIONS = {
    # The default doubles the arena on every growth; scoring needs the same few buffers again and again.
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",
    # What a file calls float32 is to be float32: TF32, the default since Ampere, keeps 10 bits of a fraction.
    "use_tf32": "0",
}
_FATAL = 4
_BATCHES_IN_FLIGHT = 2


class OnnxRuntimeSession:
    """A model in ONNX Runtime.

    Args:
        path: The exported file.
        device: ``auto`` takes a GPU where one works. A device asked for by name is used or is an error.
        threads: Photos at once on the CPU; 0 takes one per core.
        batch_size: Photos per call on a GPU.

    Raises:
        SessionError: If the device cannot be used or ONNX Runtime cannot load the file.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        device: Device = "auto",
        threads: int = 0,
        batch_size: int = BATCH_SIZE,
    ) -> None:
        options = quiet_options()
        options.intra_op_num_threads = 1
        self._session: onnxruntime.InferenceSession | None = None
        no_cuda = "asked for"
        if device != "cpu":
            self._session = _cuda_session(fspath(path), options)
            if self._session is None:
                no_cuda, remedy = _why_no_cuda()
                if device == "cuda":
                    raise SessionError(f"--device cuda: {no_cuda}; {remedy}")
        self.device: str
        if self._session is None:
            self._session = _open(fspath(path), options, ["CPUExecutionProvider"])
            self.device, self.photos_per_call, self.calls_at_once = "cpu", 1, threads or cores()
            at_once = f"{self.calls_at_once} photo{'s' * (self.calls_at_once != 1)} at once"
            self.why = f"cpu with ONNX Runtime, {at_once} ({no_cuda})"
        else:
            self.device, self.photos_per_call, self.calls_at_once = "cuda", batch_size, _BATCHES_IN_FLIGHT
            found = "asked for" if device == "cuda" else "an NVIDIA GPU that works"
            self.why = f"cuda with ONNX Runtime, {batch_size} photos a batch ({found})"
        self._names = [output.name for output in self._session.get_outputs()]
        self._inputs = [tensor.name for tensor in self._session.get_inputs()]
        self._buffers: queue.SimpleQueue[_Buffers] = queue.SimpleQueue()
        if self.device == "cuda":
            with self._explained():
                for _ in range(self.calls_at_once):
                    self._buffers.put(_Buffers(self._session, batch_size))

    def run(self, crops: npt.NDArray[np.uint8], overview: npt.NDArray[np.uint8]) -> Outputs:
        """Score a batch; see `Session.run`."""
        session = self._session
        if session is None:
            raise SessionError("the model has been closed; make a new Scorer to score more")
        assert len(crops) <= self.photos_per_call or self.device == "cpu", "the batch is too large"
        with self._explained():
            if self.device == "cuda":
                arrays = self._run_in_buffers(session, crops, overview)
            else:
                # One call per photo, also for a batch: the bits of a photo must not depend on its neighbours.
                given = {"crops": crops, "overview": overview}
                calls = [
                    session.run(self._names, {name: given[name][k : k + 1] for name in self._inputs})
                    for k in range(len(crops))
                ]
                arrays = calls[0] if len(calls) == 1 else [np.concatenate(parts) for parts in zip(*calls, strict=True)]
        return dict(zip(self._names, arrays, strict=True))

    def _run_in_buffers(
        self, session: onnxruntime.InferenceSession, crops: npt.NDArray[np.uint8], overview: npt.NDArray[np.uint8]
    ) -> list[npt.NDArray[Any]]:
        buffers = self._buffers.get()
        try:
            buffers.fill(crops, overview)
            session.run_with_iobinding(buffers.binding)
            return [array[: len(crops)] for array in buffers.binding.copy_outputs_to_cpu()]
        finally:
            self._buffers.put(buffers)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own.
            less = "--batch-size" if self.device == "cuda" else "--threads"
            raise SessionError(
                f"ONNX Runtime failed on {self.device}: {first_line(error)}; try a smaller {less}"
            ) from error

    def close(self) -> None:
        """Free the model."""
        self._buffers = queue.SimpleQueue()
        self._session = None


class _Buffers:
    """Inputs and outputs of one batch in flight. Padding repeats nothing and costs no copy: old photos stay there."""

    def __init__(self, session: onnxruntime.InferenceSession, batch_size: int) -> None:
        self.binding = session.io_binding()
        self._arrays: list[npt.NDArray[np.uint8]] = []
        self._values: list[Any] = []
        for tensor in session.get_inputs():
            array = np.zeros((batch_size, *tensor.shape[1:]), np.uint8)
            value = onnxruntime.OrtValue.ortvalue_from_numpy(array, "cuda", 0)
            self.binding.bind_ortvalue_input(tensor.name, value)
            self._arrays.append(array)
            self._values.append(value)
        self._order = [tensor.name for tensor in session.get_inputs()]
        for tensor in session.get_outputs():
            self.binding.bind_output(tensor.name, "cuda")

    def fill(self, crops: npt.NDArray[np.uint8], overview: npt.NDArray[np.uint8]) -> None:
        given = {"crops": crops, "overview": overview}
        for name, array, value in zip(self._order, self._arrays, self._values, strict=True):
            array[: len(given[name])] = given[name]
            value.update_inplace(array)


def quiet_options() -> onnxruntime.SessionOptions:
    """Session options under which ONNX Runtime writes nothing to the terminal; its errors arrive as exceptions."""
    onnxruntime.set_default_logger_severity(_FATAL)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    return options


def _open(path: str, options: onnxruntime.SessionOptions, providers: list[Any]) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # See `_explained`.
        raise SessionError(f"ONNX Runtime cannot load {path}: {first_line(error)}") from error


def _cuda_session(path: str, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession | None:
    """A session that really runs on the GPU, or None. ONNX Runtime itself would go on with the CPU and say nothing."""
    if not (_CUDA in onnxruntime.get_available_providers() and _has_nvidia_driver()):
        return None
    onnxruntime.preload_dlls()  # Finds the CUDA libraries of the `cuda` extra, which are on no search path.
    session = _open(path, options, [(_CUDA, _CUDA_OPTIONS), "CPUExecutionProvider"])
    return session if _CUDA in session.get_providers() else None


def _has_nvidia_driver() -> bool:
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _why_no_cuda() -> tuple[str, str]:
    """Reason, and what to do about it."""
    if _CUDA not in onnxruntime.get_available_providers():
        return "this ONNX Runtime is built without CUDA", "install it with: pip install onnxruntime-gpu"
    if not _has_nvidia_driver():
        return "there is no NVIDIA driver on this machine", "score on the CPU with: --device cpu"
    return (
        "the GPU is there but ONNX Runtime cannot load CUDA",
        "install the libraries with: pip install 'defnet[cuda]'",
    )


def whole_batches(path: str | PathLike[str]) -> Callable[[npt.NDArray[np.uint8], npt.NDArray[np.uint8]], Outputs]:
    """A file on the CPU that takes a batch in one call, as other programs may use it; `OnnxRuntimeSession` never does.

    Raises:
        SessionError: If ONNX Runtime cannot load the file.
    """
    session = _open(fspath(path), quiet_options(), ["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    inputs = [tensor.name for tensor in session.get_inputs()]

    def run(crops: npt.NDArray[np.uint8], overview: npt.NDArray[np.uint8]) -> Outputs:
        given = {"crops": crops, "overview": overview}
        return dict(zip(names, session.run(names, {name: given[name] for name in inputs}), strict=True))

    return run
