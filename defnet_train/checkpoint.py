"""Checkpoints: one safetensors file with weights, configuration and provenance. No pickle is ever read."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

import defnet_infer
from defnet_infer.errors import CheckpointError, UsageError
from defnet_infer.other_files import look
from defnet_infer.taxonomy import CLASSES
from defnet_train.config import TrainConfig
from defnet_train.model import Defnet
from defnet_train.safe_write import replacing

FORMAT = 1


@dataclass(frozen=True)
class CheckpointInfo:
    """What a checkpoint says about itself."""

    config: TrainConfig
    record: dict[str, Any]
    """Epoch, measured figures, training data: whatever the run wrote."""
    sha256: str

    @property
    def unfinished(self) -> bool:
        """It states intervals that nobody calibrated; see `unfinished`."""
        return _unfinished(self.config.model.head.kind, self.record)


def save_checkpoint(path: Path, model: Defnet, config: TrainConfig, record: dict[str, Any]) -> None:
    """Write a checkpoint; an interrupted write leaves the previous file as it was.

    Args:
        path: Ends in .safetensors.
        model: Its state, calibration included.
        config: The run's configuration.
        record: JSON-able facts about the run so far.

    Raises:
        StorageError: If the disk is full or gone.
    """
    about = {
        "format": FORMAT,
        "defnet": defnet_infer.__version__,
        "config": config.to_dict(),
        "labels": CLASSES,
        "record": record,
    }
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    with replacing(path) as partial:
        save_file(state, partial, metadata={"defnet": json.dumps(about)})


def find_model(path: Path) -> Path:
    """The file of a model: the best checkpoint of a run directory, or the path itself.

    Raises:
        CheckpointError: If a directory holds no finished run.
    """
    if not path.is_dir():
        return path
    best = path / "best.safetensors"
    if not best.is_file():
        raise CheckpointError(f"{path} holds no best.safetensors; name a run directory of `defnet train`, or a file")
    return best


def load_checkpoint(path: Path) -> tuple[Defnet, CheckpointInfo]:
    """Build the model that a checkpoint holds, in eval mode on the CPU.

    Raises:
        CheckpointError: If the file is missing, not a safetensors file of ours, or of another architecture.
    """
    about = _about(path)
    try:
        config = TrainConfig.from_dict(about["config"], str(path))
    except UsageError as error:
        raise CheckpointError(f"{error}; it was written by another version of defnet") from error
    # Weights come from this file: neither a download nor the training machine's trunk file is wanted again.
    bare = TrainConfig.from_dict(about["config"] | {"model": about["config"]["model"] | NO_WEIGHTS}, str(path))
    model = Defnet(bare.model, config.loss.overview_gradient)
    try:
        model.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} does not fit {config.model.tower}: {str(error).splitlines()[-1].strip()}"
        ) from error
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return model.eval(), CheckpointInfo(config, about["record"], digest)


def unfinished(path: Path) -> bool:
    """Whether a checkpoint states intervals that nobody calibrated: its run has not ended, or chose another.

    Raises:
        CheckpointError: If the file is missing or not a safetensors file of ours.
    """
    about = _about(path)
    return _unfinished(about["config"]["model"].get("head", {}).get("kind", ""), about["record"])


def why_unfinished(path: Path) -> str:
    """The line that says so of a checkpoint for which `unfinished` holds, and what to type."""
    folder, typed = path.parent, shlex.quote(str(path))
    calibrate = f"calibrate it: defnet calibrate {typed} --data FOLDER"
    if path.name == "best.safetensors" and (folder / "config.json").is_file():
        go_on = f"defnet train --resume --out {shlex.quote(str(folder))}"
        return f"{folder} was not finished, so its intervals are not calibrated; go on with it: {go_on}, or {calibrate}"
    return f"{path} was never calibrated, as only the best checkpoint of a run is; name that one, or {calibrate}"


def _unfinished(head: str, record: Mapping[str, Any]) -> bool:
    return head != "none" and not {"calibration", "imported"} & record.keys()


def _about(path: Path) -> dict[str, Any]:
    """What a checkpoint says about itself."""
    if path.is_dir():
        best = path / "best.safetensors"
        hint = f"name the checkpoint in it: {best}" if best.is_file() else "name a checkpoint, such as best.safetensors"
        raise CheckpointError(f"{path} is a folder; {hint}")
    if not path.is_file():
        raise CheckpointError(f"checkpoint {path} not found; train one with: defnet train RECIPE --data FOLDER")
    if (what := _foreign(path)) is not None:
        raise CheckpointError(what)
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("defnet", "null"))
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path} is not a safetensors checkpoint ({error})") from error
    if not about or about.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} was not written by this defnet; make one with: defnet train RECIPE --data FOLDER"
        )
    if about["labels"] != json.loads(json.dumps(CLASSES)):
        raise CheckpointError(f"{path} was trained with other classes than this defnet knows")
    return about


def _foreign(path: Path) -> str | None:
    """What a file is that others may have written, and the command that makes a checkpoint of it; None if it is ours
    or has nothing to import."""
    other = look(path)
    if other.form == "cut":
        return f"{path} is not a safetensors checkpoint: its end is missing; copy or save it again"
    if other.form in ("torch", "torchscript") or (other.form == "safetensors" and other.holds_clip):
        like = ", with the tensors of CLIP" if other.holds_clip else ""
        typed = shlex.quote(str(path))
        return f"{path} is a foreign checkpoint{like}, not one of defnet's; make one of it with: defnet import {typed}"
    return None


NO_WEIGHTS = {"weights": "random", "trunk_weights": ""}
"""Model settings of a model whose weights come from elsewhere."""
