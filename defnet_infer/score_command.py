"""`defnet score`: its options, what it refuses, and the course of a run. Heavy modules are imported when it runs."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from defnet_infer.errors import UsageError
from defnet_infer.interrupts import INTERRUPTED

if TYPE_CHECKING:
    from defnet_infer.inputs import Found
    from defnet_infer.progress import Progress
    from defnet_infer.resume import RunResults
    from defnet_infer.scorer import Scorer
    from defnet_infer.shards import Shard
    from defnet_infer.summary import Limit, Summary

MODEL_HELP = "Exported .onnx or .plan, or hf://owner/name; the built-in model if absent."
SOME_FAILED, BROKEN_PIPE = 1, 141


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
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
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
    from defnet_infer.results import COLUMNS, DETAILED_COLUMNS
    from defnet_infer.resume import RunResults
    from defnet_infer.shards import Shard

    if out is None and sys.stdout is None:
        raise UsageError("standard output is closed; name a results file: --out results.csv")
    limits = _limits(fail_under, review_above)
    part = Shard.parse(shard) if shard is not None else None
    shard = str(part) if part is not None else None  # 01/2 is 1/2.
    found = _find(paths, files_from, nul, part)
    details = details or report is not None
    if report is not None:
        from defnet_infer.report.make import check_target

        if out is None:
            raise UsageError("--report is made of the results file; name one with --out")
        check_target(report, overwrite=overwrite, remake=resume or retry_failed)
    with RunResults(
        out,
        stream=None if out else sys.stdout.buffer,
        overwrite=overwrite,
        resume=resume,
        retry_failed=retry_failed,
        columns=DETAILED_COLUMNS if details else COLUMNS,
    ) as results:
        from defnet_infer import run_record
        from defnet_infer.interrupts import stop_on_signals
        from defnet_infer.progress import Progress
        from defnet_infer.scorer import Scorer
        from defnet_infer.summary import Summary

        watchers: list[Summary | Limit] = [*([Summary()] if summary else []), *limits]
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
                _score_all(scorer, found, results, progress, stop, watchers if out is None else ())
            interrupted = stop.is_set() and (found.total is None or progress.done < found.total)
            results.finish(interrupted=interrupted)
            if out is not None:
                options = {**scorer.rule_options, "details": details}
                _record(out, scorer, results, progress, options, shard, finished=not interrupted)
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
        from defnet_infer.report.command import make_report

        make_report(out, report, "embed", None, overwrite=True, quiet=quiet)
    if results.failed or any(limit.count for limit in limits):
        raise typer.Exit(SOME_FAILED)


def _limits(fail_under: float | None, review_above: float | None) -> list[Limit]:
    """What --fail-under and --review-above ask for."""
    from defnet_infer import summary

    for option, limit in (("--fail-under", fail_under), ("--review-above", review_above)):
        if limit is not None and not math.isfinite(limit):
            raise UsageError(f"{option} {limit} is no limit; give a number, such as {option} 2.5")
    limits = [summary.fail_under(fail_under)] if fail_under is not None else []
    return limits + ([summary.review_above(review_above)] if review_above is not None else [])


def _find(paths: list[str] | None, files_from: str | None, nul: bool, shard: Shard | None) -> Found:
    """The photos that the command line names."""
    from defnet_infer import inputs, name_lists

    if not paths and files_from is None:
        raise UsageError("nothing to score: give photos or folders, or a list of them with --files-from")
    listed = name_lists.read(files_from, nul=nul) if files_from is not None else ()
    found = inputs.find(paths or (), listed=listed, shard=shard)
    if not found.names and shard is None:
        raise UsageError(f"--files-from {files_from} lists nothing; write one photo a line into it")
    return found


def _score_all(
    scorer: Scorer,
    found: Found,
    results: RunResults,
    progress: Progress,
    stop: Event,
    watchers: Iterable[Summary | Limit],
) -> None:
    """A row for every photo that has none yet, until `stop` is set."""
    from defnet_infer.sources import Source

    watchers = tuple(watchers)
    todo = results.todo(found, name=attrgetter("name"), identify=Source.stamp, skipped=progress.keep)
    try:
        for row in scorer.score_sources(todo, stop=stop):
            results.write(row)
            progress.advance(row)
            for watcher in watchers:
                watcher.add(row)
    except BrokenPipeError:  # The reader of our output, such as `head`, has enough.
        drop_standard_output()
        raise typer.Exit(BROKEN_PIPE) from None


def _record(
    out: Path,
    scorer: Scorer,
    results: RunResults,
    progress: Progress,
    options: dict[str, object],
    shard: str | None,
    *,
    finished: bool,
) -> None:
    """Say beside the results what produced them."""
    from defnet_infer import run_record

    record = run_record.describe(
        scorer.artifact,
        scorer.device,
        options=options,
        scored=results.scored,
        failed=results.failed,
        kept=results.kept,
        resumed=results.resumed,
        seconds=progress.seconds,
        finished=finished,
    )
    run_record.write(out, record | {"shard": shard})


def drop_standard_output() -> None:
    """Let what is still buffered go nowhere; Python would report a failing flush at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
