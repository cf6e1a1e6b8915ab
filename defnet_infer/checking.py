"""Score the same photos in two ways, from their files on, and hold one against the other: `defnet check`, and export.

Decoding and views are those of `defnet score`. Photos are taken a few at a time, so memory does not grow with them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np

from defnet_infer import inputs, parity, photos, reference_photos, views
from defnet_infer.artifact import Artifact
from defnet_infer.contract import Contract, Preprocess
from defnet_infer.errors import ArtifactError, PhotoError, UsageError
from defnet_infer.parity import COMPARED, Precision, Run
from defnet_infer.saved_reference import SavedReference, views_sha256
from defnet_infer.sessions import Outputs, Session
from defnet_infer.sources import Source
from defnet_infer.verdict import Verdict

CHUNK = 8
"""Photos whose views are held at a time."""
PHOTOS = 100
"""Of a folder, at most; spread over it. A ViT takes half a second for each in PyTorch on two cores."""
BATCH = 3
"""Photos of the batch that is tried whole and in reverse; a prime, which is no other axis of the graph."""

Advance = Callable[[int, int], None]
"""Called with the photos done and their number."""


def silent(done: int, total: int) -> None:
    """Shows nothing."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way of scoring views."""

    name: str
    run: Run
    photos_per_call: int = 1
    calls_at_once: int = 1

    @classmethod
    def of(cls, session: Session, name: str) -> Way:
        """Through a session, as `defnet score` uses it."""
        return cls(
            name=f"{name} on {session.device}",
            run=session.run,
            photos_per_call=session.photos_per_call,
            calls_at_once=session.calls_at_once,
        )

    def outputs(self, made: Sequence[views.Views]) -> list[Outputs]:
        """Score a few photos, in order."""
        step = self.photos_per_call
        calls = [made[start : start + step] for start in range(0, len(made), step)]
        with ThreadPoolExecutor(self.calls_at_once) as pool:
            return list(pool.map(lambda call: self.run(*_stacked(call)), calls))


@dataclass
class Scored:
    """Photos and what each way says about them."""

    names: list[str] = field(default_factory=list)
    outputs: list[Outputs] = field(default_factory=list)
    """Of each way, in the order of the ways."""
    left_out: list[str] = field(default_factory=list)
    """Photos that could not be read, with the reason."""
    first: list[views.Views] = field(default_factory=list)
    """Views of the first `BATCH` photos."""

    @property
    def notes(self) -> list[str]:
        """What a reader of the verdict must know."""
        if not self.left_out:
            return []
        return [f"{len(self.left_out)} photos could not be read and are left out, such as {self.left_out[0]}"]


def score(sources: Sequence[Source], rule: Preprocess, ways: Sequence[Way], advance: Advance = silent) -> Scored:
    """Decode photos and score each in every way.

    Args:
        sources: The photos.
        rule: The preprocessing rule that all ways share.
        ways: At least one.
        advance: For a progress display.

    Raises:
        UsageError: If no photo can be read.
        SessionError: If a runtime fails.
    """
    scored = Scored()
    parts: list[list[Outputs]] = [[] for _ in ways]
    pending = iter(sources)
    while chunk := list(islice(pending, CHUNK)):
        made = []
        for source in chunk:
            try:
                made.append(views.make(photos.decode(source.content).image, rule))
                scored.names.append(source.name)
            except PhotoError as error:
                scored.left_out.append(f"{source.name} ({error})")
        scored.first += made[: BATCH - len(scored.first)]
        for way, collected in zip(ways, parts, strict=True):
            collected += way.outputs(made)
        advance(len(scored.names) + len(scored.left_out), len(sources))
    if not scored.names:
        raise UsageError(f"no photo could be read, such as {scored.left_out[0]}; give a folder of photos with --photos")
    scored.outputs = [
        {name: np.concatenate([outputs[name] for outputs in collected]) for name in COMPARED if name in collected[0]}
        for collected in parts
    ]
    return scored


def compare(
    sources: Sequence[Source],
    rule: Preprocess,
    reference: Way,
    candidate: Way,
    *,
    precision: Precision,
    whole_batches: Run | None,
    advance: Advance = silent,
) -> tuple[Verdict, Scored]:
    """Hold one way of scoring against another.

    Args:
        sources: The photos.
        rule: The preprocessing rule that both share.
        reference: What is right.
        candidate: What is held against it.
        precision: Whose bounds to hold.
        whole_batches: The candidate, taking `BATCH` photos in one call; None leaves that check out.
        advance: For a progress display.

    Raises:
        UsageError: If no photo can be read.
        SessionError: If a runtime fails.
    """
    scored = score(sources, rule, (reference, candidate), advance)
    expected, found = scored.outputs
    verdict = parity.compare(
        expected,
        found,
        scored.names,
        precision=precision,
        between=(reference.name, candidate.name),
        batch_difference=_batch_difference(whole_batches, scored),
        notes=scored.notes,
    )
    return verdict, scored


