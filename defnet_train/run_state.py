"""The training state of a run in one safetensors file: all that is needed to go on with the same bits.

Tensors: `model.*` weights, `moments.PARAMETER.*` of the optimiser, `rng.*` generator states of every process. The rest
(position, sums of the epoch in work, data order, loss history, log) is JSON in the file's metadata. One file,
replaced whole: its parts cannot disagree, whenever the run is killed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from defnet_infer.errors import CheckpointError
from defnet_train.model import Defnet
from defnet_train.safe_write import replacing

FORMAT = 1


@dataclass
class Position:
    """How far a run is."""

    epoch: int = 0
    """Epochs done."""
    step: int = 0
    """Steps done of the epoch in work."""
    sums: dict[str, float] = field(default_factory=dict)
    """Sum over those steps of every unweighted loss."""
    photos: int = 0
    """Photos those steps saw."""
    seconds: float = 0.0
    """Time those steps took, in this and earlier processes."""
    best_epoch: int = -1
    best_figure: float = -2.0
    """Of the best epoch: what chooses the checkpoint. Below any correlation to start with."""
    entries: list[dict[str, Any]] = field(default_factory=list)
    """The log, one entry an epoch."""


@dataclass(frozen=True)
class RunState:
    """A training state."""

    position: Position
    tensors: dict[str, Tensor]
    """As in the file."""
    about: dict[str, Any]
    """JSON-able: data order, NumPy generator, loss history, gradient scaler."""

    def load_weights(self, model: Defnet) -> None:
        """Give a model the weights of this state.

        Raises:
            CheckpointError: If they are of another architecture.
        """
        try:
            model.load_state_dict(under("model", self.tensors))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise CheckpointError(f"the training state does not fit {model.config.tower}: {reason}") from error


def save_state(path: Path, state: RunState) -> None:
    """Write a state; an interrupted write leaves the previous one as it was.

    Raises:
        StorageError: If the disk is full or gone.
    """
    about = {"format": FORMAT, "position": vars(state.position), "about": state.about}
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.tensors.items()}
    with replacing(path) as partial:
        save_file(tensors, partial, metadata={"defnet_state": json.dumps(about)})


def load_state(path: Path) -> RunState:
    """Read a state, on the CPU.

    Raises:
        CheckpointError: If the file is damaged or of another version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {})["defnet_state"])
        tensors = load_file(path)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is not a training state that can be read ({error}); start a new run") from error
    if about["format"] != FORMAT:
        raise CheckpointError(f"{path} was written by another version of defnet; start a new run")
    return RunState(Position(**about["position"]), tensors, about["about"])


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``PREFIX.``, without it."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}
