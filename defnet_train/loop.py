"""The training loop: data, steps, validation, checkpoints, calibration. Prints nothing; reports to a `Listener`.

A run directory holds:
    config.json     the whole configuration, versions and the data found
    log.jsonl       one line an epoch: losses, task weights, learning rate, validation figures
    best.safetensors, last.safetensors
    metrics.json    validation and test figures of the best checkpoint, after calibration
"""

from __future__ import annotations

import json
import platform
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import lightning_fabric
import numpy as np
import torch

import defnet_infer
from defnet_infer.errors import DatasetError, TrainingError, UsageError
from defnet_train.batches import FeatureViews, PhotoViews, ViewSource, index_batches, take, targets_of
from defnet_train.checkpoint import load_checkpoint, save_checkpoint
from defnet_train.config import TrainConfig
from defnet_train.evaluation import calibrate, figures, predict, series_figures
from defnet_train.features import trunk_features
from defnet_train.metrics import srcc
from defnet_train.model import Defnet
from defnet_train.objective import TASKS, objective
from defnet_train.readers import ImageRecord, read_all
from defnet_train.schedule import learning_rate_factor
from defnet_train.splits import split
from defnet_train.weighting import DynamicWeights


class Listener(Protocol):
    """Where a run tells how it goes."""

    def stage(self, name: str, total: int) -> None:
        """A stage of `total` units begins."""

    def advance(self, count: int = 1) -> None:
        """Units of the stage are done."""

    def epoch(self, entry: dict[str, Any]) -> None:
        """An epoch is done; `entry` is its line of the log."""


@dataclass(frozen=True)
class RunData:
    """All photos of a run, and which part each belongs to."""

    records: list[ImageRecord]
    parts: dict[str, list[int]]

    def at(self, indices: list[int]) -> list[ImageRecord]:
        """Records by index."""
        return [self.records[i] for i in indices]

    def of(self, part: str) -> list[ImageRecord]:
        """Records of a part."""
        return self.at(self.parts[part])

    def rated(self, part: str) -> list[int]:
        """Photos of a part that people rated; synthetic copies have only an order."""
        return [i for i in self.parts[part] if self.records[i].target is not None]

    def series(self, part: str) -> list[int]:
        """Synthetic copies of a part, and their originals."""
        return [i for i in self.parts[part] if self.records[i].series]


def load_data(config: TrainConfig, root: Path) -> RunData:
    """Read and split the data sets of a configuration.

    Raises:
        DatasetError: From the readers, or if a part is too small to train or to measure on.
    """
    records = read_all(root, config.data)
    chosen = split(records, config.data.session)
    index = {id(record): i for i, record in enumerate(records)}
    parts = {name: [index[id(r)] for r in chosen[name]] for name in ("train", "val", "test")}
    data = RunData(records, parts)
    for name in parts:
        found = len(data.rated(name))
        if found < 5:
            raise DatasetError(f"only {found} rated photos in the {name} part of {len(records)}; 5 are needed")
    return data


def train(config: TrainConfig, root: Path, out: Path, listener: Listener, device: str = "auto") -> dict[str, Any]:
    """Train a model, keep its best checkpoint by validation SRCC, calibrate it, and measure it on the test part.

    Args:
        config: The run.
        root: Folder of the data sets.
        out: Run directory; made here, must not hold a run yet.
        listener: Told about progress.
        device: ``auto``, ``cpu`` or ``cuda``.

    Returns:
        What metrics.json holds: ``best_epoch``, ``calibration``, ``val`` and ``test`` figures.

    Raises:
        UsageError: If the run directory holds a run, or the device is not there.
        DatasetError: If the data cannot be used; before any training.
        TrainingError: If a loss or the validation figure is no longer a number.
    """
    if (out / "config.json").exists():
        raise UsageError(f"{out} already holds a run; choose another folder with --out")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("no CUDA device is visible to PyTorch; leave out --device or use --device cpu")
    data = load_data(config, root)
    fabric = lightning_fabric.Fabric(accelerator=device, devices=1)
    fabric.seed_everything(config.seed, verbose=False)
    model = Defnet(config.model, config.loss.overview_gradient).to(fabric.device)
    out.mkdir(parents=True, exist_ok=True)
    _write_json(out / "config.json", {"config": config.to_dict(), "provenance": _provenance(data)})
    source = _view_source(config, model, data, listener)
    if isinstance(source, FeatureViews):
        flat = [source.features[i].flatten(0, 1) for i in data.parts["train"]]
        model.encoder.fit_feature_norm(torch.cat(flat))
    optimizer = _optimizer(config, model)
    wrapped, optimizer = fabric.setup(model, optimizer)
    rng = np.random.default_rng(config.seed)
    batches = index_batches(data.of("train"), config.data.sets, rng)
    weights = DynamicWeights(TASKS)
    base_rates = [group["lr"] for group in optimizer.param_groups]
    all_targets = targets_of(data.records)
    best: tuple[float, int] = (-2.0, -1)
    for epoch in range(config.optim.epochs):
        started = time.monotonic()
        factor = learning_rate_factor(config.optim.schedule, epoch, config.optim.epochs)
        for group, rate in zip(optimizer.param_groups, base_rates, strict=True):
            group["lr"] = rate * factor
        listener.stage(f"epoch {epoch + 1}/{config.optim.epochs}", config.optim.steps_per_epoch)
        model.train()
        model.encoder.trunk.eval()  # batch norm must not learn statistics of a few correlated crops
        sums: Counter[str] = Counter()
        for _ in range(config.optim.steps_per_epoch):
            indices = [data.parts["train"][i] for i in next(batches)]
            crops, overview = source.draw(indices, config.data.crops, rng)
            targets = take(all_targets, indices)
            crops, overview, *labels = fabric.to_device((crops, overview, *targets))
            losses = objective(wrapped(crops, overview), type(targets)(*labels), weights.weights(), config.loss)
            optimizer.zero_grad()
            fabric.backward(losses.total)
            if config.optim.clip_norm:
                fabric.clip_gradients(wrapped, optimizer, max_norm=config.optim.clip_norm)
            optimizer.step()
            model.encoder.limit_logit_scale()
            sums.update({name: value.item() for name, value in losses.parts.items()})
            listener.advance()
        means = {name: value / config.optim.steps_per_epoch for name, value in sums.items()}
        val_srcc = _validation_srcc(model, source, data)
        if not np.isfinite([*means.values(), val_srcc]).all():
            raise TrainingError(
                f"training broke down in epoch {epoch + 1}: losses {means}, validation SRCC {val_srcc}; the "
                f"checkpoints before it are in {out}; try a lower rate: --set optim.encoder_lr=..."
            )
        entry = {
            "epoch": epoch,
            "learning_rate": base_rates[0] * factor,
            "task_weights": weights.weights(),
            "losses": means,
            "val_srcc": val_srcc,
            "seconds": round(time.monotonic() - started, 2),
        }
        weights.end_epoch(means)
        record = {"epoch": epoch, "val_srcc": val_srcc}
        save_checkpoint(out / "last.safetensors", model, config, record)
        if val_srcc > best[0]:
            best = (val_srcc, epoch)
            save_checkpoint(out / "best.safetensors", model, config, record)
        with (out / "log.jsonl").open("a") as log:
            log.write(json.dumps(entry) + "\n")
        listener.epoch(entry)
    return _finish(config, data, source, out, best[1], fabric.device, listener)


