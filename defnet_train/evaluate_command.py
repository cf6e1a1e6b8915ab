"""`defnet evaluate` and `defnet calibrate`. PyTorch is imported when a command runs."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from defnet_infer.errors import UsageError
from defnet_train.extras import require_extra

if TYPE_CHECKING:
    from defnet_train.measuring import Evaluation

DataOption = Annotated[Path | None, typer.Option(envvar="DEFNET_DATA", help="Folder that holds the data sets.")]
SettingsOption = Annotated[list[str] | None, typer.Option("--set", help="Change a data setting of the run.")]

MAIN = ("photos", "srcc", "krcc", "plcc", "rmse", "scene_accuracy", "distortion_accuracy", "coverage", "width")
"""Figures of a data set that fit beside each other on a screen; evaluation.json has all."""


def add_commands(app: typer.Typer) -> None:
    """Mount these commands on the `defnet` application."""
    app.command()(evaluate)
    app.command()(calibrate)


def evaluate(
    models: Annotated[
        list[Path], typer.Argument(help="Checkpoints, run directories of `defnet train`, exported .onnx files.")
    ],
    data: DataOption = None,
    sets: Annotated[
        str | None, typer.Option(help="Data sets, such as tid2013,spaq; default: those trained on.")
    ] = None,
    session: Annotated[
        int | None, typer.Option(min=1, help="Number of the split; default: the one trained on.")
    ] = None,
    part: Annotated[
        str, typer.Option(help="train, val, test, or all; all is for data sets that trained nothing.")
    ] = "test",
    levels: Annotated[bool, typer.Option("--levels", help="Also score the synthetic copies, level by level.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for evaluation.json, photos.csv and the figures.")
    ] = None,
    settings: SettingsOption = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="What runs the models.")] = "auto",
) -> None:
    """Measure models on rated photos: correlations, accuracies, and how honest their intervals are.

    Models of one recipe trained on several sessions get their mean and deviation. With --out, figures are drawn as
    PNG and SVG, and `defnet tables` finds the numbers. Exit code: 0 measured, 2 wrong arguments, 3 a problem with a
    model or the data.
    """
    require_extra("defnet evaluate", "train", "torch", "open_clip", "lightning_fabric", "scipy", "matplotlib")
    if data is None:
        raise UsageError("no data folder; pass it with --data FOLDER or set DEFNET_DATA")
    if part not in ("train", "val", "test", "all"):
        raise UsageError(f"--part {part}: choose one of train, val, test, all")
    named = tuple(key.strip() for key in sets.split(",") if key.strip()) if sets else ()
    if twice := [key for key, count in Counter(named).items() if count > 1]:
        raise UsageError(f"--sets {sets}: {twice[0]} is named twice; name it once")
    if data.is_file() and named not in ((), ("csv",)):
        raise UsageError(f"--sets {sets}: {data} is one file of your own photos; leave it out, or name a data folder")
    from defnet_train import measuring
    from defnet_train.checkpoint import why_unfinished
    from defnet_train.display import Display
    from defnet_train.evaluation_files import refuse_to_replace, write_evaluations
    from defnet_train.safe_write import make_folder, refuse_unwritable, writing

    question = measuring.Question(
        root=data,
        part=part,  # type: ignore[arg-type]
        session=session,
        sets=named,
        settings=tuple(settings or ()),
        levels=levels,
        device=device,
    )
    if out is not None:
        refuse_unwritable(out)
        refuse_to_replace(out, data)
    with Display() as display:
        found = [measuring.evaluate(model, question, display) for model in models]
    for evaluation in found:
        if evaluation.seen:
            typer.echo(f"note: {evaluation.model} may have been trained on some of these photos", err=True)
        if evaluation.unfinished:
            typer.echo(f"note: no table will have these figures: {why_unfinished(evaluation.model)}", err=True)
        if evaluation.copies_seen:
            typer.echo(f"note: {evaluation.model} may have been trained on some of these synthetic copies", err=True)
        if levels and not evaluation.copies:
            typer.echo(
                f"note: --levels: no synthetic copy is among these photos of {evaluation.model}; "
                "name them with --sets KEY,synthetic",
                err=True,
            )
    _print(found)
    if out is not None:
        make_folder(out)
        with writing(out):
            written = write_evaluations(out, found)
        typer.echo(f"{out}: evaluation.json, photos.csv and {written} figures as PNG and SVG", err=True)


def _print(found: list[Evaluation]) -> None:
    """Over all photos, with mean and deviation where several sessions of one variant are asked for; then in parts."""
    from defnet_train.figure_tables import print_figures, print_parts
    from defnet_train.measuring import over_sessions
    from defnet_train.run_results import variant_of

    variants: dict[str, list[Evaluation]] = {}
    for evaluation in found:
        config = evaluation.config and evaluation.config.to_dict()
        variants.setdefault(variant_of(str(evaluation.model), config), []).append(evaluation)
    for group in variants.values():
        columns = {name: dict(evaluation.figures) for name, evaluation in zip(_names(group), group, strict=True)}
        trained = [e.config.data.session if e.config else e.session for e in group]
        if len(set(trained)) == len(group) > 1:  # One session counted twice would deviate too little.
            columns["mean"], deviations = over_sessions([evaluation.figures for evaluation in group])
            columns["deviation"] = {name: value for name, value in deviations.items() if not math.isnan(value)}
        print_figures(columns)
    for name, evaluation in zip(_names(found), found, strict=True):
        if len(evaluation.figures["datasets"]) > 1:
            shown = {key: {k: f[k] for k in MAIN if k in f} for key, f in evaluation.figures["datasets"].items()}
            print_parts(shown, f"By data set: {name}")
        for key, types in evaluation.figures["types"].items():
            if types:
                print_parts(types, f"By distortion type of {key}: {name}")


def _names(evaluations: list[Evaluation]) -> list[str]:
    """Which model, and on which photos: short where that tells them apart."""
    own = [e.model.resolve().parent.name if e.model.name == "best.safetensors" else e.model.name for e in evaluations]
    models = own if len(set(own)) == len(own) else [str(e.model) for e in evaluations]
    return [f"{model}, session {e.session}, {e.part}" for model, e in zip(models, evaluations, strict=True)]


def calibrate(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint or run directory of `defnet train`.")],
    data: DataOption = None,
    session: Annotated[
        int | None, typer.Option(min=1, help="Number of the split; default: the one trained on.")
    ] = None,
    settings: SettingsOption = None,
) -> None:
    """Fit the factor that makes 95 % intervals cover 95 %, and store it in the checkpoint.

    Fitted on the validation part, measured on the test part; `defnet export` carries both into the file. Exit code:
    0 stored, 2 wrong arguments, 3 a problem with the checkpoint or the data.
    """
    require_extra("defnet calibrate", "train", "torch", "open_clip", "lightning_fabric", "scipy")
    if data is None:
        raise UsageError("no data folder; pass it with --data FOLDER or set DEFNET_DATA")
    from defnet_train.calibration import calibrate_checkpoint
    from defnet_train.checkpoint import find_model
    from defnet_train.display import Display

    path = find_model(checkpoint)
    if path.suffix == ".onnx":
        raise UsageError(f"{path} is finished; calibrate the checkpoint it was made of, then: defnet export CHECKPOINT")
    with Display() as display:
        done = calibrate_checkpoint(path, data, display, session=session, settings=tuple(settings or ()))
    typer.echo(f"factor {done.factor:.4f}, from {done.photos} validation photos of {', '.join(done.data)}")
    typer.echo(f"coverage of 95 % intervals: {done.coverage_validation:.1%} on those, {done.coverage_test:.1%} on test")
    typed = shlex.quote(str(path))
    typer.echo(f"stored in {path}; carry it into a file with: defnet export {typed} --overwrite", err=True)
