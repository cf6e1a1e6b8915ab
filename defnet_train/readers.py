"""Every photo that a configuration names: releases, synthetic distortions and your own CSV behind one function."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from defnet_infer.errors import DatasetError, UsageError
from defnet_train.config import DataConfig, TrainConfig
from defnet_train.datasets import own_csv, pristine
from defnet_train.datasets.catalog import RELEASES
from defnet_train.datasets.release import Contents, Release, contents
from defnet_train.labels import Labels, read_label_table
from defnet_train.liqe_splits import parts_of_table, read_split_files
from defnet_train.records import ImageRecord, Part

KEYS = (*RELEASES, pristine.KEY, own_csv.KEY)


def read_all(root: Path, config: DataConfig) -> list[ImageRecord]:
    """Records of every data set that the configuration names.

    Args:
        root: Folder that holds the data sets.
        config: What to read.

    Raises:
        UsageError: If a data set is unknown or the folder does not exist.
        DatasetError: If the data contradicts itself or a photo is missing, unless `config.missing` allows that.
    """
    if not root.is_dir():
        raise UsageError(f"data folder {root} not found; pass it with --data")
    records: list[ImageRecord] = []
    folders: dict[Path, str] = {}
    for key in config.sets:
        if key == pristine.KEY:
            records += pristine.read_synthetic(root, config)
            continue
        found = read_contents(key, root, config)
        refuse_missing(found, key, config)
        refuse_shared_folders(folders, key, found.folder)
        records += found.records
    return records


def read_contents(key: str, root: Path, config: DataConfig) -> Contents:
    """One rated data set: the photos that are there, and those that are not.

    Raises:
        UsageError: If the data set is unknown.
        DatasetError: If its label files cannot be used; says data set, file and line.
    """
    if key == own_csv.KEY:
        return own_csv.read_csv(config, root)
    if key not in RELEASES:
        raise UsageError(f"unknown data set '{key}' in data.sets; known: {', '.join(KEYS)}")
    release = RELEASES[key]
    folder = release.locate(root)
    try:
        labels, parts = _tables(release, folder, config)
        return contents(release, folder, labels, parts, config.fix_live_fastfading)
    except DatasetError as error:
        raise DatasetError(f"{release.name}: {error}") from error


def _tables(
    release: Release, folder: Path, config: DataConfig
) -> tuple[dict[str, Labels] | None, dict[str, Part] | None]:
    """LIQE's labels, and its split where that is asked for."""
    if not release.liqe:
        return None, None
    table = Path(config.labels) / f"{release.key}.tsv"
    labels = read_label_table(table) if config.labels else None
    if config.splits != "liqe":
        return labels, None
    if config.labels:
        return labels, parts_of_table(table, config.session)
    parts, labels = read_split_files(folder, release.key, config.session)
    return labels, parts


def data_folder(config: TrainConfig, data: Path, settings: Sequence[str] = ()) -> tuple[TrainConfig, Path]:
    """What ``--data`` means: a folder that holds the data sets, or a CSV file to use instead of them.

    Args:
        config: The run.
        data: As it was typed.
        settings: What was typed beside it with ``--set``.

    Returns:
        The run, and its data folder.

    Raises:
        UsageError: If there is neither, or a file and a mixture that it would take the place of.
    """
    if data.is_dir():
        return config, data
    if data.is_file() and data.suffix.lower() == ".csv":
        if any(setting.strip().startswith("data.sets") for setting in settings):
            raise UsageError(
                f"{data} is all of the data, so data.sets would mean nothing; for more, give the folder of all: "
                f"{shlex.quote(str(data.parent))} --set {shlex.quote(f'data.csv={data.name}')} "
                "--set 'data.sets={csv=16, koniq10k=32}'"
            )
        return own_csv.alone(config, data), data.parent
    if data.is_file():
        raise UsageError(f"{data} is no .csv file; rename it to .csv, with commas between columns")
    raise UsageError(f"data folder {data} not found; name a folder that holds data sets, or a .csv file")


def refuse_shared_folders(folders: dict[Path, str], key: str, folder: Path) -> None:
    """Stop where two releases lie in one folder: their photos cannot be told apart.

    Args:
        folders: Key of the release in each folder so far; this one is added.
        key: Data set.
        folder: Where it was found.

    Raises:
        DatasetError: Naming both.
    """
    if key in RELEASES and (other := folders.setdefault(folder.resolve(), key)) != key:
        raise DatasetError(
            f"{RELEASES[other].name} and {RELEASES[key].name} are both unpacked in {folder}; give each a "
            f"folder of its own: {RELEASES[other].folders[0]} and {RELEASES[key].folders[0]}"
        )


def refuse_missing(found: Contents, key: str, config: DataConfig) -> None:
    """Stop where rated photos are not on disk and the configuration does not let them be skipped.

    Raises:
        DatasetError: Naming the first, and the line that rates it.
    """
    name = RELEASES[key].name if key in RELEASES else own_csv.KEY
    if found.absent and config.missing == "error":
        first, listed = found.absent[0], len(found.absent) + len(found.records)
        raise DatasetError(
            f"{name}: {len(found.absent)} of {listed} photos are not in {found.folder}, "
            f"the first is {first.path} ({first.where}); "
            "complete the folder, or train on what is there with --set data.missing=skip"
        )
    if not found.records:
        raise DatasetError(f"{name}: no photo of the score file is in {found.folder}")
