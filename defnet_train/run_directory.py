"""The folder of a run: its files, and whether a run found there is the one that is to go on.

config.json        the configuration, where the data lay, and what it was made with
log.jsonl          one line an epoch: losses, task weights, learning rate, validation figures, speed
tensorboard/       the same figures for TensorBoard
best.safetensors   best checkpoint by validation; last.safetensors: that of the last whole epoch
state.safetensors  what --resume needs; removed when the run is done
start.safetensors, fold-*.safetensors: with calibration.folds, the weights it started from, and models that only
                   calibrate; removed when the run is done
metrics.json       validation and test figures of the best checkpoint; there when the run is done
"""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from defnet_infer.errors import CheckpointError, UsageError
from defnet_train.config import TrainConfig
from defnet_train.datasets import pristine
from defnet_train.event_log import write_events
from defnet_train.provenance import git_state, versions
from defnet_train.run_data import RunData
from defnet_train.safe_write import make_folder, replacing, write_json, writing

MAY_MOVE = ("data.labels", "data.cache", "model.weights", "model.trunk_weights")
"""Paths may change between two parts of a run: labels are in the data's digest, weights in the training state."""


class RunDirectory:
    """One run's files.

    Args:
        path: The folder; need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.json"
        self.log_file = path / "log.jsonl"
        self.events_folder = path / "tensorboard"
        self.metrics_file = path / "metrics.json"
        self.state_file = path / "state.safetensors"
        self.best_file = path / "best.safetensors"
        self.last_file = path / "last.safetensors"

    @property
    def start_file(self) -> Path:
        """With folds: the weights that the run started from."""
        return self.path / "start.safetensors"

    def fold_file(self, number: int) -> Path:
        """Where the model that was trained without a fold waits for the others."""
        return self.path / f"fold-{number}.safetensors"

    @property
    def exists(self) -> bool:
        """A run was begun here."""
        return self.config_file.exists()

    @property
    def strangers(self) -> list[Path]:
        """Files that are there though no run was begun, and that a run would replace or remove."""
        own = [self.log_file, self.metrics_file, self.state_file, self.best_file, self.last_file, self.start_file]
        own += [self.events_folder, *sorted(self.path.glob("fold-*.safetensors"))]
        return [] if self.exists else [path for path in own if path.exists()]

    @property
    def finished(self) -> bool:
        """The run here is done."""
        return self.metrics_file.exists()

    @property
    def go_on(self) -> str:
        """The command that goes on with this run."""
        return f"defnet train --resume --out {shlex.quote(str(self.path))}"

    def begin(self, config: TrainConfig, root: Path, data: RunData, init: dict[str, Any] | None) -> None:
        """Make the folder and say in it what is going to happen.

        Args:
            config: The run.
            root: Folder of the data sets.
            data: What was found there.
            init: Checkpoint whose weights the run starts from, as `initial_weights.describe_initial` describes it.

        Raises:
            UsageError: If the folder cannot be made.
            StorageError: If its disk is full.
        """
        make_folder(self.path)
        about = {
            "config": config.to_dict(),
            "root": str(root.absolute()),
            "init": init,
            "data": data.digests(),
            "provenance": provenance(data),
        }
        write_json(self.config_file, about)

    def stored(self) -> dict[str, Any]:
        """What `begin` wrote.

        Raises:
            UsageError: If there is no run.
            CheckpointError: If its file is damaged.
        """
        if not self.exists:
            raise UsageError(f"no run to go on with in {self.path}; start one with: defnet train RECIPE --out FOLDER")
        try:
            about = json.loads(self.config_file.read_text(encoding="utf-8"))
            _ = [about[key] for key in ("config", "root", "init", "data", "provenance")]
        except (ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.config_file} is damaged or of another version; start a new run") from error
        return about

    def config(self) -> TrainConfig:
        """The configuration of the run here.

        Raises:
            UsageError: If there is no run, or another version wrote it.
        """
        return TrainConfig.from_dict(self.stored()["config"], str(self.config_file))

    @property
    def root(self) -> Path:
        """Where the data of the run here lay."""
        return Path(self.stored()["root"])

    @property
    def init(self) -> dict[str, Any] | None:
        """The checkpoint that the run here starts from: path, SHA-256, and the data sets that it `may_know`."""
        return self.stored()["init"]

    @property
    def provenance(self) -> dict[str, Any]:
        """What the run here was begun with."""
        return self.stored()["provenance"]

    def metrics(self) -> dict[str, Any]:
        """Figures of a finished run."""
        return json.loads(self.metrics_file.read_text(encoding="utf-8"))

    def refuse_other(self, config: TrainConfig, data: RunData) -> None:
        """Stop if a run with this configuration and data would not be the run that is here.

        Raises:
            UsageError: Naming what differs.
        """
        stored = self.stored()
        # Folds may be given up: the run's own model has nothing to do with them.
        given_up = () if config.calibration.folds else ("calibration.folds",)
        different = differences(stored["config"], config, given_up)
        photos = Counter(record.dataset for record in data.records)
        digests = data.digests()
        for dataset in sorted(stored["data"] | digests):
            if stored["data"].get(dataset) != digests.get(dataset):
                before = stored["provenance"]["photos"].get(dataset, 0)
                different.append(
                    f"data set {dataset} had {before} photos, now {photos[dataset]}"
                    if before != photos[dataset]
                    else f"files, scores, labels or split of data set {dataset} are not what they were"
                )
        if different:
            raise UsageError(
                f"{self.path} cannot go on: {'; '.join(different)}; "
                "resume it as it was begun, or start a new run with --out"
            )

    def append_log(self, entry: dict[str, Any]) -> None:
        """Add an epoch's line to the log and its figures to TensorBoard's.

        Raises:
            StorageError: If the disk is full; a resumed run writes both anew.
        """
        with writing(self.log_file), self.log_file.open("a") as log:
            log.write(json.dumps(entry) + "\n")
        self._write_events([entry])

    def rewrite_log(self, entries: list[dict[str, Any]]) -> None:
        """Make the logs hold these epochs and no others: a killed run may have left half a line, or a line less."""
        with replacing(self.log_file) as partial:
            partial.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
        self._write_events(entries, afresh=True)

    def _write_events(self, entries: list[dict[str, Any]], *, afresh: bool = False) -> None:
        with writing(self.events_folder):
            write_events(self.events_folder, entries, afresh=afresh)

    def finish(self, result: dict[str, Any]) -> None:
        """Record the figures; from here on the run is done and what it went on from is not needed."""
        write_json(self.metrics_file, result)
        self.clean()

    def clean(self) -> None:
        """Remove what a run goes on from."""
        for done in (self.state_file, self.start_file, *self.path.glob("fold-*.safetensors")):
            done.unlink(missing_ok=True)


def differences(stored: dict[str, Any], config: TrainConfig, but: Sequence[str] = ()) -> list[str]:
    """What makes a configuration another run than the stored one, a line a setting; paths may change.

    Args:
        stored: As config.json has it.
        config: To compare.
        but: Settings that may differ beside paths, by dotted name.
    """
    now = _flat(json.loads(json.dumps(config.to_dict())))
    # A setting that did not exist when the run was begun had its default.
    was = _flat(json.loads(json.dumps(TrainConfig().to_dict()))) | _flat(stored)
    return [
        f"{key} was {was.get(key)!r}, now {now.get(key)!r}"
        for key in sorted(was | now)
        if was.get(key) != now.get(key) and key not in (*MAY_MOVE, *but)
    ]


def newest_run(folder: Path, recipe: str | None) -> Path:
    """The run in a folder of runs that was begun last.

    Args:
        folder: Holds run directories.
        recipe: Only runs of this recipe; None takes any.

    Raises:
        UsageError: If there is none.
    """
    begun = sorted((p.stat().st_mtime, p) for p in folder.glob("*/config.json"))
    for _, file in reversed(begun):
        if recipe is None or RunDirectory(file.parent).stored()["config"]["recipe"] == recipe:
            return file.parent
    of = f" of recipe '{recipe}'" if recipe else ""
    raise UsageError(f"no run{of} to go on with in {folder}; name its folder with --out")


def provenance(data: RunData) -> dict[str, Any]:
    """What a run is made of: photos, parts, versions, and the commit of the folder it was started in."""
    originals = len({r.group for r in data.records if r.dataset == pristine.KEY})
    return {
        "photos": dict(Counter(r.dataset for r in data.records)),
        **({"originals": originals} if originals else {}),
        "parts": {part: len(indices) for part, indices in data.parts.items()},
        "versions": versions(),
        "git": git_state(Path.cwd()),
    }


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys; the mixture of data sets stays one value, for its order counts."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict) and f"{prefix}{key}" != "data.sets":
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value.items()) if isinstance(value, dict) else value
    return flat
