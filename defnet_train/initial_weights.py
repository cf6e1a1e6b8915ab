"""What a run starts from: weights of its recipe, or with `--init` of another run's checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from defnet_infer.errors import CheckpointError, UsageError
from defnet_train.checkpoint import NO_WEIGHTS, load_checkpoint
from defnet_train.config import TrainConfig
from defnet_train.encoder import refuse_idle_dropout
from defnet_train.model import Defnet
from defnet_train.run_data import RunData
from defnet_train.trained_on import TrainedOn, may_have_trained, split_anew

FITTED = ("calibration", "noise_factor")
"""Ends of the names of what calibration fits: not weights, and not all in every model of one architecture."""


def bare_model(config: TrainConfig) -> Defnet:
    """The model of a configuration with random weights: nothing is downloaded, no weights file is wanted."""
    model = Defnet(dataclasses.replace(config.model, **NO_WEIGHTS), config.loss.overview_gradient)
    model.config = config.model
    return model


def starting_weights(init: Path | None, config: TrainConfig, data: RunData | None = None) -> dict[str, Any] | None:
    """Look at what a new run is to start from, before it writes anything; nothing is downloaded.

    Args:
        init: Checkpoint to start from; None: from the weights that the configuration names.
        config: The run.
        data: Its photos; see `describe_initial`.

    Returns:
        What `describe_initial` says of the checkpoint, if there is one.

    Raises:
        UsageError: If folds could not be new to a model that starts from a checkpoint.
        CheckpointError: If a file of weights is missing, cannot be read or is of another architecture.
    """
    refuse_idle_dropout(config.model.tower, config.model.dropout)
    if init is None:
        if config.model.weights not in ("random", "openai") or config.model.trunk_weights:
            Defnet(config.model, config.loss.overview_gradient)
        return None
    if config.calibration.folds:
        raise UsageError(
            f"{init} may have been trained on the photos of a fold, which would then not be new to the model "
            "without it; calibrate on the validation part: --set calibration.folds=0"
        )
    return describe_initial(init, config, data)


def describe_initial(path: Path, config: TrainConfig, data: RunData | None = None) -> dict[str, Any]:
    """Path and SHA-256 of a checkpoint that a run can start from, and which data sets of the run it may know.

    The last, ``may_know``, are those of which photos outside the run's training part may have trained the checkpoint:
    what the run measures on them says nothing about new photos. It is there only if there are such.

    Args:
        path: The checkpoint.
        config: The run.
        data: Its photos, which tell whether a generated split is still the checkpoint's, and whether photos of a CSV
            file trained it; None: only names of data sets count.

    Raises:
        CheckpointError: If it cannot be read or is of another architecture.
        DatasetError: If a photo cannot be read.
    """
    _, info = load_checkpoint(path)
    if info.config.model.tower != config.model.tower:
        raise CheckpointError(
            f"--init {path} holds a {info.config.model.tower} model, the run trains {config.model.tower}; "
            f"use another recipe or --set model.tower={info.config.model.tower}"
        )
    described: dict[str, Any] = {"path": str(path.absolute()), "sha256": info.sha256}
    trained = TrainedOn.of_checkpoint(info)
    known = trained.common(config.data, config.data.sets)
    same = not (trained.imported or may_have_trained("test", config.data, trained.split))
    if same and not split_anew(config.data, data.records if data else (), trained):
        known &= set(trained.start_may_know)
    for part in ("val", "test") if data else ():
        known |= {record.dataset for record in trained.seen(part, data.at(data.rated(part)))}
    if known:
        described["may_know"] = sorted(known)
    load_initial(bare_model(config), described)
    return described


def load_initial(model: Defnet, described: Mapping[str, Any]) -> None:
    """Give a fresh model the weights of a described checkpoint; what calibration fits stays as a fresh model has it.

    Raises:
        CheckpointError: If the checkpoint is gone, is not the one described, or does not fit the model.
    """
    path = Path(described["path"])
    initial, info = load_checkpoint(path)
    if info.sha256 != described["sha256"]:
        raise CheckpointError(f"{path} is not the checkpoint that the run was begun from; start a new run")
    own = model.state_dict()
    weights = {name: value for name, value in initial.state_dict().items() if not name.endswith(FITTED)}
    weights |= {name: value for name, value in own.items() if name.endswith(FITTED)}
    if not initial.has_evidence:
        # Imported weights bring no head; it starts where a new one does.
        weights |= {name: value for name, value in own.items() if name.startswith("heads.")}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"--init {path} does not fit {model.config.tower}: {reason}") from error
