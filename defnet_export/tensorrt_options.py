"""How a TensorRT engine is built, as a person types it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from defnet_infer.engine_file import BatchRange, HardwareCompatibility
from defnet_infer.errors import UsageError
from defnet_infer.out_file import require_free


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How an engine is built.

    Raises:
        UsageError: If the optimisation level is not one of TensorRT's, or a file to write cannot be.
    """

    batch: BatchRange
    workspace_bytes: int | None = None
    """Scratch memory that a layer may take; None: all of the device's."""
    timing_cache: Path | None = None
    """Read if it is there, written after the build: the next build of the same layers takes seconds."""
    optimization_level: int = 3
    """0 to 5: longer builds, faster engines. 0 ignores the timing cache."""
    version_compatible: bool = False
    hardware_compatibility: HardwareCompatibility = "none"
    build_log: Path | None = None
    inspect: Path | None = None
    """Where the engine inspector's JSON goes."""
    overwrite: bool = False

    def __post_init__(self) -> None:
        """Hold the level; TensorRT clamps it without a word."""
        if not 0 <= self.optimization_level <= 5:
            raise UsageError(f"--optimization-level {self.optimization_level}: TensorRT has 0 to 5")
        for option in ("timing_cache", "build_log", "inspect"):
            path: Path | None = getattr(self, option)
            if path is None:
                continue
            # Logs and caches of an earlier build are replaced.
            require_free(path, f"--{option.replace('_', '-')} ", overwrite=True)


def batch_range(largest: int, best: int | None) -> BatchRange:
    """The engine's photos per call, from what a person typed.

    Raises:
        UsageError: If `best` is above `largest`.
    """
    best = best or largest
    if best > largest:
        raise UsageError(f"--opt-batch {best} is above --max-batch {largest}; raise --max-batch")
    return BatchRange(smallest=1, best=best, largest=largest)
