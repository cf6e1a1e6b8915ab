"""`defnet export`. PyTorch, ONNX and TensorRT are imported when the command runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from defnet_export.exported_before import is_exported, located, refuse_unusable
from defnet_export.tensorrt_options import BuildOptions, batch_range
from defnet_infer.errors import StorageError, UsageError
from defnet_infer.interrupts import INTERRUPTED
from defnet_infer.out_file import require_free
from defnet_train.extras import require_extra

if TYPE_CHECKING:
    from defnet_export.precision import Precision

_ENGINE = "TensorRT engine"


def add_commands(app: typer.Typer) -> None:
    """Mount this package's command on the `defnet` application."""
    app.command()(export)


def export(
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            help="Checkpoint or run directory of `defnet train`, default: the newest finished run; or an exported "
            "file, hf://owner/name, or defnet-lite, the built-in model, to make something else of it."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; default: beside the checkpoint.")
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="float32, the default.")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half the size, for GPUs; typed for TensorRT.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="8-bit products, for CPUs; ViT towers only.")] = False,
    photos: Annotated[
        Path | None, typer.Option(help="Folder of photos to prove it on; 24 generated ones if absent.")
    ] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Photos to take at most; 100 of a folder if absent, spread over it.")
    ] = None,
    end_to_end: Annotated[
        bool,
        typer.Option("--end-to-end", help="Also write NAME.e2e.onnx, which takes photos of any size (ONNX Runtime)."),
    ] = False,
    triton: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also add the file to this Triton model repository.")
    ] = None,
    hub_dir: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Also write a Hugging Face repository, ready to upload.")
    ] = None,
    name: Annotated[str, typer.Option(help="What Triton and the model card call the model.")] = "defnet",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing files.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
    tensorrt: Annotated[
        bool,
        typer.Option(
            "--tensorrt", help="Also build an engine for this machine's GPU, beside the .onnx.", rich_help_panel=_ENGINE
        ),
    ] = False,
    max_batch: Annotated[int, typer.Option(min=1, help="Photos per call, at most.", rich_help_panel=_ENGINE)] = 8,
    opt_batch: Annotated[
        int | None,
        typer.Option(min=1, help="Photos per call to tune for; --max-batch if absent.", rich_help_panel=_ENGINE),
    ] = None,
    workspace: Annotated[
        int | None,
        typer.Option(min=1, metavar="MIB", help="Scratch memory of a layer, at most.", rich_help_panel=_ENGINE),
    ] = None,
    timing_cache: Annotated[
        Path | None,
        typer.Option(help="Kernel timings to reuse and add to; makes rebuilds fast.", rich_help_panel=_ENGINE),
    ] = None,
    optimization_level: Annotated[
        int, typer.Option(min=0, max=5, help="More builds longer and runs faster.", rich_help_panel=_ENGINE)
    ] = 3,
    version_compatible: Annotated[
        bool,
        typer.Option(
            "--version-compatible",
            help="Also run with newer TensorRT versions; may be slower.",
            rich_help_panel=_ENGINE,
        ),
    ] = False,
    hardware_compatible: Annotated[
        Literal["none", "ampere+", "same-capability"],
        typer.Option(help="Also run on other GPUs; may be slower.", rich_help_panel=_ENGINE),
    ] = "none",
    build_log: Annotated[Path | None, typer.Option(help="All that TensorRT says.", rich_help_panel=_ENGINE)] = None,
    inspect: Annotated[
        Path | None, typer.Option(help="TensorRT's description of every layer, JSON.", rich_help_panel=_ENGINE)
    ] = None,
) -> None:
    """Write a checkpoint as one ONNX file that scores without PyTorch, and prove that it agrees.

    Photos are scored from their files through PyTorch and through the new file. The differences are held against the
    bounds of the file's precision and written into it, with outputs that `defnet check` compares anywhere. The name of
    the file says its precision: best.onnx, best.fp16.onnx, best.int8.onnx.

    With --tensorrt, also build a `.plan` and its sidecar `.plan.json` for this machine; they are named after model,
    TensorRT version, GPU, precision and batch.

    Exit code: 0 written, 2 wrong arguments, 3 a problem with the checkpoint, the GPU or TensorRT, 4 the file disagrees
    with PyTorch, or what was made of it with the file (then it is not left), 130 interrupted.
    """
    precision = _precision(fp32=fp32, fp16=fp16, int8=int8)
    given = None
    if is_exported(checkpoint):
        refuse_unusable(
            str(checkpoint),
            chosen=[flag for flag, on in (("--fp32", fp32), ("--fp16", fp16), ("--int8", int8)) if on],
            proved=photos is not None or count is not None,
            out=out,
            end_to_end=end_to_end,
            tensorrt=tensorrt,
            triton=triton is not None,
            hub=hub_dir is not None,
        )
        given = located(str(checkpoint))
    else:
        require_extra("defnet export", "export", "torch", "open_clip", "onnx", "onnxscript")
    options = BuildOptions(
        batch=batch_range(max_batch, opt_batch),
        workspace_bytes=None if workspace is None else workspace << 20,
        timing_cache=timing_cache,
        optimization_level=optimization_level,
        version_compatible=version_compatible,
        hardware_compatibility=hardware_compatible,
        build_log=build_log,
        inspect=inspect,
        overwrite=overwrite,
    )
    if tensorrt:
        from defnet_export.tensorrt_build import require_engine_machine

        if precision == "int8":
            raise UsageError("TensorRT builds no int8 files; add --fp16 or --fp32 instead of --int8")
        # Before minutes go into an export that nothing could follow.
        require_engine_machine()
    elif options != BuildOptions(batch=batch_range(8, None), overwrite=overwrite):
        raise UsageError("options of an engine are given, but no engine is asked for; add --tensorrt")
    if given is not None:
        model, folder = given.path, given.folder
        whole_photo = out or _end_to_end_path(folder / model.name)
    else:
        from defnet_export.precision import default_path
        from defnet_train.checkpoint import find_model

        source = find_model(Path(checkpoint)) if checkpoint is not None else _newest_best()
        model = out or default_path(source, precision)
        folder, whole_photo = model.parent, _end_to_end_path(model)
    _check_targets(out, triton, hub_dir, name, overwrite=overwrite)
    if end_to_end:
        require_free(whole_photo, "", overwrite=overwrite, reads=(model,))
    if given is None:
        _export_onnx(source, model, precision, photos, count, overwrite=overwrite, quiet=quiet)
    if end_to_end:
        _write_end_to_end(model, whole_photo, overwrite=overwrite, quiet=quiet)
    served = model
    if tensorrt:
        served = _build_engine(model, options, photos, count, folder, quiet=quiet)
    _wrap(model, served, triton, hub_dir, name, overwrite=overwrite, quiet=quiet)


