"""ONNX Runtime: right numbers, right photo, right device."""

from __future__ import annotations

import mmap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from defnet_infer.errors import SessionError
from defnet_infer.sessions.choice import open_session
from defnet_infer.sessions.onnxruntime import OnnxRuntimeSession, _has_nvidia_driver


def batch(count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    shades = rng.integers(0, 256, (count, 15, 1, 1, 3), dtype=np.uint8)
    crops = np.broadcast_to(shades, (count, 15, 224, 224, 3)).copy()
    overview = np.broadcast_to(shades[:, 0], (count, 224, 224, 3)).copy()
    return crops, overview


def test_outputs_belong_to_their_photo_and_crop(tiny_model: Path) -> None:
    crops, overview = batch(3)
    outputs = OnnxRuntimeSession(tiny_model, device="cpu").run(crops, overview)
    crop_score = 1 + 4 / 255 * crops.mean((2, 3, 4))
    np.testing.assert_allclose(outputs["crop_score"], crop_score, rtol=1e-5)
    np.testing.assert_allclose(outputs["score"], crop_score @ np.arange(1, 16) / 120, rtol=1e-5)
    np.testing.assert_allclose(outputs["fused_score"], 1 + 4 / 255 * overview.mean((1, 2, 3)), rtol=1e-5)
    assert np.ptp(outputs["score"]) > 0.05


def test_a_photo_gives_the_same_bits_alone_and_in_any_company(tiny_model: Path) -> None:
    crops, overview = batch(5)
    session = OnnxRuntimeSession(tiny_model, device="cpu")
    together = session.run(crops, overview)
    for k in (0, 4):
        alone = session.run(crops[k : k + 1], overview[k : k + 1])
        assert all(np.array_equal(alone[name][0], together[name][k]) for name in together)


def test_calls_from_many_threads_give_the_bits_of_one(tiny_model: Path) -> None:
    crops, overview = batch(8)
    session = OnnxRuntimeSession(tiny_model, device="cpu", threads=8)
    alone = session.run(crops, overview)["score"]
    with ThreadPoolExecutor(session.calls_at_once) as pool:
        calls = [pool.submit(session.run, crops[k : k + 1], overview[k : k + 1]) for k in range(8)]
    assert [call.result()["score"][0] for call in calls] == alone.tolist()


def test_the_device_says_what_really_runs_and_how(tiny_model: Path) -> None:
    session = OnnxRuntimeSession(tiny_model, device="cpu", threads=3)
    assert session.device == "cpu"
    assert (session.photos_per_call, session.calls_at_once) == (1, 3)
    assert session.why == "cpu with ONNX Runtime, 3 photos at once (asked for)"
    session.close()


def test_an_onnx_file_asked_to_run_in_tensorrt_says_how_to_build_an_engine(tiny_model: Path) -> None:
    with pytest.raises(SessionError, match=r"defnet export .*tiny\.onnx --tensorrt.*: --engine onnxruntime"):
        open_session(tiny_model, engine="tensorrt")


@pytest.mark.cuda
@pytest.mark.skipif(not _has_nvidia_driver(), reason="needs a GPU that ONNX Runtime can use")
def test_a_padded_batch_on_the_gpu_gives_the_scores_of_the_cpu(tiny_model: Path) -> None:
    crops, overview = batch(5)
    expected = OnnxRuntimeSession(tiny_model, device="cpu").run(crops, overview)
    session = OnnxRuntimeSession(tiny_model, device="cuda", batch_size=8)
    for count in (5, 1, 3):  # What an earlier batch left in the buffers must not show.
        outputs = session.run(crops[:count], overview[:count])
        assert {name: len(array) for name, array in outputs.items()} == dict.fromkeys(expected, count)
        for name in expected:
            np.testing.assert_allclose(outputs[name], expected[name][:count], atol=1e-4)


@pytest.mark.skipif(_has_nvidia_driver(), reason="this machine has a GPU, so asking for it is right")
def test_a_gpu_that_is_asked_for_and_not_there_is_an_error_and_never_the_cpu(
    tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SessionError, match=r"--device cuda: .*(driver|CUDA)"):
        OnnxRuntimeSession(tiny_model, device="cuda")
    assert OnnxRuntimeSession(tiny_model, device="auto").device == "cpu"
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def cuda_options(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What ONNX Runtime is told about the GPU where there is one."""
    handed: list[Any] = []

    def refuse(path: str, options: object, providers: list[Any]) -> None:
        handed.extend(providers)
        raise RuntimeError("there is none")

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None)
    monkeypatch.setattr(onnxruntime, "InferenceSession", refuse)
    monkeypatch.setattr("defnet_infer.sessions.onnxruntime._has_nvidia_driver", lambda: True)
    with pytest.raises(SessionError, match="there is none"):
        OnnxRuntimeSession(tiny_model, device="cuda")
    (provider, options), _ = handed
    assert provider == "CUDAExecutionProvider"
    return options


def test_float32_on_the_gpu_is_float32(cuda_options: dict[str, str]) -> None:
    assert cuda_options["use_tf32"] == "0"


def test_the_cuda_provider_knows_its_options(cuda_options: dict[str, str]) -> None:
    """It refuses any other name, but cannot be loaded without a driver; its library holds the names it knows."""
    library = Path(onnxruntime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    if not library.is_file():
        pytest.skip("this ONNX Runtime has no CUDA library for Linux")
    with library.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        known = {name: content.find(b"\0" + name.encode() + b"\0") >= 0 for name in (*cuda_options, "no_such_option")}
    assert known == {**dict.fromkeys(cuda_options, True), "no_such_option": False}
