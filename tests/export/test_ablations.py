"""Models that were made to be compared cannot keep the promise of an exported file, and are told so."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
import torch

from defnet_export.onnx_export import export_onnx
from defnet_infer.errors import CheckpointError
from defnet_train.checkpoint import save_checkpoint
from defnet_train.config import TrainConfig
from defnet_train.model import Defnet


@pytest.mark.parametrize(
    ("setting", "message"),
    [({"head": {"kind": "tied"}}, "head 'tied'")],
)
def test_a_model_made_for_comparison_is_not_exported(tmp_path: Path, setting: dict, message: str) -> None:
    config = TrainConfig.from_dict({"model": {"tower": "tiny-resnet", "weights": "random", **setting}}, "test")
    save_checkpoint(tmp_path / "model.safetensors", Defnet(config.model), config, {})
    with pytest.raises(CheckpointError, match=message):
        export_onnx(tmp_path / "model.safetensors", tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [
        {
            "uncertainty_source": "cross",
            "cross_inference": "sample4",
            "local_aggregation": "logit_mean",
            "head": {"kind": "mlp", "input": "marginal+embedding", "residual_delta": True},
            "crop_rule": "linspace",
        },
        {"tasks": "q+s"},
        {
            "local_global_average": "moment",
            "overview_mode": "letterbox",
            "head": {"kind": "moment", "share_overview": False},
        },
    ],
)
def test_what_changes_scoring_is_in_the_exported_file(tmp_path: Path, setting: dict) -> None:
    config = TrainConfig.from_dict({"model": {"tower": "tiny-resnet", "weights": "random", **setting}}, "test")
    torch.manual_seed(0)
    model = Defnet(config.model)
    with torch.no_grad():
        for parameter in model.heads.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    save_checkpoint(tmp_path / "model.safetensors", model, config, {"calibration": 1.0})
    report = export_onnx(tmp_path / "model.safetensors", tmp_path / "model.onnx")
    assert report.certificate.passed, "ONNX Runtime computes what PyTorch does"
    preprocess = model.contract().preprocess
    assert preprocess.crop_rule == setting.get("crop_rule", "every_nth")
    assert preprocess.overview_mode == setting.get("overview_mode", "squash")
    assert report.certificate.differences.keys() == {spec.name for spec in model.contract().outputs}
    metadata = {entry.key: entry.value for entry in onnx.load(report.path).metadata_props}
    assert metadata["defnet.contract"] == model.contract().to_json()
