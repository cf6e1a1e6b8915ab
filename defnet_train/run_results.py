"""What finished runs and evaluations left on disk, read back for tables: one record per model and session.

A run directory of `defnet train` holds config.json and metrics.json; a folder of `defnet evaluate --out`,
evaluation.json. Runs that differ in nothing but their session (and seed, and where files lay) are one variant.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defnet_infer.errors import DatasetError, UsageError

Config = Mapping[str, Any]
Figures = dict[str, float]

ALL_TASKS = "q+s+d"
NOT_THE_VARIANT = {
    "": ("recipe", "seed", "run"),
    "data": ("session", "labels", "cache"),
    "model": ("weights", "trunk_weights"),
}
"""Settings that do not tell one variant from another, by table: names, places, and what sessions differ in."""
ABLATED = {"loss": ("cross_weight", "fusion_weight"), "model": ("tasks",)}
"""Settings that Tables 4 and 5 vary."""

TABLES = ("datasets", "types")
"""What is read of the figures of a measurement, each by data set."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One model, on the held-out photos of one session."""

    name: str
    """Recipe, or file of an exported model."""
    config: Config | None
    session: int
    folder: Path
    """Where it was read from."""
    trained: dict[str, Figures]
    """Data set -> figures, of those trained on."""
    zero_shot: dict[str, Figures]
    """The same of others."""
    types: dict[str, dict[str, Figures]]
    """Data set -> distortion type -> figures."""
    photos_per_second: float | None
    checkpoint: Path | None

    @property
    def variant(self) -> str:
        """Equal for runs that differ in the session only."""
        return variant_of(self.name, self.config)

    @property
    def base(self) -> str:
        """Equal for runs that differ in what Tables 4 and 5 vary."""
        return self.name if self.config is None else json.dumps(_without(self.config, ABLATED))

    @property
    def tasks(self) -> str:
        """Tasks that the model learned, such as ``q+s+d``; runs from before there was a choice learned all."""
        assert self.config is not None
        return self.config["model"].get("tasks", ALL_TASKS)

    @property
    def loss_weights(self) -> tuple[float, float]:
        """Lambda 1 of L_U and lambda 2 of L_F."""
        assert self.config is not None
        return self.config["loss"]["cross_weight"], self.config["loss"]["fusion_weight"]


def variant_of(name: str, config: Config | None) -> str:
    """What runs that differ in their session only have in common.

    Args:
        name: Of a model without a configuration, which is a variant of its own.
        config: Of the training run.
    """
    return name if config is None else json.dumps([config["recipe"], _without(config, {})])


def _without(config: Config, also: Mapping[str, tuple[str, ...]]) -> Config:
    left = {key: value for key, value in config.items() if key not in NOT_THE_VARIANT[""]}
    for table in {*NOT_THE_VARIANT, *also} - {""}:
        dropped = (*NOT_THE_VARIANT.get(table, ()), *also.get(table, ()))
        left[table] = {key: value for key, value in left.get(table, {}).items() if key not in dropped}
    return left


def read_results(root: Path) -> tuple[list[Result], int]:
    """Every finished run and evaluation below a folder.

    Where a model was measured twice on the same session, the later measurement counts for the data sets it has.

    Returns:
        The results, ordered by session, and the number of runs that are not finished.

    Raises:
        UsageError: If the folder does not exist.
        DatasetError: If there is nothing in it, or a file is not what its name says.
    """
    if not root.is_dir():
        raise UsageError(f"{root} is not a folder; name the one that holds run directories, such as runs")
    runs = sorted(root.rglob("config.json"))
    unfinished = sum(not path.with_name("metrics.json").is_file() for path in runs)
    files = [path.with_name("metrics.json") for path in runs] + sorted(root.rglob("evaluation.json"))
    found: dict[tuple[str, int], Result] = {}
    for path in sorted((path for path in files if path.is_file()), key=lambda path: path.stat().st_mtime):
        for result in _read(path):
            key = (result.variant, result.session)
            found[key] = _joined(found[key], result) if key in found else result
    if not found:
        raise DatasetError(
            f"{root} holds no finished run and no evaluation; train one with: defnet train, or measure a model into it "
            f"with: defnet evaluate MODEL --data FOLDER --out {shlex.quote(f'{root}/NAME')}"
        )
    return sorted(found.values(), key=lambda result: (result.name, result.session)), unfinished


def _read(path: Path) -> Iterator[Result]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if path.name == "metrics.json":
            if content.get("start_may_know"):
                return  # Weights that the run started from may know its test photos.
            config = json.loads(path.with_name("config.json").read_text(encoding="utf-8"))["config"]
            checkpoint = path.with_name("best.safetensors")
            about = (config["recipe"], config["data"]["session"], content["test"])
            yield _result(path, config, *about, config["data"]["sets"], checkpoint, None)
            return
        for entry in content["evaluations"]:
            if entry["seen"] or entry.get("unfinished") or entry["part"] not in ("test", "all"):
                continue
            config, model = entry["config"], Path(entry["model"])
            session = entry["session"] if config is None else config["data"]["session"]
            name = model.name if config is None else config["recipe"]
            checkpoint = None if config is None else model
            figures = _renamed(entry["figures"], entry.get("csv"))
            # Evaluations of before do not tell it of exported files.
            trained_on = entry.get("trained_on", figures["datasets"] if config is None else config["data"]["sets"])
            yield _result(path, config, name, session, figures, trained_on, checkpoint, entry["photos_per_second"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        folder = shlex.quote(str(path.parent))
        model = folder if path.name == "metrics.json" else "MODEL"
        raise DatasetError(
            f"{path} is not what this defnet writes ({type(error).__name__}: {error}); move it away, and measure the "
            f"model with: defnet evaluate {model} --data FOLDER --out {folder}"
        ) from error


def _renamed(figures: Mapping[str, Any], csv: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Figures of another CSV file than the run's are those of another data set, and not in place of the run's own."""
    if csv is None or csv["of_run"]:  # Evaluations of before do not tell it.
        return figures
    own_name = {"csv": f"csv:{csv['name']}"}
    return {table: {own_name.get(key, key): found for key, found in figures[table].items()} for table in TABLES}


def _result(
    path: Path,
    config: Config | None,
    name: str,
    session: int,
    figures: Mapping[str, Any],
    trained_on: Collection[str],
    checkpoint: Path | None,
    photos_per_second: float | None,
) -> Result:
    of_dataset = figures["datasets"]
    return Result(
        name=name,
        config=config,
        session=session,
        folder=path.parent,
        trained={key: value for key, value in of_dataset.items() if key in trained_on},
        zero_shot={key: value for key, value in of_dataset.items() if key not in trained_on},
        types={key: value for key, value in figures["types"].items() if value},
        photos_per_second=photos_per_second,
        checkpoint=checkpoint if checkpoint and checkpoint.is_file() else None,
    )


def _joined(earlier: Result, later: Result) -> Result:
    return Result(
        name=later.name,
        config=later.config,
        session=later.session,
        folder=later.folder,
        trained={**earlier.trained, **later.trained},
        zero_shot={**earlier.zero_shot, **later.zero_shot},
        types={**earlier.types, **later.types},
        photos_per_second=later.photos_per_second or earlier.photos_per_second,
        checkpoint=later.checkpoint or earlier.checkpoint,
    )
