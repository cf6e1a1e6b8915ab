"""Models of a run that were each trained without one part of its rated photos: what cross-conformal prediction needs.

Where a data set is small, its validation part is too: the factor fitted on 93 photos of the LIVE Challenge moves by a
tenth with the draw of them. Here the photos of the training and validation parts are dealt into folds, and for each a
model is trained as that of the run was, on the others. The errors on what each did not see stand for those of the run's
model, which is trained on about as many. The models are used for nothing else.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from lightning_fabric import Fabric

from defnet_infer.errors import TrainingError
from defnet_train.batches import FeatureViews, ViewSource
from defnet_train.checkpoint import load_checkpoint, save_checkpoint
from defnet_train.config import TrainConfig
from defnet_train.listener import Listener, Stoppable
from defnet_train.model import Defnet
from defnet_train.run_data import RunData
from defnet_train.run_directory import RunDirectory
from defnet_train.trainer import Trainer, first_stages


def deal(data: RunData, count: int, seed: int) -> list[list[int]]:
    """The rated photos of the training and validation parts in folds of nearly equal size.

    Args:
        data: The photos. Those of one group stay together; every data set is spread over all folds.
        count: Number of folds.
        seed: Of the order in which groups are dealt.

    Returns:
        Photos of each fold, ascending.
    """
    rng = np.random.default_rng(seed)
    folds: list[list[int]] = [[] for _ in range(count)]
    groups: dict[str, dict[str, list[int]]] = {}
    for index in sorted([*data.rated("train"), *data.rated("val")]):
        record = data.records[index]
        groups.setdefault(record.dataset, {}).setdefault(record.group, []).append(index)
    for by_group in groups.values():
        dealt = list(by_group.values())
        for place in rng.permutation(len(dealt)):
            min(folds, key=len).extend(dealt[place])
    return [sorted(fold) for fold in folds]


def train_folds(
    fabric: Fabric,
    config: TrainConfig,
    run: RunDirectory,
    data: RunData,
    source: ViewSource,
    start: Callable[[RunData], Defnet],
    epochs: int,
    listener: Listener,
    stop: threading.Event,
) -> list[tuple[Defnet, list[int]]]:
    """Train a model without each fold.

    Each is written into the run's folder when it is done, so a run that is resumed trains only those that are missing.

    Args:
        fabric: Device and precision; one process.
        config: The run; ``calibration.folds`` is the number of folds.
        run: Its folder.
        data: The photos and their parts. Synthetic copies train as in the run.
        source: Views of all photos.
        start: Makes the model that training starts from, given what it will be trained on.
        epochs: How long each is trained: until the epoch that the run chose.
        listener: Told about progress.
        stop: Set when the run is to stop.

    Returns:
        Models, and the rated photos that each has not seen.

    Raises:
        TrainingError: If a loss is no longer a number.
        StorageError: If the disk is full.
        Interrupted: If the run is to stop.
    """
    folds = deal(data, config.calibration.folds, config.seed)
    found = []
    for number, fold in enumerate(folds):
        path = run.fold_file(number)
        if not path.is_file():
            where = f"in fold {number + 1} of {len(folds)}, which will begin anew"
            told = Stoppable(listener, stop, where)
            told.stage(f"fold {number + 1}/{len(folds)}", epochs * config.optim.steps_per_epoch)
            fabric.seed_everything(config.seed + 1 + number, verbose=False)
            model = _train_without(fabric, config, data, source, fold, start, epochs, told)
            save_checkpoint(path, model, config, {"epoch": epochs - 1, "fold": number})
        model, _ = load_checkpoint(path)
        model.to(fabric.device)
        model.cached_stages = first_stages(config, model)
        found.append((model, fold))
    return found


def _train_without(
    fabric: Fabric,
    config: TrainConfig,
    data: RunData,
    source: ViewSource,
    fold: list[int],
    start: Callable[[RunData], Defnet],
    epochs: int,
    listener: Listener,
) -> Defnet:
    kept = set(fold)
    rated = [index for part in ("train", "val") for index in data.rated(part) if index not in kept]
    others = [index for index in data.parts["train"] if data.records[index].target is None]
    without = RunData(data.records, {"train": [*rated, *others], "val": fold, "test": []})
    if isinstance(source, FeatureViews):
        source.freeze()  # The fold before may have trained the last stages.
    model = start(without)
    model.to(fabric.device)
    trainer = Trainer(fabric, config, model, source, without)
    for _ in range(epochs):
        trainer.begin_epoch()
        for _ in range(config.optim.steps_per_epoch):
            trainer.step()
            listener.advance()
        losses = trainer.mean_losses()
        if not np.isfinite(list(losses.values())).all():
            raise TrainingError(f"training without a fold broke down in epoch {trainer.position.epoch + 1}: {losses}")
        trainer.end_epoch({}, 0.0)
    return model
