"""`defnet train`. PyTorch is imported when the command runs, so that --help stays quick."""

from __future__ import annotations

import math
import os
import shlex
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from defnet_infer.errors import StorageError, UsageError
from defnet_infer.interrupts import INTERRUPTED, stop_on_signals
from defnet_train.extras import require_extra

if TYPE_CHECKING:
    from defnet_train.config import TrainConfig
    from defnet_train.display import Display

RUNS = Path("runs")


def train(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="Recipe (paper, liqe, lite, smoke; paper if absent), a .toml file, a table of the paper (table1, "
            "table4, table5), or a row of one (table4-q+s-M+U)."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of data sets, or a CSV file; else that of the run, or DEFNET_DATA."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Run directory; default runs/RECIPE-TIME. Of a table: runs/TABLE, taken up."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change one setting: --set optim.epochs=5. Repeatable.")
    ] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="auto takes a GPU where one works.")] = "auto",
    devices: Annotated[
        int | None, typer.Option(min=1, help="GPUs (with --device cpu: processes) that share every batch; default 1.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="32-true, bf16-mixed or 16-mixed: of the towers; all else is float32.")
    ] = None,
    init: Annotated[
        Path | None, typer.Option(metavar="CHECKPOINT", help="Start from the weights of this checkpoint.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, or with the newest one in runs/.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print data, steps, parameters and memory of the run; write nothing.")
    ] = False,
    base: Annotated[str, typer.Option(help="For a table or a row: recipe to use instead of paper.")] = "",
    sessions: Annotated[
        str | None, typer.Option(help="For a table: which splits, as 1-10 or 1,4; default 1-10.")
    ] = None,
) -> None:
    """Train a model from a recipe and measure it on photos it has not seen.

    Writes a run directory with the best and the last checkpoint, logs, and metrics.json. Ctrl-C or SIGTERM saves
    after the step in work; a crash costs at most one epoch. Either way --resume goes on, and on the CPU ends with the
    same bits as a run that was never stopped.

    Exit code: 0 done, 2 wrong arguments, 3 a problem with data, weights or the disk, 130 interrupted.
    """
    require_extra("defnet train", "train", "torch", "open_clip", "lightning_fabric", "scipy", "tensorboardX")
    from defnet_train.generated import make_release
    from defnet_train.readers import data_folder
    from defnet_train.recipe_file import apply_overrides, load_config
    from defnet_train.run_directory import RunDirectory, newest_run
    from defnet_train.variants import table_names

    given = Path(os.environ["DEFNET_DATA"]) if data is None and os.environ.get("DEFNET_DATA") else data
    overrides = list(settings or [])
    overrides += [f"run.devices={devices}"] if devices is not None else []
    overrides += [f'run.precision="{precision}"'] if precision is not None else []
    if recipe in table_names():
        if init is not None or dry_run:
            raise UsageError(f"{recipe} is a table of runs; --init and --dry-run are for one of its rows")
        _train_table(recipe, given, out, overrides, device, base, sessions or "1-10")
        return
    if sessions is not None:
        raise UsageError(f"--sessions {sessions} goes with a table; the split of one run is --set data.session=N")
    if resume:
        out = out or newest_run(RUNS, Path(recipe).stem if recipe else None)
        stored = RunDirectory(out)
        config = load_config(recipe, overrides, base) if recipe else apply_overrides(stored.config(), overrides)
        data = data or stored.root
    else:
        config = load_config(recipe or "paper", overrides, base)
        out = out or RUNS / time.strftime(f"{config.recipe}-%Y%m%d-%H%M%S")
    data = data or given
    if data is None and config.recipe == "smoke" and dry_run:
        with tempfile.TemporaryDirectory() as folder:
            _print_plan(config, make_release(Path(folder) / "generated"), init, resume=resume)
        return
    if data is None and config.recipe == "smoke":
        data = make_release(RUNS / "generated")
        typer.echo(f"no --data: training on generated photos in {data}", err=True)
    config, data = data_folder(config, _needed(data), overrides)
    if init is None and not resume:
        _refuse_random_trunk(config)
    if dry_run:
        _print_plan(config, data, init, resume=resume)
    else:
        _run(config, data, out, device, resume=resume, init=init)


def _refuse_random_trunk(config: TrainConfig) -> None:
    """A trunk that neither was trained nor will be is a mistake, but in the tiny tower, which is made to try things."""
    from defnet_train.encoder import TOWERS

    model = config.model
    meant = model.tower in TOWERS and TOWERS[model.tower].multilevel
    if meant and config.optim.freeze_trunk and model.weights == "random" and not model.trunk_weights:
        raise UsageError(
            f"the frozen trunk of {model.tower} would keep random weights; name those it was trained to with: "
            "--set model.trunk_weights=FILE.safetensors, or let it train: --set optim.freeze_trunk=false"
        )


