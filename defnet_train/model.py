"""DEFNet: encoder, joint read-out and evidential heads in one module, for training and for scoring.

Legend: B photo, V view (crop), J joint class, E embedding, F trunk feature, K quantities of a task.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from defnet_infer.contract import Contract, Preprocess
from defnet_train.config import ModelConfig
from defnet_train.encoder import TOWERS, Encoder
from defnet_train.joint import TASK_SIZES, JointReadOut, Marginals
from defnet_train.nig import EvidentialHead, Nig, fuse, fuse_local_global, fuse_tempered, half_width_95


class Forward(NamedTuple):
    """What one training step needs of a batch."""

    score: Tensor
    """(B,), Eq. (5)."""
    photo: Marginals
    """Marginals of the photo, (B, C)."""
    cross: dict[str, Nig]
    """Task -> cross-region fusion of the crops, Eq. (18), (B, K)."""
    fused: dict[str, Nig]
    """Task -> local-global fusion, Eq. (25), (B, K)."""


class Defnet(nn.Module):
    """The whole model.

    Args:
        config: Architecture and starting weights.
        overview_gradient: ``head`` stops the overview's gradient before the encoder, ``full`` lets it in.
    """

    def __init__(self, config: ModelConfig, overview_gradient: str = "head") -> None:
        super().__init__()
        self.config = config
        self.overview_gradient = overview_gradient
        self.encoder = Encoder(config.tower, config.prompt_preset, config.weights, config.trunk_weights, config.dropout)
        self.read_out = JointReadOut()
        self.heads = nn.ModuleDict({task: EvidentialHead(task, size) for task, size in TASK_SIZES.items()})
        self.register_buffer("calibration", torch.tensor(1.0))

    def contract(self) -> Contract:
        """What a file exported from this model promises."""
        tower = TOWERS[self.config.tower]
        return Contract(
            encoder=self.config.tower,
            prompt_preset=self.config.prompt_preset,
            local_aggregation=self.config.local_aggregation,
            uncertainty_source=self.config.uncertainty_source,
            preprocess=Preprocess(mean=tower.mean, std=tower.std),
        )

    def forward(self, crops: Tensor, overview: Tensor) -> Forward:
        """One training step's predictions.

        Args:
            crops: 8-bit views (B, V, H, W, 3), or their trunk features (B, V, F) when the trunk is frozen.
            overview: 8-bit (B, H, W, 3), or features (B, F).
        """
        text_JE = self.encoder.encode_text()
        scale = self.encoder.logit_scale()
        crop_logits_BVJ = self.read_out.logits(self._embed(crops), text_JE, scale)
        if self.overview_gradient == "head":
            # Section 3.1: the overview passes through the same weights, which learn nothing from it.
            with torch.no_grad():
                overview_logits_BJ = self.read_out.logits(self._embed(overview), text_JE, scale)
        else:
            overview_logits_BJ = self.read_out.logits(self._embed(overview), text_JE, scale)
        photo, crop, whole = self._marginals(crop_logits_BVJ, overview_logits_BJ)
        cross, fused = {}, {}
        for task, head in self.heads.items():
            local_BVK = head(getattr(crop, task))
            # Only photos scored with another number of crops than four need tempering; at four it is Eq. (20).
            cross[task] = fuse(local_BVK, dim=1) if self.training else fuse_tempered(local_BVK, dim=1)
            fused[task] = fuse_local_global(local_BVK, head(getattr(whole, task)))
        return Forward(self.read_out.score(photo.quality), photo, cross, fused)

    def _embed(self, views: Tensor, *, pixels: bool = False) -> Tensor:
        features = self.encoder.trunk_features(views) if pixels or views.dtype == torch.uint8 else views
        return self.encoder.project(features)

    def _marginals(self, crop_logits_BVJ: Tensor, overview_logits_BJ: Tensor) -> tuple[Marginals, Marginals, Marginals]:
        """Marginals of the photo, of each crop and of the overview."""
        return (
            self.read_out.marginals(self.read_out.photo_joint(crop_logits_BVJ, self.config.local_aggregation)),
            self.read_out.marginals(crop_logits_BVJ.softmax(dim=-1)),
            self.read_out.marginals(overview_logits_BJ.softmax(dim=-1)),
        )

    def score_views(self, crops: Tensor, overview: Tensor, text_EJ: Tensor) -> dict[str, Tensor]:
        """All outputs of schema 1; what the exported graph computes.

        Args:
            crops: 8-bit (B, V, H, W, 3), or trunk features (B, V, F).
            overview: 8-bit (B, H, W, 3), or trunk features (B, F).
            text_EJ: Unit text embeddings times exp(logit_scale), from `text_matrix`.
        """
        if crops.dtype == torch.uint8:
            # Joined after the cast: TensorRT reads an 8-bit input through a cast and nothing else.
            embedded_BVE = self._embed(torch.cat([crops.float(), overview.float().unsqueeze(1)], dim=1), pixels=True)
            crops_BVE, overview_BE = embedded_BVE[:, :-1], embedded_BVE[:, -1]
        else:
            crops_BVE, overview_BE = self._embed(crops), self._embed(overview)
        photo, crop, whole = self._marginals(crops_BVE @ text_EJ, overview_BE @ text_EJ)
        head = self.heads["quality"]
        local_BV1, overview_B1 = head(crop.quality), head(whole.quality)
        if self.config.uncertainty_source == "fusion":
            nig = fuse_local_global(local_BV1, overview_B1)
        else:
            nig = fuse_tempered(local_BV1, dim=1)
        half = self.calibration * half_width_95(nig)
        return {
            "score": self.read_out.score(photo.quality),
            "fused_score": nig.delta.squeeze(-1),
            "aleatoric": nig.aleatoric.squeeze(-1),
            "epistemic": nig.epistemic.squeeze(-1),
            "interval": torch.cat([nig.delta - half, nig.delta + half], dim=-1),
            "nig": torch.cat(list(nig), dim=-1),
            "quality": photo.quality,
            "scene": photo.scene,
            "distortion": photo.distortion,
            "crop_score": self.read_out.score(crop.quality),
        }

    def text_matrix(self) -> Tensor:
        """Unit text embeddings with the temperature folded in, (E, 495)."""
        return (self.encoder.logit_scale() * self.encoder.encode_text()).T
