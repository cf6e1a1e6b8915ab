"""Models on rated photos: what `defnet evaluate` does. A model is a checkpoint, a run directory or an exported file."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from defnet_infer.contract import Preprocess
from defnet_infer.errors import UsageError
from defnet_train.batches import PhotoViews, ViewSource
from defnet_train.checkpoint import find_model, load_checkpoint
from defnet_train.config import DataConfig, TrainConfig
from defnet_train.datasets.own_csv import KEY as CSV
from defnet_train.evaluation import Outputs, distortion_type, figures, predict, series_figures
from defnet_train.readers import data_folder
from defnet_train.recipe_file import apply_overrides
from defnet_train.records import ImageRecord
from defnet_train.run_data import PARTS, load_data

if TYPE_CHECKING:
    from defnet_train.listener import Listener

SYNTHETIC = "synthetic"
"""Data set of copies that nobody rated."""
Part = Literal["train", "val", "test", "all"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which photos a model is to be measured on."""

    root: Path
    part: Part = "test"
    session: int | None = None
    """Number of the split; None: the one the model was trained on, 1 for an exported file, which does not say."""
    sets: tuple[str, ...] = ()
    """Data set keys; empty: those trained on."""
    settings: tuple[str, ...] = ()
    """``table.key=value`` changes of the run's configuration, such as the folder of labels."""
    levels: bool = False
    """Also score the synthetic copies among the photos."""
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """A model's outputs on rated photos, and what follows from them."""

    model: Path
    """The file."""
    sha256: str
    config: TrainConfig | None
    """Of the training run; None for an exported file."""
    trained_on: tuple[str, ...]
    """Keys of the data sets that trained the model; others are zero-shot."""
    session: int
    part: Part
    records: list[ImageRecord]
    outputs: Outputs
    """Of `records`."""
    figures: dict[str, Any]
    photos_per_second: float
    """Decoding included, in this process."""
    copies: list[ImageRecord]
    """Synthetic copies and their originals; empty unless asked for."""
    copy_scores: Outputs
    seen: bool
    """Photos of these data sets may have been trained on: not the trained split's held-out part."""

    def to_json(self) -> dict[str, Any]:
        """What evaluation.json says; `defnet tables` reads it."""
        return {
            "model": str(self.model),
            "sha256": self.sha256,
            "config": self.config.to_dict() if self.config else None,
            "trained_on": list(self.trained_on),
            "session": self.session,
            "part": self.part,
            "seen": self.seen,
            "photos_per_second": round(self.photos_per_second, 3),
            "figures": self.figures,
        }


def evaluate(path: Path, question: Question, listener: Listener) -> Evaluation:
    """Measure one model.

    Args:
        path: Checkpoint, run directory, or exported ``.onnx`` file.
        question: On which photos.
        listener: Told about progress.

    Raises:
        CheckpointError, ArtifactError: If the model cannot be used.
        UsageError: If a setting or data set is unknown.
        DatasetError: If the data cannot be read.
    """
    refuse_other_settings(question.settings)
    path = find_model(path)
    model = _open(path, question.device)
    asked = _config(model.config or TrainConfig(), model.trained_on, question)
    asked, folder = data_folder(asked, question.root)
    data = load_data(asked, folder, used=(_parts(question.part),))
    indices = _indices(data.rated, question.part)
    records = data.at(indices)
    source = PhotoViews(data.records, model.rule)
    listener.stage(f"scoring with {path}", len(indices))
    started = time.monotonic()
    outputs = model.predict(source, indices, listener.advance)
    seconds = time.monotonic() - started
    found = figures(outputs, records)
    copies = _indices(data.series, question.part) if question.levels else []
    copy_outputs: Outputs = {}
    if copies:
        listener.stage(f"scoring synthetic copies with {path}", len(copies))
        copy_outputs = model.predict(source, copies, listener.advance)
        found |= series_figures(copy_outputs, data.at(copies))
    return Evaluation(
        model=path,
        sha256=model.sha256,
        config=model.config,
        trained_on=model.trained_on,
        session=asked.data.session,
        part=question.part,
        records=records,
        outputs=outputs,
        figures=found,
        photos_per_second=len(indices) / max(seconds, 1e-9),
        copies=data.at(copies),
        copy_scores=copy_outputs,
        seen=bool(set(model.trained_on) & {record.dataset for record in records})
        and (
            model.imported
            or may_have_trained(question.part, asked.data, model.config and model.config.data)
            or (model.config is not None and split_anew(asked.data, data.records, model.config.data, model.photos))
        ),
    )


def may_have_trained(part: Part, asked: DataConfig, trained: DataConfig | None) -> bool:
    """Whether photos of a data set that was trained on may be among those trained on.

    Args:
        part: That is measured.
        asked: Says to which split it belongs.
        trained: Of the run; None if that is not known, as of an exported file, which is then believed.
    """
    same = trained is None or (trained.splits, trained.session) == (asked.splits, asked.session)
    return part in ("train", "all") or not same


