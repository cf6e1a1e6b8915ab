"""The views of the C++ example are Python's, to the bit. Needs a C++ compiler only."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from defnet_infer import views
from defnet_infer.contract import PREPROCESS_PRESETS, Preprocess

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[1] / "examples" / "cpp"
SHRUNK = [(1600, 1200), (800, 2500), (769, 768), (1023, 1025)]
ENLARGED = [(100, 80), (80, 100), (223, 1000), (2000, 150), (1, 500), (7, 9), (1, 1)]


@pytest.fixture(scope="module")
def dump_views(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("c++") is None:
        pytest.skip("there is no C++ compiler on this machine")
    program = tmp_path_factory.mktemp("views") / "dump_views"
    sources = [HERE / "dump_views.cpp", SOURCE / "views.cpp"]
    subprocess.run(["c++", "-std=c++17", "-O2", "-I", SOURCE, *sources, "-o", program], check=True)
    return program


@pytest.mark.parametrize("crop_rule", ["every_nth", "linspace", "pyiqa"])
@pytest.mark.parametrize("size", [(500, 400), (288, 288), (300, 3000), *SHRUNK, *ENLARGED])
def test_every_pixel_is_the_same(dump_views: Path, size: tuple[int, int], crop_rule: str) -> None:
    width, height = size
    photo = np.random.default_rng([width, height]).integers(0, 256, (height, width, 3), dtype=np.uint8)
    command = [dump_views, str(width), str(height), crop_rule]
    found = subprocess.run(command, input=photo.tobytes(), capture_output=True, check=True).stdout
    if crop_rule == "pyiqa":
        rule = replace(PREPROCESS_PRESETS["pyiqa"], overview_mode="none")
    else:
        rule = Preprocess(crop_rule=crop_rule)  # type: ignore[arg-type]
    expected = views.make(photo, rule)
    assert found == expected.crops.tobytes() + expected.overview.tobytes()
