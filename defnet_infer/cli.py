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
import math
import os
import sys
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Literal

import typer

from defnet_infer.check_command import check
from defnet_infer.errors import DefnetError, StorageError, UsageError
from defnet_infer.report import command as report_command

app = typer.Typer(
    name="defnet",
    help="Score the quality of photos, with an uncertainty for every score.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

_MODEL_HELP = "Exported .onnx or .plan, or hf://owner/name; the built-in model if absent."
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
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            help="Photos, folders that are searched to the bottom, 'patterns/**/*.jpg', .tar archives, URLs."
        ),
    ] = None,
    files_from: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="A list of photos, one a line or separated by NUL; - is standard input."),
    ] = None,
    nul: Annotated[
        bool, typer.Option("-0", "--null", help="The list is separated by NUL; else that is found out.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(metavar="I/N", help="Only part I of N, the same photos on every machine; see merge.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Results file: .csv, .jsonl or .parquet; CSV on standard output if absent."),
    ] = None,
    model: Annotated[str | None, typer.Option(help=_MODEL_HELP)] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"],
        typer.Option(help="auto takes a GPU where one works; one asked for is used or is an error."),
    ] = "auto",
    engine: Annotated[
        Literal["auto", "onnxruntime", "tensorrt"],
        typer.Option(help="What runs the model; auto: as the file asks."),
    ] = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Photos handed to a GPU at once; 8 if absent, or what a TensorRT engine is made for."),
    ] = None,
    workers: Annotated[int, typer.Option(min=0, help="Decode threads; 0 chooses for this machine.")] = 0,
    threads: Annotated[int, typer.Option(min=0, help="Photos on the CPU at once; 0 takes one per core.")] = 0,
    max_pixels: Annotated[int, typer.Option(min=1, help="Larger photos become rows with an error.")] = 250_000_000,
    fast_decode: Annotated[
        bool,
        typer.Option("--fast-decode", help="Decode large JPEGs at 1/2, 1/4 or 1/8: faster, slightly other scores."),
    ] = False,
    color_managed: Annotated[
        bool, typer.Option("--color-managed", help="Convert photos with an embedded colour profile to sRGB.")
    ] = False,
    decode_timeout: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Give up decoding a photo after this time; 0 never.")
    ] = 60,
    details: Annotated[
        bool, typer.Option("--details", help="Two more columns: five quality probabilities, the score of every crop.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(metavar="FILE.html", help="Also make a page to look at; turns on --details.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace existing results.")] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the results file: skip photos whose row is there.")
    ] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Like --resume, and score failed photos again.")
    ] = False,
    summary: Annotated[
        bool, typer.Option("--summary", help="Print counts, mean and spread, the ten worst, failures by reason.")
    ] = False,
    fail_under: Annotated[
        float | None, typer.Option(metavar="SCORE", help="Exit with 1 if a photo scores lower, and list those.")
    ] = None,
    review_above: Annotated[
        float | None, typer.Option(metavar="WIDTH", help="Exit with 1 if an interval is wider, and list those.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no closing line.")] = False,
) -> None:
    """Score every photo in PATHS: one row each, in sorted order.

    A photo that cannot be read gets a row too, with the reason in its `error` column, and changes no other
    row. Beside the results file, FILE.run.json says what produced it, and FILE.resume what is done: a run that
    was interrupted or killed goes on with --resume and ends with the same bytes as one that was not.

    Exit code: 0 all scored, 1 some photos failed or are beyond --fail-under or --review-above, 2 wrong usage,
    3 the model, the device or the disk cannot be used, 130 interrupted (Ctrl-C or SIGTERM).
    """
    from defnet_infer import inputs, name_lists
    from defnet_infer.results import COLUMNS, DETAILED_COLUMNS
    from defnet_infer.resume import RunResults
    from defnet_infer.shards import Shard

    for option, limit in (("--fail-under", fail_under), ("--review-above", review_above)):
        if limit is not None and not math.isfinite(limit):
            raise UsageError(f"{option} {limit} is no limit; give a number, such as {option} 2.5")
    if out is None and sys.stdout is None:
        raise UsageError("standard output is closed; name a results file: --out results.csv")
    if not paths and files_from is None:
        raise UsageError("nothing to score: give photos or folders, or a list of them with --files-from")
    part = Shard.parse(shard) if shard is not None else None
    listed = name_lists.read(files_from, nul=nul) if files_from is not None else ()
    found = inputs.find(paths or (), listed=listed, shard=part)
    if not found.names and part is None:
        raise UsageError(f"--files-from {files_from} lists nothing; write one photo a line into it")
    details = details or report is not None
    if report is not None:
        from defnet_infer.report.make import check_target

        if out is None:
            raise UsageError("--report is made of the results file; name one with --out")
        check_target(report, overwrite=overwrite or resume or retry_failed)
    with RunResults(
        out,
        stream=None if out else sys.stdout.buffer,
        overwrite=overwrite,
        resume=resume,
        retry_failed=retry_failed,
        columns=DETAILED_COLUMNS if details else COLUMNS,
    ) as results:
        from defnet_infer import run_record
        from defnet_infer import summary as summaries
        from defnet_infer.interrupts import stop_on_signals
        from defnet_infer.progress import Progress
        from defnet_infer.scorer import Scorer
        from defnet_infer.sources import Source

        totals = summaries.Summary() if summary else None
        limits = [summaries.fail_under(fail_under)] if fail_under is not None else []
        limits += [summaries.review_above(review_above)] if review_above is not None else []
        watchers: list[summaries.Summary | summaries.Limit] = [*([totals] if totals else []), *limits]
        with (
            Scorer(
                model,
                device=device,
                engine=engine,
                batch_size=batch_size,
                workers=workers or None,
                threads=threads,
                max_pixels=max_pixels,
                fast_decode=fast_decode,
                color_managed=color_managed,
                decode_timeout=decode_timeout,
            ) as scorer,
            stop_on_signals(quiet=quiet, resumable=out is not None) as stop,
        ):
            if review_above is not None and not scorer.artifact.contract.uncertainty:
                raise UsageError(
                    f"--review-above: {scorer.artifact.name} states no intervals, so none can be too wide; leave it out"
                )
            results.begin({**scorer.origin, "details": details, "shard": shard})
            if out is not None:
                run_record.remove(out)
            if not quiet and "auto" in (device, engine):
                typer.echo(f"device: {scorer.session.why}", err=True)
            with Progress(found.total, quiet=quiet) as progress:
                try:
                    todo = results.todo(found, name=attrgetter("name"), identify=Source.stamp, skipped=progress.keep)
                    for row in scorer.score_sources(todo, stop=stop):
                        results.write(row)
                        progress.advance(row)
                        for watcher in watchers if out is None else ():
                            watcher.add(row)
                except BrokenPipeError:  # The reader of our output, such as `head`, has enough.
                    _drop_standard_output()
                    raise typer.Exit(BROKEN_PIPE) from None
            results.finish()
            interrupted = stop.is_set() and (found.total is None or progress.done < found.total)
            if out is not None:
                record = run_record.describe(
                    scorer.artifact,
                    scorer.device,
                    options={**scorer.rule_options, "details": details},
                    scored=results.scored,
                    failed=results.failed,
                    kept=results.kept,
                    resumed=results.resumed,
                    seconds=progress.seconds,
                    finished=not interrupted,
                )
                run_record.write(out, record | {"shard": shard})
                # From the file, not from this run: rows of earlier runs count too.
                for row in results.rows() if watchers else ():
                    for watcher in watchers:
                        watcher.add(row)
    progress.summarise("the output" if out is None else str(out), interrupted=interrupted, resumable=out is not None)
    for watcher in watchers:
        for line in watcher.lines():
            typer.echo(line, err=True)
    if interrupted:
        raise typer.Exit(INTERRUPTED)
    if out is not None and report is not None and out.exists():
        report_command.make_report(out, report, "embed", None, overwrite=True, quiet=quiet)
    if results.failed or any(limit.count for limit in limits):
        raise typer.Exit(SOME_FAILED)


def _drop_standard_output() -> None:
    """Let what is still buffered go nowhere; Python would report a failing flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
    model: Annotated[str | None, typer.Option(help=_MODEL_HELP)] = None,
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
        measuring.temporary_folder() as scratch,
        Scorer(model, device=device, batch_size=batch_size, workers=workers or None, threads=threads) as scorer,
    ):
        found = list(islice(inputs.find(paths), count)) if paths else measuring.make_photos(Path(scratch), count)
        report = measuring.measure(scorer, found)
    typer.echo(json.dumps(report.to_json(), indent=2) if as_json else "\n".join(measuring.lines(report)))


@app.command()
def info(
    file: Annotated[str | None, typer.Argument(help=_MODEL_HELP)] = None,
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
            _drop_standard_output()
        sys.exit(StorageError.exit_code)


_mount(app)

if __name__ == "__main__":
    main()