def refuse_other_settings(settings: Sequence[str]) -> None:
    """Stop where ``--set`` would change more than which photos are read: the model is finished.

    Raises:
        UsageError: Naming the setting.
    """
    for setting in settings:
        if not setting.startswith("data."):
            raise UsageError(f"--set {setting}: the model is trained; only settings of data can change, as data.labels")


def split_anew(
    asked: DataConfig, records: Sequence[ImageRecord], trained: DataConfig, run_photos: Mapping[str, int]
) -> bool:
    """Whether a generated split is another one than the run's, because a data set has more or fewer photos now.

    Args:
        asked: Says how `records` are split.
        records: Photos of all parts.
        trained: Of the run.
        run_photos: Data set -> photos of it that the run had, all parts together; empty if that is not known.
    """
    if asked.splits != "generated":
        return False
    photos = Counter(record.dataset for record in records)
    # Synthetic copies follow their originals: other levels of them change no split. Another CSV file is another set.
    others = {SYNTHETIC, *([CSV] if asked.csv != trained.csv else [])}
    return any(photos[key] != count for key, count in run_photos.items() if key in photos and key not in others)


@dataclass(frozen=True)
class _Model:
    """What both kinds of file have in common."""

    config: TrainConfig | None
    sha256: str
    rule: Preprocess
    trained_on: tuple[str, ...]
    photos: Mapping[str, int]
    """Data set -> photos of it that the run had, all parts together; empty if that is not known."""
    predict: Callable[[ViewSource, Sequence[int], Callable[[int], None]], Outputs]
    imported: bool = False
    """Trained elsewhere, on which photos of its data sets nobody knows."""


def _open(path: Path, device: Literal["auto", "cpu", "cuda"]) -> _Model:
    if path.suffix == ".onnx":
        from defnet_train.exported import ExportedModel  # brings ONNX Runtime

        exported = ExportedModel.open(path, device)
        return _Model(None, exported.sha256, exported.preprocess, exported.trained_on, {}, exported.predict)
    model, info = load_checkpoint(path)
    model.to(_device(device))
    rule, trained_on = model.contract().preprocess, tuple(info.config.data.sets)
    photos = info.record.get("photos", {})
    imported = "imported" in info.record
    return _Model(info.config, info.sha256, rule, trained_on, photos, partial(predict, model), imported)


def _config(config: TrainConfig, trained_on: tuple[str, ...], question: Question) -> TrainConfig:
    """The run's configuration with the photos that are asked for."""
    # Copies are only read where they are scored: their originals need not be on every machine.
    keys = question.sets or tuple(key for key in trained_on if question.levels or key != SYNTHETIC)
    overrides = [*question.settings]
    if question.session is not None:
        overrides.append(f"data.session={question.session}")
    if keys:
        table = ", ".join(f"{json.dumps(key)} = 1" for key in keys)
        overrides.insert(0, f"data.sets={{ {table} }}")
    return apply_overrides(config, overrides)


def _indices(of_part: Callable[[str], list[int]], part: Part) -> list[int]:
    return sorted(index for name in _parts(part) for index in of_part(name))


def _parts(part: Part) -> tuple[str, ...]:
    return PARTS if part == "all" else (part,)


def _device(asked: str) -> torch.device:
    if asked == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: PyTorch finds no GPU here; use --device cpu")
    return torch.device("cuda" if asked == "cuda" or (asked == "auto" and torch.cuda.is_available()) else "cpu")


def photo_rows(evaluation: Evaluation) -> list[dict[str, str | float]]:
    """One row a photo, for photos.csv: what people and the model say of it."""
    outputs = evaluation.outputs
    numbers = {name: outputs[name] for name in ("score", "fused_score", "aleatoric", "epistemic") if name in outputs}
    if "interval" in outputs:
        numbers["interval_low"], numbers["interval_high"] = outputs["interval"].T
    return [
        {
            "model": str(evaluation.model),
            "session": evaluation.session,
            "dataset": record.dataset,
            "path": str(record.path),
            "type": distortion_type(record),
            "target": float("nan") if record.target is None else record.target,
            **{name: round(float(values[row]), 6) for name, values in numbers.items()},
        }
        for row, record in enumerate(evaluation.records)
    ]


def over_sessions(evaluations: Sequence[dict[str, float]]) -> tuple[dict[str, float], dict[str, float]]:
    """Mean and sample deviation of every figure over sessions; the deviation of a single one is NaN.

    Args:
        evaluations: Figures by name, one dictionary a session. A figure that one lacks is over the others.
    """
    names = dict.fromkeys(k for found in evaluations for k, v in found.items() if isinstance(v, float))
    values = {name: [found[name] for found in evaluations if name in found] for name in names}
    means = {name: float(np.mean(some)) for name, some in values.items()}
    deviations = {name: float(np.std(some, ddof=1)) if len(some) > 1 else float("nan") for name, some in values.items()}
    return means, deviations
