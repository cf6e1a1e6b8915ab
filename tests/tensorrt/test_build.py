"""How an engine is built and proved, on the stand-ins of `fakes`: their engine computes what ONNX Runtime does."""

from __future__ import annotations

import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from defnet_export.build_display import BuildDisplay
from defnet_export.tensorrt_build import BuildReport, build_engine
from defnet_export.tensorrt_options import BuildOptions
from defnet_infer.artifact import Artifact
from defnet_infer.engine_file import BatchRange, read_record, sidecar_path
from defnet_infer.errors import GateError, UsageError
from defnet_infer.sessions import Outputs
from defnet_infer.sessions.onnxruntime import OnnxRuntimeSession
from tests.tensorrt.fakes import Cuda, TensorRt


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(tiny_model, tmp_path))


def build(model: Path, monkeypatch: pytest.MonkeyPatch, *, off_by: float = 0.0) -> BuildReport:
    """Build an engine for 1 to 4 photos, best at 2, whose scores are off."""
    session = OnnxRuntimeSession(model, device="cpu")

    def compute(crops: np.ndarray, overview: np.ndarray) -> Outputs:
        outputs = session.run(crops, overview)
        return {**outputs, "score": outputs["score"] + off_by}

    cuda = Cuda()
    trt = TensorRt(cuda, Artifact.open(model).contract, compute)
    for module in ("defnet_export.tensorrt_build", "defnet_infer.sessions.tensorrt"):
        monkeypatch.setattr(f"{module}.import_cuda_runtime", lambda command: cuda)
        monkeypatch.setattr(f"{module}.import_tensorrt", lambda command: trt)
    options = BuildOptions(batch=BatchRange(smallest=1, best=2, largest=4))
    return build_engine(model, options, BuildDisplay(), threading.Event(), count=4)


def test_an_engine_is_built_for_its_range_of_batches_in_whole_float32_and_kept_with_its_proof(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = build(model, monkeypatch)
    assert json.loads(report.path.read_bytes()) == {
        "shapes": {
            "crops": [[batch, 15, 224, 224, 3] for batch in (1, 2, 4)],
            "overview": [[batch, 224, 224, 3] for batch in (1, 2, 4)],
        },
        "flags": [],
    }
    assert report.cuda_graph
    assert read_record(report.path).parity["verdict"]["passed"]
    assert set(model.parent.iterdir()) == {model, report.path, sidecar_path(report.path)}


def test_a_path_with_spaces_is_quoted_in_commands(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spaced = model.parent / "my models" / "tiny.onnx"
    spaced.parent.mkdir()
    model.rename(spaced)
    report = build(spaced, monkeypatch)
    assert f"--model '{report.path}' --out" in report.lines(spaced)[-1]
    with pytest.raises(UsageError, match=f"--model '{report.path}'; or add"):
        build(spaced, monkeypatch)


def test_an_engine_that_disagrees_with_its_file_is_not_kept(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(GateError, match=r"the engine disagrees with tiny\.onnx: .*score.*; no engine is kept"):
        build(model, monkeypatch, off_by=0.2)
    assert list(model.parent.iterdir()) == [model]
