"""What is in a data folder, and whether it can be trained on: said before a GPU is rented.

    report = check_data(load_config("paper"), Path("data"))

Reads every label file in full, and of every photo its header, or its pixels where asked. Finds what is missing, what
cannot be read, what is twice, and how the photos would be split.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from defnet_infer import photos
from defnet_infer.errors import DatasetError, PhotoError
from defnet_train.config import DataConfig, TrainConfig
from defnet_train.datasets import own_csv, pristine
from defnet_train.datasets.catalog import RELEASES
from defnet_train.datasets.release import Contents
from defnet_train.readers import read_contents, refuse_missing, refuse_shared_folders
from defnet_train.records import ImageRecord
from defnet_train.run_data import FEWEST_RATED, divide, why_refused
from defnet_train.run_notes import run_notes
from defnet_train.splits import FRACTIONS, split

Look = Literal["names", "headers", "pixels"]
"""How closely photos are looked at: that they are there, that they begin as photos, that they decode."""
WORKERS = 8
EXAMPLES = 10
"""Unreadable and duplicate photos named in a report; all are counted."""


@dataclass(frozen=True, kw_only=True)
class SetReport:
    """What was found of one data set. Counts are of photos."""

    key: str
    name: str
    folder: str = ""
    photos: int = 0
    """Rated photos that are there."""
    official: int | None = None
    """Rated photos of the official release; None: there is none."""
    absent: int = 0
    groups: int = 0
    """What splits keep together: references, or the photos themselves."""
    rated: tuple[float, float] | None = None
    """Lowest and highest score, higher is better; None: nobody rated these photos."""
    scale: tuple[float, float] | None = None
    """Scores that become 1 and 5."""
    split: tuple[int, ...] = (0, 0, 0)
    """Photos in train, val, test."""
    given: bool = False
    """The data set itself says which photo is in which part."""
    scenes: float = 0.0
    """Share of photos with a scene label."""
    distortions: float = 0.0
    """Share of photos with a distortion label."""
    unreadable: int = 0
    unreadable_examples: tuple[str, ...] = ()
    duplicates: int = 0
    """Photos whose bytes another photo of the data set has too; only looked for with the pixels."""
    duplicate_examples: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    """What is out of the ordinary, and does not stop a run."""
    error: str = ""
    """Why this data set cannot be used; empty: it can."""


@dataclass(frozen=True, kw_only=True)
class DataReport:
    """What was found in a data folder."""

    root: str
    session: int
    splits: str
    look: Look
    sets: tuple[SetReport, ...]
    elsewhere: tuple[str, ...] = ()
    """Names of data sets that were not asked for and are not there."""
    notes: tuple[str, ...] = ()
    """What is out of the ordinary of a run on all of them, and does not stop it."""
    refused: str = ""
    """Why a run on data sets that can all be used would be refused; empty: it would not, or nobody asked."""

    @property
    def errors(self) -> tuple[str, ...]:
        """One line for every data set that cannot be used, or for all of them together."""
        return (*(found.error for found in self.sets if found.error), *([self.refused] if self.refused else []))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "errors": list(self.errors)}


def check_data(
    config: TrainConfig, root: Path, look: Look = "headers", progress: Callable[[int], None] = lambda _: None
) -> DataReport:
    """Look at every data set of a run, and stop at the first thing that would break the run.

    Args:
        config: The run.
        root: Data folder.
        look: How closely to look at photos.
        progress: Called with the number of photos done since the last call.

    Raises:
        UsageError: If a data set is unknown.
        DatasetError: If a data set cannot be used, naming file and line, or all together hold too little.
    """
    report = inspect_data(config.data, root, tuple(config.data.sets), look, progress, run=config)
    if report.errors:
        raise DatasetError(report.errors[0])
    return report


def present(root: Path, config: DataConfig) -> list[str]:
    """Keys of the data sets that a folder seems to hold."""
    found = [key for key, release in RELEASES.items() if release.suspected(root)]
    found += [pristine.KEY] if (root / "pristine").is_dir() else []
    return found + ([own_csv.KEY] if config.csv else [])


def inspect_data(
    config: DataConfig,
    root: Path,
    keys: Sequence[str],
    look: Look = "headers",
    progress: Callable[[int], None] = lambda _: None,
    *,
    run: TrainConfig | None = None,
) -> DataReport:
    """Look at data sets; what is wrong with one becomes its `SetReport.error`.

    Args:
        config: Labels, splits, your own CSV. Its `sets` are not looked at.
        root: Data folder.
        keys: The data sets to look at.
        look: How closely to look at photos.
        progress: Called with the number of photos done since the last call.
        run: These are all data sets of this run: what `run_data.load_data` would refuse of it is an error.

    Raises:
        UsageError: If a data set is unknown.
    """
    reports, records = [], []
    folders: dict[Path, str] = {}
    for key in keys:
        try:
            found = _read(key, root, config)
            refuse_shared_folders(folders, key, found.folder)
            reports.append(_report(key, found, config, look, progress))
            records += found.records
        except DatasetError as error:
            name = RELEASES[key].name if key in RELEASES else key
            reports.append(SetReport(key=key, name=name, error=str(error)))
    refused, notes = "", []
    if run and not any(found.error for found in reports):
        data = divide(records, config.session)
        refused, notes = why_refused(data, keys), run_notes(run, data)
    elsewhere = tuple(r.name for key, r in RELEASES.items() if key not in keys and not r.suspected(root))
    return DataReport(
        root=str(root),
        session=config.session,
        splits=config.splits,
        look=look,
        sets=tuple(reports),
        elsewhere=elsewhere,
        notes=tuple(notes),
        refused=refused,
    )


def _read(key: str, root: Path, config: DataConfig) -> Contents:
    if key == pristine.KEY:
        return Contents(
            folder=root / "pristine", scale=(0, 0), records=pristine.read_synthetic(root, config), absent=[]
        )
    return read_contents(key, root, config)


def _report(key: str, found: Contents, config: DataConfig, look: Look, progress: Callable[[int], None]) -> SetReport:
    release = RELEASES.get(key)
    name = release.name if release else key
    records = [record for record in found.records if not record.kind]
    parts = split(records, config.session)
    rated = [record.mos for record in records if record.target is not None]
    unreadable, twice = _look_at(records, look, progress)
    part_of = {id(record): part for part, chosen in parts.items() for record in chosen}
    leaks = [pair for pair in twice if len({part_of[id(record)] for record in pair}) > 1]
    notes = _notes(key, found, config)
    notes += [
        f"photos in the {part} part: {len(parts[part])}; a run needs {FEWEST_RATED} in each"
        for part in FRACTIONS
        if rated and len(parts[part]) < FEWEST_RATED
    ]
    if twice:
        one, other = (leaks or twice)[0]
        notes.append(
            f"photos with the bytes of another one: {len(twice)}, and in another part of the split than that: "
            f"{len(leaks)}; for example {one.path} and {other.path}"
        )
    error = ""
    try:
        refuse_missing(found, key, config)
    except DatasetError as problem:
        error = str(problem)
    if unreadable and not error:
        error = f"{name}: {len(unreadable)} of {len(records)} photos cannot be read; {unreadable[0]}"
    labels = [record.labels for record in records if record.labels]
    return SetReport(
        key=key,
        name=name,
        folder=str(found.folder),
        photos=len(records),
        official=release.photos if release else None,
        absent=len(found.absent),
        groups=len({record.group for record in records}),
        rated=(min(rated), max(rated)) if rated else None,
        scale=found.scale if rated else None,
        split=tuple(len(parts[part]) for part in FRACTIONS),
        given=bool(records) and all(record.part for record in records),
        scenes=sum(bool(label.scenes) for label in labels) / max(len(records), 1),
        distortions=sum(label.distortion is not None for label in labels) / max(len(records), 1),
        unreadable=len(unreadable),
        unreadable_examples=tuple(unreadable[:EXAMPLES]),
        duplicates=len(twice),
        duplicate_examples=tuple((str(one.path), str(other.path)) for one, other in twice[:EXAMPLES]),
        notes=tuple(notes),
        error=error,
    )


def _notes(key: str, found: Contents, config: DataConfig) -> list[str]:
    notes = []
    release = RELEASES.get(key)
    listed = len(found.records) + len(found.absent)
    if release and listed != release.photos:
        notes.append(f"its label file rates {listed} photos, the official release {release.photos}")
    if found.absent:
        notes.append(f"{len(found.absent)} rated photos are not there, for example {found.absent[0].path}")
    if key == own_csv.KEY and not config.csv_range:
        low, high = found.scale
        notes.append(
            f"the scale is taken from the scores, {low:g} to {high:g}; if it has other ends: "
            "--set data.csv_range=[LOW,HIGH]"
        )
    return notes


def _look_at(
    records: Sequence[ImageRecord], look: Look, progress: Callable[[int], None]
) -> tuple[list[str], list[tuple[ImageRecord, ImageRecord]]]:
    """Unreadable photos, each with the reason, and pairs of equal files."""
    unreadable: list[str] = []
    twice: list[tuple[ImageRecord, ImageRecord]] = []
    first: dict[str, ImageRecord] = {}
    if look == "names":
        progress(len(records))
        return unreadable, twice
    with ThreadPoolExecutor(WORKERS) as pool:
        found = pool.map(lambda record: _examine(record.path, look), records)
        for record, (problem, digest) in zip(records, found, strict=True):
            progress(1)
            if problem:
                unreadable.append(f"{record.path}: {problem}")
            elif digest and (other := first.setdefault(digest, record)) is not record:
                twice.append((other, record))
    return unreadable, twice


def _examine(path: Path, look: Look) -> tuple[str, str]:
    """Why a photo cannot be read, or else a digest of its bytes where its pixels were looked at."""
    try:
        if look == "headers":
            photos.stored_size(path)
            return "", ""
        content = path.read_bytes()
        photos.decode(content)
    except (PhotoError, OSError) as error:
        return str(error), ""
    return "", hashlib.blake2b(content, digest_size=16).hexdigest()