def _needed(data: Path | None) -> Path:
    if data is None:
        raise UsageError("no data folder; pass it with --data FOLDER or set DEFNET_DATA")
    return data


def _print_plan(config: TrainConfig, data: Path, init: Path | None, *, resume: bool) -> None:
    from defnet_train.initial_weights import starting_weights
    from defnet_train.plan import lines, make_plan
    from defnet_train.run_data import load_data
    from defnet_train.run_notes import run_notes

    if not resume:
        starting_weights(init, config)
    found = load_data(config, data)
    typer.echo("\n".join(lines(make_plan(config, found))))
    for note in run_notes(config, found):
        typer.echo(f"note: {note}", err=True)


def _run(config: TrainConfig, data: Path, out: Path, device: str, *, resume: bool, init: Path | None) -> None:
    from defnet_train.figure_tables import print_figures
    from defnet_train.initial_weights import describe_initial
    from defnet_train.loop import train as train_model
    from defnet_train.run_data import load_data
    from defnet_train.run_directory import RunDirectory

    if not resume:
        _check(config, data)
    if init is not None:
        _note_known(describe_initial(init, config, load_data(config, data)).get("may_know"))
    with _stoppable(RunDirectory(out).go_on) as (display, stop):
        result = train_model(config, data, out, display, device, resume=resume, init=init, stop=stop)
    columns = {"out of fold": "out_of_fold", "validation": "val", "test": "test"}
    print_figures({words: result[name] for words, name in columns.items() if name in result})
    _note_known(result.get("start_may_know"))
    best = out / "best.safetensors"
    typer.echo(f"best checkpoint: {best}; export it with: defnet export {shlex.quote(str(best))}")


def _note_known(sets: Sequence[str] | None) -> None:
    if sets:
        typer.echo(
            f"note: weights of --init may have been trained on photos of {', '.join(sets)} that this run holds out, "
            "so its figures say nothing about new photos and reach no table; measure it on other data sets",
            err=True,
        )


def _train_table(
    table: str, data: Path | None, out: Path | None, settings: list[str], device: str, base: str, sessions: str
) -> None:
    from defnet_train.readers import data_folder
    from defnet_train.table_runs import plan_table, read_sessions, train_table

    folder = out or RUNS / "-".join([table, *([Path(base).stem] if base else [])])
    numbers, data = read_sessions(sessions), _needed(data)
    runs = plan_table(table, folder, base=base, sessions=numbers, overrides=settings, root=data)
    for run in runs:
        if not run.begun:
            _refuse_random_trunk(run.config)
    finished = sum(run.finished for run in runs)
    typer.echo(f"{table}: {len(runs)} runs in {folder}, {finished} of them finished", err=True)
    _check(*data_folder(runs[0].config, data))
    with _stoppable("the same command") as (display, stop):
        results = train_table(runs, data, display, device, stop)
    typer.echo("run,srcc,plcc")
    for name, result in results.items():
        srcc, plcc = (result["test"].get(key, math.nan) for key in ("srcc", "plcc"))
        typer.echo(f"{name},{srcc:.4f},{plcc:.4f}")


def _check(config: TrainConfig, data: Path) -> None:
    """What `defnet data check` does: every photo's header, before any time of a GPU is spent."""
    from defnet_train.data_check import check_data

    report = check_data(config, data)
    for note in [f"{found.name}: {note}" for found in report.sets for note in found.notes] + list(report.notes):
        typer.echo(f"note: {note}", err=True)


@contextmanager
def _stoppable(go_on: str) -> Iterator[tuple[Display, threading.Event]]:
    """A display, and an event that Ctrl-C sets; what stops the block says how to go on."""
    from defnet_train.display import Display
    from defnet_train.listener import Interrupted

    with (
        Display() as display,
        stop_on_signals(
            quiet=False,
            resumable=True,
            finishing="the step in work is being finished and saved",
            go_on=f"go on from the last whole epoch with: {go_on}",
        ) as stop,
    ):
        try:
            yield display, stop
        except Interrupted as where:
            typer.echo(f"interrupted {where}; go on with: {go_on}", err=True)
            raise typer.Exit(INTERRUPTED) from None
        except StorageError as error:
            raise StorageError(f"{error}; make room and go on with: {go_on}") from error
