"""`defnet export FILE` where FILE was exported before: what can be made of it, and where that goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from defnet_infer import hub
from defnet_infer.engine_file import SUFFIX
from defnet_infer.errors import UsageError

EXPORTED = (".onnx", SUFFIX)


@dataclass(frozen=True)
class Exported:
    """An exported file that something is to be made of."""

    path: Path
    folder: Path
    """Where what is made of it goes: beside it. The built-in model lies in the install and a downloaded one in a
    cache, so what is made of those goes into the current folder."""


def is_exported(given: str | None) -> bool:
    """Whether an argument names an exported file, by its suffix, by its address, or as the built-in model."""
    return given is not None and (hub.is_address(given) or _is_built_in(given) or Path(given).suffix in EXPORTED)


def located(given: str) -> Exported:
    """The file behind an argument for which `is_exported` holds; an address is fetched.

    Raises:
        UsageError, MissingExtraError: If an address has the wrong form, or `huggingface_hub` is missing.
        ArtifactError: If the file cannot be fetched.
    """
    from defnet_infer.artifact import builtin_model_path

    if hub.is_address(given):
        return Exported(hub.fetch(given), Path())
    if _is_built_in(given):
        return Exported(builtin_model_path(), Path())
    return Exported(Path(given), Path(given).parent)


def refuse_unusable(
    given: str,
    *,
    chosen: Sequence[str],
    proved: bool,
    out: Path | None,
    end_to_end: bool,
    tensorrt: bool,
    triton: bool,
    hub: bool,
) -> None:
    """Refuse what would be ignored, or cannot be made of an exported file.

    Args:
        given: As typed.
        chosen: Options of precision that were typed.
        proved: Photos for a certificate were given.
        out: What --out says.
        end_to_end: An end-to-end file is asked for; in the same way the other three.
        tensorrt: An engine.
        triton: A model of Triton.
        hub: A Hugging Face repository.

    Raises:
        UsageError: With what to type instead.
    """
    if chosen:
        raise UsageError(
            f"{given} is exported already and keeps its precision; {chosen[0]} is for its checkpoint: "
            f"defnet export CHECKPOINT {chosen[0]}"
        )
    if not (end_to_end or tensorrt or triton or hub):
        raise UsageError(
            f"{given} is exported already; make something of it with --end-to-end, --tensorrt, --triton DIR or "
            "--hub-dir DIR"
        )
    if out is not None and not end_to_end:
        raise UsageError(f"{given} is exported already, there is nothing to write to {out}; leave out --out")
    if Path(given).suffix == SUFFIX and (end_to_end or tensorrt or hub):
        raise UsageError(f"{given} is a TensorRT engine; give the .onnx file it was built from, or only --triton DIR")
    if proved and not tensorrt:
        raise UsageError(
            "--photos and --count prove the export of a checkpoint or an engine; hold an exported file against another "
            f"with: defnet check {given} --against FILE --photos DIR"
        )


def _is_built_in(given: str) -> bool:
    from defnet_infer.artifact import BUILTIN_NAME

    return given == BUILTIN_NAME and not Path(given).exists()
