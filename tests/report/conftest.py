"""Results files of photos that exist, made without a model: the page reads files, not models."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from defnet_infer.contract import Preprocess
from defnet_infer.results import DETAILED_COLUMNS, Row
from defnet_infer.results_file import ResultsFile
from defnet_infer.taxonomy import DISTORTIONS, QUALITIES, SCENES
from tests.conftest import MakePhoto

WriteResults = Callable[..., Path]


def scored_row(path: str, number: int, **changes: object) -> Row:
    """A row with every column; rows of different numbers differ in each."""
    rng = np.random.default_rng(number)
    score = round(float(rng.uniform(1, 5)), 4)
    probs = rng.dirichlet(np.ones(5))
    facts: dict[str, object] = {
        "score": score,
        "interval_low": round(score - 1, 4),
        "interval_high": round(score + 0.5, 4),
        "aleatoric": round(float(rng.uniform(0.05, 0.5)), 6),
        "epistemic": round(float(rng.uniform(0.05, 0.5)), 6),
        "fused_score": round(score + 0.1, 4),
        "quality": QUALITIES[int(probs.argmax())],
        "scene": SCENES[number % len(SCENES)],
        "scene_prob": 0.5,
        "distortion": DISTORTIONS[number % len(DISTORTIONS)],
        "distortion_prob": 0.75,
        "width": 400,
        "height": 300,
        "status": "ok",
        "quality_probs": tuple(round(float(p), 4) for p in probs),
        "crop_scores": tuple(round(float(s), 4) for s in rng.uniform(1, 5, 15)),
    }
    return Row(path=path, **facts | changes)


@pytest.fixture
def write_results(tmp_path: Path) -> WriteResults:
    """A function that writes rows and the run record beside them."""

    def write(rows: list[Row], name: str = "results.csv", columns: tuple[str, ...] = DETAILED_COLUMNS) -> Path:
        path = tmp_path / name
        with ResultsFile(path, overwrite=True, columns=columns) as file:
            for row in rows:
                file.write(row)
        record = {"model": {"file": "tiny.onnx", "sha256": "0" * 64}, "preprocess": asdict(Preprocess())}
        path.with_name(path.name + ".run.json").write_text(json.dumps(record))
        return path

    return write


@pytest.fixture
def folder_of_photos(make_photo: MakePhoto) -> list[Path]:
    """Twelve photos in two folders."""
    return [make_photo(f"{'left' if k % 2 else 'right'}/photo{k:02}.png", 400, 300, seed=k) for k in range(12)]
