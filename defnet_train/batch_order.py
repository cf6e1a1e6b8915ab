"""Which photos make a batch, step after step: an endless order that can be put down and taken up again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from defnet_infer.errors import DatasetError
from defnet_train.records import ImageRecord


class BatchOrder:
    """Endless batches of photo indices with a fixed number of each data set, in the mixture's order.

    Every data set is shuffled and walked through on its own, synthetic ones by pairs; a rest too small for its
    share is dropped, so that a batch never holds a rated photo twice unless the data set is smaller than its share.

    Args:
        records: The photos.
        mixture: Data set key -> photos of it in every batch.
        rng: Shuffles; may serve other draws in between.

    Raises:
        DatasetError: If a data set of the mixture has no photo.
    """

    def __init__(self, records: Sequence[ImageRecord], mixture: dict[str, int], rng: np.random.Generator) -> None:
        self._walks: dict[str, _Photos | _Pairs] = {}
        for key, count in mixture.items():
            indices = [i for i, r in enumerate(records) if r.dataset == key]
            if not indices:
                raise DatasetError(f"no training photo of '{key}', which data.sets asks for in every batch")
            in_series = records[indices[0]].series
            self._walks[key] = _Pairs(records, indices, count, rng) if in_series else _Photos(indices, count, rng)

    def __iter__(self) -> BatchOrder:
        return self

    def __next__(self) -> list[int]:
        return [index for walk in self._walks.values() for index in walk.take()]

    def state(self) -> dict[str, Any]:
        """Where every data set's walk stands, ready for JSON; the state of `rng` is the caller's to keep."""
        return {key: walk.state() for key, walk in self._walks.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from where another order of the same photos and mixture stood."""
        for key, walk in self._walks.items():
            walk.restore(state[key])


class _Photos:
    """Shuffled indices, `count` at a time."""

    def __init__(self, indices: list[int], count: int, rng: np.random.Generator) -> None:
        self._indices, self._count, self._rng = indices, count, rng
        self._order: list[int] = []
        self._next = 0

    def take(self) -> list[int]:
        if self._next + self._count > len(self._order):
            self._order, self._next = self._shuffled(), 0
            while len(self._order) < self._count:
                self._order += self._shuffled()
        self._next += self._count
        return self._order[self._next - self._count : self._next]

    def _shuffled(self) -> list[int]:
        return self._rng.permutation(self._indices).tolist()

    def state(self) -> dict[str, Any]:
        return {"order": self._order, "next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        self._order, self._next = list(state["order"]), state["next"]


class _Pairs:
    """Pairs that can be ordered: two levels of a distortion of one photo, of which level 0 is the photo itself."""

    def __init__(
        self, records: Sequence[ImageRecord], indices: list[int], count: int, rng: np.random.Generator
    ) -> None:
        originals = {records[i].group: i for i in indices if not records[i].kind}
        ladders: dict[tuple[str, str], list[int]] = {}
        for i in indices:
            if records[i].kind:
                group = records[i].group
                ladders.setdefault((group, records[i].kind), [originals[group]]).append(i)
        self._ladders = list(ladders.values())
        self._rng = rng
        self._walk = _Photos(list(range(len(self._ladders))), max(count // 2, 1), rng)

    def take(self) -> list[int]:
        ladders = (self._ladders[k] for k in self._walk.take())
        return [index for ladder in ladders for index in self._rng.choice(ladder, 2, replace=False).tolist()]

    def state(self) -> dict[str, Any]:
        return self._walk.state()

    def restore(self, state: dict[str, Any]) -> None:
        self._walk.restore(state)
