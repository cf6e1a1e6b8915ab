"""What every data set release has in common: its facts, where it lies, and the checks its scores pass on their way in.

A reader turns label files into `Rated` entries, in the scale of the release. `contents` turns those into records:
higher is better, targets on [1, 5], labels and split attached, photos looked for on disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from defnet_infer.errors import DatasetError
from defnet_train.labels import DISTORTION_IDS, Labels
from defnet_train.records import ImageRecord, Part

Scale = tuple[float, float]
BEYOND_SCALE = 1e-3
"""Share of the scale by which a score may pass its ends: label files are rounded."""


@dataclass(frozen=True, kw_only=True)
class Rated:
    """One entry of a label file.

    `path` is relative to the folder of the release, with forward slashes: label tables use the same. `where` says
    file and line, for messages.
    """

    path: str
    score: float
    where: str
    group: str = ""
    """What a split keeps together; empty: the photo itself."""
    distortion_type: str = ""
    level: int = 0
    labels: Labels | None = None
    part: Part | None = None


@dataclass(frozen=True, kw_only=True)
class Release:
    """The facts of one data set."""

    key: str
    name: str
    source: Literal["distorted", "authentic"]
    """Distorted by its makers from reference photos, or damaged by life."""
    photos: int
    """Rated photos of the official release, references not counted."""
    references: int = 0
    better: Literal["higher", "lower"] = "higher"
    """Which way the raw score points."""
    worst: float | None = None
    """What a raw score is subtracted from where lower is better; None: the largest of the file."""
    scale: Scale | None
    """Ends of the score, once higher is better, that become 1 and 5; None: those of the file."""
    liqe: bool = False
    """LIQE labelled and split it: a label table and ten sessions exist."""
    any_case: bool = False
    """Copies differ from the label file in upper and lower case."""
    folders: tuple[str, ...]
    """Names of the unpacked folder, in any case; the first is the official one."""
    markers: tuple[str, ...]
    """Label files, any of which shows that the release is here; the first is the official one."""
    read: Callable[[Path], list[Rated]]

    def locate(self, root: Path) -> Path:
        """The folder of the release: `root` itself or one below it.

        Raises:
            DatasetError: If it is not there, or there twice.
        """
        candidates = self._candidates(root)
        found = [folder for folder in candidates if self._marked(folder)]
        if len(found) > 1:
            raise DatasetError(
                f"{self.name} is there twice, in {found[0]} and in {found[1]}; move one of them out of {root}"
            )
        if not found:
            raise DatasetError(
                f"{self.name}: {candidates[-1] / self.markers[0]} not found; "
                f"pass the folder that holds {self.folders[0]}, or take '{self.key}' out of data.sets"
            )
        return found[0]

    def suspected(self, root: Path) -> bool:
        """Whether the release, or a folder of its name, is there."""
        return self._marked(root) or len(self._candidates(root)) > 1

    def _candidates(self, root: Path) -> list[Path]:
        names = {name.lower() for name in self.folders}
        below = sorted(child for child in root.iterdir() if child.name.lower() in names and child.is_dir())
        return [root, *below]

    def _marked(self, folder: Path) -> bool:
        return any(True for marker in self.markers for _ in folder.glob(marker))


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a data set holds: records of the photos that are there, and the rated photos that are not."""

    folder: Path
    scale: Scale
    records: list[ImageRecord]
    absent: list[Rated]


class _Listing:
    """File names by folder, listed once: a stat per photo takes minutes on a network drive."""

    def __init__(self, any_case: bool) -> None:
        self._any_case = any_case
        self._folders: dict[Path, dict[str, str]] = {}

    def find(self, path: Path) -> Path | None:
        folder = path.parent
        if folder not in self._folders:
            names = [entry.name for entry in os.scandir(folder) if entry.is_file()] if folder.is_dir() else []
            self._folders[folder] = {self._key(name): name for name in names}
        name = self._folders[folder].get(self._key(path.name))
        return None if name is None else folder / name

    def _key(self, name: str) -> str:
        return name.lower() if self._any_case else name


