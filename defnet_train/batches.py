"""Photos to batches: which photos, which windows, which labels.

A `ViewSource` gives views of photos by index: `PhotoViews` decodes and cuts them on the fly; `FeatureViews`
hands out trunk features computed once, which is all that training a frozen trunk needs. Both flip a photo's
crops and its overview together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from defnet_infer import views
from defnet_infer.contract import Preprocess
from defnet_infer.errors import DatasetError
from defnet_infer.taxonomy import DISTORTIONS, SCENES
from defnet_train.objective import Targets
from defnet_train.readers import ImageRecord


class Batch(NamedTuple):
    """Views (8-bit or trunk features) and labels of the same photos."""

    crops: Tensor
    overview: Tensor
    targets: Targets


class ViewSource(Protocol):
    """Views of a fixed list of photos."""

    def draw(self, indices: Sequence[int], crops: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Random windows for training: crops (B, V, ...) and overview (B, ...)."""

    def fixed(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The windows that scoring uses: crops (B, 15, ...) and overview (B, ...)."""


class PhotoViews:
    """Views decoded from files, in threads.

    Args:
        records: The photos.
        rule: Preprocessing rule.
        workers: Decode threads.
    """

    def __init__(self, records: Sequence[ImageRecord], rule: Preprocess, workers: int = 4) -> None:
        self.records, self.rule = records, rule
        self._pool = ThreadPoolExecutor(workers)

    def draw(self, indices: Sequence[int], crops: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """See `ViewSource.draw`. Windows are drawn from the grid with replacement, as LIQE does."""
        # Numbers are drawn here, in order, so that a batch does not depend on which thread finishes first.
        draws = [(rng.random(crops), bool(rng.integers(2))) for _ in indices]
        jobs = [self._pool.submit(self._random, i, *draw) for i, draw in zip(indices, draws, strict=True)]
        return _stack([job.result() for job in jobs])

    def fixed(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See `ViewSource.fixed`."""
        return _stack(list(self._pool.map(self._fixed, indices)))

    def _random(self, index: int, draws: np.ndarray, flip: bool) -> tuple[np.ndarray, np.ndarray]:
        pixels = self.records[index].pixels()
        height, width = pixels.shape[:2]
        stride, columns, rows = views.grid(*views.working_size(width, height, self.rule), self.rule)
        chosen = [views.window(int(draw * columns * rows), stride, columns) for draw in draws]
        crops, whole = views.cut(pixels, chosen, self.rule), views.overview(pixels, self.rule)
        return (crops[:, :, ::-1], whole[:, ::-1]) if flip else (crops, whole)

    def _fixed(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        made = views.make(self.records[index].pixels(), self.rule)
        return made.crops, made.overview


class FeatureViews:
    """Trunk features computed once.

    Args:
        features: Per photo (M, V, F): mirrored or not, view (the overview last). M and V may differ between
            data sets; a batch of `fixed` needs photos with the same V.
    """

    def __init__(self, features: Sequence[Tensor]) -> None:
        self.features = features

    def draw(self, indices: Sequence[int], crops: int, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """See `ViewSource.draw`; windows come from those that were computed."""
        drawn, overviews = [], []
        for index in indices:
            mirrors, count, _ = self.features[index].shape
            side = self.features[index][int(rng.integers(mirrors))]
            drawn.append(side[torch.from_numpy(rng.integers(count - 1, size=crops))])
            overviews.append(side[-1])
        return torch.stack(drawn), torch.stack(overviews)

    def fixed(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See `ViewSource.fixed`."""
        upright = torch.stack([self.features[index][0] for index in indices])
        return upright[:, :-1], upright[:, -1]


def _stack(pairs: list[tuple[np.ndarray, np.ndarray]]) -> tuple[Tensor, Tensor]:
    crops, overviews = zip(*pairs, strict=True)
    return torch.from_numpy(np.stack(crops)), torch.from_numpy(np.stack(overviews))


def targets_of(records: Sequence[ImageRecord]) -> Targets:
    """Label tensors of photos; ids of data sets, groups and series follow the sorted names."""
    keys = sorted({r.dataset for r in records})
    groups = ["", *sorted({r.group for r in records if r.series})]
    kinds = sorted({r.kind for r in records} | {""})
    group_id, kind_id = ({name: i for i, name in enumerate(names)} for names in (groups, kinds))
    scene = torch.zeros(len(records), len(SCENES))
    distortion = torch.zeros(len(records), len(DISTORTIONS))
    for row, record in enumerate(records):
        if record.labels:
            scene[row, list(record.labels.scenes)] = 1.0
            distortion[row, record.labels.distortion] = 1.0
    return Targets(
        mos=torch.tensor([r.mos for r in records]),
        target=torch.tensor([3.0 if r.target is None else r.target for r in records]),
        target_known=torch.tensor([r.target is not None for r in records]),
        dataset=torch.tensor([keys.index(r.dataset) for r in records]),
        group=torch.tensor([group_id[r.group if r.series else ""] for r in records]),
        series=torch.tensor([kind_id[r.kind] for r in records]),
        scene=scene,
        distortion=distortion,
        scene_known=torch.tensor([r.labels is not None and bool(r.labels.scenes) for r in records]),
        distortion_known=torch.tensor([r.labels is not None for r in records]),
    )


def take(targets: Targets, indices: Sequence[int]) -> Targets:
    """Rows of label tensors."""
    rows = torch.tensor(indices)
    return Targets(*(values[rows] for values in targets))


def index_batches(
    records: Sequence[ImageRecord], mixture: dict[str, int], rng: np.random.Generator
) -> Iterator[list[int]]:
    """Endless batches of photo indices with a fixed number of each data set, in the mixture's order.

    Every data set is shuffled and walked through on its own, synthetic ones by threes; a rest too small for its
    share is dropped, so that a batch never holds a photo twice unless the data set is smaller than its share.

    Raises:
        DatasetError: If a data set of the mixture has no photo.
    """
    for key in mixture:
        if not any(r.dataset == key for r in records):
            raise DatasetError(f"no training photo of '{key}', which data.sets asks for in every batch")
    walks = []
    for key, count in mixture.items():
        indices = [i for i, r in enumerate(records) if r.dataset == key]
        in_series = records[indices[0]].series
        walks.append(_walk_series(records, indices, count, rng) if in_series else _walk(indices, count, rng))
    while True:
        yield [index for walk in walks for index in next(walk)]


def _walk_series(
    records: Sequence[ImageRecord], indices: list[int], count: int, rng: np.random.Generator
) -> Iterator[list[int]]:
    """Triples that can be ordered: an undistorted photo and two levels of one of its distortions."""
    originals = {records[i].group: i for i in indices if not records[i].kind}
    ladders: dict[tuple[str, str], list[int]] = {}
    for i in indices:
        if records[i].kind:
            ladders.setdefault((records[i].group, records[i].kind), []).append(i)
    steps = list(ladders.items())
    for chosen in _walk(list(range(len(steps))), max(count // 3, 1), rng):
        batch: list[int] = []
        for (group, _), ladder in (steps[k] for k in chosen):
            batch += [originals[group], *rng.choice(ladder, min(2, len(ladder)), replace=False).tolist()]
        yield batch


def _walk(indices: list[int], count: int, rng: np.random.Generator) -> Iterator[list[int]]:
    while True:
        order = rng.permutation(indices).tolist()
        while len(order) < count:
            order += rng.permutation(indices).tolist()
        for start in range(0, len(order) - count + 1, count):
            yield order[start : start + count]
