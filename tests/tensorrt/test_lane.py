"""The way of a batch to the GPU and back, on the stand-ins of `fakes`."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from defnet_infer.contract import Contract
from defnet_infer.engine_file import BatchRange, this_platform
from defnet_infer.errors import SessionError
from defnet_infer.sessions import Outputs
from defnet_infer.sessions.tensorrt import TensorRtSession
from defnet_infer.sessions.tensorrt_lane import Lane
from tests.tensorrt.fakes import Cuda, Engine, TensorRt
from tests.tensorrt.records import make_record, write_plan

CONTRACT = Contract(encoder="means", prompt_preset="paper")
BATCH = 3


def answers(crops: np.ndarray, overview: np.ndarray) -> Outputs:
    """Other numbers for every photo, output and place in it, from every view."""
    brightness = overview.mean((1, 2, 3)) + crops.mean((2, 3, 4)) @ np.arange(1, 16)
    outputs = {}
    for number, spec in enumerate(CONTRACT.outputs):
        places = np.arange(np.prod(spec.shape[1:], dtype=int)).reshape(spec.shape[1:])
        outputs[spec.name] = (np.add.outer(brightness, places) + 100 * number).astype(np.float32)
    return outputs


def photos(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    shades = np.random.default_rng(seed).integers(0, 256, (count, 16, 1, 1, 3), dtype=np.uint8)
    views = np.broadcast_to(shades, (count, 16, 224, 224, 3))
    return views[:, :15], views[:, 15]


def assert_same(found: Outputs, expected: Outputs) -> None:
    assert list(found) == [spec.name for spec in CONTRACT.outputs]
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)


def make_lane(cuda: Cuda, *, use_graph: bool = True) -> Lane:
    trt = TensorRt(cuda, CONTRACT, answers)
    return Lane(trt, cuda, Engine(trt), CONTRACT, BATCH, use_graph=use_graph, reason=lambda: "no reason")


@pytest.mark.parametrize("use_graph", [True, False])
def test_every_photo_gets_its_own_results_and_keeps_them(use_graph: bool) -> None:
    cuda = Cuda()
    lane = make_lane(cuda, use_graph=use_graph)
    assert lane.has_graph == use_graph
    calls = [photos(count, seed) for seed, count in enumerate((BATCH, 1, 2))]
    found = [lane.run(*views) for views in calls]
    for outputs, views in zip(found, calls, strict=True):
        assert_same(outputs, answers(*views))
    lane.close()
    assert not (cuda.host or cuda.device or cuda.streams or cuda.graphs), "nothing is left behind"


@pytest.mark.parametrize("failing", ["execute_async_v3", "cudaStreamEndCapture", "cudaGraphInstantiate"])
def test_an_engine_that_cannot_be_recorded_runs_without_a_graph(failing: str) -> None:
    cuda = Cuda(failing)
    lane = make_lane(cuda)
    assert not lane.has_graph
    views = photos(2, 5)
    assert_same(lane.run(*views), answers(*views))
    lane.close()
    assert not (cuda.host or cuda.device or cuda.streams or cuda.graphs)


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TensorRtSession:
    """One whose engine is tuned for two photos."""
    cuda = Cuda()
    monkeypatch.setattr("defnet_infer.sessions.tensorrt.import_cuda_runtime", lambda command: cuda)
    monkeypatch.setattr(
        "defnet_infer.sessions.tensorrt.import_tensorrt", lambda command: TensorRt(cuda, CONTRACT, answers)
    )
    record = make_record(platform=this_platform(), batch=BatchRange(smallest=1, best=2, largest=4))
    return TensorRtSession(write_plan(tmp_path, record))


def test_a_session_takes_any_number_of_photos(session: TensorRtSession) -> None:
    assert session.has_graph and session.photos_per_call == 2
    views = photos(5, 1)
    assert_same(session.run(*views), answers(*views))


def test_a_session_that_is_closed_says_so_however_often_it_is_used(session: TensorRtSession) -> None:
    session.close()
    said: list[str] = []

    def use() -> None:
        with pytest.raises(SessionError) as caught:
            session.run(*photos(1, 1))
        said.append(str(caught.value))

    for _ in range(2):
        thread = threading.Thread(target=use, daemon=True)  # It must not wait for ever.
        thread.start()
        thread.join(5.0)
    assert said == ["this session is closed; open another"] * 2
