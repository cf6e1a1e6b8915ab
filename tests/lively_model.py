"""A random model with weights far from their start values, so that a wrong formula shows in its outputs."""

from __future__ import annotations

import torch

from defnet_train.config import ModelConfig, TrainConfig
from defnet_train.model import Defnet

CONFIG = TrainConfig(model=ModelConfig(tower="mobilenetv2_100", weights="random"))


def lively_model(seed: int = 5) -> Defnet:
    """A model whose outputs differ from photo to photo: sharp temperature, non-zero head weights."""
    torch.manual_seed(seed)
    model = Defnet(CONFIG.model).eval()
    with torch.no_grad():
        model.encoder.clip.logit_scale.fill_(4.0)
        # Random text towers give 495 nearly equal vectors; wider token embeddings spread them.
        model.encoder.clip.token_embedding.weight.mul_(30)
        for head in model.heads.values():
            head.affine.weight.normal_(std=0.7)
        model.calibration.fill_(1.37)
    return model
