"""`defnet import`. PyTorch is imported when it runs."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from defnet_train.extras import require_extra


def import_(
    checkpoint: Annotated[
        Path,
        typer.Argument(help="A .pt or .safetensors file of LIQE, pyiqa's LIQE, DEFNet's authors, or CLIP ViT-B/32."),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File to write; default: NAME.defnet.safetensors beside it.")
    ] = None,
    kind: Annotated[
        Literal["liqe", "pyiqa-mix", "pyiqa-koniq", "defnet", "clip", "open-clip"] | None,
        typer.Option("--as", help="What it is, where the file does not tell or you know better."),
    ] = None,
    preprocess: Annotated[
        Literal["defnet", "liqe", "pyiqa"] | None,
        typer.Option(help="How photos become crops; default: as the checkpoint's own program does."),
    ] = None,
    activation: Annotated[
        Literal["quickgelu", "gelu"] | None,
        typer.Option(help="Of both towers; no file tells it. QuickGELU but for most of open_clip's own weights."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing file.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
) -> None:
    """Read a checkpoint of LIQE, pyiqa, DEFNet's authors or CLIP, and write it as one of defnet's.

    Says what it found. Nothing in the file is run. The new checkpoint scores as its own program does, without
    uncertainty; export it with `defnet export`, or train on with `defnet train --init`.

    Exit code: 0 written, 2 wrong arguments, 3 the file cannot be read or is of another architecture.
    """
    require_extra("defnet import", "train", "torch", "open_clip", "safetensors")
    from defnet_train.foreign.importing import import_checkpoint

    done = import_checkpoint(
        checkpoint, out, kind=kind, preprocess=preprocess, activation=activation, overwrite=overwrite
    )
    if quiet:
        return
    for name, words in done.facts().items():
        typer.echo(f"{name:<15} {words}", err=True)
    if done.prompts_untold:
        typer.echo(
            f"note: if {checkpoint} is pyiqa's liqe (KonIQ-10k, five prompts), scores are wrong; then import it with: "
            f"defnet import {shlex.quote(str(checkpoint))} --as pyiqa-koniq",
            err=True,
        )
    typer.echo(f"{done.out}: export it with: defnet export {shlex.quote(str(done.out))}", err=True)
