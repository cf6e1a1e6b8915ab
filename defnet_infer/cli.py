"""The `defnet` command. Commands read the command line and print; the work is done elsewhere.

    defnet score photos --out results.csv

Exit codes: 0 all scored; 1 some photos failed; 2 wrong usage; 3 model, engine or data problem; 4 a gate
failed; 130 interrupted. Data goes to standard output or --out, everything else to standard error.

Heavy modules are imported inside the commands, so that `defnet --help` is immediate. This module may name
the two other packages, lazily: their commands are added where they are installed.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from defnet_infer.errors import DefnetError

if TYPE_CHECKING:
    from defnet_infer.artifact import Artifact

app = typer.Typer(
    name="defnet",
    help="Score the quality of photos, with an uncertainty for every score.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

SOME_FAILED, INTERRUPTED, BROKEN_PIPE = 1, 130, 141


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


@app.command()
def score(
    paths: Annotated[list[Path], typer.Argument(help="Photos, and folders that are searched to the bottom.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Results file, .csv or .jsonl; CSV on standard output if absent."),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Exported .onnx file; the built-in model if absent.")] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(help="auto takes a GPU where one works; one asked for is used or is an error."),
    ] = "auto",
    batch_size: Annotated[int, typer.Option(min=1, help="Photos handed to the model at once.")] = 8,
    workers: Annotated[int, typer.Option(min=0, help="Decode threads; 0 chooses for this machine.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Threads of the model on the CPU; 0 uses every core.")] = 0,
    max_pixels: Annotated[int, typer.Option(min=1, help="Larger photos become rows with an error.")] = 250_000_000,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing results file.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no closing line.")] = False,
) -> None:
    """Score every photo in PATHS: one row each, in sorted order.

    A photo that cannot be read gets a row too, with the reason in its `error` column, and changes no other
    row. Beside the results file, FILE.run.json says what produced it.

    Exit code: 0 all scored, 1 some photos failed, 2 wrong usage, 3 the model or device cannot be used.
    """
    from defnet_infer import photos
    from defnet_infer.results import ResultsFile

    found = photos.find(paths)
    with ResultsFile(out, overwrite=overwrite, stream=None if out else sys.stdout.buffer) as results:
        from defnet_infer import run_record
        from defnet_infer.progress import Progress
        from defnet_infer.scoring import Scorer

        with Scorer(
            model,
            device=device,
            batch_size=batch_size,
            workers=workers or None,
            threads=threads,
            max_pixels=max_pixels,
        ) as scorer:
            if out is not None:
                run_record.remove(out)
            interrupted = False
            with Progress(len(found), quiet=quiet) as progress:
                try:
                    for row in scorer.score_files(found):
                        results.write(row)
                        progress.advance(row)
                except KeyboardInterrupt:
                    interrupted = True
                except BrokenPipeError:  # The reader of our output, such as `head`, has enough.
                    _drop_standard_output()
                    raise typer.Exit(BROKEN_PIPE) from None
            if out is not None:
                run_record.write(
                    out,
                    run_record.describe(
                        scorer.artifact,
                        scorer.device,
                        scored=progress.scored,
                        failed=progress.failed,
                        seconds=progress.seconds,
                    ),
                )
    progress.summarise("the output" if out is None else str(out), interrupted=interrupted)
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if progress.failed:
        raise typer.Exit(SOME_FAILED)


def _drop_standard_output() -> None:
    """Let what is still buffered go nowhere; Python would report a failing flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@app.command()
def info(
    file: Annotated[Path | None, typer.Argument(help="Exported .onnx file; the built-in model if absent.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for machines.")] = False,
    card: Annotated[bool, typer.Option("--card", help="The model card of the built-in model, Markdown.")] = False,
) -> None:
    """Say what an exported file is: its metadata, and the contract it keeps.

    The file is verified on the way. Exit code: 0 it is ours and readable, 3 it is not.
    """
    from defnet_infer.artifact import Artifact, builtin_card_path, builtin_model_path

    if card:
        typer.echo(builtin_card_path().read_text(encoding="utf-8"), nl=False)
        return
    artifact = Artifact.open(file or builtin_model_path())
    if as_json:
        typer.echo(json.dumps(_as_json(artifact), indent=2))
    else:
        _print_nicely(artifact)


def _as_json(artifact: Artifact) -> dict[str, object]:
    """Metadata values that are JSON themselves are given as JSON, not as text."""
    return {
        "file": str(artifact.path),
        "sha256": artifact.sha256,
        "size": artifact.size,
        "fingerprint": artifact.contract.fingerprint,
        "metadata": {key: _parsed(value) for key, value in sorted(artifact.metadata.items())},
    }


def _parsed(value: str) -> object:
    return json.loads(value) if value.startswith(("{", "[")) else value


def _print_nicely(artifact: Artifact) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{artifact.path.name}, {artifact.size / 1e6:.1f} MB", title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows: dict[str, object] = {"sha256": artifact.sha256, "contract fingerprint": artifact.contract.fingerprint}
    rows |= {
        key.removeprefix("defnet."): _parsed(value)
        for key, value in sorted(artifact.metadata.items())
        if key != "defnet.contract"
    }
    contract = json.loads(artifact.contract.to_json())
    tensors = {side: contract.pop(side) for side in ("inputs", "outputs")}
    for side, specs in tensors.items():
        rows[side] = "\n".join(f"{spec['name']} {spec['dtype']} {spec['shape']}" for spec in specs)
    rows |= contract.pop("preprocess") | contract
    for key, value in rows.items():
        # Text, not str: a shape such as [5] would be read as markup.
        table.add_row(Text(key), Text(value if isinstance(value, str) else json.dumps(value)))
    Console().print(table)


def _mount(command_line: typer.Typer) -> None:
    """Add the commands of the training and export packages where they are installed."""
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


_mount(app)

if __name__ == "__main__":
    main()
