"""The photos of a run, which part each belongs to, and a digest that tells whether they are still the same."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from defnet_infer.errors import DatasetError
from defnet_train.config import TrainConfig
from defnet_train.datasets import own_csv
from defnet_train.readers import read_all
from defnet_train.records import ImageRecord
from defnet_train.splits import split

PARTS = ("train", "val", "test")
EACH_PART = tuple((part,) for part in PARTS)
FEWEST_RATED = 5
"""A correlation of fewer photos says nothing."""


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

    def digests(self) -> dict[str, str]:
        """Per data set a digest of what a run sees of it: names, sizes, scores, labels and the part of every photo.

        Where the data lies does not count, nor do times: data may move to another disk between two runs.
        """
        part_of = {index: part for part, indices in self.parts.items() for index in indices}
        digests = {record.dataset: hashlib.sha256() for record in self.records}
        sizes: dict[Path, int] = {}  # Many synthetic copies share a file.
        for index, record in enumerate(self.records):
            if record.path not in sizes:
                sizes[record.path] = record.path.stat().st_size
            facts = (record.path.name, sizes[record.path], record.mos, record.target, record.group)
            facts += (record.labels, record.kind, record.level, part_of.get(index))
            digests[record.dataset].update(f"{facts}\n".encode())
        return {dataset: digest.hexdigest()[:16] for dataset, digest in digests.items()}


def load_data(config: TrainConfig, root: Path, used: Sequence[Sequence[str]] = EACH_PART) -> RunData:
    """Read and split the data sets of a configuration.

    Args:
        config: The run.
        root: Folder of the data sets.
        used: Parts that are needed, in groups that count together.

    Raises:
        DatasetError: From the readers, or if what is needed is too small to train on, or does not differ.
    """
    data = divide(read_all(root, config.data), config.data.session)
    if reason := why_refused(data, tuple(config.data.sets), used):
        raise DatasetError(reason)
    return data


def divide(records: list[ImageRecord], session: int) -> RunData:
    """Records with the part that each belongs to.

    Raises:
        DatasetError: If a given split tears a group apart.
    """
    chosen = split(records, session)
    index = {id(record): i for i, record in enumerate(records)}
    return RunData(records, {name: [index[id(r)] for r in chosen[name]] for name in PARTS})


def why_refused(data: RunData, keys: Sequence[str], used: Sequence[Sequence[str]] = EACH_PART) -> str:
    """The line that says why photos cannot be trained or measured on; empty if they can.

    Args:
        data: The photos and their parts.
        keys: Data sets that were read.
        used: Parts that are needed, in groups that count together.
    """
    more = "" if tuple(keys) == (own_csv.KEY,) else ", or data sets with --set data.sets"
    for names in used:
        rated = data.at([i for name in names for i in data.rated(name)])
        of = "altogether" if len(names) > 1 else f"in the {names[0]} part of {len(data.records)}"
        if len(rated) < FEWEST_RATED:
            return f"only {len(rated)} rated photos {of}; {FEWEST_RATED} are needed: {_what_to_add(data, keys)}{more}"
        scores = {(r.dataset, r.target) for r in rated}  # A correlation is within a data set.
        if tuple(names) != ("train",) and len(scores) == len({r.dataset for r in rated}):
            given = any(record.part for record in rated)
            other = "deal them out otherwise in the column `split`" if given else "take another --set data.session"
            alike = f"all {len(rated)} rated photos {of} have one score"
            return f"{alike}, so nothing can be measured: {other}, or add photos"
    return ""


def _what_to_add(data: RunData, keys: Sequence[str]) -> str:
    dealt = [record for record in data.records if record.target is not None and not record.part]
    groups = len({(record.dataset, record.group) for record in dealt})
    if groups == len(dealt):
        return "add photos"
    column = ", or fill the column `split`" if own_csv.KEY in keys else ""
    return f"the photos lie in {groups} groups, which a split keeps whole: add groups{column}"
