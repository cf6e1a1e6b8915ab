"""Which runtime and which device: what was asked for, or the best that works here, and why."""

from __future__ import annotations

from os import PathLike
from typing import Literal

from defnet_infer.errors import SessionError
from defnet_infer.sessions import BATCH_SIZE, Session
from defnet_infer.sessions.onnxruntime import Device, OnnxRuntimeSession

__all__ = ["Device", "Engine", "open_session"]

Engine = Literal["auto", "onnxruntime", "tensorrt"]


def open_session(
    path: str | PathLike[str],
    *,
    device: Device = "auto",
    engine: Engine = "auto",
    threads: int = 0,
    batch_size: int = BATCH_SIZE,
) -> Session:
    """Load an exported file.

    Args:
        path: The exported file.
        device: ``auto`` takes a GPU where one works. A device asked for by name is used or is an error.
        engine: ``auto`` takes ONNX Runtime, the only one that this version has.
        threads: Photos at once on the CPU; 0 takes one per core.
        batch_size: Photos per call on a GPU.

    Raises:
        SessionError: If what was asked for by name is not there, or the file cannot be loaded.
    """
    if engine == "tensorrt":
        raise SessionError(
            "--engine tensorrt: TensorRT needs an engine file, which a later version builds; "
            "score with ONNX Runtime instead: --engine onnxruntime"
        )
    return OnnxRuntimeSession(path, device=device, threads=threads, batch_size=batch_size)
