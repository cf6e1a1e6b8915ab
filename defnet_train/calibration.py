"""Fit the conformal factor of a finished checkpoint anew and store it there: what `defnet calibrate` does. The scale of
noise that comes from marginals is fitted before it.

Split conformal prediction: the interval of every photo is widened by one factor, the finite-sample quantile of the
ratios |target - fused score| / half width on photos that trained nothing, pooled over data sets. New photos of that
mixture are then covered at least as often as promised, whatever their errors look like.
"""

from __future__ import annotations

import datetime
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from defnet_infer.errors import DatasetError, UsageError
from defnet_train.batches import PhotoViews
from defnet_train.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from defnet_train.config import DataConfig
from defnet_train.conformal import HeldOut, calibrate, passes
from defnet_train.evaluation import figures, predict
from defnet_train.measuring import refuse_other_settings
from defnet_train.readers import data_folder
from defnet_train.recipe_file import apply_overrides
from defnet_train.run_data import RunData, load_data
from defnet_train.trained_on import SYNTHETIC, TrainedOn, may_have_trained, split_anew
from defnet_train.uncertainty import FIGURES, photos_needed

if TYPE_CHECKING:
    from defnet_train.listener import Listener

OF_INTERVAL = ("coverage", "width")
"""Figures that depend on the factor; all of `FIGURES` do on the scale of noise."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What a checkpoint remembers of its calibration."""

    factor: float
    photos: int
    """Validation photos it was fitted on."""
    data: dict[str, int]
    """Data set -> photos of it among them."""
    session: int
    coverage_validation: float
    """On the photos of the fit: near the level by construction."""
    coverage_test: float
    """On photos that neither trained nor calibrated: the figure to trust."""
    width_test: float
    """Mean width of the interval there, in score units."""
    at: str
    """When, UTC."""


def calibrate_checkpoint(
    path: Path, root: Path, listener: Listener, *, session: int | None = None, settings: tuple[str, ...] = ()
) -> Calibration:
    """Fit the factor on the validation part, measure it on the test part, and write both into the checkpoint.

    Weights are untouched; an interrupted write leaves the old file. Where the photos are those of the run, the
    figures in the checkpoint's record are brought up to date too.

    Args:
        path: A checkpoint.
        root: Folder of the data sets.
        listener: Told about progress.
        session: Number of the split; None for that of the run.
        settings: ``table.key=value`` changes of the run's configuration.

    Raises:
        CheckpointError: If the checkpoint cannot be used.
        DatasetError: If the data cannot be read, or has too few validation photos for the level.
        UsageError: If photos that trained the model would calibrate it, or fewer of those that did already.
    """
    refuse_other_settings(settings)
    model, info = load_checkpoint(path)
    if not model.has_evidence:
        raise UsageError(
            f"{path} has no evidential head, so it states no interval to calibrate; train one on top of it with: "
            f"defnet train paper --init {shlex.quote(str(path))}"
        )
    overrides = [*settings, *([f"data.session={session}"] if session is not None else [])]
    asked, folder = data_folder(apply_overrides(info.config, overrides), root, settings)
    same_sets = (asked.data.sets, asked.data.csv) == (info.config.data.sets, info.config.data.csv)
    if rated := {key: count for key, count in asked.data.sets.items() if key != SYNTHETIC}:
        asked = replace(asked, data=replace(asked.data, sets=rated))
    trained = TrainedOn.of_checkpoint(info)
    known = _refuse_known_sets(path, info, asked.data)
    data = load_data(asked, folder, used=(("val",), ("test",)))
    parts = {part: data.rated(part) for part in ("val", "test")}
    _refuse_known_photos(path, info, asked.data, root, known, data)
    if len(parts["val"]) < photos_needed():
        raise DatasetError(
            f"{len(parts['val'])} rated validation photos in {root} cannot promise 95 % coverage; {photos_needed()} "
            f"are the fewest: add {'photos' if root.is_file() else 'data sets with --set data.sets'}"
        )
    source = PhotoViews(data.records, model.contract().preprocess)
    listener.stage("fitting the interval", passes(model) * len(parts["val"]))
    factor, outputs = calibrate(model, HeldOut.of(source, [(model, parts["val"])], data), listener.advance)
    found = {"val": figures(outputs, data.at(parts["val"]))}
    listener.stage("scoring test photos", len(parts["test"]))
    found["test"] = figures(predict(model, source, parts["test"], listener.advance), data.at(parts["test"]))
    done = Calibration(
        factor=factor,
        photos=len(parts["val"]),
        data=dict(Counter(record.dataset for record in data.at(parts["val"]))),
        session=asked.data.session,
        coverage_validation=found["val"]["coverage"],
        coverage_test=found["test"]["coverage"],
        width_test=found["test"]["width"],
        at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    )
    record = dict(info.record)
    if same_sets and asked.data.session == info.config.data.session and trained.same_csv(data):
        # The run's own photos: its figures hold the coverage of the factor before.
        record |= {part: record.get(part, {}) | found[part] for part in parts}
    else:
        stale = FIGURES if model.noise_factors else OF_INTERVAL
        record |= {part: _without(record[part], stale) for part in parts if part in record}
    record.pop("out_of_fold", None)  # Figures of the factor before.
    record |= {"calibration": factor, "calibration_photos": done.photos, "calibrated": asdict(done)}
    save_checkpoint(path, model, info.config, record)
    return done


