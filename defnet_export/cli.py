"""`defnet export`. PyTorch and ONNX are imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defnet_infer.errors import UsageError
from defnet_train.cli import require_extra


def add_commands(app: typer.Typer) -> None:
    """Mount this package's command on the `defnet` application."""
    app.command()(export)


def export(
    checkpoint: Annotated[
        Path | None, typer.Argument(help="Checkpoint of `defnet train`; default: the best one of the newest run.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; default: beside the checkpoint.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
) -> None:
    """Write a checkpoint as one ONNX file that scores without PyTorch, and prove that it agrees.

    Exit code: 0 written, 2 wrong arguments, 3 a problem with the checkpoint, 4 the file disagrees with PyTorch
    (then no file is left).
    """
    require_extra("defnet export", "export", "torch", "open_clip", "onnx", "onnxscript")
    from defnet_export.onnx_export import export_onnx

    checkpoint = checkpoint or _newest_best()
    report = export_onnx(checkpoint, out or checkpoint.with_suffix(".onnx"), overwrite=overwrite)
    worst = report.certificate.differences["score"]
    typer.echo(f"{report.path}: {report.bytes / 1e6:.1f} MB, opset {report.opset}, {report.nodes} nodes", err=True)
    typer.echo(
        f"agrees with PyTorch on {report.certificate.photos} photos: score within {worst:.1e}; "
        f"score a folder with: defnet score FOLDER --model {report.path} --out results.csv",
        err=True,
    )


def _newest_best() -> Path:
    found = sorted(Path("runs").glob("*/best.safetensors"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise UsageError("no checkpoint given and no run in ./runs; pass one: defnet export CHECKPOINT")
    return found[-1]