def _finish(
    config: TrainConfig,
    data: RunData,
    source: ViewSource,
    out: Path,
    best_epoch: int,
    device: torch.device,
    listener: Listener,
) -> dict[str, Any]:
    """Calibrate the best checkpoint on the validation part and measure it, once, on the test part."""
    listener.stage("measuring the best checkpoint", len(data.parts["val"]) + len(data.parts["test"]))
    rated = {part: data.rated(part) for part in ("val", "test")}
    model = load_checkpoint(out / "best.safetensors")[0].to(device)
    factor = calibrate(model, source, rated["val"], data.at(rated["val"]))
    result: dict[str, Any] = {"best_epoch": best_epoch, "calibration": factor}
    for part in ("val", "test"):
        outputs = predict(model, source, rated[part], listener.advance)
        result[part] = figures(outputs, data.at(rated[part]))
        if series := data.series(part):
            outputs = predict(model, source, series, listener.advance)
            result[part] |= series_figures(outputs["score"], data.at(series))
    save_checkpoint(out / "best.safetensors", model, config, {"epoch": best_epoch, **result, **_provenance(data)})
    _write_json(out / "metrics.json", result)
    return result


def _view_source(config: TrainConfig, model: Defnet, data: RunData, listener: Listener) -> ViewSource:
    rule = model.contract().preprocess
    if not config.optim.freeze_trunk:
        return PhotoViews(data.records, rule)
    listener.stage("features of the frozen trunk", len(data.records))
    cache = Path(config.data.cache) if config.data.cache else None
    features = []
    for key in config.data.sets:  # One cache file per data set: adding one leaves the others' valid.
        records = [record for record in data.records if record.dataset == key]
        features += trunk_features(model.encoder, records, rule, cache, listener.advance)
    return FeatureViews(features)


def _optimizer(config: TrainConfig, model: Defnet) -> torch.optim.Optimizer:
    """AdamW with the encoder and the head in groups of their own; what is frozen is in neither."""
    if config.optim.freeze_trunk:
        model.encoder.trunk.requires_grad_(False)
    model.encoder.clip.logit_scale.requires_grad_(config.optim.learn_kappa)
    return torch.optim.AdamW(
        [
            {
                "params": [p for p in model.encoder.parameters() if p.requires_grad],
                "lr": config.optim.encoder_lr,
                "weight_decay": config.optim.encoder_weight_decay,
            },
            {"params": list(model.heads.parameters()), "lr": config.optim.head_lr, "weight_decay": 0.0},
        ]
    )


def _validation_srcc(model: Defnet, source: ViewSource, data: RunData) -> float:
    """Mean over rated data sets of the SRCC on the validation part; the figure that chooses the checkpoint."""
    rated = data.rated("val")
    outputs = predict(model, source, rated)
    records = data.at(rated)
    keys = np.array([r.dataset for r in records])
    target = np.array([r.target for r in records])
    return float(np.mean([srcc(outputs["score"][keys == key], target[keys == key]) for key in np.unique(keys)]))


def _provenance(data: RunData) -> dict[str, Any]:
    return {
        "photos": dict(Counter(r.dataset for r in data.records)),
        "parts": {part: len(indices) for part, indices in data.parts.items()},
        "versions": {
            "defnet": defnet_infer.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
        },
    }


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
