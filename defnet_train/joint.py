"""Joint probabilities over quality, scene and distortion, and what is read off them (Eqs. 4 to 6).

Legend: B photo, V view, J joint class (495 with all three tasks), E embedding, Q S D quality, scene, distortion.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from defnet_infer.taxonomy import CLASSES, QUALITY_VALUES

TASK_SIZES = {task: len(classes) for task, classes in CLASSES.items()}
TASK_SUBSETS: dict[str, tuple[str, ...]] = {
    "q": ("quality",),
    "q+s": ("quality", "scene"),
    "q+d": ("quality", "distortion"),
    "q+s+d": ("quality", "scene", "distortion"),
}
"""What a model is trained to tell, as Table 4 names it -> its tasks. Without s or d their words leave the prompts."""


class Marginals(NamedTuple):
    """Probabilities per task, None for a task that the model does not have; leading axes as in the joint ones."""

    quality: Tensor
    scene: Tensor | None = None
    distortion: Tensor | None = None

    def of(self, task: str) -> Tensor:
        """Probabilities of a task that the model has."""
        value = getattr(self, task)
        assert value is not None, task
        return value


def marginal_matrix(tasks: tuple[str, ...] = tuple(TASK_SIZES)) -> Tensor:
    """Constant 0/1 matrix (J, classes of all tasks), (495, 25) with all three: one matmul gives all marginals.

    Column blocks are quality, scene, distortion. Equal to reshaping to (5, 9, 11) and summing (tested); a
    matmul exports to a single operator.
    """
    sizes = [TASK_SIZES[task] for task in tasks]
    ids = torch.unravel_index(torch.arange(math.prod(sizes)), sizes)
    return torch.cat([torch.nn.functional.one_hot(i, n) for i, n in zip(ids, sizes, strict=True)], dim=1).float()


class JointReadOut(nn.Module):
    """Embeddings to joint probabilities, marginals and expected score. Holds constants only.

    Args:
        tasks: What the prompts name, in joint order.
    """

    def __init__(self, tasks: tuple[str, ...] = tuple(TASK_SIZES)) -> None:
        super().__init__()
        self.tasks = tasks
        self.register_buffer("matrix", marginal_matrix(tasks), persistent=False)
        self.register_buffer("levels", torch.tensor(QUALITY_VALUES), persistent=False)

    def logits(self, image: Tensor, text_JE: Tensor, logit_scale: Tensor) -> Tensor:
        """Cosines over temperature, the argument of Eq. (4): (..., E) -> (..., J)."""
        return image @ (logit_scale * text_JE).T

    def marginals(self, joint: Tensor) -> Marginals:
        """(..., J) -> probabilities per task."""
        parts = (joint @ self.matrix).split([TASK_SIZES[task] for task in self.tasks], dim=-1)
        return Marginals(**dict(zip(self.tasks, parts, strict=True)))

    def score(self, quality: Tensor) -> Tensor:
        """Eq. (5), expected level: (..., 5) -> (...), in [1, 5]."""
        return quality @ self.levels

    def photo_joint(self, logits_BVJ: Tensor, aggregation: str, weights_BV: Tensor | None = None) -> Tensor:
        """Joint probability of a photo from its crops, (B, J): Eq. (6), or LIQE's mean of logits.

        Args:
            logits_BVJ: Of the crops.
            aggregation: ``prob_mean`` or ``logit_mean``.
            weights_BV: Of the crops in the mean, adding up to 1; alike if absent.
        """
        crops_BVJ = logits_BVJ.softmax(dim=-1) if aggregation == "prob_mean" else logits_BVJ
        mean_BJ = crops_BVJ.mean(dim=1) if weights_BV is None else (weights_BV.unsqueeze(-1) * crops_BVJ).sum(dim=1)
        return mean_BJ if aggregation == "prob_mean" else mean_BJ.softmax(dim=-1)


class CountOnce(nn.Module):
    """Weights under which crops that are there again count once; needed where `few_windows` is ``repeat``.

    A photo with n < 15 windows shows them in order until there are 15 crops, so some are there once more than others,
    and the plain mean of the crops is not that of the windows. The smallest n for which every crop says what the n-th
    before it says is found from the logits, and only the first n crops get weight. Fifteen different crops, with
    n = 15, get the plain mean.

    Args:
        crops: How many there are.
    """

    SAME = 1e-4
    """Largest difference of the logits of a crop that is there twice: float32's rounding at logits of 100."""

    def __init__(self, crops: int) -> None:
        super().__init__()
        order_V, n_N = torch.arange(crops), torch.arange(1, crops + 1)
        lag_VV = order_V.unsqueeze(1) - order_V
        self.register_buffer("pairs", (lag_VV.flatten().unsqueeze(1) == n_N).float(), persistent=False)
        self.register_buffer("needed", (crops - n_N).float() - 0.5, persistent=False)
        # The smallest n that fits has the highest rank, so that the largest rank is never shared.
        self.register_buffer("rank", (crops + 1 - n_N).float(), persistent=False)
        self.register_buffer("weights", (order_V < n_N.unsqueeze(1)) / n_N.unsqueeze(1), persistent=False)

    def forward(self, logits_BVJ: Tensor) -> Tensor:
        """(B, V, J) -> weights (B, V) that add up to 1."""
        apart_BVV = (logits_BVJ.unsqueeze(2) - logits_BVJ.unsqueeze(1)).abs().amax(dim=-1)
        fits_BN = ((apart_BVV <= self.SAME).float().flatten(1) @ self.pairs) > self.needed
        return self.weights[(fits_BN.float() * self.rank).argmax(dim=-1)]
