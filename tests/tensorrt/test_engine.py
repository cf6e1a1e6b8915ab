"""A real engine on a real GPU: numbers, precision, CUDA graph, refusals, speed.

    pytest -m tensorrt -ra

Needs the `tensorrt` and `export` extras and an NVIDIA GPU. DEFNET_ENGINE_MODELS may name exported files to build
instead of the built-in model, separated as in PATH; a file typed in half proves the half-precision half of this.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from defnet_infer.artifact import Artifact, builtin_model_path
from defnet_infer.cli import main
from defnet_infer.engine_file import EngineRecord, read_record, sidecar_path
from defnet_infer.errors import ArtifactError, SessionError
from defnet_infer.sessions import Outputs
from defnet_infer.sessions.onnxruntime import OnnxRuntimeSession, _has_nvidia_driver
from tests.conftest import MakePhoto

pytestmark = [
    pytest.mark.tensorrt,
    pytest.mark.skipif(
        importlib.util.find_spec("tensorrt") is None or not _has_nvidia_driver(),
        reason="needs TensorRT (pip install 'defnet[tensorrt]') and an NVIDIA GPU",
    ),
]
MODELS = [Path(name) for name in os.environ.get("DEFNET_ENGINE_MODELS", "").split(os.pathsep) if name]
TOLERANCE = {"float32": 1e-4, "float16": 0.03}
BATCH = 8


class Phases:
    """Keeps the phases that TensorRT reports."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.steps = 0

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        self.seen.append(phase)

    def step(self, phase: str, done: int) -> None:
        self.steps += 1

    def finish(self, phase: str) -> None:
        pass


@dataclass(frozen=True)
class Built:
    model: Path
    plan: Path
    phases: Phases
    record: EngineRecord
    seconds: float


@pytest.fixture(scope="module", params=MODELS or [builtin_model_path()], ids=lambda path: path.stem)
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    from defnet_export.tensorrt_build import build_engine
    from defnet_export.tensorrt_options import BuildOptions, batch_range

    folder = tmp_path_factory.mktemp("engine")
    model = Path(shutil.copy(request.param, folder))
    options = BuildOptions(
        batch=batch_range(2 * BATCH, BATCH),
        timing_cache=folder / "timing.cache",
        build_log=folder / "build.log",
        inspect=folder / "layers.json",
    )
    phases = Phases()
    report = build_engine(model, options, phases, threading.Event())
    return Built(model, report.path, phases, read_record(report.path), report.seconds)


@pytest.fixture(scope="module")
def views() -> tuple[np.ndarray, np.ndarray]:
    from defnet_export.generated_views import generated_views

    return generated_views(BATCH + 3, 15, 224)


@pytest.fixture(scope="module")
def expected(built: Built, views: tuple[np.ndarray, np.ndarray]) -> Outputs:
    return OnnxRuntimeSession(built.model, device="cpu").run(*views)


@pytest.fixture(scope="module")
def session(built: Built) -> Iterator:
    from defnet_infer.sessions.tensorrt import TensorRtSession

    opened = TensorRtSession(built.plan)
    yield opened
    opened.close()


def test_the_build_leaves_plan_sidecar_log_cache_and_layers_and_nothing_half_made(built: Built) -> None:
    names = {path.name for path in built.plan.parent.iterdir()}
    plan = built.plan.name
    assert names == {built.model.name, plan, f"{plan}.json", "build.log", "timing.cache", "layers.json"}
    assert Artifact.open(built.plan).contract == Artifact.open(built.model).contract
    assert built.record.machine.tensorrt in plan and f".sm{built.record.machine.sm}." in plan
    assert (built.plan.parent / "build.log").stat().st_size > 0
    assert built.phases.seen and built.phases.steps, "the progress monitor was called"


def test_scores_are_those_of_the_onnx_file(built: Built, session, views, expected: Outputs) -> None:
    outputs = session.run(*views)
    tolerance = TOLERANCE[built.record.precision]
    for name in ("score", "fused_score", "crop_score"):
        np.testing.assert_allclose(outputs[name], expected[name], atol=tolerance, rtol=0, err_msg=name)
    assert {name: array.shape for name, array in outputs.items()} == {
        name: array.shape for name, array in expected.items()
    }
    assert not any(np.isnan(array).any() for array in outputs.values())
    assert np.ptp(outputs["score"]) > 10 * tolerance or built.record.precision == "float16"


def test_the_sidecar_holds_the_certificate_taken_through_the_engine(built: Built) -> None:
    from defnet_infer.describe import verdicts

    verdict = verdicts(Artifact.open(built.plan))[-1]
    assert verdict.passed and verdict.candidate == "TensorRT engine on cuda" and verdict.photos == 24
    assert verdict.precision == built.record.precision


def test_a_half_engine_really_is_half(built: Built) -> None:
    from defnet_export.half_share import HALF_SHARE_MIN, measure

    found = measure((built.plan.parent / "layers.json").read_text(encoding="utf-8"))
    if built.record.precision == "float16":
        assert built.record.half_share is not None and built.record.half_share >= HALF_SHARE_MIN
    else:
        assert found.share < HALF_SHARE_MIN, "the measure must tell the two apart"


