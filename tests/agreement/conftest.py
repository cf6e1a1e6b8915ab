"""A model with weights away from their start, and the same numbers as the arrays that NumPy scores with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from defnet_infer.evidential import ReadOut
from defnet_train.config import ModelConfig
from defnet_train.model import Defnet
from tests.train.conftest import TINY, randomise


def read_out_of(model: Defnet, text_EJ: np.ndarray | None = None, dtype: type = np.float64) -> ReadOut:
    """What the NumPy oracle needs of a model.

    Args:
        model: Its quality head, calibration and options are taken.
        text_EJ: Scaled text matrix; the model's own if absent.
        dtype: Of all arrays.
    """
    if text_EJ is None:
        with torch.inference_mode():
            text_EJ = model.text_matrix().numpy()
    affine = model.heads["quality"].affine
    return ReadOut(
        text_EJ=text_EJ.astype(dtype),
        head_weight=affine.weight.detach().numpy().astype(dtype),
        head_bias=affine.bias.detach().numpy().astype(dtype),
        calibration=model.calibration.item(),
        local_aggregation=model.config.local_aggregation,
        uncertainty_source=model.config.uncertainty_source,
        cross_inference=model.config.cross_inference,
        local_global_average=model.config.local_global_average,
        noise=model.config.head.noise,
        noise_factor=model.noise_factors[0].item() if model.noise_factors else 1.0,
    )


@pytest.fixture
def new_model() -> Callable[..., Defnet]:
    """Build a model whose projection is the identity, so that features are embeddings."""

    def build(aggregation: str, source: str, seed: int = 0, **options: Any) -> Defnet:
        torch.manual_seed(seed)
        options |= {"local_aggregation": aggregation, "uncertainty_source": source}
        config = ModelConfig(tower=TINY, weights="random", **options)
        model = randomise(Defnet(config), seed).eval()
        model.encoder.clip.visual.head = torch.nn.Identity()
        model.calibration.fill_(1.3)
        return model

    return build
