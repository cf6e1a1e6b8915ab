"""The exported file says what PyTorch says, for any batch, in one file of standard operators, and explains itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import typer
from typer.testing import CliRunner

from defnet_export import cli
from defnet_export.certificate import BOUNDS, certify_views, generated_views
from defnet_export.graph import ScoringGraph
from defnet_export.onnx_export import ExportReport, export_onnx, fitted_on
from defnet_infer.contract import Contract
from defnet_infer.errors import CheckpointError, GateError, UsageError
from defnet_train.checkpoint import load_checkpoint, save_checkpoint
from tests.lively_model import CONFIG, lively_model


@pytest.fixture(scope="module")
def session(exported: ExportReport) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(exported.path, providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module")
def views() -> dict[str, np.ndarray]:
    crops, overview = generated_views(5, 15, 224)
    return {"crops": crops, "overview": overview}


def run(session: onnxruntime.InferenceSession, views: dict[str, np.ndarray], rows: slice) -> dict[str, np.ndarray]:
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(names, {k: v[rows] for k, v in views.items()}), strict=True))


def test_every_output_equals_pytorch_within_the_bounds(checkpoint, session, views):
    model, _ = load_checkpoint(checkpoint)
    with torch.inference_mode():
        expected = model.score_views(
            torch.from_numpy(views["crops"]), torch.from_numpy(views["overview"]), model.text_matrix()
        )
    actual = run(session, views, slice(None))
    assert set(actual) == set(expected) == set(BOUNDS)
    for name, (kind, bound) in BOUNDS.items():
        tolerance = {"rtol": bound, "atol": 0} if kind == "relative" else {"rtol": 0, "atol": bound}
        np.testing.assert_allclose(actual[name], expected[name].numpy(), **tolerance, err_msg=name)


def test_photos_that_differ_get_outputs_that_differ(session, views):
    actual = run(session, views, slice(None))
    for name, values in actual.items():
        assert np.ptp(values, axis=0).max() > 1e-4, f"{name} is the same for every photo"
    assert np.ptp(actual["crop_score"], axis=1).min() > 1e-4, "crops of one photo must not share a score"


def test_a_photo_scores_the_same_alone_in_a_batch_and_in_another_order(session, views):
    together = run(session, views, slice(None))
    backwards = run(session, views, slice(None, None, -1))
    for row in range(5):
        alone = run(session, views, slice(row, row + 1))
        for name in together:
            np.testing.assert_allclose(alone[name][0], together[name][row], atol=1e-5, rtol=1e-5, err_msg=name)
            np.testing.assert_allclose(backwards[name][4 - row], together[name][row], atol=1e-5, rtol=1e-5)


def test_the_file_is_one_piece_of_standard_operators_with_only_the_batch_open(exported):
    proto = onnx.load(exported.path, load_external_data=False)
    onnx.checker.check_model(proto, full_check=True)
    assert {node.domain for node in proto.graph.node} == {""}
    assert [(o.domain, o.version >= 18) for o in proto.opset_import] == [("", True)]
    assert not any(init.external_data for init in proto.graph.initializer)
    contract = load_contract(proto)
    for value, spec in zip([*proto.graph.input, *proto.graph.output], contract.inputs + contract.outputs, strict=True):
        shape = tuple(d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim)
        assert (value.name, shape) == (spec.name, spec.shape)
    for name in ("crops", "overview"):
        consumers = {node.op_type for node in proto.graph.node if name in node.input}
        # Casting first is what TensorRT asks of an 8-bit input; joining both before the one cast would not parse.
        assert consumers == {"Cast"}, f"{name} is read by {consumers}"


def load_contract(proto: onnx.ModelProto) -> Contract:
    return Contract.from_json({p.key: p.value for p in proto.metadata_props}["defnet.contract"])


def test_the_metadata_says_what_the_file_is_and_where_it_came_from(exported, checkpoint):
    proto = onnx.load(exported.path)
    metadata = {p.key: p.value for p in proto.metadata_props}
    model, _ = load_checkpoint(checkpoint)
    assert load_contract(proto) == model.contract()
    assert metadata["defnet.schema"] == "1"
    assert metadata["defnet.checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert metadata["defnet.text_embeddings_sha256"] == ScoringGraph(model).text_sha256
    assert json.loads(metadata["defnet.labels"])["distortion"][3] == "blur"
    assert json.loads(metadata["defnet.calibration"]) == {
        "factor": 1.37,
        "coverage_validation": 0.95,
        "coverage_test": 0.94,
        "photos": 93,
        "data": {"clive": 93},
        "at": "2025-01-01T00:00:00+00:00",
    }, "what `defnet calibrate` stored goes along"
    parity = json.loads(metadata["defnet.parity"])
    assert parity["max_difference"]["score"] <= parity["bounds"]["score"]["max"] == 1e-4


def test_the_metadata_says_on_how_many_photos_the_interval_was_fitted():
    assert fitted_on({"epoch": 3}) == {}, "of a run before that was noted"
    assert fitted_on({"calibration_photos": 93}) == {"photos": 93}
    of_folds = {"calibration_photos": 743, "out_of_fold": {"coverage": 0.952, "srcc": 0.8}}
    assert fitted_on(of_folds) == {"photos": 743, "coverage_out_of_fold": 0.952}


def test_the_file_keeps_no_trace_of_the_machine_it_was_made_on(exported):
    proto = onnx.load(exported.path)
    for initializer in proto.graph.initializer:
        initializer.raw_data = b""  # four million random floats spell any three letters
    content = proto.SerializeToString()
    assert str(Path(__file__).parents[2]).encode() not in content
    assert b"site-packages" not in content and b".py" not in content


def test_a_file_of_another_model_fails_the_certificate(exported):
    other = ScoringGraph(lively_model(seed=6)).eval()
    certificate = certify_views(other, exported.path)
    assert not certificate.passed
    assert "score by" in certificate.failures()


def test_an_export_that_would_give_nan_ends_with_a_gate_error_and_no_file(tmp_path):
    model = lively_model()
    model.calibration.fill_(float("nan"))
    checkpoint, out = tmp_path / "nan.safetensors", tmp_path / "nan.onnx"
    save_checkpoint(checkpoint, model, CONFIG, {"calibration": 1.0})
    with pytest.raises(GateError, match="interval by nan") as caught:
        export_onnx(checkpoint, out)
    assert caught.value.exit_code == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["nan.safetensors"]


def test_mistakes_are_named_before_any_work(checkpoint, exported, tmp_path):
    with pytest.raises(UsageError, match="replace it with --overwrite"):
        export_onnx(checkpoint, exported.path)
    with pytest.raises(UsageError, match="mkdir -p"):
        export_onnx(checkpoint, tmp_path / "nowhere" / "model.onnx")
    with pytest.raises(CheckpointError, match=r"missing\.safetensors not found; train one with: defnet train"):
        export_onnx(tmp_path / "missing.safetensors", tmp_path / "model.onnx")
    (tmp_path / "text.safetensors").write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match="is not a safetensors checkpoint"):
        export_onnx(tmp_path / "text.safetensors", tmp_path / "model.onnx")


def test_a_run_directory_stands_for_its_best_checkpoint(tmp_path):
    (tmp_path / "best.safetensors").touch()
    (tmp_path / "best.onnx").write_text("in the way")
    app = typer.Typer()
    cli.add_commands(app)
    result = CliRunner().invoke(app, [str(tmp_path)])
    assert isinstance(result.exception, UsageError)
    assert f"{tmp_path / 'best.onnx'} exists" in str(result.exception), "beside the checkpoint, named after it"
    (tmp_path / "best.safetensors").unlink()
    result = CliRunner().invoke(app, [str(tmp_path)])
    assert isinstance(result.exception, CheckpointError)
    assert "holds no best.safetensors; name a run directory" in str(result.exception)
