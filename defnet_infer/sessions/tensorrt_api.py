"""The one module that imports TensorRT and the CUDA bindings, and only when a function here is called.

Everything else receives them as `trt` and `cudart`. TensorRT says why something failed only in its log, so the loggers
here keep the last errors for the message a person gets. Written for TensorRT 10.12 to 11.x without knowing which.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from defnet_infer.engine_file import EngineMachine, this_platform
from defnet_infer.errors import MissingExtraError, SessionError
from defnet_infer.wording import first_line

OLDEST = (10, 12)
_DRIVER_MISSING = {"cudaErrorInsufficientDriver", "cudaErrorNoDevice"}


def import_tensorrt(command: str) -> ModuleType:
    """TensorRT's Python module.

    Args:
        command: What the person typed, for the message.

    Raises:
        MissingExtraError: If it is not installed.
        SessionError: If it is but cannot be loaded, or is too old.
    """
    try:
        import tensorrt as trt
    except ModuleNotFoundError as error:
        raise MissingExtraError(command, "tensorrt", error.name or "tensorrt") from error
    except (ImportError, OSError) as error:
        raise SessionError(
            f"{command}: TensorRT is installed but cannot be loaded ({first_line(error)}); "
            "install it whole with: pip install 'defnet[tensorrt]'"
        ) from error
    version = tuple(int(number) for number in str(trt.__version__).split(".")[:2])
    if version < OLDEST:
        raise SessionError(
            f"{command}: TensorRT {trt.__version__} is too old, 10.12 is the first that works; "
            "bring a newer one with: pip install 'defnet[tensorrt]'"
        )
    module: ModuleType = trt
    return module


def import_cuda_runtime(command: str) -> ModuleType:
    """The CUDA runtime's Python bindings.

    Raises:
        MissingExtraError: If they are not installed.
        SessionError: If they cannot be loaded.
    """
    try:
        from cuda.bindings import runtime as cudart
    except ModuleNotFoundError as error:
        raise MissingExtraError(command, "tensorrt", "cuda-bindings") from error
    except (ImportError, OSError, RuntimeError) as error:
        raise SessionError(f"{command}: the CUDA bindings cannot be loaded ({first_line(error)})") from error
    module: ModuleType = cudart
    return module


def checked(function: Callable[..., tuple[Any, ...]], *arguments: object) -> Any:
    """Call a function of the CUDA runtime; its result, or None where it has none.

    Raises:
        SessionError: If it returns anything but success.
    """
    error, *values = function(*arguments)
    if error.value:
        name = getattr(function, "__name__", "a call")
        if error.name in _DRIVER_MISSING:
            raise SessionError(
                "TensorRT needs an NVIDIA GPU and its driver, which are not here; use --engine onnxruntime"
            )
        raise SessionError(f"CUDA failed: {error.name} in {name}; is the GPU in use? See: nvidia-smi")
    return values[0] if values else None


def this_machine(trt: ModuleType, cudart: ModuleType) -> EngineMachine:
    """What an engine built here would be bound to: the first GPU that CUDA shows.

    Raises:
        SessionError: If there is no GPU.
    """
    properties = checked(cudart.cudaGetDeviceProperties, 0)
    return EngineMachine(
        tensorrt=str(trt.__version__),
        sm=10 * int(properties.major) + int(properties.minor),
        gpu=properties.name.decode().rstrip("\0"),
        platform=this_platform(),
    )


def driver_version(cudart: ModuleType) -> str:
    """Highest CUDA version that the driver supports, such as ``13.0``."""
    version = int(checked(cudart.cudaDriverGetVersion))
    return f"{version // 1000}.{version % 1000 // 10}"


def made(kind: Callable[..., Any], *arguments: object, reason: Callable[[], str]) -> Any:
    """A TensorRT object by its constructor, which raises TypeError where the library returns nothing.

    Args:
        kind: `trt.Builder`, `trt.OnnxParser` or `trt.Runtime`.
        arguments: Of the constructor.
        reason: Gives TensorRT's last error.

    Raises:
        SessionError: If TensorRT gives none, most often because driver and CUDA version do not go together.
    """
    try:
        return kind(*arguments)
    except TypeError as error:
        raise SessionError(
            f"TensorRT gives no {kind.__name__}: {reason()}; does the driver work? See: nvidia-smi"
        ) from error


class LastErrors:
    """Keeps what TensorRT logged as an error, for the one line that a person gets."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def hear(self, level: str, text: str) -> None:
        """Take a message of the log; `level` is a name of `trt.ILogger.Severity`."""
        if level in ("ERROR", "INTERNAL_ERROR"):
            self._lines.append(" ".join(text.split())[:300])

    def reason(self) -> str:
        """The first error since the last call: later ones mostly follow from it."""
        lines, self._lines = self._lines, []
        return lines[0] if lines else "TensorRT gave no reason"


def make_logger(trt: ModuleType, hear: Callable[[str, str], None]) -> Any:
    """A TensorRT logger that passes every message on.

    Args:
        trt: TensorRT.
        hear: Called with the name of the level and the text, from any thread.
    """

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            hear(severity.name, msg)

    return Logger()
