"""The `defnet` command. Commands read the command line and print; the work is done elsewhere.

    defnet score photos --out results.csv

Exit codes: 0 all scored; 1 some photos failed or are beyond a limit; 2 wrong usage; 3 model, engine, disk or
data problem; 4 a gate failed; 130 interrupted. Data goes to standard output or --out, everything else to standard
error.

Heavy modules are imported inside the commands, so that `defnet --help` is immediate. This module may name
the two other packages, lazily: their commands are added where they are installed.
"""

from __future__ import annotations

import importlib
import json
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer

from defnet_infer.check_command import check
from defnet_infer.errors import DefnetError, StorageError
from defnet_infer.report import command as report_command
from defnet_infer.score_command import MODEL_HELP, drop_standard_output, score

app = typer.Typer(
    name="defnet",
    help="Score the quality of photos, with an uncertainty for every score.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from defnet_infer import __version__

        typer.echo(f"defnet {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    pass


app.command()(score)


@app.command()
def merge(
    out: Annotated[Path, typer.Argument(help="The joined results file.")],
    parts: Annotated[list[Path], typer.Argument(help="Results files of all shards, in any order.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing OUT.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No closing line.")] = False,
) -> None:
    """Join the results of `defnet score --shard` into one file: the same bytes as of a run that was not split.

    Parts must be finished, of one model, rule and split, and complete. Exit code: 0 joined, 2 the parts do not
    belong together.
    """
    from defnet_infer import merge as merging

    record = merging.merge(out, parts, overwrite=overwrite)
    if not quiet:
        counts = record["counts"]
        typer.echo(f"{out}: {counts['photos']} rows of {len(parts)} parts, {counts['failed']} failed", err=True)


@app.command()
def bench(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Photos and folders to time; JPEGs made on the spot if absent.")
    ] = None,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="As in `defnet score`.")] = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Photos handed to a GPU at once; 8 if absent, or what a TensorRT engine is made for."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Decode threads; 0 chooses for this machine.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Photos on the CPU at once; 0 takes one per core.")] = 0,
    count: Annotated[int, typer.Option(min=1, help="Photos to make, or at most to take from PATHS.")] = 64,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
) -> None:
    """Measure how fast this machine scores photos, stage by stage, and say what limits it.

    Without PATHS, half of the photos are 500 x 500 and half 1024 x 768. Exit code: 0 measured, 2 wrong usage,
    3 the model or device cannot be used.
    """
    from defnet_infer import bench as measuring
    from defnet_infer import inputs
    from defnet_infer.scorer import Scorer

    with (
        tempfile.TemporaryDirectory(prefix="defnet-") as scratch,
        Scorer(model, device=device, batch_size=batch_size, workers=workers or None, threads=threads) as scorer,
    ):
        found = list(islice(inputs.find(paths), count)) if paths else measuring.make_photos(Path(scratch), count)
        report = measuring.measure(scorer, found)
    typer.echo(json.dumps(report.to_json(), indent=2) if as_json else "\n".join(measuring.lines(report)))


@app.command()
def info(
    file: Annotated[str | None, typer.Argument(help=MODEL_HELP)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
    card: Annotated[bool, typer.Option("--card", help="The model card of the built-in model, Markdown.")] = False,
) -> None:
    """Say what an exported file is: its metadata, and the contract it keeps.

    The file is verified on the way. Exit code: 0 it is ours and readable, 3 it is not.
    """
    from defnet_infer import describe
    from defnet_infer.artifact import Artifact, builtin_card_path, builtin_model_path

    if card:
        typer.echo(builtin_card_path().read_text(encoding="utf-8"), nl=False)
        return
    artifact = Artifact.open(file or builtin_model_path())
    if as_json:
        typer.echo(json.dumps(describe.as_json(artifact), indent=2))
    else:
        from rich.console import Console

        Console().print(describe.as_table(artifact))
        for certificate in describe.verdicts(artifact):
            Console().print(certificate.table())


app.command()(check)


def _mount(command_line: typer.Typer) -> None:
    """Add the commands of the training and export packages where they are installed."""
    report_command.add_commands(command_line)
    for name in ("defnet_train.cli", "defnet_export.cli"):
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name not in (name, name.partition(".")[0]):
                raise
        else:
            module.add_commands(command_line)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; what a person can cause ends in one line on standard error.

    Args:
        arguments: Instead of those of the process.
    """
    try:
        app(arguments, prog_name="defnet")
    except DefnetError as error:
        # A path may hold a line break; the message stays one line.
        typer.echo(f"defnet: {error}".replace("\n", "\\n"), err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # What is left: output that goes nowhere. Files are opened where their names are known.
        typer.echo(f"defnet: {error.filename or 'standard output'} cannot be written: {error.strerror}", err=True)
        if error.filename is None and sys.stdout is not None:
            drop_standard_output()
        sys.exit(StorageError.exit_code)


_mount(app)

if __name__ == "__main__":
    main()
