"""A Triton repository holds what Triton's own schema allows and what the contract says."""

from __future__ import annotations

from pathlib import Path

import pytest

from defnet_export.triton import write_repository
from defnet_infer.artifact import Artifact
from defnet_infer.engine_file import BatchRange
from defnet_infer.errors import UsageError
from defnet_infer.taxonomy import CLASSES
from tests.tensorrt.records import make_record, write_plan

model_config_pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2", reason="tritonclient is not installed")
from google.protobuf import text_format  # noqa: E402  (comes with tritonclient)


@pytest.fixture(scope="module")
def artifact(tiny_model: Path) -> Artifact:
    return Artifact.open(tiny_model)


def read_config(folder: Path) -> model_config_pb2.ModelConfig:
    """Unknown fields and values of another type are errors of the parser."""
    return text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def test_tensors_are_those_of_the_contract_without_the_batch_axis(artifact: Artifact, tmp_path: Path) -> None:
    config = read_config(write_repository(artifact, tmp_path / "repository", name="quality", batch=5))
    assert (config.name, config.platform, config.max_batch_size) == ("quality", "onnxruntime_onnx", 5)
    types = {"uint8": model_config_pb2.TYPE_UINT8, "float32": model_config_pb2.TYPE_FP32}
    for tensors, specs in ((config.input, artifact.contract.inputs), (config.output, artifact.contract.outputs)):
        assert [tensor.name for tensor in tensors] == [spec.name for spec in specs]
        for tensor, spec in zip(tensors, specs, strict=True):
            assert tensor.data_type == types[spec.dtype]
            # What the model sees: `reshape` where it is given, else the dims of the request.
            seen = tensor.reshape.shape if tensor.HasField("reshape") else tensor.dims
            assert tuple(seen) == spec.shape[1:], spec.name
            assert len(tensor.dims) >= 1, "Triton refuses tensors without dims"


def test_class_names_stand_in_the_order_of_the_outputs(artifact: Artifact, tmp_path: Path) -> None:
    folder = write_repository(artifact, tmp_path)
    named = {output.name: output.label_filename for output in read_config(folder).output if output.label_filename}
    assert set(named) == set(CLASSES)
    for task, file in named.items():
        assert tuple((folder / file).read_text().splitlines()) == CLASSES[task]


def test_warm_up_runs_one_photo_and_a_full_batch_of_the_true_shape(artifact: Artifact, tmp_path: Path) -> None:
    config = read_config(write_repository(artifact, tmp_path, batch=4))
    assert [sample.batch_size for sample in config.model_warmup] == [1, 4]
    for sample in config.model_warmup:
        for spec in artifact.contract.inputs:
            assert tuple(sample.inputs[spec.name].dims) == spec.shape[1:]


def test_the_model_is_the_file_and_says_which_it_is(artifact: Artifact, tmp_path: Path) -> None:
    folder = write_repository(artifact, tmp_path)
    assert (folder / "1" / "model.onnx").read_bytes() == artifact.path.read_bytes()
    about = {key: value.string_value for key, value in read_config(folder).parameters.items()}
    assert about["defnet.sha256"] == artifact.sha256
    assert about["defnet.contract"] == artifact.contract.to_json()


def test_a_repository_keeps_its_other_models(artifact: Artifact, tmp_path: Path) -> None:
    first = write_repository(artifact, tmp_path, name="first")
    (first / "mine.txt").write_text("note")
    write_repository(artifact, tmp_path, name="second")
    assert (first / "mine.txt").exists()
    with pytest.raises(UsageError, match="--overwrite"):
        write_repository(artifact, tmp_path, name="first")
    (first / "2").mkdir()
    (first / "2" / "model.onnx").write_text("another version")
    (first / "1" / "model.onnx").write_text("an earlier one")
    write_repository(artifact, tmp_path, name="first", overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["first", "second"]
    assert (first / "1" / "model.onnx").read_bytes() == artifact.path.read_bytes()
    assert (first / "2" / "model.onnx").read_text() == "another version"
    assert (first / "mine.txt").read_text() == "note"


@pytest.mark.parametrize("config", [None, "name: 'by hand'\n"])
def test_a_folder_that_defnet_did_not_write_is_never_replaced(
    artifact: Artifact, tmp_path: Path, config: str | None
) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "only.jpg").write_text("copy")
    if config is not None:
        (tmp_path / "photos" / "config.pbtxt").write_text(config)
    with pytest.raises(UsageError, match=r"photos is no model that defnet wrote, so it is not replaced; .*--name"):
        write_repository(artifact, tmp_path, name="photos", overwrite=True)
    assert (tmp_path / "photos" / "only.jpg").read_text() == "copy"


def test_an_engine_is_asked_for_no_larger_batch_than_its_profile_has(tmp_path: Path) -> None:
    record = make_record(batch=BatchRange(smallest=1, best=2, largest=3))
    folder = write_repository(Artifact.open(write_plan(tmp_path, record)), tmp_path / "repository")
    config = read_config(folder)
    assert (config.platform, config.max_batch_size) == ("tensorrt_plan", 3)
    assert [sample.batch_size for sample in config.model_warmup] == [1, 3]
    assert (folder / "1" / "model.plan").exists()


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", ".."])
def test_a_name_that_is_no_folder_name_is_refused(artifact: Artifact, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be called"):
        write_repository(artifact, tmp_path / "repository", name=name)
    assert not (tmp_path / "repository").exists()
