"""Logger, progress monitor and error messages with TensorRT's real classes, over libraries that return nothing."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from defnet_infer.sessions.onnxruntime import _has_nvidia_driver
from tests.conftest import write_tiny_model
from tests.tensorrt.bindings import WHY_NONE, Bindings, installed

pytestmark = pytest.mark.skipif(not installed(), reason=WHY_NONE)


@pytest.fixture(scope="module", params=installed(), ids=lambda bindings: bindings.version)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    bindings: Bindings = request.param
    scratch = tmp_path_factory.mktemp("standins")

    def start(*arguments: str) -> subprocess.CompletedProcess[str]:
        return bindings.run(list(arguments), scratch)

    return start


SETUP = """
import json, sys, threading
from pathlib import Path
from defnet_infer.errors import SessionError
from defnet_infer.sessions.tensorrt_api import LastErrors, import_tensorrt, made, make_logger
trt = import_tensorrt("a test")
"""


def outcome(result: subprocess.CompletedProcess[str]) -> dict:
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def test_the_logger_is_one_that_tensorrt_takes_and_the_log_keeps_all_but_the_noise(run, tmp_path) -> None:
    code = f"""{SETUP}
from defnet_export.tensorrt_log import BuildLog
path = Path({str(tmp_path / "build.log")!r})
with BuildLog(path) as log:
    logger = make_logger(trt, log.hear)
    logger.log(trt.ILogger.VERBOSE, "noise")
    logger.log(trt.ILogger.INFO, "a remark")
    logger.log(trt.ILogger.ERROR, "no kernel\\nfits")
    logger.log(trt.ILogger.INTERNAL_ERROR, "and then this")
    first, then = log.errors.reason(), log.errors.reason()
print(json.dumps(dict(is_logger=isinstance(logger, trt.ILogger), first=first, then=then, text=path.read_text())))
"""
    seen = outcome(run("-c", code))
    assert seen["is_logger"]
    assert seen["first"] == "no kernel fits"
    assert seen["then"] == "TensorRT gave no reason"
    levels = re.findall(r"^ *\d+\.\d{3} (\w+)", seen["text"], re.MULTILINE)
    assert levels == ["INFO", "ERROR", "INTERNAL_ERROR"]
    assert "noise" not in seen["text"]


def test_the_progress_monitor_shows_phases_and_cancels_once_told_to(run) -> None:
    code = f"""{SETUP}
from defnet_export.tensorrt_log import make_progress_monitor
class Display:
    def __init__(self): self.seen = []
    def start(self, *a): self.seen.append(["start", *a])
    def step(self, *a): self.seen.append(["step", *a])
    def finish(self, *a): self.seen.append(["finish", *a])
display, stop = Display(), threading.Event()
monitor = make_progress_monitor(trt, display, stop)
monitor.phase_start("Building", None, 2)
monitor.phase_start("Timing", "Building", 9)
going = monitor.step_complete("Timing", 0)
stop.set()
stopped = monitor.step_complete("Timing", 1)
monitor.phase_finish("Timing")
is_monitor = isinstance(monitor, trt.IProgressMonitor)
print(json.dumps(dict(seen=display.seen, going=going, stopped=stopped, is_monitor=is_monitor)))
"""
    seen = outcome(run("-c", code))
    assert seen["is_monitor"]
    assert (seen["going"], seen["stopped"]) == (True, False)
    assert seen["seen"] == [
        ["start", "Building", None, 2],
        ["start", "Timing", "Building", 9],
        ["step", "Timing", 1],
        ["step", "Timing", 2],
        ["finish", "Timing"],
    ]


@pytest.mark.skipif(_has_nvidia_driver(), reason="with a GPU and TensorRT's own libraries there is something to give")
@pytest.mark.parametrize("kind", ["Builder", "Runtime"])
def test_a_library_that_gives_nothing_ends_in_one_line(run, kind: str) -> None:
    code = f"""{SETUP}
errors = LastErrors()
logger = make_logger(trt, errors.hear)
logger.log(trt.ILogger.ERROR, "CUDA initialization failure with error: 35")
try:
    made(trt.{kind}, logger, reason=errors.reason)
except SessionError as error:
    print(json.dumps(dict(message=str(error))))
"""
    message = outcome(run("-c", code))["message"]
    assert message.startswith(f"TensorRT gives no {kind}: CUDA initialization failure with error: 35; ")
    assert "nvidia-smi" in message and "\n" not in message


@pytest.mark.skipif(_has_nvidia_driver(), reason="this machine has a GPU")
def test_without_a_gpu_building_is_refused_before_any_work(run, tmp_path) -> None:
    pytest.importorskip("cuda.bindings", reason="needs: pip install cuda-bindings")
    model = write_tiny_model(tmp_path / "tiny.onnx")
    result = run("-m", "defnet_infer.cli", "export", str(model), "--tensorrt")
    assert result.returncode == 3
    assert result.stderr.count("\n") == 1
    assert "needs an NVIDIA GPU and its driver" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.onnx"]
