"""Joint probabilities over quality, scene and distortion, and what is read off them (Eqs. 4 to 6).

Legend: B photo, V view, J joint class (495 with all three tasks), E embedding, Q S D quality, scene, distortion.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from defnet_infer.taxonomy import DISTORTIONS, QUALITIES, QUALITY_VALUES, SCENES

TASK_SIZES = {"quality": len(QUALITIES), "scene": len(SCENES), "distortion": len(DISTORTIONS)}
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

    def photo_joint(self, logits_BVJ: Tensor, aggregation: str) -> Tensor:
        """Joint probability of a photo from its crops, (B, J): Eq. (6), or LIQE's mean of logits."""
        if aggregation == "prob_mean":
            return logits_BVJ.softmax(dim=-1).mean(dim=1)
        return logits_BVJ.mean(dim=1).softmax(dim=-1)
