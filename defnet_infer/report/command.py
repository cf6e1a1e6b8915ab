"""`defnet report` and `defnet diff`. Reads the command line and prints; the work is done beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

Thumbnails = Annotated[
    Literal["embed", "folder", "none"], typer.Option(help="Inside the page, in a folder beside it, or none.")
]
Root = Annotated[
    Path | None, typer.Option(help="Folder that the paths start from; default: here, then where the results are.")
]


def add_commands(app: typer.Typer) -> None:
    """Mount these commands on the `defnet` application."""
    app.command()(report)
    app.command()(diff)


def report(
    results: Annotated[Path, typer.Argument(help="Results of `defnet score`: .csv, .jsonl or .parquet.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The page; default: beside the results.")] = None,
    thumbnails: Thumbnails = "embed",
    root: Root = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing page.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no closing line.")] = False,
) -> None:
    """Make a page of a results file: what is wrong with a folder of photos, and how sure that is.

    One HTML file that needs no network and no server. Photos that have moved since are shown without a picture.
    Exit code: 0 made, 2 the results cannot be read or the page cannot be written, 3 the disk is full.
    """
    make_report(results, out or results.with_suffix(".html"), thumbnails, root, overwrite=overwrite, quiet=quiet)


def make_report(
    results: Path,
    out: Path,
    thumbnails: Literal["embed", "folder", "none"],
    root: Path | None,
    *,
    overwrite: bool,
    quiet: bool,
) -> None:
    """What `defnet report` and `defnet score --report` do."""
    from defnet_infer.report.make import write_report

    with _progress(quiet) as (begin, advance):
        made = write_report(
            results, out, thumbnails=thumbnails, root=root, overwrite=overwrite, begin=begin, progress=advance
        )
    if not quiet:
        absent = f"; {made.absent} are not where the results say, see --root" if made.absent else ""
        enclosed = f"; {made.enclosed} in archives or behind URLs have no picture" if made.enclosed else ""
        typer.echo(f"{made.line()}{absent}{enclosed}", err=True)


def diff(
    before: Annotated[Path, typer.Argument(help="Results of `defnet score`.")],
    now: Annotated[Path, typer.Argument(help="Other results over the same photos.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also make a page of the differences.")] = None,
    thumbnails: Thumbnails = "embed",
    root: Root = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing page.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Compare two results files: another model, precision or release, or the same folder a month later.

    Photos are matched by path. Exit code: 0 compared, 2 the results cannot be read or have no photo in common.
    """
    import json

    from defnet_infer.report.compare import compare, lines, write_comparison
    from defnet_infer.report.make import check_target

    if out is not None:
        check_target(out, overwrite=overwrite, thumbnails=thumbnails)
    comparison = compare(before, now)
    typer.echo(json.dumps(comparison.to_json(), indent=2) if as_json else "\n".join(lines(comparison)))
    if out is not None:
        with _progress(quiet) as (begin, advance):
            made = write_comparison(comparison, out, thumbnails=thumbnails, root=root, begin=begin, progress=advance)
        if not quiet:
            typer.echo(made.line(), err=True)


@contextmanager
def _progress(quiet: bool) -> Iterator[tuple[Callable[[int], None], Callable[[], None]]]:
    """A bar for thumbnails, on standard error of a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    bar = Progress(
        TextColumn("thumbnails"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=console,
        disable=quiet or not console.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=None)
        yield lambda total: bar.update(task, total=total), lambda: bar.advance(task)
