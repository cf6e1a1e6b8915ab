"""A TensorRT engine file and the JSON sidecar beside it: what it is called, what it was made from, where it runs.

A `.plan` holds the engine and nothing else, as trtexec and C++ programs expect. The sidecar, `NAME.plan.json`, holds
what scoring needs besides: contract, labels and the other metadata of the ONNX file, and what the engine is bound to.
Whether it fits this machine is decided from the sidecar, before TensorRT reads a byte.
"""

from __future__ import annotations

import hashlib
import json
import platform
import re
import shlex
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from defnet_infer.errors import ArtifactError

SIDECAR_SCHEMA = 1
SUFFIX = ".plan"
HardwareCompatibility = Literal["none", "ampere+", "same-capability"]
_SHORT_PRECISION = {"float32": "fp32", "float16": "fp16"}
_AMPERE = 80
_CHUNK = 1 << 22


@dataclass(frozen=True, kw_only=True)
class BatchRange:
    """Photos of one call: the engine takes `smallest` to `largest` and is fastest at `best`."""

    smallest: int
    best: int
    largest: int

    def __post_init__(self) -> None:
        """Hold the order; a person's numbers are checked where they are typed."""
        assert 1 <= self.smallest <= self.best <= self.largest, self

    def shapes(self, shape: tuple[int | str, ...]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Smallest, best and largest shape of a tensor whose first axis, and no other, is the batch."""
        fixed = tuple(size for size in shape[1:] if isinstance(size, int))
        assert isinstance(shape[0], str) and len(fixed) == len(shape) - 1, shape
        return (self.smallest, *fixed), (self.best, *fixed), (self.largest, *fixed)


@dataclass(frozen=True, kw_only=True)
class EngineMachine:
    """What an engine is bound to."""

    tensorrt: str
    """Version, such as ``11.4.0.106``."""
    sm: int
    """Compute capability without the dot, such as 90."""
    gpu: str
    """Name of the GPU."""
    platform: str
    """Operating system and processor, such as ``linux-x86_64``."""


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """The sidecar."""

    plan_sha256: str
    model_file: str
    """Name of the ONNX file, without its folder."""
    model_sha256: str
    machine: EngineMachine
    driver: str
    """Highest CUDA version of the driver at build time."""
    precision: str
    batch: BatchRange
    optimization_level: int
    workspace_bytes: int | None
    """None: all of the device's memory."""
    version_compatible: bool
    hardware_compatibility: HardwareCompatibility
    half_share: float | None
    """Share of half precision that the engine inspector showed; None for a float32 engine."""
    parity: dict[str, Any]
    """The certificate that was taken through the engine."""
    metadata: dict[str, str]
    """All metadata of the ONNX file."""

    def to_json(self) -> str:
        """The sidecar's text, indented for people."""
        return json.dumps({"defnet_engine": SIDECAR_SCHEMA, **asdict(self)}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> EngineRecord:
        """Read what `to_json` wrote.

        Raises:
            ValueError: If it is no sidecar, or one of another schema.
        """
        body = json.loads(text)
        if not isinstance(body, dict) or "defnet_engine" not in body:
            raise ValueError("it is no sidecar of defnet")
        schema = body.pop("defnet_engine")
        if schema != SIDECAR_SCHEMA:
            raise ValueError(f"it has sidecar schema {schema}, this defnet reads {SIDECAR_SCHEMA}")
        try:
            machine, batch = EngineMachine(**body.pop("machine")), BatchRange(**body.pop("batch"))
            return cls(machine=machine, batch=batch, **body)
        except (KeyError, TypeError) as error:
            raise ValueError(f"its fields are not those of schema {SIDECAR_SCHEMA}: {error}") from error


def sidecar_path(plan: Path) -> Path:
    """``model.plan`` -> ``model.plan.json``."""
    return plan.with_name(plan.name + ".json")


def build_command(model_file: str = "MODEL.onnx") -> str:
    """What to type to get an engine for this machine."""
    return f"defnet export {shlex.quote(str(model_file))} --tensorrt"


def read_record(plan: Path) -> EngineRecord:
    """Read the sidecar of a plan.

    Raises:
        ArtifactError: If the plan or its sidecar is missing, or the sidecar cannot be read.
    """
    path = sidecar_path(plan)
    if not plan.exists():
        raise ArtifactError(f"{plan}: there is no such engine file; build one with: {build_command()}")
    try:
        return EngineRecord.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{plan} has no {path.name} beside it, which says what it was built from and for; copy it there too, or "
            f"build again: {build_command()}"
        ) from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ArtifactError(f"{path} cannot be used: {error}; build again: {build_command()}") from error


def engine_name(
    stem: str,
    model_sha256: str,
    machine: EngineMachine,
    precision: str,
    batch: BatchRange,
    *,
    version_compatible: bool = False,
    hardware_compatibility: HardwareCompatibility = "none",
) -> str:
    """A file name that two engines share only if one can stand for the other.

    Example: ``model-1f2e3d4c.trt11.4.0.106.sm90.fp16.b1-8-8.plan``.
    """
    parts = [
        f"{stem}-{model_sha256[:8]}",
        f"trt{machine.tensorrt}",
        f"sm{machine.sm}",
        _SHORT_PRECISION[precision],
        f"b{batch.smallest}-{batch.best}-{batch.largest}",
        *(["vc"] if version_compatible else []),
        *([hardware_compatibility.replace("+", "plus")] if hardware_compatibility != "none" else []),
    ]
    return ".".join(parts) + SUFFIX


def this_platform() -> str:
    """Operating system and processor of this machine, as in `EngineMachine.platform`."""
    return f"{platform.system()}-{platform.machine()}".lower()


def misfits(record: EngineRecord, here: EngineMachine) -> list[str]:
    """Why this engine cannot run here, one reason each; empty if it can.

    TensorRT's rules (its engine compatibility page): a plan runs with the version, the system and the compute
    capability it was built with. A version-compatible one also runs with newer versions, never with older ones. One
    for Ampere and newer runs on any of those.
    """
    built = record.machine
    reasons = []
    if here.platform != built.platform:
        reasons.append(f"built on {built.platform}, this is {here.platform}")
    if here.tensorrt != built.tensorrt:
        newer = version_numbers(here.tensorrt) > version_numbers(built.tensorrt)
        if not (record.version_compatible and newer):
            older = ", which is older" if record.version_compatible else ""
            reasons.append(f"built with TensorRT {built.tensorrt}, this is {here.tensorrt}{older}")
    if here.sm != built.sm and not (record.hardware_compatibility == "ampere+" and here.sm >= _AMPERE):
        reasons.append(f"built for SM {built.sm} ({built.gpu}), this is SM {here.sm} ({here.gpu})")
    return reasons


def other_model(record: EngineRecord, plan: Path) -> str | None:
    """Whether the ONNX file beside the plan is no longer the one that it was built from, as a reason.

    An engine outlives the model it was built from; scoring with the old one unnoticed is the mistake to catch.
    """
    model = plan.with_name(record.model_file)
    if not model.is_file():
        return None
    now = _sha256(model)
    if now == record.model_sha256:
        return None
    return f"built from another {record.model_file} (SHA-256 {record.model_sha256[:8]}, the one beside it {now[:8]})"


def version_numbers(version: str) -> tuple[int, ...]:
    """``10.13.3.9.post1`` -> (10, 13, 3, 9, 1), for comparing."""
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
