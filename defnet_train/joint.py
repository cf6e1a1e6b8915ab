"""Joint probabilities over quality, scene and distortion, and what is read off them (Eqs. 4 to 6).

Legend: B photo, V view, J joint class (495), E embedding, Q S D quality, scene, distortion.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from defnet_infer.taxonomy import DISTORTIONS, JOINT_COUNT, JOINT_SHAPE, QUALITIES, QUALITY_VALUES, SCENES

TASK_SIZES = {"quality": len(QUALITIES), "scene": len(SCENES), "distortion": len(DISTORTIONS)}


class Marginals(NamedTuple):
    """Probabilities per task; leading axes as in the joint probabilities they come from."""

    quality: Tensor
    scene: Tensor
    distortion: Tensor


def marginal_matrix() -> Tensor:
    """Constant 0/1 matrix (495, 25): one matmul gives all three marginals.

    Column blocks are quality, scene, distortion. Equal to reshaping to (5, 9, 11) and summing (tested); a
    matmul exports to a single operator.
    """
    cells = torch.arange(JOINT_COUNT)
    ids = torch.unravel_index(cells, JOINT_SHAPE)
    return torch.cat([torch.nn.functional.one_hot(i, n) for i, n in zip(ids, JOINT_SHAPE, strict=True)], dim=1).float()


class JointReadOut(nn.Module):
    """Embeddings to joint probabilities, marginals and expected score. Holds constants only."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("matrix", marginal_matrix(), persistent=False)
        self.register_buffer("levels", torch.tensor(QUALITY_VALUES), persistent=False)

    def logits(self, image: Tensor, text_JE: Tensor, logit_scale: Tensor) -> Tensor:
        """Cosines over temperature, the argument of Eq. (4): (..., E) -> (..., 495)."""
        return image @ (logit_scale * text_JE).T

    def marginals(self, joint: Tensor) -> Marginals:
        """(..., 495) -> probabilities per task."""
        return Marginals(*(joint @ self.matrix).split(list(TASK_SIZES.values()), dim=-1))

    def score(self, quality: Tensor) -> Tensor:
        """Eq. (5), expected level: (..., 5) -> (...), in [1, 5]."""
        return quality @ self.levels

    def photo_joint(self, logits_BVJ: Tensor, aggregation: str) -> Tensor:
        """Joint probability of a photo from its crops, (B, 495): Eq. (6), or LIQE's mean of logits."""
        if aggregation == "prob_mean":
            return logits_BVJ.softmax(dim=-1).mean(dim=1)
        return logits_BVJ.mean(dim=1).softmax(dim=-1)
