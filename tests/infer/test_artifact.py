"""Opening an exported file: what it says, and what is said about a file that is not ours."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from defnet_infer.artifact import Artifact
from defnet_infer.errors import ArtifactError
from tests.conftest import tiny_metadata, write_tiny_model


def test_a_good_file_tells_its_contract_and_its_hash(tiny_model: Path) -> None:
    artifact = Artifact.open(tiny_model)
    assert artifact.sha256 == hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    assert artifact.size == tiny_model.stat().st_size
    assert artifact.contract.encoder == "means"
    assert artifact.metadata == tiny_metadata()


def refused(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(path)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert "there is no such model file" in refused(tmp_path / "gone.onnx")
    assert "cannot be read: Is a directory" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xd8\xff\xe0 a photo", bytes(4096)])
def test_what_is_not_onnx_is_said_so(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert "is not an ONNX model" in refused(path)
    assert capfd.readouterr() == ("", "")


def test_a_model_of_somebody_else_is_not_ours(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "other.onnx", metadata={"author": "somebody"})
    assert "not one of defnet's" in refused(path)


def test_another_schema_names_both_and_the_next_command(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "new.onnx", metadata=tiny_metadata() | {"defnet.schema": "2"})
    assert "has schema 2, this defnet reads schema 1; export it again" in refused(path)


@pytest.mark.parametrize("key", ["defnet.contract", "defnet.labels"])
def test_metadata_that_is_missing_or_damaged_is_an_error(tmp_path: Path, key: str) -> None:
    without = tiny_metadata()
    del without[key]
    assert key in refused(write_tiny_model(tmp_path / "without.onnx", metadata=without))
    damaged = tiny_metadata() | {key: "{"}
    assert "cannot be read" in refused(write_tiny_model(tmp_path / "damaged.onnx", metadata=damaged))


def test_other_labels_are_an_error_and_not_a_wrong_word_in_every_row(tmp_path: Path) -> None:
    labels = tiny_metadata()["defnet.labels"].replace("blur", "bloom")
    path = write_tiny_model(tmp_path / "labels.onnx", metadata=tiny_metadata() | {"defnet.labels": labels})
    assert "other labels" in refused(path)


def test_an_output_the_contract_promises_must_be_in_the_graph(tmp_path: Path) -> None:
    assert "disagree about crop_score" in refused(write_tiny_model(tmp_path / "part.onnx", drop_output="crop_score"))


def test_weights_in_another_file_are_refused_before_that_file_is_opened(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.ones(1024, np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "external",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1024])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1024])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, tiny_metadata())
    path = tmp_path / "external.onnx"
    onnx.save(model, path, save_as_external_data=True, location="weights.bin")
    assert "external data" in refused(path)
    (tmp_path / "weights.bin").unlink()
    assert "external data" in refused(path)
