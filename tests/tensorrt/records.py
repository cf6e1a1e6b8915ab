"""A sidecar for tests, and a plan file that goes with it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from defnet_infer.engine_file import BatchRange, EngineMachine, EngineRecord, sidecar_path
from tests.conftest import tiny_metadata

H100 = EngineMachine(tensorrt="11.4.0.106", sm=90, gpu="NVIDIA H100 80GB HBM3", platform="linux-x86_64")
PLAN = b"ftrt and what only TensorRT reads"


def make_record(**changes: Any) -> EngineRecord:
    """One field of the machine may be changed by its own name."""
    machine = {key: changes.pop(key) for key in ("tensorrt", "sm", "gpu", "platform") if key in changes}
    record = EngineRecord(
        plan_sha256=hashlib.sha256(PLAN).hexdigest(),
        model_file="tiny.onnx",
        model_sha256="1f2e3d4c" + "0" * 56,
        machine=replace(H100, **machine),
        driver="13.0",
        precision="float16",
        batch=BatchRange(smallest=1, best=8, largest=32),
        optimization_level=3,
        workspace_bytes=None,
        version_compatible=False,
        hardware_compatibility="none",
        half_share=0.61,
        parity={"photos": 6, "measured": {"score": 0.0021}},
        metadata=tiny_metadata(),
    )
    return replace(record, **changes)


def write_plan(folder: Path, record: EngineRecord, plan: bytes = PLAN) -> Path:
    path = folder / "tiny.plan"
    path.write_bytes(plan)
    sidecar_path(path).write_text(record.to_json(), encoding="utf-8")
    return path