def _without(figures: Mapping[str, Any], stale: Sequence[str]) -> dict[str, Any]:
    """Figures of a part, over all, by data set and by type, without those of the calibration before."""
    left = {name: value for name, value in figures.items() if name not in stale}
    return {name: _without(value, stale) if isinstance(value, dict) else value for name, value in left.items()}


def _refuse_known_sets(path: Path, info: CheckpointInfo, asked: DataConfig) -> set[str]:
    """Stop where names tell that photos would calibrate the model that trained it.

    Returns:
        The data sets of the run that are asked for.
    """
    known = TrainedOn.of_checkpoint(info).common(asked, asked.sets)
    if known and may_have_trained("val", asked, info.config.data):
        raise UsageError(
            f"session {asked.session} of {asked.splits} splits would calibrate {path} on photos of "
            f"{', '.join(sorted(known))} that trained it; leave it out (it was trained on session "
            f"{info.config.data.session} of {info.config.data.splits} splits), or name other data sets"
        )
    _refuse_after_folds(path, info, known)
    return known


def _refuse_known_photos(
    path: Path, info: CheckpointInfo, asked: DataConfig, root: Path, known: set[str], data: RunData
) -> None:
    """Stop where the photos themselves tell it."""
    trained = TrainedOn.of_checkpoint(info)
    if split_anew(asked, data.records, trained):
        raise UsageError(
            f"{root} holds more or fewer photos of {', '.join(sorted(known))} than {path} was trained with, so its "
            "split is another one, and photos that trained it would calibrate it; bring back the photos of the run, "
            "or name other data sets with --set data.sets"
        )
    held_out = data.at([*data.rated("val"), *data.rated("test")])
    if seen := trained.seen("val", held_out):
        raise UsageError(
            f"{len(seen)} of {len(held_out)} validation and test photos in {root} trained {path}, so they cannot "
            f"calibrate it; take the split of the run (--session {info.config.data.session}), or other photos: "
            f"defnet calibrate {shlex.quote(str(path))} --data OTHER.csv"
        )
    _refuse_after_folds(path, info, {photo.dataset for photo in trained.seen("test", data.at(data.rated("val")))})


def _refuse_after_folds(path: Path, info: CheckpointInfo, known: set[str]) -> None:
    if known and "out_of_fold" in info.record:
        raise UsageError(
            f"{path} is calibrated on {info.record['calibration_photos']} photos of {', '.join(sorted(known))}, each "
            "scored by a model trained without it; the validation part alone would do it worse: name other data sets "
            "with --data my.csv or --set data.sets"
        )