def contents(
    release: Release,
    folder: Path,
    labels: Mapping[str, Labels] | None = None,
    parts: Mapping[str, Part] | None = None,
    fix_fastfading: bool = True,
) -> Contents:
    """Read a release and check what it says.

    Args:
        release: Its facts and reader.
        folder: Where it lies.
        labels: Label table by path, or None. A photo without a row has no scene; its distortion is known where the
            data set made it.
        parts: Part by path from a split file, which must hold every photo; None: no split is given.
        fix_fastfading: LIQE's table calls LIVE's fast fading photos "white noise"; trust the folder instead.

    Raises:
        DatasetError: If a label file is missing, of another version or contradicts itself; says file and line.
    """
    entries = release.read(folder)
    if not entries:
        raise DatasetError(f"{folder / release.markers[0]} rates no photo")
    refuse_duplicates(entries)
    raw = np.array([entry.score for entry in entries])
    mos = (raw.max() if release.worst is None else release.worst) - raw if release.better == "lower" else raw
    scale = release.scale or (float(mos.min()), float(mos.max()))
    return attach(
        release.key,
        folder,
        [(entry, float(value)) for entry, value in zip(entries, mos, strict=True)],
        scale,
        labels=labels or {},
        parts=parts,
        fix_fastfading=fix_fastfading,
        any_case=release.any_case,
    )


def attach(
    key: str,
    folder: Path,
    entries: Sequence[tuple[Rated, float]],
    scale: Scale,
    *,
    labels: Mapping[str, Labels],
    parts: Mapping[str, Part] | None = None,
    fix_fastfading: bool = True,
    any_case: bool = False,
    outside: str = "is this another version of the file?",
) -> Contents:
    """Records of entries whose score points the right way.

    Args:
        key: Data set.
        folder: What paths are relative to.
        entries: Each with its score, higher is better.
        scale: Ends of the score that become 1 and 5.
        labels: Label table by path.
        parts: Part by path, or None for those of the entries.
        fix_fastfading: See `contents`.
        any_case: Photo names match in upper or lower case.
        outside: What to think or do of a score outside the scale.

    Raises:
        DatasetError: If a score lies outside the scale, or the split file leaves a photo out.
    """
    low, high = scale
    slack = BEYOND_SCALE * (high - low)
    listing = _Listing(any_case)
    records, absent = [], []
    for entry, mos in entries:
        if not low - slack <= mos <= high + slack:
            raise DatasetError(
                f"{entry.where}: score {entry.score:g} of {entry.path} is outside the scale of the data set "
                f"({low:g} to {high:g}, higher is better); {outside}"
            )
        if parts is not None and entry.path not in parts:
            raise DatasetError(
                f"{entry.where}: {entry.path} is in no part of the split file; is it of another release?"
            )
        path = listing.find(folder / entry.path)
        if path is None:
            absent.append(entry)
            continue
        records.append(
            ImageRecord(
                dataset=key,
                path=path,
                mos=mos,
                target=float(np.clip(1 + 4 * (mos - low) / (high - low), 1, 5)) if high > low else 3.0,
                group=entry.group or entry.path,
                labels=_labels(entry, labels.get(entry.path), fix_fastfading),
                distortion_type=entry.distortion_type,
                level=entry.level,
                part=entry.part if parts is None else parts[entry.path],
            )
        )
    return Contents(folder=folder, scale=scale, records=records, absent=absent)


def _labels(entry: Rated, table: Labels | None, fix_fastfading: bool) -> Labels | None:
    if entry.labels is not None:
        return entry.labels
    made = DISTORTION_IDS.get(entry.distortion_type)
    if table is None:
        return None if made is None else Labels(scenes=(), distortion=made)
    if fix_fastfading and entry.distortion_type == "fastfading":
        return Labels(scenes=table.scenes, distortion=made)
    return table


def refuse_duplicates(entries: Sequence[Rated]) -> None:
    """Stop where a photo is rated twice.

    Raises:
        DatasetError: Naming both lines.
    """
    first: dict[str, str] = {}
    for entry in entries:
        if entry.path in first:
            raise DatasetError(f"{entry.where}: {entry.path} is rated twice, first in {first[entry.path]}")
        first[entry.path] = entry.where
