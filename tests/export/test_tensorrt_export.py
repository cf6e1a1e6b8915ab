"""`defnet export --tensorrt` up to the point where TensorRT is needed: options, certificate, display, refusals."""

from __future__ import annotations

import importlib.util
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from defnet_export.build_display import BuildDisplay, cancel_on_interrupt
from defnet_export.tensorrt_build import certify
from defnet_export.tensorrt_options import BuildOptions, batch_range
from defnet_infer.artifact import Artifact
from defnet_infer.cli import main
from defnet_infer.engine_file import BatchRange
from defnet_infer.errors import UsageError
from defnet_infer.sessions import Outputs
from defnet_infer.sessions.onnxruntime import OnnxRuntimeSession
from tests.conftest import write_tiny_model


def export(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main(["export", *map(str, arguments)])
    return int(caught.value.code or 0)


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed")
def test_without_the_extra_nothing_is_exported_and_one_line_says_what_to_install(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx")
    assert export(model, "--tensorrt") == 3
    assert "pip install 'defnet[tensorrt]'" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.onnx"]


def test_wrong_usage_is_told_before_anything_is_looked_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = write_tiny_model(tmp_path / "tiny.onnx")
    assert export(model) == 2
    assert "--tensorrt" in capfd.readouterr().err
    assert export(model, "--tensorrt", "--max-batch", 4, "--opt-batch", 8) == 2
    assert "--opt-batch 8 is above --max-batch 4" in capfd.readouterr().err
    assert export(model, "--tensorrt", "--build-log", tmp_path / "nowhere" / "log") == 2
    assert "mkdir -p" in capfd.readouterr().err
    assert export(model, "--tensorrt", "--timing-cache", tmp_path) == 2
    assert "is a folder" in capfd.readouterr().err


def test_the_tuned_batch_is_the_largest_unless_told() -> None:
    assert batch_range(16, None) == BatchRange(smallest=1, best=16, largest=16)
    assert batch_range(16, 4) == BatchRange(smallest=1, best=4, largest=16)


@pytest.mark.parametrize("level", [-1, 6])
def test_a_level_that_tensorrt_has_not_is_refused(level: int) -> None:
    with pytest.raises(UsageError, match="0 to 5"):
        BuildOptions(batch=batch_range(8, None), optimization_level=level)


class Changed:
    """A session that answers otherwise than the file, as an engine might."""

    device, why, photos_per_call, calls_at_once = "cuda", "an engine", 8, 1

    def __init__(self, model: Path, change: Callable[[Outputs], None]) -> None:
        self._session, self._change = OnnxRuntimeSession(model, device="cpu"), change

    def run(self, crops: np.ndarray, overview: np.ndarray) -> Outputs:
        outputs = {name: array.copy() for name, array in self._session.run(crops, overview).items()}
        self._change(outputs)
        return outputs

    def close(self) -> None:
        self._session.close()


def shift(name: str, by: float) -> Callable[[Outputs], None]:
    def change(outputs: Outputs) -> None:
        outputs[name] += np.float32(by)

    return change


def test_an_engine_that_agrees_is_certified_from_photo_bytes(tiny_model: Path) -> None:
    verdict = certify(Changed(tiny_model, shift("score", 0.0)), Artifact.open(tiny_model), None)
    assert verdict.passed, verdict.failures()


@pytest.mark.parametrize("change", [shift("score", 0.2), shift("fused_score", -0.2), shift("epistemic", float("nan"))])
def test_an_engine_that_disagrees_is_not(tiny_model: Path, change: Callable[[Outputs], None]) -> None:
    assert not certify(Changed(tiny_model, change), Artifact.open(tiny_model), None).passed


def test_the_display_takes_phases_inside_phases_from_many_threads() -> None:
    with BuildDisplay() as display:
        display.start("Building engine", None, 3)
        threads = [threading.Thread(target=display.start, args=(f"part {k}", "Building engine", 2)) for k in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert display.tasks[0].description == "Building engine"
        assert {task.description for task in display.tasks[1:]} == {f"  part {k}" for k in range(4)}
        display.step("part 2", 2)
        display.step("never started", 1)
        for k in range(4):
            display.finish(f"part {k}")
        display.finish("Building engine")
        assert [(task.description, task.completed) for task in display.tasks] == [("Building engine", 3)]


def test_ctrl_c_sets_the_event_instead_of_raising_in_a_callback() -> None:
    import signal

    # Programs that a shell starts in the background ignore the signal, and so would this test there.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with cancel_on_interrupt() as stop:
            assert not stop.is_set()
            signal.raise_signal(signal.SIGINT)
            assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