def _check_targets(out: Path | None, triton: Path | None, hub_dir: Path | None, name: str, *, overwrite: bool) -> None:
    """Everything that is to be written has a free place, before minutes go into the first of it."""
    if out is not None and (out.is_dir() or out.suffix != ".onnx"):
        raise UsageError(f"--out {out}: an exported file is called NAME.onnx; name it so")
    if triton is not None:
        from defnet_export import triton as repository

        repository.check_target(triton, name, overwrite=overwrite)
    if hub_dir is not None:
        require_extra("defnet export --hub-dir", "hub", "huggingface_hub")
        from defnet_export import hub

        hub.check_target(hub_dir, overwrite=overwrite)


def _export_onnx(
    checkpoint: Path,
    out: Path,
    precision: Precision,
    photos: Path | None,
    count: int | None,
    *,
    overwrite: bool,
    quiet: bool,
) -> None:
    from defnet_export.onnx_export import export_onnx
    from defnet_export.stages import Stages

    if not quiet:
        typer.echo(f"export {checkpoint}", err=True)
    try:
        report = export_onnx(
            checkpoint,
            out,
            precision=precision,
            photos=photos,
            count=count,
            overwrite=overwrite,
            stages=Stages(quiet=quiet),
        )
    except KeyboardInterrupt:
        typer.echo("stopped; no file is written", err=True)
        raise typer.Exit(INTERRUPTED) from None
    if not quiet:
        typer.echo(
            f"{report.path}: agrees with PyTorch; score a folder with: defnet score FOLDER "
            f"--model {shlex.quote(str(report.path))} --out results.csv",
            err=True,
        )


