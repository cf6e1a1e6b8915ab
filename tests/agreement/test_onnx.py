"""NumPy says what the exported file says, from the encoder's unit vectors on, for every output."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch

from defnet_export.certificate import BOUNDS, generated_views
from defnet_infer.artifact import Artifact
from defnet_infer.evidential import predict
from defnet_train.checkpoint import load_checkpoint
from tests.agreement.conftest import read_out_of


@pytest.fixture(scope="module")
def both(checkpoint, exported) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Outputs of NumPy and of the exported file for the same five photos' views."""
    model, _ = load_checkpoint(checkpoint)
    crops, overview = generated_views(5, 15, 224)
    with torch.inference_mode():
        embedded = [
            model.encoder.project(model.encoder.trunk_features(torch.from_numpy(v))).numpy().astype(np.float64)
            for v in (crops, overview)
        ]
    numpy_outputs = predict(*embedded, read_out_of(model))
    session = onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    onnx_outputs = dict(zip(names, session.run(names, {"crops": crops, "overview": overview}), strict=True))
    return numpy_outputs, onnx_outputs


@pytest.mark.parametrize("name", BOUNDS)
def test_numpy_and_the_exported_file_agree_on(name, both):
    kind, bound = BOUNDS[name]
    tolerance = {"rtol": bound, "atol": 0} if kind == "relative" else {"rtol": 0, "atol": bound}
    np.testing.assert_allclose(both[1][name], both[0][name], **tolerance)


def test_the_scoring_package_opens_the_file_and_reads_the_same_contract(checkpoint, exported):
    artifact = Artifact.open(exported.path)
    assert artifact.contract == load_checkpoint(checkpoint)[0].contract()
