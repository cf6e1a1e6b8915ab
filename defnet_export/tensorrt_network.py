"""A typed ONNX file through TensorRT's parser and builder, to the bytes of a plan.

The network is strongly typed: every tensor has the type that the ONNX file gives it, so float16 comes from the file and
never from a builder flag, which TensorRT 11 no longer has. One code path serves 10.12 to 11.x; names and signatures are
held against both by tests.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from defnet_export.tensorrt_log import BuildLog, PhaseDisplay, make_progress_monitor
from defnet_export.tensorrt_options import BuildOptions
from defnet_infer.artifact import Artifact
from defnet_infer.errors import SessionError
from defnet_infer.sessions.tensorrt_api import made, make_logger


def serialized_engine(
    trt: ModuleType,
    artifact: Artifact,
    options: BuildOptions,
    log: BuildLog,
    display: PhaseDisplay,
    stop: threading.Event,
) -> tuple[bytes, str | None]:
    """Build the engine of an exported file.

    Args:
        trt: TensorRT.
        artifact: The file.
        options: How.
        log: Hears what TensorRT says.
        display: Shows the build's phases.
        stop: Once set, it cancels the build.

    Returns:
        The plan's bytes, and a line about the timing cache if there is something to tell.

    Raises:
        SessionError: If TensorRT cannot read or build the file.
        KeyboardInterrupt: If `stop` was set.
    """
    reason = log.errors.reason
    logger = make_logger(trt, log.hear)
    builder = made(trt.Builder, logger, reason=reason)
    # The flag's number differs between TensorRT 10 and 11.
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parse_model(trt, network, logger, artifact.path, reason=reason)
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    for spec in artifact.contract.inputs:
        profile.set_shape(spec.name, *options.batch.shapes(spec.shape))
    if config.add_optimization_profile(profile) < 0:
        raise SessionError(f"TensorRT does not take the batches {options.batch}: {reason()}")
    configure(trt, config, options)
    cache_note = load_timing_cache(config, options.timing_cache)
    # Kept in a name: TensorRT holds no reference that Python counts.
    monitor = make_progress_monitor(trt, display, stop)
    config.progress_monitor = monitor
    plan = builder.build_serialized_network(network, config)
    if stop.is_set():
        raise KeyboardInterrupt
    if plan is None:
        where = f"; the whole log: {options.build_log}" if options.build_log else "; more with --build-log FILE"
        raise SessionError(f"TensorRT {trt.__version__} cannot build {artifact.path}: {reason()}{where}")
    if options.timing_cache is not None:
        cache = config.get_timing_cache()
        store_timing_cache(options.timing_cache, bytes(cache.serialize()))
    return bytes(plan), cache_note


def parse_model(trt: ModuleType, network: Any, logger: Any, model: Path, *, reason: Callable[[], str]) -> None:
    """Read an ONNX file into a network.

    Raises:
        SessionError: With the parser's first error and the node where it happened.
    """
    parser = made(trt.OnnxParser, network, logger, reason=reason)
    if parser.parse(model.read_bytes()):
        return
    if not parser.num_errors:
        raise SessionError(f"TensorRT {trt.__version__} cannot read {model}: {reason()}")
    problem = parser.get_error(0)
    more = f" and {parser.num_errors - 1} more" if parser.num_errors > 1 else ""
    raise SessionError(
        f"TensorRT {trt.__version__} cannot read {model}: {' '.join(problem.desc().split())} "
        f"(node {problem.node()}, {problem.node_operator()} {problem.node_name()}){more}"
    )


def configure(trt: ModuleType, config: Any, options: BuildOptions) -> None:
    """Set everything but profile, cache and monitor."""
    config.builder_optimization_level = options.optimization_level
    # The inspector needs it to name types; it changes no kernel.
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    # On by default, it multiplies float32 with 10 bits of mantissa. What the file calls float32 is to be float32.
    config.clear_flag(trt.BuilderFlag.TF32)
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    config.hardware_compatibility_level = {
        "none": trt.HardwareCompatibilityLevel.NONE,
        "ampere+": trt.HardwareCompatibilityLevel.AMPERE_PLUS,
        "same-capability": trt.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY,
    }[options.hardware_compatibility]


def load_timing_cache(config: Any, path: Path | None) -> str | None:
    """Give the builder the measurements of earlier builds, or an empty cache to fill.

    A cache of another GPU or another TensorRT is not used: its timings would choose the wrong kernels.

    Returns:
        A line to tell when a cache is there and was not used.
    """
    if path is None:
        return None
    data = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(data)
    if cache is not None and config.set_timing_cache(cache, False):
        return None
    config.set_timing_cache(config.create_timing_cache(b""), False)
    return f"the timing cache {path} is of another GPU or TensorRT; a new one replaces it"


def store_timing_cache(path: Path, data: bytes) -> None:
    """Write the cache in one step, so that two builds at a time leave a whole one."""
    draft = path.with_name(f"{path.name}.{os.getpid()}.part")
    draft.write_bytes(data)
    os.replace(draft, path)