def _write_end_to_end(exported: Path, out: Path, *, overwrite: bool, quiet: bool) -> None:
    require_extra("defnet export", "export", "onnx", "onnxscript")
    from defnet_export.end_to_end import PHOTO_SIZES, write_end_to_end

    report = write_end_to_end(exported, out, overwrite=overwrite)
    if not quiet:
        typer.echo(
            f"{report.path}: {report.bytes / 1e6:.1f} MB, {report.nodes} nodes, takes a photo of any size; agrees with "
            f"the Python pipeline on {len(PHOTO_SIZES)} photos: score within {report.differences['score']:.1e}",
            err=True,
        )


def _build_engine(
    model: Path, options: BuildOptions, photos: Path | None, count: int | None, folder: Path, *, quiet: bool
) -> Path:
    from defnet_export.build_display import BuildDisplay, cancel_on_interrupt
    from defnet_export.tensorrt_build import build_engine

    try:
        with BuildDisplay(quiet=quiet) as display, cancel_on_interrupt() as stop:
            report = build_engine(model, options, display, stop, photos=photos, count=count, folder=folder)
    except KeyboardInterrupt:
        typer.echo("stopped; no engine is written", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except OSError as error:
        raise StorageError(f"cannot write the engine: {error}") from error
    for line in () if quiet else report.lines(model):
        typer.echo(line, err=True)
    return report.path


def _wrap(
    model: Path, served: Path, triton: Path | None, hub_dir: Path | None, name: str, *, overwrite: bool, quiet: bool
) -> None:
    """Put an exported file into the layouts asked for; a server takes the engine where there is one."""
    from defnet_infer.artifact import Artifact

    if triton is not None:
        from defnet_export.triton import write_repository

        write_repository(Artifact.open(served), triton, name=name, overwrite=overwrite)
        if not quiet:
            typer.echo(
                f"{triton / name}: serve it with: tritonserver --model-repository={shlex.quote(str(triton))}", err=True
            )
    if hub_dir is not None:
        from defnet_export.hub import write_hub_folder

        write_hub_folder(Artifact.open(model), hub_dir, name=name, overwrite=overwrite)
        if not quiet:
            typer.echo(f"{hub_dir}: upload it with: hf upload OWNER/NAME {shlex.quote(str(hub_dir))}", err=True)


def _precision(*, fp32: bool, fp16: bool, int8: bool) -> Precision:
    if fp32 + fp16 + int8 > 1:
        raise UsageError("--fp32, --fp16 and --int8 exclude each other; export once for each file")
    return "float16" if fp16 else "int8" if int8 else "float32"


def _end_to_end_path(exported: Path) -> Path:
    """Beside the file that it is made from, since `defnet score` goes on using that one."""
    return exported.with_name(exported.name.removesuffix(".onnx") + ".e2e.onnx")


def _newest_best() -> Path:
    from defnet_train.checkpoint import unfinished

    found = sorted(Path("runs").glob("*/best.safetensors"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in found:
        if not unfinished(path):
            return path
    run = "finished run" if found else "run"
    raise UsageError(f"no checkpoint given and no {run} in ./runs; pass one: defnet export CHECKPOINT")
