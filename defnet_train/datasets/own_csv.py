"""Your own rated photos, from a CSV file.

    path,mos,group,scene,distortion,split
    trip/1.jpg,71.5,trip,landscape|human,noise,train

Only `path` and `mos` are needed; cells of the others may be empty.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import get_args

from defnet_infer.errors import DatasetError
from defnet_infer.taxonomy import DISTORTIONS, SCENES
from defnet_train.config import DataConfig, TrainConfig
from defnet_train.datasets.release import Contents, Rated, Scale, attach, refuse_duplicates
from defnet_train.datasets.tables import number, text_rows
from defnet_train.labels import DISTORTION_IDS, SCENE_IDS, Labels
from defnet_train.records import Part

KEY = "csv"
HEADER = "write the header path,mos with commas between columns"
SCENE_SEPARATOR = "|"
_DISTORTION_NAMES = {**DISTORTION_IDS, **{name.lower(): i for i, name in enumerate(DISTORTIONS)}}


def read_csv(config: DataConfig, root: Path) -> Contents:
    """Read the CSV file that `data.csv` names.

    Columns: ``path``, relative to the folder of the file or to `data.csv_root`; ``mos``, higher is better unless
    `data.csv_lower_is_better`; ``group``, photos that a split keeps together, such as copies of one original;
    ``scene``, several separated by ``|``; ``distortion``, one of the eleven classes or a name that LIQE uses;
    ``split``, train, val or test, in every row or in none. Other columns are ignored.

    The ends of the scale are `data.csv_range`, or the lowest and highest score of the file.

    Args:
        config: Says where the file is and how to read it.
        root: Folder that a relative `data.csv` counts from.

    Raises:
        DatasetError: If the file is missing, lacks a column or a row does not fit; says file and line.
    """
    if not config.csv:
        raise DatasetError("data.sets asks for 'csv', but no file is named; add --set data.csv=FILE.csv")
    path = root / config.csv
    if not path.is_file():
        raise DatasetError(f"{path} not found; data.csv names a CSV file with the columns path and mos")
    folder = root / config.csv_root if config.csv_root else path.parent
    entries = [_rated(row, where, folder) for where, row in text_rows(path, ("path", "mos"), advice=HEADER)]
    if not entries:
        raise DatasetError(f"{path} rates no photo")
    refuse_duplicates(entries)
    _refuse_half_a_split(entries)
    scale = _scale(config, [entry.score for entry in entries], path)
    low, high = scale
    turned = [(entry, low + high - entry.score if config.csv_lower_is_better else entry.score) for entry in entries]
    return attach(
        KEY, folder, turned, scale, labels={}, outside="correct it, or the ends: --set data.csv_range=[LOW,HIGH]"
    )


def content_digest(config: DataConfig, root: Path) -> str:
    """SHA-256 of the CSV file that `data.csv` names.

    Raises:
        DatasetError: If it is gone since `read_csv` has read it.
    """
    path = root / config.csv
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise DatasetError(f"{path} cannot be read any more ({error.strerror or error}); bring it back") from error


def alone(config: TrainConfig, file: Path) -> TrainConfig:
    """A run on one CSV file instead of the recipe's data sets, in batches of the same size.

    Paths in it count from its own folder, which is also the data folder of such a run.

    Args:
        config: The run.
        file: The CSV file.
    """
    share = sum(config.data.sets.values())
    return replace(config, data=replace(config.data, csv=file.name, sets={KEY: share}))


def _rated(row: dict[str, str], where: str, folder: Path) -> Rated:
    return Rated(
        path=_inside(row["path"], where, folder),
        score=number(row["mos"], where, "mos"),
        where=where,
        group=row.get("group", ""),
        labels=_labels(row, where),
        part=_part(row.get("split", ""), where),
    )


def _inside(text: str, where: str, folder: Path) -> str:
    """A path relative to `folder`. Links are not followed: people keep large folders behind links."""
    if not text:
        raise DatasetError(f"{where}: no path")
    relative = os.path.relpath(folder.absolute() / text, folder.absolute())
    if relative == os.pardir or relative.startswith(os.pardir + os.sep):
        raise DatasetError(
            f"{where}: {text} lies outside {folder}; "
            "name the folder that holds all photos with --set data.csv_root=FOLDER"
        )
    return Path(relative).as_posix()


def _labels(row: dict[str, str], where: str) -> Labels | None:
    scenes = [name.strip() for name in row.get("scene", "").split(SCENE_SEPARATOR) if name.strip()]
    distortion = row.get("distortion", "")
    if not scenes and not distortion:
        return None
    return Labels(
        scenes=tuple(_known(SCENE_IDS, name, "scene", where) for name in scenes),
        distortion=_known(_DISTORTION_NAMES, distortion, "distortion", where) if distortion else None,
    )


def _known(ids: dict[str, int], name: str, kind: str, where: str) -> int:
    if name.lower() not in ids:
        # Scenes are known by LIQE's spelling too, which need not be offered.
        offered = SCENES if ids is SCENE_IDS else ids
        raise DatasetError(f"{where}: unknown {kind} '{name}'; known: {', '.join(offered)}")
    return ids[name.lower()]


def _part(name: str, where: str) -> Part | None:
    if name and name not in get_args(Part):
        raise DatasetError(f"{where}: unknown split '{name}'; choose one of {', '.join(get_args(Part))}")
    return name or None


def _refuse_half_a_split(entries: list[Rated]) -> None:
    given = [entry for entry in entries if entry.part]
    if given and len(given) < len(entries):
        gap = next(entry for entry in entries if not entry.part)
        raise DatasetError(f"{gap.where}: no split, but {len(given)} rows have one; fill the column or leave it empty")


def _scale(config: DataConfig, scores: list[float], path: Path) -> Scale:
    if config.csv_range:
        return config.csv_range[0], config.csv_range[1]
    low, high = min(scores), max(scores)
    if low == high:
        raise DatasetError(f"{path}: every photo has the score {low:g}; there is nothing to learn from")
    return low, high
