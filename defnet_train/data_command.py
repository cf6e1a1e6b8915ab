"""`defnet data check`: what is in a data folder. Heavy modules are imported when the command runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from defnet_infer.errors import DatasetError, UsageError
from defnet_infer.out_file import require_free

if TYPE_CHECKING:
    from rich.table import Table

    from defnet_train.data_check import DataReport, SetReport

data_app = typer.Typer(name="data", help="Look at data sets before training on them.", no_args_is_help=True)


@data_app.callback()
def _group() -> None:
    # With a callback, Typer keeps `check` a command of a group although it is the only one.
    pass


@data_app.command()
def check(
    root: Annotated[
        Path | None,
        typer.Argument(envvar="DEFNET_DATA", help="Folder that holds data sets, or a CSV file with path and mos."),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="Check what this recipe needs; default: every data set that is there.")
    ] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="As in `defnet train`: --set data.labels=FOLDER. Repeatable.")
    ] = None,
    decode: Annotated[
        bool, typer.Option("--decode", help="Decode every photo, and find equal files; else only headers are read.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the report as JSON too.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing report.")] = False,
) -> None:
    """Say what is in a data folder, what is missing and how it would be split, before any GPU time is spent.

    Every label file is read in full. Exit code: 0 it can be trained on, 2 wrong usage, 3 something is missing or
    contradicts itself, or a CSV file or what a recipe names holds too few photos.
    """
    from defnet_train.extras import require_extra

    require_extra("defnet data check", "train", "scipy", "python_calamine")
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn

    from defnet_train.config import TrainConfig
    from defnet_train.data_check import inspect_data, present
    from defnet_train.datasets.catalog import RELEASES
    from defnet_train.readers import data_folder
    from defnet_train.recipe_file import apply_overrides, load_config
    from defnet_train.safe_write import write_json

    if root is None:
        raise UsageError("no data folder; type defnet data check FOLDER or set DEFNET_DATA")
    named = bool(recipe) or any(setting.startswith("data.sets") for setting in settings or ())
    config = load_config(recipe, settings) if recipe else apply_overrides(TrainConfig(), settings or [])
    if out is not None:
        require_free(out, overwrite=overwrite, reads=(root, root / config.data.csv, Path(recipe)))
    is_file = root.is_file()
    config, folder = data_folder(config, root, settings or ())
    keys = list(config.data.sets) if named or is_file else present(folder, config.data)
    if not keys:
        known = ", ".join(release.folders[0] for release in RELEASES.values())
        raise DatasetError(
            f"no data set found in {root}; looked for {known} and pristine; photos of your own: pass their CSV file"
        )
    errors = Console(stderr=True)
    columns = (TextColumn("photos looked at"), MofNCompleteColumn())
    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("", total=None)
        report = inspect_data(
            config.data,
            folder,
            keys,
            "pixels" if decode else "headers",
            lambda count: progress.advance(task, count),
            run=config if named or is_file else None,
        )
    console = Console()
    console.print(_table(report))
    for line in _remarks(report):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if report.elsewhere and not named and not is_file:
        console.print(f"not here: {', '.join(report.elsewhere)}", highlight=False, soft_wrap=True)
    if out:
        write_json(out, report.to_dict())
    if report.errors:
        raise DatasetError(report.errors[0])


def _table(report: DataReport) -> Table:
    from rich.markup import escape
    from rich.table import Table

    title = escape(f"{report.root}, {_split(report)}")
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("data set", no_wrap=True)
    for header in ("photos", "groups", "scores", "train/val/test", "scenes", "distortions"):
        table.add_column(header, justify="right", no_wrap=True)
    for found in report.sets:
        table.add_row(*_row(found))
    return table


def _split(report: DataReport) -> str:
    if report.splits == "liqe":
        return f"LIQE's session {report.session}"
    usable = [found for found in report.sets if found.folder]
    if usable and all(found.given for found in usable):
        return "the split of the file"
    return f"generated split {report.session}"


def _row(found: SetReport) -> tuple[str, ...]:
    if not found.folder:
        return (found.name, "unusable")
    labelled = ("", "") if found.rated is None else (f"{found.scenes:.0%}", f"{found.distortions:.0%}")
    return (
        found.name,
        str(found.photos) if found.official in (None, found.photos) else f"{found.photos}/{found.official}",
        str(found.groups),
        "" if found.rated is None else f"{found.rated[0]:.3g}..{found.rated[1]:.3g}",
        "/".join(map(str, found.split)),
        *labelled,
    )


def _remarks(report: DataReport) -> list[str]:
    lines = [f"{found.name}: {note}" for found in report.sets for note in found.notes]
    lines += [f"note: {note}" for note in report.notes]
    lines += [f"cannot be read: {example}" for found in report.sets for example in found.unreadable_examples]
    lines += [f"cannot be used: {error}" for error in report.errors[1:]]
    return lines
