"""The C++ example builds and says what Python says. Needs a compiler, CMake and two headers; see .ci/run.

With OpenVINO from its wheel, and with ONNX Runtime where ONNXRUNTIME_ROOT names a release with headers.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defnet_export.end_to_end import SCORE_BOUNDS, generated_photo, write_end_to_end
from defnet_infer import Scorer
from defnet_infer.artifact import builtin_model_path
from defnet_infer.contract import Contract, Preprocess
from tests.conftest import tiny_metadata, write_tiny_model

SOURCE = Path(__file__).resolve().parents[2] / "examples" / "cpp"
SCORE_BOUND = SCORE_BOUNDS["float32"]
SIZES = ((640, 480), (100, 80), (288, 288), (300, 1200), (1700, 1100))
FLOAT32 = 1e-4
"""Two runtimes on the same views, in float32; the bound of ONNX Runtime against PyTorch."""


@dataclass(frozen=True)
class Program:
    """The built example."""

    path: Path
    runtime: str

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run([self.path, *map(str, arguments)], capture_output=True, text=True, check=False)

    def rows(self, model: Path, photos: list[Path]) -> list[dict[str, str]]:
        done = self.run(model, *photos)
        assert done.returncode == 0, done.stderr
        return list(csv.DictReader(io.StringIO(done.stdout)))


@pytest.fixture(scope="module", params=["openvino", "onnxruntime"])
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Program:
    for tool in ("cmake", "c++"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no {tool} on this machine")
    environment = dict(os.environ)
    settings = []
    if request.param == "openvino":
        environment.pop("ONNXRUNTIME_ROOT", None)
        wheel = importlib.util.find_spec("openvino")
        if wheel is None or wheel.origin is None:
            pytest.skip("the openvino wheel is not installed")
        settings.append(f"-DOpenVINO_DIR={Path(wheel.origin).parent / 'cmake'}")
    elif "ONNXRUNTIME_ROOT" not in environment:
        pytest.skip("ONNXRUNTIME_ROOT names no ONNX Runtime with C++ headers")
    build = tmp_path_factory.mktemp(request.param)
    for command in (["cmake", "-S", SOURCE, "-B", build, *settings], ["cmake", "--build", build, "--parallel"]):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if "a header is missing" in done.stderr:
            pytest.skip("the headers of stb and nlohmann-json are not installed")
        assert done.returncode == 0, done.stdout + done.stderr
    return Program(build / "defnet_score", request.param)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """PNG files: JPEG decoders differ by a few levels, and this is about what comes after."""
    folder = tmp_path_factory.mktemp("photos")
    paths = [folder / f"{width}, {height}.png" for width, height in SIZES]
    for path, size in zip(paths, SIZES, strict=True):
        Image.fromarray(generated_photo(*size)).save(path)
    return paths


@pytest.fixture(scope="module")
def end_to_end(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("e2e") / "defnet-lite.e2e.onnx"
    write_end_to_end(builtin_model_path(), out)
    return out


def assert_same(rows: list[dict[str, str]], model: Path, photos: list[Path], most: float) -> None:
    expected = list(Scorer(model, device="cpu").score(photos))
    assert np.ptp([row.score for row in expected]) > 100 * most, "these photos must be told apart"
    assert [row["path"] for row in rows] == [str(path) for path in photos]
    for found, row in zip(rows, expected, strict=True):
        assert abs(float(found["score"]) - row.score) <= most
        assert abs(float(found["interval_low"]) - row.interval_low) <= 10 * most
        assert abs(float(found["interval_high"]) - row.interval_high) <= 10 * most
        assert (found["scene"], found["distortion"]) == (row.scene, row.distortion)


def test_its_own_views_score_as_pythons(program: Program, photos: list[Path]) -> None:
    model = builtin_model_path()
    assert_same(program.rows(model, photos), model, photos, FLOAT32)


def test_it_follows_the_rule_in_the_file(program: Program, photos: list[Path], tmp_path: Path) -> None:
    rule = Preprocess(shrink_short_side=400, stride=20, large_stride=50, large_side=600, crop_rule="linspace")
    contract = Contract(encoder="means", prompt_preset="paper", preprocess=rule)
    model = write_tiny_model(tmp_path / "other.onnx", tiny_metadata() | {"defnet.contract": contract.to_json()})
    found = program.rows(model, photos)
    assert_same(found, model, photos, FLOAT32)
    usual = program.rows(write_tiny_model(tmp_path / "usual.onnx"), photos)
    assert max(abs(float(a["score"]) - float(b["score"])) for a, b in zip(found, usual, strict=True)) > 100 * FLOAT32


def test_an_end_to_end_file_scores_as_python_or_is_refused(
    program: Program, photos: list[Path], end_to_end: Path
) -> None:
    if program.runtime == "onnxruntime":
        assert_same(program.rows(end_to_end, photos), builtin_model_path(), photos, SCORE_BOUND)
        return
    done = program.run(end_to_end, photos[0])
    assert done.returncode == 3
    assert done.stdout == ""
    assert "without .e2e" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_file_that_is_no_photo_is_named_and_the_others_are_scored(
    program: Program, photos: list[Path], tiny_model: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no photo")
    # stb_image would fill up a BMP that is cut off.
    Image.open(photos[0]).save(tmp_path / "whole.bmp")
    (tmp_path / "cut.bmp").write_bytes((tmp_path / "whole.bmp").read_bytes()[:5000])
    done = program.run(tiny_model, tmp_path / "text.png", tmp_path / "cut.bmp", photos[0])
    assert done.returncode == 1
    first, second = done.stderr.splitlines()
    assert first.startswith(f"defnet_score: {tmp_path / 'text.png'}: ")
    assert second.startswith(f"defnet_score: {tmp_path / 'cut.bmp'}: ")
    assert len(done.stdout.splitlines()) == 2


def test_mistakes_end_in_one_line(program: Program, photos: list[Path], tmp_path: Path) -> None:
    foreign = write_tiny_model(tmp_path / "foreign.onnx", {})
    for arguments, code in (([], 2), ([tmp_path / "none.onnx", photos[0]], 3), ([foreign, photos[0]], 3)):
        done = program.run(*arguments)
        assert done.returncode == code
        assert done.stdout == ""
        assert done.stderr.count("\n") == 1
        assert "none.onnx" not in str(arguments) or "end-to-end" not in done.stderr, "it is not there at all"
    assert "not a defnet model" in done.stderr
