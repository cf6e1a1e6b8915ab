"""An exported file to a TensorRT engine for this machine, proved before it is kept.

Built, inspected, certified through the class that scores with it, and only then given its name. None of it can run
without TensorRT's libraries and a GPU; the tests that prove it there carry the marker `tensorrt`.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import tempfile
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from defnet_export import half_share
from defnet_export.tensorrt_log import BuildLog, PhaseDisplay
from defnet_export.tensorrt_network import serialized_engine
from defnet_export.tensorrt_options import BuildOptions
from defnet_infer import checking
from defnet_infer.artifact import BUILTIN_NAME, Artifact, builtin_model_path
from defnet_infer.engine_file import (
    EngineMachine,
    EngineRecord,
    engine_name,
    sidecar_path,
)
from defnet_infer.errors import GateError, UsageError
from defnet_infer.sessions import Session
from defnet_infer.sessions.onnxruntime import OnnxRuntimeSession
from defnet_infer.sessions.tensorrt import TensorRtSession
from defnet_infer.sessions.tensorrt_api import (
    driver_version,
    import_cuda_runtime,
    import_tensorrt,
    this_machine,
)
from defnet_infer.verdict import Verdict

COMMAND = "defnet export --tensorrt"
PRECISIONS = ("float32", "float16")


@dataclass(frozen=True, kw_only=True)
class BuildReport:
    """What was built."""

    path: Path
    bytes: int
    seconds: float
    """Of the build itself."""
    record: EngineRecord
    verdict: Verdict
    cuda_graph: bool
    """Whether its calls can be recorded."""
    cache_note: str | None
    """What became of the timing cache, if that is worth saying."""

    def lines(self, model: Path) -> list[str]:
        """What a person is told about the engine of an exported file."""
        record = self.record
        half = "" if record.half_share is None else f", {record.half_share:.0%} half"
        graph = "" if self.cuda_graph else ", cannot be recorded as a CUDA graph"
        return [
            f"{self.path}: {self.bytes / 1e6:.1f} MB, TensorRT {record.machine.tensorrt} for {record.machine.gpu}, "
            f"built in {self.seconds:.0f} s{half}{graph}",
            *([self.cache_note] if self.cache_note else []),
            f"agrees with {model.name}: {self.verdict.summary()}; score a folder with: defnet score FOLDER --model "
            f"{shlex.quote(str(self.path))} --out results.csv",
        ]


def require_engine_machine() -> None:
    """Stop where no engine can be built, before anything else is done.

    Raises:
        MissingExtraError: If TensorRT is not installed.
        SessionError: If it cannot be loaded, or there is no GPU.
    """
    this_machine(import_tensorrt(COMMAND), import_cuda_runtime(COMMAND))


def build_engine(
    model: Path,
    options: BuildOptions,
    display: PhaseDisplay,
    stop: threading.Event,
    *,
    photos: Path | None = None,
    count: int | None = None,
    folder: Path | None = None,
) -> BuildReport:
    """Build, inspect and certify the engine of an exported file, and write it with its sidecar.

    Args:
        model: An exported float32 or float16 `.onnx`.
        options: How.
        display: Shows the build's phases.
        stop: Set from a signal handler, it cancels the build.
        photos: A folder of photos to take the certificate on; generated ones if absent.
        count: Photos at most; None takes the default.
        folder: Where it goes; None: beside the file.

    Raises:
        ArtifactError: If the model is not one of ours, or takes whole photos.
        UsageError: If the engine exists, or the model's precision cannot be built.
        MissingExtraError: If TensorRT is not installed.
        SessionError: If there is no GPU, or TensorRT cannot read or build the model.
        GateError: If a float16 engine is not half, or the engine disagrees with the model. No engine is left.
        KeyboardInterrupt: If `stop` was set.
    """
    artifact = Artifact.open(model)
    artifact.require_views()
    precision = artifact.metadata.get("defnet.precision", "float32")
    if precision not in PRECISIONS:
        raise UsageError(f"{model} is {precision}, which TensorRT cannot build; export it with --fp32 or --fp16")
    trt, cudart = import_tensorrt(COMMAND), import_cuda_runtime(COMMAND)
    machine = this_machine(trt, cudart)
    folder = folder or model.parent
    target = folder / _name(artifact, machine, precision, options)
    if target.exists() and not options.overwrite:
        typed = shlex.quote(str(target))
        raise UsageError(f"{target} exists; score with it: defnet score FOLDER --model {typed}; or add --overwrite")
    with (
        BuildLog(options.build_log) as log,
        tempfile.TemporaryDirectory(dir=folder, prefix=".engine-") as scratch,
    ):
        start = time.monotonic()
        plan, cache_note = serialized_engine(trt, artifact, options, log, display, stop)
        seconds = time.monotonic() - start
        draft = Path(scratch) / target.name
        draft.write_bytes(plan)
        record = EngineRecord(
            plan_sha256=hashlib.sha256(plan).hexdigest(),
            # What can be typed to build it again from any folder.
            model_file=BUILTIN_NAME if model == builtin_model_path() else model.name,
            model_sha256=artifact.sha256,
            machine=machine,
            driver=driver_version(cudart),
            precision=precision,
            batch=options.batch,
            optimization_level=options.optimization_level,
            workspace_bytes=options.workspace_bytes,
            version_compatible=options.version_compatible,
            hardware_compatibility=options.hardware_compatibility,
            half_share=None,
            parity={},
            metadata=artifact.metadata,
        )
        sidecar_path(draft).write_text(record.to_json(), encoding="utf-8")
        # Through the class that scores with it, so that what is proved is what is used.
        session = TensorRtSession(draft)
        try:
            record = _inspected(session, record, options)
            verdict = certify(session, artifact, photos, count, stop)
            if not verdict.passed:
                raise GateError(f"the engine disagrees with {model.name}: {verdict.failures()}; no engine is kept")
            record = replace(record, parity={"verdict": verdict.to_json()})
            cuda_graph = session.has_graph
        finally:
            session.close()
        sidecar_path(draft).write_text(record.to_json(), encoding="utf-8")
        os.replace(sidecar_path(draft), sidecar_path(target))
        os.replace(draft, target)
    return BuildReport(
        path=target,
        bytes=len(plan),
        seconds=seconds,
        record=record,
        verdict=verdict,
        cuda_graph=cuda_graph,
        cache_note=cache_note,
    )


def _name(artifact: Artifact, machine: EngineMachine, precision: str, options: BuildOptions) -> str:
    return engine_name(
        artifact.path.stem,
        artifact.sha256,
        machine,
        precision,
        options.batch,
        version_compatible=options.version_compatible,
        hardware_compatibility=options.hardware_compatibility,
    )


def _inspected(session: TensorRtSession, record: EngineRecord, options: BuildOptions) -> EngineRecord:
    """The record with the measured half share.

    Raises:
        GateError: If an engine of a float16 file is not half.
    """
    information = session.inspect()
    if options.inspect is not None:
        options.inspect.write_text(information, encoding="utf-8")
    if record.precision != "float16":
        return record
    found = half_share.measure(information)
    half_share.hold(found)
    return replace(record, half_share=round(found.share, 4))


def certify(
    session: Session,
    artifact: Artifact,
    photos: Path | None,
    count: int | None = None,
    stop: threading.Event | None = None,
) -> Verdict:
    """Score photos from their files through an engine and through the file it was built from.

    The file has its own certificate against PyTorch; this adds the next link.

    Args:
        session: The engine.
        artifact: The file, which ONNX Runtime runs on the CPU.
        photos: A folder; generated photo files if absent.
        count: Photos at most; None takes the default of either kind.
        stop: Set from a signal handler, it ends the comparison.

    Raises:
        KeyboardInterrupt: If `stop` was set.
    """

    def advance(done: int, total: int) -> None:
        if stop is not None and stop.is_set():
            raise KeyboardInterrupt

    reference = OnnxRuntimeSession(artifact.path, device="cpu")
    try:
        with checking.temporary_folder() as scratch:
            verdict, _ = checking.compare(
                checking.photos_to_certify(photos, count, Path(scratch)),
                artifact.contract.preprocess,
                checking.Way.of(reference, f"{artifact.name} with ONNX Runtime"),
                checking.Way.of(session, "TensorRT engine"),
                precision=checking.precision_of(artifact),
                whole_batches=session.run if session.photos_per_call >= checking.BATCH else None,
                advance=advance,
            )
            return verdict
    finally:
        reference.close()
