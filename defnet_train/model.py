"""DEFNet: encoder, joint read-out and evidential heads in one module, for training and for scoring.

Legend: B photo, V view (crop), J joint class, E embedding, F trunk feature, K quantities of a task.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import torch
from torch import Tensor, nn

from defnet_infer.contract import PREPROCESS_PRESETS, Contract
from defnet_train.config import ModelConfig
from defnet_train.encoder import TOWERS, Encoder
from defnet_train.heads import make_head
from defnet_train.joint import TASK_SIZES, TASK_SUBSETS, CountOnce, JointReadOut, Marginals
from defnet_train.nig import Nig, fuse_crops, fuse_local_global, half_width_95

OVERVIEW = "_overview"
"""Ends the name of a head that serves the overview alone."""


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
        self.tasks = TASK_SUBSETS[config.tasks]
        self.encoder = Encoder(
            config.tower, config.prompt_preset, config.weights, config.trunk_weights, config.dropout, config.tasks
        )
        self.read_out = JointReadOut(self.tasks)
        rule = PREPROCESS_PRESETS[config.preprocess]
        self.count_once = CountOnce(rule.crop_count) if rule.few_windows == "repeat" else None
        self.heads = nn.ModuleDict()
        self.has_evidence = config.head.kind != "none"
        for suffix in ("",) if config.head.share_overview else ("", OVERVIEW):
            for task in self.tasks if self.has_evidence else ():
                self.heads[task + suffix] = make_head(task, TASK_SIZES[task], config.head, self.encoder.embed_dim)
        self.register_buffer("calibration", torch.tensor(1.0))
        self.cached_stages = 0
        """Stages of a multi-level trunk that the features given in place of views have passed; 0: all of it."""

    @property
    def noise_factors(self) -> list[Tensor]:
        """What the variance of the quality marginal is multiplied by, of every head that takes its noise from it."""
        return [h.noise_factor for name, h in self.heads.items() if name.startswith("quality") and h.marginal_noise]

    def contract(self) -> Contract:
        """What a file exported from this model promises."""
        tower = TOWERS[self.config.tower]
        return Contract(
            encoder=self.config.tower,
            prompt_preset=self.config.prompt_preset,
            local_aggregation=self.config.local_aggregation,
            uncertainty_source=self.config.uncertainty_source,
            tasks=self.tasks,
            uncertainty=self.has_evidence,
            preprocess=dataclasses.replace(
                PREPROCESS_PRESETS[self.config.preprocess],
                mean=tower.mean,
                std=tower.std,
                crop_rule=self.config.crop_rule,
                # Evidence is all that an overview gives; without it none is made.
                overview_mode=self.config.overview_mode if self.has_evidence else "none",
            ),
        )

    def forward(self, crops: Tensor, overview: Tensor) -> Forward:
        """One training step's predictions.

        Args:
            crops: 8-bit views (B, V, H, W, 3), or their trunk features (B, V, F) when the trunk is frozen.
            overview: 8-bit (B, H, W, 3), or features (B, F).

        Under autocast the towers run in its precision; what follows them stays float32. 8 bits of bfloat16
        mantissa on logits up to 100 would be errors of 0.4, and a sum of 495 probabilities would not be 1.
        """
        assert self.has_evidence, "a model without a head is not trained"
        text_JE = self.encoder.encode_text()
        scale = self.encoder.logit_scale()
        crops_BVE = self._embed(crops)
        # Section 3.1: the overview passes through the same weights, which learn nothing from it.
        overview_learns = self.overview_gradient == "full" and torch.is_grad_enabled()
        with torch.set_grad_enabled(overview_learns):
            overview_BE = self._embed(overview)
        with torch.autocast(crops.device.type, enabled=False):
            crop_logits_BVJ = self.read_out.logits(crops_BVE, text_JE, scale)
            with torch.set_grad_enabled(overview_learns):
                overview_logits_BJ = self.read_out.logits(overview_BE, text_JE, scale)
            photo, crop, whole = self._marginals(crop_logits_BVJ, overview_logits_BJ)
            cross, fused = {}, {}
            for task in self.tasks:
                local_BVK = self.heads[task](crop.of(task), crops_BVE)
                # Only photos scored with another number of crops than four need tempering; at four it is Eq. (20).
                rule = "sum" if self.training else self.config.cross_inference
                cross[task] = fuse_crops(local_BVK, rule)
                fused[task] = self._fuse_overview(task, local_BVK, whole, overview_BE)
            return Forward(self.read_out.score(photo.quality), photo, cross, fused)

    def _fuse_overview(self, task: str, local_BVK: Nig, whole: Marginals, overview_BE: Tensor) -> Nig:
        """Local-global fusion of a task, with the overview's evidence from its own head where it has one."""
        head = self.heads[task if self.config.head.share_overview else task + OVERVIEW]
        # What crops disagree about is ignorance to be told; it teaches nothing.
        average = "param" if self.training else self.config.local_global_average
        return fuse_local_global(local_BVK, head(whole.of(task), overview_BE), average)

    def _embed(self, views: Tensor, *, pixels: bool = False) -> Tensor:
        if pixels or views.dtype == torch.uint8:
            return self.encoder.project(self.encoder.trunk_features(views))
        return self.encoder.project(
            self.encoder.finish_trunk(views, self.cached_stages) if self.cached_stages else views
        )

    def _marginals(self, crop_logits_BVJ: Tensor, overview_logits_BJ: Tensor) -> tuple[Marginals, Marginals, Marginals]:
        """Marginals of the photo, of each crop and of the overview."""
        return (
            self._photo(crop_logits_BVJ),
            self.read_out.marginals(crop_logits_BVJ.softmax(dim=-1)),
            self.read_out.marginals(overview_logits_BJ.softmax(dim=-1)),
        )

    def _photo(self, crop_logits_BVJ: Tensor) -> Marginals:
        """Marginals of the photo. Training draws its windows, and one that is drawn twice counts twice."""
        once = self.count_once is not None and not self.training
        weights_BV = self.count_once(crop_logits_BVJ) if once else None
        return self.read_out.marginals(
            self.read_out.photo_joint(crop_logits_BVJ, self.config.local_aggregation, weights_BV)
        )

    def score_views(self, crops: Tensor, overview: Tensor | None, text_EJ: Tensor) -> dict[str, Tensor]:
        """All outputs that the contract names; what the exported graph computes.

        Args:
            crops: 8-bit (B, V, H, W, 3), or trunk features (B, V, F).
            overview: 8-bit (B, H, W, 3), or trunk features (B, F); not looked at by a model without a head.
            text_EJ: Unit text embeddings times exp(logit_scale), from `text_matrix`.
        """
        if not self.has_evidence:
            return self._score_crops(self._embed(crops) @ text_EJ)
        assert overview is not None
        if crops.dtype == torch.uint8:
            # Joined after the cast: TensorRT reads an 8-bit input through a cast and nothing else.
            embedded_BVE = self._embed(torch.cat([crops.float(), overview.float().unsqueeze(1)], dim=1), pixels=True)
            crops_BVE, overview_BE = embedded_BVE[:, :-1], embedded_BVE[:, -1]
        else:
            crops_BVE, overview_BE = self._embed(crops), self._embed(overview)
        photo, crop, whole = self._marginals(crops_BVE @ text_EJ, overview_BE @ text_EJ)
        local_BV1 = self.heads["quality"](crop.quality, crops_BVE)
        if self.config.uncertainty_source == "fusion":
            nig = self._fuse_overview("quality", local_BV1, whole, overview_BE)
        else:
            nig = fuse_crops(local_BV1, self.config.cross_inference)
        half = self.calibration * half_width_95(nig)
        return {
            "score": self.read_out.score(photo.quality),
            "fused_score": nig.delta.squeeze(-1),
            "aleatoric": nig.aleatoric.squeeze(-1),
            "epistemic": nig.epistemic.squeeze(-1),
            "interval": torch.cat([nig.delta - half, nig.delta + half], dim=-1),
            "nig": torch.cat(list(nig), dim=-1),
            **{task: photo.of(task) for task in self.tasks},
            "crop_score": self.read_out.score(crop.quality),
        }

    def _score_crops(self, logits_BVJ: Tensor) -> dict[str, Tensor]:
        """What crops alone tell, without evidence."""
        photo = self._photo(logits_BVJ)
        crop = self.read_out.marginals(logits_BVJ.softmax(dim=-1))
        return {
            "score": self.read_out.score(photo.quality),
            **{task: photo.of(task) for task in self.tasks},
            "crop_score": self.read_out.score(crop.quality),
        }

    def text_matrix(self) -> Tensor:
        """Unit text embeddings with the temperature folded in, (E, J)."""
        return (self.encoder.logit_scale() * self.encoder.encode_text()).T