def compare_saved(
    artifact: Artifact,
    candidate: Way,
    *,
    whole_batches: Run | None,
    advance: Advance = silent,
) -> Verdict:
    """Hold a file against the reference outputs that were saved in it.

    Raises:
        ArtifactError: If it has none that this version can use.
        SessionError: If the runtime fails.
    """
    saved, rule = SavedReference.of(artifact), artifact.contract.preprocess
    scored = score(saved.sources(), rule, (candidate,), advance)
    notes = []
    if views_sha256(saved.indices, rule) != saved.views_sha256:
        notes.append("resizing gives other pixels here than where the file was made; differences may come from there")
    return parity.compare(
        saved.outputs,
        scored.outputs[0],
        scored.names,
        precision=precision_of(artifact),
        between=(f"{saved.made_by}, saved at export", candidate.name),
        batch_difference=_batch_difference(whole_batches, scored),
        notes=notes,
    )


def _batch_difference(run: Run | None, scored: Scored) -> float | None:
    if run is None or len(scored.first) < 2:
        return None
    return parity.batch_difference(run, *_stacked(scored.first))


def chosen_photos(folder: Path, count: int = PHOTOS) -> list[Source]:
    """At most `count` photos of a folder, spread evenly over it in sorted order, from the first to the last.

    Raises:
        UsageError: If there is no such folder or no photo in it.
    """
    try:
        found = list(inputs.find([folder]))
    except UsageError as error:
        reason = str(error).split("; ")[0]  # What follows is advice about `defnet score`.
        raise UsageError(f"--photos {reason}; name a folder that holds photos") from error
    if len(found) <= count or count == 1:
        return found[:count]
    return [found[k * (len(found) - 1) // (count - 1)] for k in range(count)]


def without_folders(sources: Sequence[Source], folder: Path) -> list[Source]:
    """The same photos, named from the folder on: a certificate travels with its file, and tells no one's paths."""
    return [replace(source, name=os.path.relpath(source.name, folder.parent)) for source in sources]


def generated_photos(folder: Path, count: int = reference_photos.COUNT) -> list[Source]:
    """Generated photo files in a folder that exists."""
    return [Source(path.name, path) for path in reference_photos.write_files(folder, count)]


def photos_to_certify(photos: Path | None, count: int | None, scratch: Path) -> list[Source]:
    """What a certificate is taken on: photos of a folder, or generated ones where none is given.

    Args:
        photos: The folder, or None.
        count: Photos at most; None takes the default of either kind.
        scratch: Where generated photos are written.

    Raises:
        UsageError: If there is no such folder or no photo in it.
    """
    if photos is None:
        return generated_photos(scratch, count or reference_photos.COUNT)
    return without_folders(chosen_photos(photos, count or PHOTOS), photos)


def temporary_folder() -> tempfile.TemporaryDirectory[str]:
    """Where generated photos live while they are scored."""
    return tempfile.TemporaryDirectory(prefix="defnet-check-")


def precision_of(artifact: Artifact) -> Precision:
    """Whose bounds a file is held to.

    Raises:
        ArtifactError: If it names a precision that has none.
    """
    name = artifact.metadata.get("defnet.precision", "float32")
    if name not in parity.BOUNDS:
        raise ArtifactError(
            f"{artifact.path} is of precision {name}, which has no bounds; known are {', '.join(parity.BOUNDS)}"
        )
    return name


def require_same_model(file: Artifact, other: str, contract: Contract, checkpoint_sha256: str | None) -> None:
    """Refuse to compare what was never meant to agree.

    Args:
        file: The file that is checked.
        other: What it is to be held against, in words.
        contract: The other's contract.
        checkpoint_sha256: Of the checkpoint that the other is or was made from; None where that is not known.

    Raises:
        UsageError: If the two come from different checkpoints or see photos differently.
    """
    own, theirs = (vars(c.preprocess) for c in (file.contract, contract))
    differing = [f"{name} {own[name]} and {theirs[name]}" for name in own if own[name] != theirs[name]]
    if differing:
        raise UsageError(
            f"{file.name} and {other} prepare photos differently ({', '.join(differing)}), so they are not meant "
            "to agree; export both from one checkpoint: defnet export CHECKPOINT"
        )
    mine = file.metadata.get("defnet.checkpoint_sha256")
    if None not in (mine, checkpoint_sha256) and mine != checkpoint_sha256:
        raise UsageError(
            f"{other} is another model: {file.name} was exported from the checkpoint with SHA-256 {mine}, not "
            f"{checkpoint_sha256}; give the one that it was made from"
        )


def _stacked(made: Sequence[views.Views]) -> tuple[views.Pixels, views.Pixels]:
    return np.stack([v.crops for v in made]), np.stack([v.overview for v in made])
