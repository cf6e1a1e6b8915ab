"""A training run from its data to its figures. Prints nothing; tells a `Listener`.

What it leaves behind is in `run_directory`; how it survives being stopped, in `epochs`.
"""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from defnet_infer.errors import UsageError
from defnet_train.batches import FeatureViews, PhotoViews, ViewSource
from defnet_train.checkpoint import load_checkpoint, save_checkpoint
from defnet_train.config import TrainConfig, require_trainable
from defnet_train.conformal import HeldOut, calibrate, passes
from defnet_train.datasets import own_csv
from defnet_train.epochs import Epochs
from defnet_train.evaluation import figures, predict, reference_scores, series_figures
from defnet_train.features import finished_features, fit_feature_norm, trunk_features
from defnet_train.folds import FoldTraining, deal
from defnet_train.heap import keep_freed_memory
from defnet_train.initial_weights import bare_model, load_initial, starting_weights
from defnet_train.listener import Interrupted, Listener, Silent, Stoppable
from defnet_train.model import Defnet
from defnet_train.parallel import Rank, check_machine, other_processes, start_fabric
from defnet_train.photo_digests import digests_by_part
from defnet_train.run_data import RunData, load_data
from defnet_train.run_directory import RunDirectory
from defnet_train.run_state import RunState, load_state
from defnet_train.trainer import Trainer, first_stages


@dataclass(frozen=True)
class _Job:
    """What every process of a run is told."""

    config: TrainConfig
    root: Path
    out: Path
    device: str


