"""`defnet check`: the command line of `checking`. Heavy modules are imported when it runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from defnet_infer.errors import GateError, StorageError, UsageError
from defnet_infer.out_file import require_free

if TYPE_CHECKING:
    from defnet_infer.artifact import Artifact
    from defnet_infer.checking import Advance, Way
    from defnet_infer.parity import Precision, Run
    from defnet_infer.sessions import Session
    from defnet_infer.verdict import Verdict


def check(
    file: Annotated[
        str | None, typer.Argument(help="Exported .onnx or .plan, or hf://owner/name; the built-in model if absent.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(help="Hold it against PyTorch: the checkpoint that it was exported from.")
    ] = None,
    against: Annotated[
        str | None, typer.Option(help="Hold it against another exported file of the same model.")
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Photos for --checkpoint or --against; generated ones if absent.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="Photos to take from --photos at most, spread over it.")] = 100,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Also write the report as JSON.")] = None,
    device: Annotated[Literal["auto", "cpu", "cuda"], typer.Option(help="As in `defnet score`.")] = "auto",
    engine: Annotated[Literal["auto", "onnxruntime", "tensorrt"], typer.Option(help="As in `defnet score`.")] = "auto",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an existing report.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no table.")] = False,
) -> None:
    """Check that an exported file says on this machine what its model says in PyTorch.

    Without --checkpoint or --against it is held against PyTorch's outputs for generated pictures, which export saved
    in the file: no PyTorch is needed. Scores, labels, uncertainty and batch invariance are held against the bounds of
    the file's precision.

    Exit code: 0 all bounds hold, 2 wrong usage or files of different models, 3 the file or the device cannot be used,
    4 a bound does not hold.
    """
    if checkpoint is not None and against is not None:
        raise UsageError("--checkpoint and --against are two references; give one")
    if photos is not None and checkpoint is None and against is None:
        raise UsageError("--photos needs something to hold the file against: add --checkpoint FILE or --against FILE")
    if out is not None:
        require_free(out, overwrite=overwrite, reads=tuple(Path(read) for read in (file, checkpoint, against) if read))
    from defnet_infer.artifact import Artifact, builtin_model_path
    from defnet_infer.checking import Way
    from defnet_infer.sessions.choice import open_session

    artifact = Artifact.open(file or builtin_model_path())
    artifact.require_views()
    shown = file or str(artifact.path)
    with ExitStack() as opened:
        reference = _reference(artifact, checkpoint, against, opened)
        session = open_session(artifact.path, device=device, engine=engine)
        opened.callback(session.close)
        candidate = Way.of(session, artifact.name)
        verdict = _judge(artifact, candidate, _whole_batches(artifact, session), reference, photos, count, quiet)
    if out is not None:
        report = {"file": shown, "sha256": artifact.sha256} | verdict.to_json()
        try:
            out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise StorageError(f"cannot write {out}: {error.strerror or error}; choose another --out") from error
    if not quiet:
        from rich.console import Console

        Console().print(verdict.table())
        for note in verdict.notes:
            typer.echo(f"note: {note}", err=True)
    if not verdict.passed:
        raise GateError(f"{shown}: {verdict.summary()}")
    if not quiet:
        typer.echo(f"{shown}: {verdict.summary()}", err=True)


def _reference(
    artifact: Artifact, checkpoint: Path | None, against: str | None, opened: ExitStack
) -> tuple[Way, Precision] | None:
    """What to hold the file against and whose bounds; None for what is saved in it."""
    from defnet_infer import checking, parity
    from defnet_infer.checking import Way

    precision = checking.precision_of(artifact)
    if checkpoint is not None:
        from defnet_infer.torch_reference import TorchReference

        torch = TorchReference.open(checkpoint)
        checking.require_same_model(artifact, str(checkpoint), torch.contract, torch.checkpoint_sha256)
        return Way(name=torch.name, run=torch.run), precision
    if against is not None:
        from defnet_infer.artifact import Artifact
        from defnet_infer.sessions.choice import open_session

        other = Artifact.open(against)
        other.require_views()
        checking.require_same_model(artifact, against, other.contract, other.metadata.get("defnet.checkpoint_sha256"))
        # On the CPU, whatever the device of the file: two runs that err alike would hide it.
        session = open_session(other.path, device="cpu")
        opened.callback(session.close)
        # Two files may differ by what the less exact of them is allowed.
        looser = max(precision, checking.precision_of(other), key=list(parity.BOUNDS).index)
        return Way.of(session, other.name), looser
    return None


def _whole_batches(artifact: Artifact, session: Session) -> Run | None:
    from defnet_infer.checking import BATCH

    if session.photos_per_call >= BATCH:
        return session.run
    if session.device != "cpu":
        return None
    from defnet_infer.sessions.onnxruntime import whole_batches

    return whole_batches(artifact.path)


def _judge(
    artifact: Artifact,
    candidate: Way,
    whole_batches: Run | None,
    reference: tuple[Way, Precision] | None,
    photos: Path | None,
    count: int,
    quiet: bool,
) -> Verdict:
    from defnet_infer import checking

    if reference is None:
        with _progress(quiet) as advance:
            return checking.compare_saved(artifact, candidate, whole_batches=whole_batches, advance=advance)
    right, precision = reference
    with checking.temporary_folder() as scratch, _progress(quiet) as advance:
        chosen = checking.chosen_photos(photos, count) if photos else checking.generated_photos(Path(scratch))
        verdict, _ = checking.compare(
            chosen,
            artifact.contract.preprocess,
            right,
            candidate,
            precision=precision,
            whole_batches=whole_batches,
            advance=advance,
        )
    return verdict


@contextmanager
def _progress(quiet: bool) -> Iterator[Advance]:
    """A count that goes up while photos are scored in both ways."""
    from rich.console import Console

    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda done, total: None
        return
    with console.status("") as status:
        yield lambda done, total: status.update(f"{done} of {total} photos")
