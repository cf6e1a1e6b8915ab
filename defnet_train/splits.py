"""Seeded 70/10/20 splits that never tear a group of related photos apart, and splits that a file gives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from defnet_infer.errors import DatasetError
from defnet_train.records import ImageRecord, Part

FRACTIONS: dict[Part, float] = {"train": 0.7, "val": 0.1, "test": 0.2}


def split(records: Sequence[ImageRecord], session: int) -> dict[Part, list[ImageRecord]]:
    """Split every data set by group; the same session number gives the same split on every machine.

    Fractions are of groups, rounded; order inside a part is that of `records`. The split depends on the groups
    present, not on the order of the records. From three groups on, every part has one. A data set whose records say
    their part keeps that.

    Args:
        records: Records of one or more data sets.
        session: Number of the split, from 1.

    Raises:
        DatasetError: If a given split tears a group apart.
    """
    part_of: dict[tuple[str, str], Part] = {}
    for record in records:
        if record.part is None:
            continue
        before = part_of.setdefault((record.dataset, record.group), record.part)
        if before != record.part:
            raise DatasetError(
                f"{record.dataset}: photos of '{record.group}' are both in {before} and in {record.part}, for example "
                f"{record.path}; what belongs together must be in one part, or test figures are too good"
            )
    for dataset in sorted({r.dataset for r in records if r.part is None}):
        groups = sorted({r.group for r in records if r.dataset == dataset})
        # Seeded by the data set's own name: adding another one must not move this one's photos into training.
        order = np.random.default_rng([session, *dataset.encode()]).permutation(len(groups))
        val_start = round(FRACTIONS["train"] * len(groups))
        test_start = round((FRACTIONS["train"] + FRACTIONS["val"]) * len(groups))
        if len(groups) >= 3 and val_start == test_start:
            val_start -= 1  # Rounding leaves no validation group of 3, 4, 5 and 8.
        for rank, index in enumerate(order):
            part: Part = "train" if rank < val_start else "val" if rank < test_start else "test"
            part_of[dataset, groups[index]] = part
    parts: dict[Part, list[ImageRecord]] = {part: [] for part in FRACTIONS}
    for record in records:
        parts[part_of[record.dataset, record.group]].append(record)
    return parts
