"""Models of a run that were each trained without one part of its rated photos, for errors on photos not seen.

Where a data set is small, its validation part is too: the factor fitted on 93 photos of the LIVE Challenge moves by a
tenth with the draw of them. Here the photos of the training and validation parts are dealt into folds, and for each a
model is trained as that of the run was, on the others. The errors on what each has not seen stand for those of the
run's model. The models are used for nothing else.

With eight folds a model trains on as many of these photos as the run's; with five, on fewer, and on the LIVE Challenge
it is then surer of itself than the run's. Split conformal prediction promises coverage whatever the errors look like.
This does not: it holds as far as the models are alike (cross-conformal prediction, Vovk 2015, would need all of them
when scoring).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import torch

from defnet_infer.errors import TrainingError, UsageError
from defnet_train.batches import FeatureViews, ViewSource
from defnet_train.checkpoint import load_checkpoint, save_checkpoint
from defnet_train.config import TrainConfig
from defnet_train.features import fit_feature_norm
from defnet_train.initial_weights import bare_model
from defnet_train.listener import Listener
from defnet_train.model import Defnet
from defnet_train.parallel import Rank, start_fabric
from defnet_train.run_data import RunData
from defnet_train.run_directory import RunDirectory
from defnet_train.trainer import Trainer


def deal(data: RunData, count: int, seed: int) -> list[list[int]]:
    """The rated photos of the training and validation parts in folds of nearly equal size.

    Args:
        data: The photos. Those of one group stay together; every data set is spread over all folds.
        count: Number of folds.
        seed: Of the order in which groups are dealt.

    Returns:
        Photos of each fold, ascending.

    Raises:
        UsageError: If a data set has fewer groups than folds.
    """
    rng = np.random.default_rng(seed)
    folds: list[list[int]] = [[] for _ in range(count)]
    groups: dict[str, dict[str, list[int]]] = {}
    for index in sorted([*data.rated("train"), *data.rated("val")]):
        record = data.records[index]
        groups.setdefault(record.dataset, {}).setdefault(record.group, []).append(index)
    for key, by_group in groups.items():
        if len(by_group) < count:
            raise UsageError(
                f"calibration.folds = {count}: {key} has only {len(by_group)} photos or groups of photos to deal; "
                f"take at most {len(by_group)}, or 0 to calibrate on the validation part"
            )
        dealt = list(by_group.values())
        of_this_set: Counter[int] = Counter()
        for place in rng.permutation(len(dealt)):
            fold = min(range(count), key=lambda number: (of_this_set[number], len(folds[number])))
            folds[fold].extend(dealt[place])
            of_this_set[fold] += len(dealt[place])
    return [sorted(fold) for fold in folds]


@dataclass(frozen=True)
class FoldTraining:
    """A run's models without a fold.

    Each is written into the run's folder when it is done, so a run that is resumed trains only those that are missing.
    """

    config: TrainConfig
    """The run; ``calibration.folds`` is the number of folds."""
    run: RunDirectory
    """Its folder, which holds the weights that it started from."""
    data: RunData
    source: ViewSource
    """Views of all photos."""
    device: str
    """``auto``, ``cpu`` or ``cuda``."""
    epochs: int
    """How long each is trained: until the epoch that the run chose."""

    def models(self, listener: Listener) -> list[tuple[Defnet, list[int]]]:
        """Train what is missing.

        Args:
            listener: Told about progress; may stop a fold, which then begins anew.

        Returns:
            Models, on the CPU, and the rated photos that each has not seen.

        Raises:
            TrainingError: If a loss is no longer a number.
            StorageError: If the disk is full.
        """
        folds = deal(self.data, self.config.calibration.folds, self.config.seed)
        unseen = []
        for number, fold in enumerate(folds):
            path = self.run.fold_file(number)
            if not path.is_file():
                listener.stage(f"fold {number + 1}/{len(folds)}", self.epochs * self.config.optim.steps_per_epoch)
                model = self._train(number, fold, listener)
                save_checkpoint(path, model, self.config, {"epoch": self.epochs - 1, "fold": number})
            unseen.append((load_checkpoint(path)[0], fold))
        return unseen

    def _train(self, number: int, fold: list[int], listener: Listener) -> Defnet:
        if isinstance(self.source, FeatureViews):
            self.source.freeze()  # The run, or the fold before, may have trained the last stages.
        # One of its own: the scale of mixed precision must not depend on the fold before.
        fabric = start_fabric(self.device, self.config.run.precision, Rank(0, 1, 0))
        without = without_fold(self.data, fold)
        model = self._starting_model(number, without)
        model.to(fabric.device)
        trainer = Trainer(fabric, self.config, model, self.source, without)
        for epoch in range(self.epochs):
            trainer.begin_epoch()
            for _ in range(self.config.optim.steps_per_epoch):
                trainer.step()
                listener.advance()
            if not np.isfinite(list(trainer.mean_losses().values())).all():
                raise TrainingError(
                    f"fold {number + 1} broke down in epoch {epoch + 1}: losses {trainer.mean_losses()}; calibrate on "
                    f"the validation part instead: {self.run.go_on} --set calibration.folds=0"
                )
            trainer.count_epoch()
        return model

    def _starting_model(self, number: int, without: RunData) -> Defnet:
        """What the run was given, and new random numbers for the rest."""
        start, _ = load_checkpoint(self.run.start_file)
        torch.manual_seed(self.config.seed + 1 + number)
        model = bare_model(self.config)
        if self.config.model.weights == "random":
            model.encoder.trunk.load_state_dict(start.encoder.trunk.state_dict())
        else:
            model.encoder.load_state_dict(start.encoder.state_dict())
        fit_feature_norm(model, self.source, without)
        return model


def without_fold(data: RunData, fold: list[int]) -> RunData:
    """The data of a run with a fold as validation part, and what people rated beside it, and all copies, to train."""
    left_out = set(fold)
    rated = [index for part in ("train", "val") for index in data.rated(part) if index not in left_out]
    copies = [index for index in data.parts["train"] if data.records[index].target is None]
    return RunData(data.records, {"train": [*rated, *copies], "val": fold, "test": []})
