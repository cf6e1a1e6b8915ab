"""The epochs of a run: steps, validation, and what is written after each.

After an epoch the training state is written first and what follows from it (checkpoints, log) second. A run that is
killed in between writes the rest when it goes on; one that is killed within an epoch repeats it; one that is asked to
stop saves its state after the step in work. However it was stopped, it ends with the same bits.
"""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
from lightning_fabric import Fabric

from defnet_infer.errors import TrainingError
from defnet_train.batches import ViewSource
from defnet_train.checkpoint import save_checkpoint
from defnet_train.config import TrainConfig
from defnet_train.listener import Interrupted, Listener, Silent, StepReport, Stoppable
from defnet_train.parallel import anyone
from defnet_train.run_data import RunData
from defnet_train.run_directory import RunDirectory
from defnet_train.run_state import save_state
from defnet_train.trainer import Trainer
from defnet_train.validation import Validation, validate


class Epochs:
    """What every process of a run does; the one of rank 0 alone writes.

    Args:
        fabric: Tells the processes apart.
        config: The run.
        run: Its folder.
        trainer: The model in training.
        source: Views of all photos.
        data: The photos and their parts.
        listener: Told about progress.
        stop: Set when the run is to stop.
    """

    def __init__(
        self,
        fabric: Fabric,
        config: TrainConfig,
        run: RunDirectory,
        trainer: Trainer,
        source: ViewSource,
        data: RunData,
        listener: Listener,
        stop: threading.Event,
    ) -> None:
        self._fabric, self._config, self._run, self._trainer = fabric, config, run, trainer
        self._source, self._data, self._listener, self._stop = source, data, listener, stop

    def run_all(self) -> None:
        """Train from wherever the trainer stands to the last epoch.

        Raises:
            TrainingError: If a loss or the validation figure is no longer a number.
            StorageError: If the disk is full.
            Interrupted: If the run is to stop; its state is saved.
        """
        while self._trainer.position.epoch < self._config.optim.epochs:
            rate = self._trainer.begin_epoch()
            try:
                self._steps()
                started = time.monotonic()
                validation = self._validate()
            except Interrupted:
                self._save()
                raise
            self._close(self._entry(rate, validation, time.monotonic() - started), validation.figure)

    def publish_again(self) -> None:
        """Write what follows from the state that was taken up, as the run that was stopped may not have done."""
        if not self._fabric.is_global_zero:
            return
        self._run.rewrite_log(self._trainer.position.entries)
        if self._trainer.position.step == 0:  # Else the weights are not those of an epoch's end any more.
            self._publish()

    def _steps(self) -> None:
        position, optim = self._trainer.position, self._config.optim
        self._listener.stage(f"epoch {position.epoch + 1}/{optim.epochs}", optim.steps_per_epoch)
        self._listener.advance(position.step)
        while position.step < optim.steps_per_epoch:
            if anyone(self._fabric, self._stop.is_set()):
                raise Interrupted(self._where())
            started = time.monotonic()
            self._trainer.step()
            position.seconds += time.monotonic() - started
            self._listener.advance()
            self._listener.step(
                StepReport(
                    step=position.epoch * optim.steps_per_epoch + position.step,
                    steps=optim.epochs * optim.steps_per_epoch,
                    photos_per_second=position.photos / position.seconds,
                    losses=self._trainer.mean_losses(),
                    task_weights=self._trainer.weights.weights(),
                )
            )

    def _validate(self) -> Validation:
        # Several processes validate together: one of them must not leave in the middle.
        stop = self._stop if self._fabric.world_size == 1 else threading.Event()
        progress = Stoppable(Silent(), stop, self._where()).advance
        choice = self._config.optim.checkpoint_choice
        return validate(self._fabric, self._trainer.model, self._source, self._data, choice, progress)

    def _entry(self, rate: float, validation: Validation, validation_seconds: float) -> dict[str, Any]:
        position = self._trainer.position
        losses, val_srcc = self._trainer.mean_losses(), validation.mean
        if not np.isfinite([*losses.values(), val_srcc]).all():
            before = f"the checkpoints before it are in {self._run.path}; " if position.epoch else ""
            raise TrainingError(
                f"training broke down in epoch {position.epoch + 1}: losses {losses}, validation SRCC {val_srcc}; "
                f"{before}try lower rates in a new run: --set optim.encoder_lr=..., head_lr or text_lr"
            )
        return {
            "epoch": position.epoch,
            "learning_rate": rate,
            "task_weights": self._trainer.weights.weights(),
            "losses": losses,
            "val_srcc": val_srcc,
            "val_srcc_by_set": validation.by_set,
            "seconds": round(position.seconds + validation_seconds, 2),
            "photos_per_second": round(position.photos / position.seconds, 1),
        }

    def _close(self, entry: dict[str, Any], figure: float) -> None:
        self._trainer.end_epoch(entry, figure)
        self._save()
        if self._fabric.is_global_zero:
            self._publish()
            self._run.append_log(entry)
        self._listener.epoch(entry)

    def _save(self) -> None:
        state = self._trainer.state()
        if self._fabric.is_global_zero:
            save_state(self._run.state_file, state)

    def _publish(self) -> None:
        """Checkpoints of the epoch that has just ended."""
        position, model = self._trainer.position, self._trainer.model
        if not position.epoch:
            return
        epoch = position.epoch - 1
        known = (self._run.init or {}).get("may_know")
        record = {"epoch": epoch, "val_srcc": position.entries[-1]["val_srcc"], **self._run.provenance}
        record |= {"start_may_know": known} if known else {}
        save_checkpoint(self._run.last_file, model, self._config, record)
        if position.best_epoch == epoch:
            save_checkpoint(self._run.best_file, model, self._config, record)

    def _where(self) -> str:
        position = self._trainer.position
        return f"in epoch {position.epoch + 1}, {position.step} of {self._config.optim.steps_per_epoch} steps done"
