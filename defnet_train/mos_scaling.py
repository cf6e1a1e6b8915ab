"""The scale of the target that evidence of quality is held against while training (departure 20).

Measuring always uses the nominal scale: figures of two runs must mean the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from defnet_train.objective import Targets


def scaled_targets(targets: Targets, train: Sequence[int], scaling: str) -> Targets:
    """Targets with `target` on another scale.

    Args:
        targets: Of all photos of a run, on the nominal scale.
        train: The photos trained on. Only their scores may tell where a scale ends.
        scaling: ``nominal``: as they are. ``observed``: per data set, the lowest score of a training photo is 1 and
            the highest 5, beyond them clipped. ``raw``: the data set's own scale. It is what the published code does,
            and harmful: a prediction in [1, 5] cannot follow a score of 80.
    """
    if scaling == "nominal":
        return targets
    if scaling == "raw":
        return targets._replace(target=torch.where(targets.target_known, targets.mos, targets.target))
    target = targets.target.clone()
    seen = torch.zeros(len(target), dtype=torch.bool)
    seen[list(train)] = True
    for key in targets.dataset.unique():
        rated = (targets.dataset == key) & targets.target_known
        if not (rated & seen).any():
            continue
        low, high = targets.mos[rated & seen].aminmax()
        if low < high:
            target[rated] = (1 + 4 * (targets.mos[rated] - low) / (high - low)).clamp(1, 5)
    return targets._replace(target=target)
