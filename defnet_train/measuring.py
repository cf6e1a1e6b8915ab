"""Models on rated photos: what `defnet evaluate` does. A model is a checkpoint, a run directory or an exported file."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
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
from defnet_train.datasets import own_csv
from defnet_train.evaluation import Outputs, distortion_type, figures, predict, series_figures
from defnet_train.readers import data_folder
from defnet_train.recipe_file import apply_overrides
from defnet_train.records import ImageRecord
from defnet_train.run_data import PARTS, load_data
from defnet_train.trained_on import SYNTHETIC, TrainedOn

if TYPE_CHECKING:
    from defnet_train.listener import Listener

Part = Literal["train", "val", "test", "all"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """Which photos a model is to be measured on."""

    root: Path
    part: Part = "test"
    session: int | None = None
    """Number of the split; None: the one the model was trained on, 1 for an exported file of an earlier version."""
    sets: tuple[str, ...] = ()
    """Data set keys; empty: those trained on."""
    settings: tuple[str, ...] = ()
    """``table.key=value`` changes of the run's configuration, such as the folder of labels."""
    levels: bool = False
    """Also score the synthetic copies among the photos."""
    device: Literal["auto", "cpu", "cuda"] = "auto"


@dataclass(frozen=True)
class CsvFile:
    """A list of somebody's own photos."""

    name: str
    sha256: str
    of_run: bool
    """The model's run was trained and tested on photos of this file, not of another."""


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
    unfinished: bool
    """Its run was not finished, so its intervals are not calibrated."""
    copies_seen: bool
    """The same of `copies`."""
    csv: CsvFile | None
    """The file that named photos of the data set ``csv``; None without that data set."""

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
            "unfinished": self.unfinished,
            "copies_seen": self.copies_seen,
            "csv": asdict(self.csv) if self.csv else None,
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
    asked = _config(model, question)
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
        trained_on=model.trained_on.sets,
        session=asked.data.session,
        part=question.part,
        records=records,
        outputs=outputs,
        figures=found,
        photos_per_second=len(indices) / max(seconds, 1e-9),
        copies=data.at(copies),
        copy_scores=copy_outputs,
        seen=bool(model.trained_on.may_know(question.part, asked.data, data.records, records)),
        unfinished=model.unfinished,
        copies_seen=bool(model.trained_on.may_know(question.part, asked.data, data.records, data.at(copies))),
        csv=_csv_file(asked.data, folder, model.trained_on),
    )


def refuse_other_settings(settings: Sequence[str]) -> None:
    """Stop where ``--set`` would change more than which photos are read: the model is finished.

    Raises:
        UsageError: Naming the setting.
    """
    for setting in settings:
        if not setting.startswith("data."):
            raise UsageError(f"--set {setting}: the model is trained; only settings of data can change, as data.labels")


@dataclass(frozen=True)
class _Model:
    """What both kinds of file have in common."""

    config: TrainConfig | None
    sha256: str
    rule: Preprocess
    trained_on: TrainedOn
    predict: Callable[[ViewSource, Sequence[int], Callable[[int], None]], Outputs]
    unfinished: bool = False


def _open(path: Path, device: Literal["auto", "cpu", "cuda"]) -> _Model:
    if path.suffix == ".onnx":
        from defnet_train.exported import ExportedModel  # brings ONNX Runtime

        exported = ExportedModel.open(path, device)
        return _Model(None, exported.sha256, exported.preprocess, exported.trained_on, exported.predict)
    model, info = load_checkpoint(path)
    model.to(_device(device))
    rule, trained_on = model.contract().preprocess, TrainedOn.of_checkpoint(info)
    return _Model(info.config, info.sha256, rule, trained_on, partial(predict, model), info.unfinished)


def _config(model: _Model, question: Question) -> TrainConfig:
    """The run's configuration with the photos that are asked for."""
    split = model.trained_on.split
    config = model.config or (TrainConfig() if split is None else TrainConfig(data=split))
    # Copies are only read where they are scored: their originals need not be on every machine.
    keys = question.sets or tuple(key for key in model.trained_on.sets if question.levels or key != SYNTHETIC)
    overrides = [*question.settings]
    if question.session is not None:
        overrides.append(f"data.session={question.session}")
    if keys:
        table = ", ".join(f"{json.dumps(key)} = 1" for key in keys)
        overrides.insert(0, f"data.sets={{ {table} }}")
    return apply_overrides(config, overrides)


def _csv_file(asked: DataConfig, folder: Path, trained: TrainedOn) -> CsvFile | None:
    if own_csv.KEY not in asked.sets:
        return None
    digest = own_csv.content_digest(asked, folder)
    return CsvFile(Path(asked.csv).name, digest, trained.is_own_csv(asked, digest))


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
