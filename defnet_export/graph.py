"""The module that is exported: views in, all outputs of schema 1 out, nothing left to compute outside.

Text embeddings, temperature, head and calibration are constants in it; the text tower is not.
"""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor, nn

from defnet_train.model import Defnet


class ScoringGraph(nn.Module):
    """A trained model with its prompts encoded once.

    Args:
        model: In eval mode.
    """

    def __init__(self, model: Defnet) -> None:
        super().__init__()
        with torch.inference_mode():
            text_EJ = model.text_matrix()
        # Cloned out of inference mode: the exporter refuses inference tensors.
        self.register_buffer("text_EJ", text_EJ.clone())
        self.model = model
        self.output_names = [spec.name for spec in model.contract().outputs]

    def forward(self, crops: Tensor, overview: Tensor | None = None) -> tuple[Tensor, ...]:
        """8-bit crops (B, 15, 224, 224, 3) and overview (B, 224, 224, 3) to the outputs in contract order.

        A model whose contract names no overview is exported without that argument.
        """
        outputs = self.model.score_views(crops, overview, self.text_EJ)
        return tuple(outputs[name] for name in self.output_names)

    @property
    def text_sha256(self) -> str:
        """SHA-256 of the text matrix as little-endian float32, (E, 495) row-major, temperature included."""
        return hashlib.sha256(self.text_EJ.numpy().astype("<f4").tobytes()).hexdigest()
