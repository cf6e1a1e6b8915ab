"""Run an exported file with ONNX Runtime, on the CPU or on an NVIDIA GPU."""

from __future__ import annotations

import ctypes
import sys
from os import PathLike, fspath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnxruntime

from defnet_infer.errors import SessionError
from defnet_infer.sessions import Outputs

Device = Literal["auto", "cpu", "cuda"]

_CUDA = "CUDAExecutionProvider"
_CUDA_OPTIONS = {
    # The default doubles the arena on every growth; scoring needs the same few buffers again and again.
    "arena_extend_strategy": "kSameAsRequested",
    "cudnn_conv_algo_search": "HEURISTIC",
}
_FATAL = 4


class OnnxRuntimeSession:
    """A model in ONNX Runtime.

    On the CPU a batch is run photo by photo: the fifteen crops of one photo already fill the cores, and a
    photo then gives the same bits whatever shares its batch. On a GPU the batch is run at once.

    Args:
        path: The exported file.
        device: ``auto`` takes a GPU where one works. A device asked for by name is used or is an error.
        threads: Threads of one operator; 0 lets ONNX Runtime use every core.

    Raises:
        SessionError: If the device cannot be used or ONNX Runtime cannot load the file.
    """

    def __init__(self, path: str | PathLike[str], *, device: Device = "auto", threads: int = 0) -> None:
        options = quiet_options()
        options.intra_op_num_threads = threads
        # Threads that spin while they wait take the cores away from the decode threads.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: onnxruntime.InferenceSession | None = None
        if device != "cpu":
            self._session = _cuda_session(fspath(path), options)
            if self._session is None and device == "cuda":
                raise SessionError(_why_no_cuda())
        if self._session is None:
            self._session = _open(fspath(path), options, ["CPUExecutionProvider"])
        self.device = "cuda" if _CUDA in self._session.get_providers() else "cpu"

    def run(self, crops: npt.NDArray[np.uint8], overview: npt.NDArray[np.uint8]) -> Outputs:
        """Score a batch; see `Session.run`."""
        assert self._session is not None, "the session is closed"
        step = 1 if self.device == "cpu" else len(crops)
        names = [output.name for output in self._session.get_outputs()]
        parts: list[Any] = []
        try:
            for start in range(0, len(crops), step):
                chunk = slice(start, start + step)
                parts.append(self._session.run(names, {"crops": crops[chunk], "overview": overview[chunk]}))
        except Exception as error:  # ONNX Runtime's exceptions share no base class of their own.
            raise SessionError(
                f"ONNX Runtime failed on {self.device}: {_first_line(error)}; try a smaller --batch-size"
            ) from error
        return {name: np.concatenate(arrays) for name, arrays in zip(names, zip(*parts, strict=True), strict=True)}

    def close(self) -> None:
        """Free the model."""
        self._session = None


def quiet_options() -> onnxruntime.SessionOptions:
    """Session options under which ONNX Runtime writes nothing to the terminal; its errors arrive as exceptions."""
    onnxruntime.set_default_logger_severity(_FATAL)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    return options


def _open(path: str, options: onnxruntime.SessionOptions, providers: list[Any]) -> onnxruntime.InferenceSession:
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # See `run`.
        raise SessionError(f"ONNX Runtime cannot load {path}: {_first_line(error)}") from error


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


def _why_no_cuda() -> str:
    if _CUDA not in onnxruntime.get_available_providers():
        return "--device cuda: this ONNX Runtime is built without CUDA; install it with: pip install onnxruntime-gpu"
    if not _has_nvidia_driver():
        return "--device cuda: there is no NVIDIA driver on this machine; score on the CPU with: --device cpu"
    return (
        "--device cuda: the GPU is there but ONNX Runtime cannot load CUDA; "
        "install the libraries with: pip install 'defnet[cuda]'"
    )


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0][:300]
