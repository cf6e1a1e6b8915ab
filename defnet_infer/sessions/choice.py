"""Which runtime and which device: what was asked for, or the best that works here, and why."""

from __future__ import annotations

from os import PathLike, fspath
from typing import Any, Literal, get_args

from defnet_infer.engine_file import SUFFIX, build_command
from defnet_infer.errors import SessionError, UsageError
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
    batch_size: int | None = None,
) -> Session:
    """Load an exported file.

    Args:
        path: The exported file: ``.onnx`` for ONNX Runtime, ``.plan`` for TensorRT.
        device: ``auto`` takes a GPU where one works. A device asked for by name is used or is an error.
        engine: ``auto`` takes the one that the file is for.
        threads: Photos at once on the CPU; 0 takes one per core.
        batch_size: Photos per call on a GPU; None takes 8, or what a TensorRT engine was tuned for.

    Raises:
        ArtifactError: If a TensorRT engine lacks its sidecar.
        MissingExtraError: If TensorRT is needed and not installed.
        SessionError: If what was asked for by name is not there, or the file cannot be loaded.
        UsageError: If device or engine is none of those.
    """
    _require_choice("device", device, Device)
    _require_choice("engine", engine, Engine)
    name = fspath(path)
    is_plan = name.endswith(SUFFIX)
    if engine == "tensorrt" and not is_plan:
        raise SessionError(
            f"--engine tensorrt: {name} is no TensorRT engine; build one with: {build_command(name)}, or score with "
            "ONNX Runtime instead: --engine onnxruntime"
        )
    if not is_plan:
        return OnnxRuntimeSession(path, device=device, threads=threads, batch_size=batch_size or BATCH_SIZE)
    if engine == "onnxruntime":
        raise SessionError(f"--engine onnxruntime: {name} is a TensorRT engine; give the .onnx file it was built from")
    if device == "cpu":
        raise SessionError(f"--device cpu: {name} is a TensorRT engine and needs a GPU; give the .onnx file instead")
    from defnet_infer.sessions.tensorrt import TensorRtSession

    return TensorRtSession(path, batch_size=batch_size)


def _require_choice(what: str, given: str, choices: Any) -> None:
    if given not in get_args(choices):
        raise UsageError(f"{what} {given!r}: choose one of {', '.join(get_args(choices))}")
