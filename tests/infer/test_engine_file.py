"""A TensorRT engine's name, sidecar, and where it may run: all of it decided without TensorRT."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from defnet_infer.artifact import Artifact
from defnet_infer.cli import main
from defnet_infer.contract import Contract
from defnet_infer.describe import as_json
from defnet_infer.engine_file import (
    BatchRange,
    EngineRecord,
    engine_name,
    misfits,
    other_model,
    read_record,
    sidecar_path,
    version_numbers,
)
from defnet_infer.errors import ArtifactError
from defnet_infer.verdict import Check, Verdict
from tests.tensorrt.records import H100, PLAN, make_record, write_plan

BATCH = BatchRange(smallest=1, best=8, largest=32)


def test_a_name_says_model_version_gpu_precision_and_batch() -> None:
    name = engine_name("model", "1f2e3d4c" + "0" * 56, H100, "float16", BATCH)
    assert name == "model-1f2e3d4c.trt11.4.0.106.sm90.fp16.b1-8-32.plan"


def test_engines_that_cannot_stand_for_each_other_have_other_names() -> None:
    sha = "1f2e3d4c" + "0" * 56
    names = [
        engine_name("model", sha, H100, "float16", BATCH),
        engine_name("model", "2" + sha[1:], H100, "float16", BATCH),
        engine_name("model", sha, replace(H100, sm=89), "float16", BATCH),
        engine_name("model", sha, replace(H100, tensorrt="10.16.1.11"), "float16", BATCH),
        engine_name("model", sha, H100, "float32", BATCH),
        engine_name("model", sha, H100, "float16", replace(BATCH, best=32)),
        engine_name("model", sha, H100, "float16", BATCH, version_compatible=True),
        engine_name("model", sha, H100, "float16", BATCH, hardware_compatibility="ampere+"),
        engine_name("model", sha, H100, "float16", BATCH, hardware_compatibility="same-capability"),
    ]
    assert len(set(names)) == len(names)
    assert all(set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-") for name in names)


def test_only_the_batch_varies_in_a_profile() -> None:
    crops, overview = Contract(encoder="means", prompt_preset="paper").inputs
    assert BATCH.shapes(crops.shape) == ((1, 15, 224, 224, 3), (8, 15, 224, 224, 3), (32, 15, 224, 224, 3))
    assert BATCH.shapes(overview.shape) == ((1, 224, 224, 3), (8, 224, 224, 3), (32, 224, 224, 3))


def test_a_sidecar_comes_back_as_it_was_written(tmp_path: Path) -> None:
    record = make_record(workspace_bytes=1 << 30, hardware_compatibility="ampere+")
    assert read_record(write_plan(tmp_path, record)) == record


def test_a_plan_is_opened_through_its_sidecar_and_stays_a_plain_plan(tmp_path: Path) -> None:
    path = write_plan(tmp_path, make_record())
    artifact = Artifact.open(path)
    assert path.read_bytes() == PLAN
    assert artifact.sha256 == hashlib.sha256(PLAN).hexdigest()
    assert artifact.contract.encoder == "means"
    shown = as_json(artifact)["metadata"]
    assert shown["defnet.training_data"] == "none [made by a test]"
    assert shown["defnet.engine"]["machine"]["gpu"] == "NVIDIA H100 80GB HBM3"
    assert shown["defnet.engine"]["half_share"] == 0.61


def test_info_shows_the_engine_line_by_line_and_its_own_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    verdict = Verdict(
        reference="tiny.onnx with ONNX Runtime on cpu",
        candidate="TensorRT engine on cuda",
        precision="float16",
        photos=24,
        checks=(Check(what="score: max difference", value=0.0021, bound=0.03),),
        worst_photo="generated-003.jpg",
        worst_difference=0.0021,
    )
    path = write_plan(tmp_path, make_record(parity={"verdict": verdict.to_json()}))
    with pytest.raises(SystemExit) as ended:
        main(["info", str(path)])
    assert not ended.value.code
    printed = capsys.readouterr().out
    assert "TensorRT engine on cuda against tiny.onnx with ONNX Runtime on cpu, 24 photos" in " ".join(printed.split())
    assert "1 bounds of float16 hold, 24 photos" in printed
    assert re.search(r"engine half_share +│ 0\.61", printed) and "NVIDIA H100" in printed
    assert '"checks"' not in printed, "no JSON where a table says it"


def refused(path: Path) -> str:
    with pytest.raises(ArtifactError) as caught:
        Artifact.open(path)
    message = str(caught.value)
    assert "defnet export" in message and "\n" not in message
    return message


def test_a_plan_without_its_sidecar_or_with_anothers_is_refused(tmp_path: Path) -> None:
    path = write_plan(tmp_path, make_record())
    path.write_bytes(PLAN + b"!")
    assert "is not the engine that tiny.plan.json describes" in refused(path)
    sidecar_path(path).unlink()
    assert "has no tiny.plan.json beside it" in refused(path)
    path.unlink()
    assert "there is no such engine file" in refused(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda body: "hello", "cannot be used"),
        (lambda body: "[]", "no sidecar of defnet"),
        (lambda body: json.dumps(body | {"defnet_engine": 9}), "schema 9, this defnet reads 1"),
        (lambda body: json.dumps({k: v for k, v in body.items() if k != "machine"}), "machine"),
        (lambda body: json.dumps(body | {"colour": 1}), "colour"),
    ],
)
def test_a_sidecar_that_cannot_be_read_says_why(tmp_path: Path, change, said: str) -> None:
    path = write_plan(tmp_path, make_record())
    body = json.loads(sidecar_path(path).read_text(encoding="utf-8"))
    sidecar_path(path).write_text(change(body), encoding="utf-8")
    assert said in refused(path)


def test_a_sidecar_of_another_schema_of_labels_is_refused_like_an_onnx_file(tmp_path: Path) -> None:
    record = make_record()
    labels = record.metadata["defnet.labels"].replace("blur", "bloom")
    path = write_plan(tmp_path, replace(record, metadata=record.metadata | {"defnet.labels": labels}))
    assert "other labels" in refused(path)


def test_an_engine_fits_the_machine_it_was_built_on_and_another_gpu_of_its_kind() -> None:
    assert misfits(make_record(), H100) == []
    assert misfits(make_record(), replace(H100, gpu="NVIDIA H100 PCIe")) == []


def test_every_difference_is_named_with_both_sides() -> None:
    here = replace(H100, tensorrt="10.16.1.11", sm=89, gpu="NVIDIA L4", platform="windows-amd64")
    platform, version, gpu = misfits(make_record(), here)
    assert platform == "built on linux-x86_64, this is windows-amd64"
    assert version == "built with TensorRT 11.4.0.106, this is 10.16.1.11"
    assert gpu == "built for SM 90 (NVIDIA H100 80GB HBM3), this is SM 89 (NVIDIA L4)"


@pytest.mark.parametrize(
    ("built", "here", "fits"),
    [
        ("10.16.1.11", "11.4.0.106", True),
        ("10.16.1.11", "10.16.1.12", True),
        ("11.4.0.106", "11.4.0.106", True),
        ("11.4.0.106", "10.16.1.11", False),
        ("10.9.0.34", "10.16.1.11", True),
    ],
)
def test_a_version_compatible_engine_goes_forwards_and_never_back(built: str, here: str, fits: bool) -> None:
    record = make_record(tensorrt=built, version_compatible=True)
    assert (misfits(record, replace(H100, tensorrt=here)) == []) == fits


def test_versions_are_compared_as_numbers() -> None:
    assert version_numbers("10.9.0.34") < version_numbers("10.13.3.9") < version_numbers("10.13.3.9.post1")


@pytest.mark.parametrize(
    ("compatibility", "built", "here", "fits"),
    [
        ("ampere+", 80, 90, True),
        ("ampere+", 90, 86, True),
        ("ampere+", 80, 75, False),
        ("same-capability", 90, 90, True),
        ("same-capability", 90, 89, False),
        ("none", 80, 86, False),
    ],
)
def test_hardware_compatibility_is_what_was_built(compatibility, built: int, here: int, fits: bool) -> None:
    record = make_record(sm=built, hardware_compatibility=compatibility)
    assert (misfits(record, replace(H100, sm=here)) == []) == fits


def test_an_engine_of_a_model_that_was_replaced_is_noticed(tmp_path: Path) -> None:
    plan = tmp_path / "tiny.plan"
    assert other_model(make_record(), plan) is None, "without the model nothing can be said"
    (tmp_path / "tiny.onnx").write_bytes(b"new")
    assert other_model(make_record(model_sha256=hashlib.sha256(b"new").hexdigest()), plan) is None
    changed = other_model(make_record(), plan)
    assert changed is not None and "built from another tiny.onnx (SHA-256 1f2e3d4c, " in changed


def test_the_record_survives_as_json_of_plain_values() -> None:
    body = json.loads(make_record().to_json())
    assert body["batch"] == {"smallest": 1, "best": 8, "largest": 32}
    assert EngineRecord.from_json(make_record().to_json()) == make_record()
