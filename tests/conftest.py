"""What every test may need: photos made on the spot, and a tiny exported file that runs in a millisecond."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from defnet_infer.contract import Contract, TensorSpec
from defnet_infer.taxonomy import DISTORTIONS, QUALITIES, SCENES

MakePhoto = Callable[..., Path]


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Smooth random colours, different in every corner and for every seed: (height, width, 3), uint8."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def make_photo(tmp_path: Path) -> MakePhoto:
    """`make_photo("a.jpg", width, height, seed)` writes a photo below `tmp_path` and returns its path."""

    def make(name: str, width: int = 320, height: int = 260, seed: int = 0, **save: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(width, height, seed)).save(path, **save)
        return path

    return make


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A schema-1 file whose outputs are means of pixels; the crops count by position, so no two may be swapped."""
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny.onnx")


def tiny_metadata() -> dict[str, str]:
    contract = Contract(encoder="means", prompt_preset="paper")
    labels = {"quality": QUALITIES, "scene": SCENES, "distortion": DISTORTIONS}
    return {
        "defnet.schema": "1",
        "defnet.contract": contract.to_json(),
        "defnet.labels": json.dumps(labels),
        "defnet.version": "0",
        "defnet.training_data": "none [made by a test]",
    }


def write_tiny_model(path: Path, metadata: dict[str, str] | None = None, drop_output: str = "") -> Path:
    """Write the tiny model.

    score = sum_k w_k crop_score_k with w_k growing in k, crop_score = 1 + 4 mean(crop),
    fused_score = 1 + 4 mean(overview), probabilities are softmaxes of colour means.
    """
    contract = Contract(encoder="means", prompt_preset="paper")
    rng = np.random.default_rng(0)
    position = np.arange(1, 16, dtype=np.float32)
    constants = {
        "hw_of_crops": np.array([2, 3], np.int64),
        "hw_of_overview": np.array([1, 2], np.int64),
        "last": np.array([-1], np.int64),
        "crop_axis": np.array([1], np.int64),
        "four": np.float32(4 / 255),
        "one": np.float32(1),
        "position": (position / position.sum())[:, None],
        "half": np.array([-0.5, 0.5], np.float32),
        "small": np.float32(1e-3),
        **{
            f"{task}_weight": rng.normal(size=(3, n)).astype(np.float32) / 20
            for task, n in (("quality", 5), ("scene", 9), ("distortion", 11))
        },
    }

    def node(kind: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
        return helper.make_node(kind, inputs.split(), [output], **attributes)

    nodes = [
        node("Cast", "crops", "crops_float", to=TensorProto.FLOAT),
        node("Cast", "overview", "overview_float", to=TensorProto.FLOAT),
        node("ReduceMean", "crops_float hw_of_crops", "crop_colour", keepdims=0),
        node("ReduceMean", "overview_float hw_of_overview", "overview_colour", keepdims=0),
        node("ReduceMean", "crop_colour last", "crop_mean", keepdims=0),
        node("ReduceMean", "overview_colour last", "overview_mean", keepdims=0),
        node("Mul", "crop_mean four", "crop_scaled"),
        node("Add", "crop_scaled one", "crop_score"),
        node("MatMul", "crop_score position", "score_column"),
        node("Squeeze", "score_column last", "score"),
        node("Mul", "overview_mean four", "overview_scaled"),
        node("Add", "overview_scaled one", "fused_score"),
        node("Unsqueeze", "fused_score last", "fused_column"),
        node("Add", "fused_column half", "interval"),
        node("Mul", "fused_score small", "epistemic"),
        node("Mul", "score small", "aleatoric"),
        node("Concat", "fused_column score_column fused_column score_column", "nig", axis=1),
        node("ReduceMean", "crop_colour crop_axis", "colour", keepdims=0),
    ]
    for task in ("quality", "scene", "distortion"):
        nodes += [
            node("MatMul", f"colour {task}_weight", f"{task}_logits"),
            node("Softmax", f"{task}_logits", task, axis=-1),
        ]

    def value(spec: TensorSpec) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(spec.name, getattr(TensorProto, _ONNX_TYPE[spec.dtype]), list(spec.shape))

    graph = helper.make_graph(
        nodes,
        "tiny",
        [value(spec) for spec in contract.inputs],
        [value(spec) for spec in contract.outputs if spec.name != drop_output],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, tiny_metadata() if metadata is None else metadata)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


_ONNX_TYPE = {"uint8": "UINT8", "float32": "FLOAT"}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved checkpoint of the small tower with lively random weights."""
    # Imported here: torch takes seconds, and the scoring tests do without it.
    from defnet_train.checkpoint import save_checkpoint
    from tests.lively_model import CONFIG, lively_model

    path = tmp_path_factory.mktemp("checkpoint") / "model.safetensors"
    record = {
        "photos": {"clive": 7},
        "val": {"coverage": 0.95},
        "test": {"srcc": 0.5, "coverage": 0.94},
        "calibration": 1.37,
        "calibrated": {"factor": 1.37, "photos": 93, "data": {"clive": 93}, "at": "2025-01-01T00:00:00+00:00"},
    }
    save_checkpoint(path, lively_model(), CONFIG, record)
    return path


@pytest.fixture(scope="session")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The `ExportReport` of that checkpoint, exported once for all tests."""
    from defnet_export.onnx_export import export_onnx

    return export_onnx(checkpoint, tmp_path_factory.mktemp("exported") / "model.onnx", count=4)