def test_a_recorded_graph_gives_the_bits_of_plain_calls(built: Built, session, views) -> None:
    from defnet_infer.sessions.tensorrt import TensorRtSession

    assert session.has_graph
    plain = TensorRtSession(built.plan, use_graph=False)
    try:
        assert not plain.has_graph
        for count in (BATCH + 3, 1, 5):
            recorded = session.run(views[0][:count], views[1][:count])
            called = plain.run(views[0][:count], views[1][:count])
            for name in recorded:
                np.testing.assert_array_equal(recorded[name], called[name], err_msg=name)
    finally:
        plain.close()


def test_a_photo_scores_the_same_alone_and_in_any_company(built: Built, session, views) -> None:
    together = session.run(*views)
    bound = 1e-4 if built.record.precision == "float32" else 5e-3
    for row in (0, BATCH - 1, BATCH + 2):
        alone = session.run(views[0][row : row + 1], views[1][row : row + 1])
        np.testing.assert_allclose(alone["score"][0], together["score"][row], atol=bound, rtol=0)


def test_two_threads_at_a_time_get_their_own_photos(session, views) -> None:
    from concurrent.futures import ThreadPoolExecutor

    alone = session.run(*views)["score"]
    with ThreadPoolExecutor(session.calls_at_once) as pool:
        rows = [k % len(alone) for k in range(64)]
        calls = [pool.submit(session.run, views[0][k : k + 1], views[1][k : k + 1]) for k in rows]
    np.testing.assert_allclose([call.result()["score"][0] for call in calls], alone[rows], atol=5e-3, rtol=0)


def test_a_sidecar_that_says_another_gpu_version_or_plan_is_refused(built: Built, tmp_path: Path) -> None:
    from defnet_infer.sessions.tensorrt import TensorRtSession

    plan = Path(shutil.copy(built.plan, tmp_path))
    machine = built.record.machine
    changed = [
        (replace(machine, sm=machine.sm + 1), f"built for SM {machine.sm + 1}"),
        (replace(machine, tensorrt="10.11.0.33"), "built with TensorRT 10.11.0.33"),
        (replace(machine, platform="windows-amd64"), "built on windows-amd64"),
    ]
    for other, said in changed:
        sidecar_path(plan).write_text(replace(built.record, machine=other).to_json(), encoding="utf-8")
        with pytest.raises(SessionError, match=said):
            TensorRtSession(plan)
    sidecar_path(plan).write_text(replace(built.record, plan_sha256="0" * 64).to_json(), encoding="utf-8")
    with pytest.raises(ArtifactError, match="is not the engine"):
        Artifact.open(plan)


def test_bytes_that_are_no_plan_end_in_one_line(built: Built, tmp_path: Path) -> None:
    from defnet_infer.sessions.tensorrt import TensorRtSession

    plan = tmp_path / "broken.plan"
    plan.write_bytes(b"no plan at all")
    sidecar_path(plan).write_text(built.record.to_json(), encoding="utf-8")
    with pytest.raises(SessionError, match="TensorRT refuses"):
        TensorRtSession(plan)


def test_a_second_build_with_the_timing_cache_is_faster_and_can_be_cancelled(built: Built, tmp_path: Path) -> None:
    from defnet_export.tensorrt_build import build_engine
    from defnet_export.tensorrt_options import BuildOptions, batch_range

    model = Path(shutil.copy(built.model, tmp_path))
    cache = Path(shutil.copy(built.plan.parent / "timing.cache", tmp_path))
    options = BuildOptions(batch=batch_range(2 * BATCH, BATCH), timing_cache=cache)
    stop = threading.Event()
    stop.set()
    with pytest.raises(KeyboardInterrupt):
        build_engine(model, options, Phases(), stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([model.name, cache.name])
    again = build_engine(model, options, Phases(), threading.Event())
    assert again.cache_note is None
    assert again.seconds < built.seconds


def test_defnet_score_writes_the_same_rows_with_the_engine(built: Built, make_photo: MakePhoto, tmp_path: Path) -> None:
    for k in range(5):
        make_photo(f"photos/{k}.jpg", 400 + 40 * k, 300, seed=k)
    scores = {}
    for name, options in {"onnx": ["--device", "cpu"], "plan": ["--engine", "tensorrt"]}.items():
        model = built.model if name == "onnx" else built.plan
        out = tmp_path / f"{name}.csv"
        main_exit = run_main("score", str(tmp_path / "photos"), "--model", str(model), "--out", str(out), *options)
        assert main_exit == 0
        header, *rows = out.read_text(encoding="utf-8").splitlines()
        column = header.split(",").index("score")
        scores[name] = [float(row.split(",")[column]) for row in rows]
    np.testing.assert_allclose(scores["plan"], scores["onnx"], atol=TOLERANCE[built.record.precision], rtol=0)


def run_main(*arguments: str) -> int:
    try:
        main(list(arguments))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_the_engine_is_at_least_as_fast_as_onnx_runtime_on_the_same_gpu(built: Built, session, views, capsys) -> None:
    def crops_per_second(run, batch: int) -> float:
        crops, overview = views[0][:batch], views[1][:batch]
        for _ in range(5):
            run(crops, overview)
        start = time.perf_counter()
        for _ in range(30):
            run(crops, overview)
        return 30 * batch * 16 / (time.perf_counter() - start)

    engine = crops_per_second(session.run, BATCH)
    other = OnnxRuntimeSession(built.model, device="cuda", batch_size=BATCH)
    rival = crops_per_second(other.run, BATCH)
    with capsys.disabled():
        print(f"\n{built.plan.name}: {engine:.0f} crops/s, ONNX Runtime CUDA {rival:.0f} crops/s")  # noqa: T201
    assert engine >= rival
