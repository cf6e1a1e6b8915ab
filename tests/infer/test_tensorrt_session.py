"""What a person is told when an engine cannot be used; no TensorRT is needed to say it."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest

from defnet_infer.errors import MissingExtraError, SessionError
from defnet_infer.sessions.choice import open_session
from defnet_infer.sessions.onnxruntime import _has_nvidia_driver
from defnet_infer.sessions.tensorrt import fitting_batch, refuse_misfit
from defnet_infer.sessions.tensorrt_api import checked
from tests.tensorrt.records import H100, make_record, write_plan

PLAN = Path("tiny.plan")


def test_an_engine_is_refused_with_all_reasons_and_the_command_that_builds_the_right_one(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, make_record())
    (tmp_path / "tiny.onnx").write_bytes(b"another model")
    with pytest.raises(SessionError) as caught:
        refuse_misfit(make_record(), plan, replace(H100, tensorrt="11.3.0.99", sm=120, gpu="NVIDIA RTX 5090"))
    message = str(caught.value)
    for part in ("TensorRT 11.4.0.106, this is 11.3.0.99", "SM 120 (NVIDIA RTX 5090)", "another tiny.onnx"):
        assert part in message
    assert message.endswith("Build one: defnet export tiny.onnx --tensorrt")
    refuse_misfit(make_record(), tmp_path / "elsewhere" / "tiny.plan", H100)


def test_the_batch_is_the_tuned_one_unless_another_that_fits_is_asked_for() -> None:
    assert fitting_batch(make_record(), PLAN, None) == 8
    assert fitting_batch(make_record(), PLAN, 32) == 32
    with pytest.raises(
        SessionError, match=r"takes 1 to 32 photos; .*defnet export tiny\.onnx --tensorrt --max-batch 64"
    ):
        fitting_batch(make_record(), PLAN, 64)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed")
@pytest.mark.parametrize("engine", ["auto", "tensorrt"])
def test_without_the_extra_a_plan_says_what_to_install(tmp_path: Path, engine) -> None:
    with pytest.raises(MissingExtraError, match=r"needs tensorrt; install it with: pip install 'defnet\[tensorrt\]'"):
        open_session(write_plan(tmp_path, make_record()), engine=engine)


def test_a_plan_is_not_for_onnx_runtime_and_not_for_the_cpu(tmp_path: Path) -> None:
    plan = write_plan(tmp_path, make_record())
    with pytest.raises(SessionError, match=r"--engine onnxruntime: .*tiny\.plan is a TensorRT engine"):
        open_session(plan, engine="onnxruntime")
    with pytest.raises(SessionError, match=r"--device cpu: .* needs a GPU"):
        open_session(plan, device="cpu")


@pytest.mark.skipif(_has_nvidia_driver(), reason="this machine has a GPU")
def test_a_machine_without_a_driver_is_told_so_and_not_in_cudas_words() -> None:
    cudart = pytest.importorskip("cuda.bindings.runtime", reason="needs: pip install cuda-bindings")
    with pytest.raises(SessionError, match="needs an NVIDIA GPU and its driver"):
        checked(cudart.cudaGetDeviceProperties, 0)


def test_a_call_that_fails_names_itself_and_one_that_works_gives_its_value() -> None:
    cudart = pytest.importorskip("cuda.bindings.runtime", reason="needs: pip install cuda-bindings")
    assert checked(cudart.cudaRuntimeGetVersion) >= 12000
    failed = (cudart.cudaError_t.cudaErrorMemoryAllocation, None)

    def out_of_memory() -> tuple[object, ...]:
        return failed

    with pytest.raises(SessionError, match="cudaErrorMemoryAllocation in out_of_memory"):
        checked(out_of_memory)
