"""The parts of benchmarks/peers that measure nothing: the page, the verdicts, and that any Python can start it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"


@pytest.fixture(scope="module")
def table() -> ModuleType:
    spec = importlib.util.spec_from_file_location("peers_table", PEERS / "table.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(tool: str, size: str, number: int, rate: float, peak: float) -> dict[str, Any]:
    scores = {"0000.jpg": 2.0, "0001.jpg": 3.5}
    measured = {"photos_per_second": rate, "peak_mib": peak, "first": 2.0, "scores": scores}
    return {"tool": str(tool), "size": size, "round": number, **measured}


@pytest.fixture
def figures(table: ModuleType) -> dict[str, Any]:
    """Speeds of 2 (1.5, 2, 9 in three rounds), 4, 7 and 20 photos a second: times 2, 3.5 and 10."""
    tool = table.Tool
    photo = {"pyiqa": 2.0, "score_difference": 2e-6, "probability_difference": 3e-7, "largest_probability": 0.5}
    sizes = ("512x384", "1024x768", "4000x3000")
    runs = [run(tool.PYIQA, size, k, rate, 8000.0) for size in sizes for k, rate in enumerate((9.0, 1.5, 2.0), start=1)]
    for name, rate in ((tool.FLOAT32, 4.0), (tool.INT8, 7.0), (tool.BUILTIN, 20.0)):
        runs += [run(name, size, 1, rate, 800.0) for size in sizes]
    runs.append(run("piq CLIP-IQA", "512x384", 1, 3.0, 1000.0))
    alone = {"alone": [2.0, 3.5], "together": [2.0, 3.5], "repeated": [2.0, 2.0]}
    figures = {
        "cores": 2,
        "processor": "a processor",
        "photos": "generated",
        "versions": {"pyiqa": "0.1.16"},
        "agreement": {size: [photo, photo | {"pyiqa": 3.5, "score_difference": 5e-6}] for size in sizes},
        "batches": {
            "old_pyiqa": {"version": "0.1.11", **alone, "together": [2.25, 3.5], "repeated": [2.0, 1.5]},
            "pyiqa": {"version": "0.1.16", **alone},
            "defnet": alone | {"reversed": [2.0, 3.5], "one_call": [2.0, 3.5]},
        },
        "runs": runs,
        "conversion": {"import_seconds": 12.34},
        "skipped": {},
    }
    return figures | {"targets": table.targets(figures)}


def test_speed_is_held_against_the_median_of_the_rounds(table: ModuleType, figures: dict[str, Any]) -> None:
    ratio = table.times_pyiqa(figures, table.Tool.FLOAT32, "1024x768", "photos_per_second")
    assert ratio == 2.0, "neither the first round nor the mean"


def test_all_targets_are_met_by_good_figures(figures: dict[str, Any]) -> None:
    assert len(figures["targets"]) == 6
    assert all(target["met"] for target in figures["targets"])


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [(0, "score_difference", 1.1e-4), (1, "probability_difference", 1.1e-5)],
)
def test_one_photo_of_any_size_can_miss_a_bound(
    table: ModuleType, figures: dict[str, Any], place: int, key: str, value: float
) -> None:
    figures["agreement"]["4000x3000"][0] = figures["agreement"]["4000x3000"][0] | {key: value}
    met = [target["met"] for target in table.targets(figures)]
    assert met == [k != place for k in range(6)]


@pytest.mark.parametrize(
    ("place", "tool", "size", "key", "value"),
    [
        (2, "FLOAT32", "1024x768", "photos_per_second", 2.9),
        (3, "INT8", "1024x768", "photos_per_second", 5.9),
        (4, "BUILTIN", "1024x768", "photos_per_second", 15.9),
        (5, "FLOAT32", "4000x3000", "peak_mib", 1601.0),
    ],
)
def test_a_slow_or_hungry_tool_misses_its_own_bound_only(
    table: ModuleType, figures: dict[str, Any], place: int, tool: str, size: str, key: str, value: float
) -> None:
    for one in figures["runs"]:
        if (one["tool"], one["size"]) == (table.Tool[tool], size):
            one[key] = value
    met = [target["met"] for target in table.targets(figures)]
    assert met == [k != place for k in range(6)]


def test_the_page_shows_ratios_spread_and_what_was_not_run(table: ModuleType, figures: dict[str, Any]) -> None:
    page = table.markdown(figures)
    assert "| defnet, LIQE imported | 4.00 (2) | 4.00 (2) | 4.00 (2) |" in page
    assert "| piq CLIP-IQA | 3.00 (1.5) | not run | not run |" in page
    assert "| 1024 x 768 | 2 | 2.00 to 3.50 | 0.75 | 3.5e-06 | 5.0e-06 | 3.0e-07 |" in page
    assert "| pyiqa 0.1.11, of its issue 178 | 2.5e-01 | 5.0e-01 |" in page
    assert "**no**" not in page


def test_a_missed_target_stands_out(table: ModuleType, figures: dict[str, Any]) -> None:
    figures["agreement"]["512x384"][1]["score_difference"] = 0.01
    page = table.markdown(figures | {"targets": table.targets(figures)})
    assert page.count("**no**") == 1


def test_a_python_without_packages_can_start_it() -> None:
    done = subprocess.run(
        [sys.executable, "-S", PEERS / "compare.py", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout
