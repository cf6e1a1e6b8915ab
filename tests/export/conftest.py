"""One small model with a head that is far from its start values, saved and exported once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from defnet_export.onnx_export import ExportReport, export_onnx
from defnet_train.checkpoint import save_checkpoint
from defnet_train.config import ModelConfig, TrainConfig
from defnet_train.model import Defnet

CONFIG = TrainConfig(model=ModelConfig(tower="mobilenetv2_100", weights="random"))


def lively_model(seed: int = 5) -> Defnet:
    """A random model whose outputs differ from photo to photo: sharp temperature, non-zero head weights."""
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


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    record = {"photos": {"clive": 7}, "val": {"coverage": 0.95}, "test": {"srcc": 0.5, "coverage": 0.94}}
    save_checkpoint(path, lively_model(), CONFIG, record)
    return path


@pytest.fixture(scope="session")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> ExportReport:
    return export_onnx(checkpoint, tmp_path_factory.mktemp("exported") / "model.onnx")