def train(
    config: TrainConfig,
    root: Path,
    out: Path,
    listener: Listener,
    device: str = "auto",
    *,
    resume: bool = False,
    init: Path | None = None,
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Train a model, keep its best checkpoint by validation SRCC, calibrate it, and measure it on the test part.

    Args:
        config: The run.
        root: Folder of the data sets.
        out: Run directory; made here, must not hold a run yet, unless it is resumed.
        listener: Told about progress.
        device: ``auto``, ``cpu`` or ``cuda``.
        resume: Go on with the run in `out`: on the CPU with the bits of an unbroken run. Nothing is done twice
            but the epoch in which it was killed, or the fold in which it stopped; a finished run is left as it is.
        init: Checkpoint whose weights the run starts from, instead of those of the configuration.
        stop: When it is set, the run saves its state after the step in work and ends.

    Returns:
        What metrics.json holds: ``best_epoch``, ``calibration``, ``calibration_photos`` on which it was fitted,
        ``val`` and ``test`` figures, and with folds ``out_of_fold``: those of models that have not seen the photos.

    Raises:
        UsageError: If the run directory holds a run, or another one than is to be resumed, or the device is not there.
        DatasetError: If the data cannot be used; before any training.
        CheckpointError: If weights to start from are missing or of another architecture.
        TrainingError: If a loss or the validation figure is no longer a number.
        StorageError: If the disk is full.
        Interrupted: After `stop` was set.
    """
    require_trainable(config)
    run = RunDirectory(out)
    if run.exists and not resume:
        raise UsageError(f"{out} already holds a run; choose another folder with --out, or go on with it: {run.go_on}")
    if strangers := run.strangers:
        raise UsageError(f"{strangers[0]} is of no run here and would be replaced; choose another folder with --out")
    check_machine(device, config.run)
    data = load_data(config, root)
    if config.calibration.folds:
        deal(data, config.calibration.folds, config.seed)  # What cannot be dealt should say so before the training.
    if not run.exists:
        run.begin(config, root, data, starting_weights(init, config, data))
    elif init is not None:
        raise UsageError(f"{out} has begun; --init is for new runs")
    else:
        run.refuse_other(config, data)
        if run.finished:
            run.clean()  # It may have been killed before it did.
            return run.metrics()
    job = _Job(config, root, out, device)
    stop = stop or threading.Event()
    with other_processes(config.run.devices, _other_process, (job,)) as rank:
        fabric = start_fabric(device, config.run.precision, rank)
        source = _train_all_epochs(fabric, job, data, listener, stop)
    return _finish(job, data, source, run, fabric.device, listener, stop)


def _other_process(rank: Rank, job: _Job) -> None:
    fabric = start_fabric(job.device, job.config.run.precision, rank)
    with contextlib.suppress(Interrupted):
        _train_all_epochs(fabric, job, load_data(job.config, job.root), Silent(), threading.Event())


def _train_all_epochs(
    fabric: Fabric, job: _Job, data: RunData, listener: Listener, stop: threading.Event
) -> ViewSource:
    """The part of a run that every process takes part in."""
    keep_freed_memory()
    run = RunDirectory(job.out)
    fabric.seed_everything(job.config.seed, verbose=False)
    state = load_state(run.state_file) if run.state_file.exists() else None
    model, fresh = _starting_model(job.config, run, state)
    if job.config.calibration.folds and state is None:
        save_checkpoint(run.start_file, model, job.config, {})
    model.to(fabric.device)
    seeing = _model_of_features(job.config, run, state, model)
    source = _view_source(fabric, job.config, seeing, data, Stoppable(listener, stop, "before the first step"))
    del seeing
    if fresh:
        fit_feature_norm(model, source, data)
    trainer = Trainer(fabric, job.config, model, source, data)
    epochs = Epochs(fabric, job.config, run, trainer, source, data, listener, stop)
    if state:
        trainer.restore(state)
        epochs.publish_again()
    epochs.run_all()
    return source


def _starting_model(config: TrainConfig, run: RunDirectory, state: RunState | None) -> tuple[Defnet, bool]:
    """The model, and whether its weights are fresh: neither of the run's own state nor of another checkpoint."""
    if state is None and run.init is None:
        return Defnet(config.model, config.loss.overview_gradient), True
    model = bare_model(config)
    if state is not None:
        state.load_weights(model)  # The trunk must be in place before its features are computed.
    else:
        load_initial(model, run.init)
    return model, False


def _model_of_features(config: TrainConfig, run: RunDirectory, state: RunState | None, model: Defnet) -> Defnet:
    """Folds start from the trunk that the run started from: features must not come from one that has trained since."""
    if state and config.calibration.folds and config.optim.thaw_stages:
        return load_checkpoint(run.start_file)[0].to(model.calibration.device)
    return model


def _view_source(fabric: Fabric, config: TrainConfig, model: Defnet, data: RunData, listener: Listener) -> ViewSource:
    rule = model.contract().preprocess
    if not config.optim.freeze_trunk:
        return PhotoViews(data.records, rule, scales=config.data.scales)
    listener.stage("features of the frozen trunk", len(data.records))
    cache = Path(config.data.cache) if config.data.cache else None
    features, begun = [], []
    stages = first_stages(config, model)
    # Where there is a cache, one process fills it and the others read it.
    with fabric.rank_zero_first() if cache else contextlib.nullcontext():
        for key in config.data.sets:  # One cache file per data set: adding one leaves the others' valid.
            records = [record for record in data.records if record.dataset == key]
            about = (model.encoder, records, rule, cache)
            found = trunk_features(*about, listener.advance, scales=config.data.scales, stages=stages)
            if stages:
                begun += found
                found = finished_features(*about, found, scales=config.data.scales, stages=stages)
            features += found
    return FeatureViews(features, begun or None)


def _finish(
    job: _Job,
    data: RunData,
    source: ViewSource,
    run: RunDirectory,
    device: torch.device,
    listener: Listener,
    stop: threading.Event,
) -> dict[str, Any]:
    """Calibrate the best checkpoint on photos that it or a model like it has not seen; measure it on the test part."""
    config = job.config
    rated = {part: data.rated(part) for part in ("val", "test")}
    model, info = load_checkpoint(run.best_file)
    unseen = [(model, rated["val"])]
    if config.calibration.folds:
        folds = FoldTraining(config, run, data, source, job.device, info.record["epoch"] + 1)
        unseen = folds.models(Stoppable(listener, stop, "in a fold, which will begin anew"))
    model.to(device)
    if isinstance(source, FeatureViews) and source.begun:
        source.thaw()  # The best epoch may be one before or after the stages began to train: begun fits both.
    for scorer in (model, *(scorer for scorer, _ in unseen)):
        scorer.cached_stages = first_stages(config, scorer)
    listener = Stoppable(listener, stop, "while measuring the best checkpoint")
    held_out = HeldOut.of(source, unseen, data, device)
    listener.stage("fitting the interval", passes(model) * len(held_out.target))
    factor, outputs = calibrate(model, held_out, listener.advance)
    result: dict[str, Any] = {
        "best_epoch": info.record["epoch"],
        "calibration": factor,
        "calibration_photos": len(held_out.target),
    }
    if may_know := (run.init or {}).get("may_know"):
        result["start_may_know"] = may_know
    if config.calibration.folds:
        result["out_of_fold"] = figures(outputs, data.at([index for _, fold in unseen for index in fold]))
    listener.stage("measuring the best checkpoint", len(data.parts["val"]) + len(data.parts["test"]))
    for part in ("val", "test"):
        outputs = predict(model, source, rated[part], listener.advance)
        result[part] = figures(outputs, data.at(rated[part]))
        if part == "test":
            result["reference_scores"] = reference_scores(outputs["score"])
        if series := data.series(part):
            outputs = predict(model, source, series, listener.advance)
            result[part] |= series_figures(outputs, data.at(series))
    save_checkpoint(
        run.best_file,
        model,
        config,
        {"epoch": result["best_epoch"], **result, **run.provenance, **_identity(job, data)},
    )
    run.finish(result)
    return result


def _identity(job: _Job, data: RunData) -> dict[str, Any]:
    """What tells the photos of a run again."""
    digests: dict[str, Any] = {"photo_digests": digests_by_part(data)}
    if own_csv.KEY in job.config.data.sets:
        digests["csv_sha256"] = own_csv.content_digest(job.config.data, job.root)
    return digests
