"""Photos to batches: which windows, which labels.

A `ViewSource` gives views of photos by index: `PhotoViews` decodes and cuts them on the fly; `FeatureViews`
hands out trunk features computed once, which is all that training a frozen trunk needs. Both flip a photo's
crops and its overview together.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from defnet_infer import views
from defnet_infer.contract import Preprocess
from defnet_infer.taxonomy import DISTORTIONS, SCENES
from defnet_train.objective import Targets
from defnet_train.records import ImageRecord

EVERYTHING = slice(None)


class ViewSource(Protocol):
    """Views of a fixed list of photos."""

    def draw(
        self, indices: Sequence[int], crops: int, rng: np.random.Generator, share: slice = EVERYTHING
    ) -> tuple[Tensor, Tensor]:
        """Random windows for training: crops (B, V, ...) and overview (B, ...).

        Numbers are drawn for all `indices`, views are made of `share` of them: several processes that share a
        batch see together what one process would see.
        """

    def fixed(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """The windows that scoring uses: crops (B, 15, ...) and overview (B, ...)."""


class PhotoViews:
    """Views decoded from files, in threads.

    Args:
        records: The photos.
        rule: Preprocessing rule.
        workers: Decode threads.
        scales: Factors by which rated photos are also resized in training.
    """

    def __init__(
        self, records: Sequence[ImageRecord], rule: Preprocess, workers: int = 4, scales: Sequence[float] = ()
    ) -> None:
        self.records, self.rule, self.scales = records, rule, scales
        self._pool = ThreadPoolExecutor(workers)

    def draw(
        self, indices: Sequence[int], crops: int, rng: np.random.Generator, share: slice = EVERYTHING
    ) -> tuple[Tensor, Tensor]:
        """See `ViewSource.draw`. Windows are drawn from the grid with replacement, as LIQE does."""
        # Numbers are drawn here, in order, so that a batch does not depend on which thread finishes first.
        draws = [(index, rng.random(crops), bool(rng.integers(2)), self._scale(index, rng)) for index in indices]
        jobs = [self._pool.submit(self._random, *draw) for draw in draws[share]]
        return _stack([job.result() for job in jobs])

    def fixed(self, indices: Sequence[int], scale: float = 1.0) -> tuple[Tensor, Tensor]:
        """See `ViewSource.fixed`; of the photos resized by a factor."""
        return _stack(list(self._pool.map(lambda index: self._fixed(index, scale), indices)))

    def _scale(self, index: int, rng: np.random.Generator) -> float:
        """As often as `FeatureViews` draws it."""
        if not self.scales or self.records[index].series:
            return 1.0
        return (1.0, 1.0, *self.scales)[_picture(2 + len(self.scales), rng)]

    def _random(self, index: int, draws: np.ndarray, flip: bool, scale: float) -> tuple[np.ndarray, np.ndarray]:
        pixels = resized(self.records[index].pixels(), scale, self.rule.crop_size)
        height, width = pixels.shape[:2]
        stride, columns, rows = views.grid(*views.working_size(width, height, self.rule), self.rule)
        chosen = [views.window(int(draw * columns * rows), stride, columns) for draw in draws]
        crops, whole = views.cut(pixels, chosen, self.rule), views.overview(pixels, self.rule)
        return (crops[:, :, ::-1], whole[:, ::-1]) if flip else (crops, whole)

    def _fixed(self, index: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
        made = views.make(resized(self.records[index].pixels(), scale, self.rule.crop_size), self.rule)
        return made.crops, made.overview


class FeatureViews:
    """Trunk features computed once.

    Args:
        features: Per photo (M, V, F): upright, mirrored or resized, view (the overview last). M and V may differ
            between data sets; a batch of `fixed` needs photos with the same V.
        begun: The same for a trunk that was stopped before its last stages, which are to be trained later.
    """

    def __init__(self, features: Sequence[Tensor], begun: Sequence[Tensor] | None = None) -> None:
        self.features, self.begun = features, begun
        self._finished = features

    def thaw(self) -> None:
        """From now on hand out what goes into the last stages."""
        assert self.begun is not None
        self.features = self.begun

    def freeze(self) -> None:
        """Hand out finished features again."""
        self.features = self._finished

    def draw(
        self, indices: Sequence[int], crops: int, rng: np.random.Generator, share: slice = EVERYTHING
    ) -> tuple[Tensor, Tensor]:
        """See `ViewSource.draw`; windows come from those that were computed."""
        drawn, overviews = [], []
        for index in indices:
            pictures, count, _ = self.features[index].shape
            side = self.features[index][_picture(pictures, rng)]
            drawn.append(side[torch.from_numpy(rng.integers(count - 1, size=crops))])
            overviews.append(side[-1])
        return torch.stack(drawn[share]), torch.stack(overviews[share])

    def fixed(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        """See `ViewSource.fixed`."""
        upright = torch.stack([self.features[index][0] for index in indices])
        return upright[:, :-1], upright[:, -1]


def _picture(count: int, rng: np.random.Generator) -> int:
    """Which of upright (0), mirrored (1) and resized pictures: the first two twice as often as each of the others."""
    if count <= 2:
        return int(rng.integers(count))
    drawn = int(rng.integers(count + 2))
    return drawn if drawn < count else drawn - count


def resized(pixels: np.ndarray, factor: float, least: int) -> np.ndarray:
    """A photo (height, width, 3) resized by a factor, no side below `least` unless it was."""
    if factor == 1:
        return pixels
    height, width = pixels.shape[:2]
    size = tuple(max(round(side * factor), min(side, least)) for side in (width, height))
    method = Image.Resampling.BICUBIC if factor > 1 else Image.Resampling.BILINEAR
    return np.asarray(Image.fromarray(pixels).resize(size, method))


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
            if record.labels.distortion is not None:
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
        distortion_known=torch.tensor([r.labels is not None and r.labels.distortion is not None for r in records]),
    )


def take(targets: Targets, indices: Sequence[int]) -> Targets:
    """Rows of label tensors."""
    rows = torch.tensor(indices)
    return Targets(*(values[rows] for values in targets))
