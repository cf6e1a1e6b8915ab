"""Training with nothing at all: photos that defnet makes, a model of them, an exported file, scores."""

from __future__ import annotations

import csv
import json
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from typer.testing import CliRunner

from defnet_infer.cli import app
from defnet_train.config import DataConfig
from defnet_train.generated import PHOTOS, blurred_texture, make_release
from defnet_train.readers import read_all


def sharpness(pixels: np.ndarray) -> float:
    return float(np.abs(np.diff(pixels.astype(float), axis=0)).mean())


def test_the_better_the_quality_the_sharper_the_photo() -> None:
    steps = [sharpness(np.asarray(blurred_texture(quality, 3))) for quality in (0.0, 0.3, 0.6, 0.9, 1.0)]
    assert steps == sorted(steps)
    assert steps[-1] > 5 * steps[0]


def test_photos_of_other_seeds_differ() -> None:
    assert not np.array_equal(np.asarray(blurred_texture(0.5, 1)), np.asarray(blurred_texture(0.5, 2)))


def test_the_release_is_read_by_the_official_reader_and_made_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("defnet_train.generated.PHOTOS", 6)
    root = make_release(tmp_path / "generated")
    records = sorted(read_all(root, DataConfig()), key=lambda record: record.mos)
    assert [record.mos for record in records] == pytest.approx([0, 20, 40, 60, 80, 100])
    assert sharpness(records[0].pixels()) < 0.5 * sharpness(records[-1].pixels())
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert make_release(tmp_path / "generated") == root
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert [path.name for path in tmp_path.iterdir()] == ["generated"], "nothing half made is left"


@pytest.mark.slow
def test_smoke_trains_evaluates_exports_and_scores_with_nothing_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DEFNET_DATA", raising=False)
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> None:
        result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        assert result.exit_code == 0, result.output

    started = time.process_time()
    run("train", "smoke", "--out", "run", "--device", "cpu")
    figures = json.loads(Path("run/metrics.json").read_text())
    assert figures["val"]["srcc"] > 0.8
    assert figures["test"]["srcc"] > 0.8
    assert figures["val"]["photos"] == PHOTOS // 10
    run("evaluate", "run/best.safetensors", "--data", "runs/generated")
    run("export", "run/best.safetensors", "--out", "smoke.onnx")
    assert time.process_time() - started < 120, "of processor time: a busy machine must not count"
    images = "runs/generated/ChallengeDB_release/Images"
    run("score", images, "--model", "smoke.onnx", "--out", "scores.csv")
    with Path("scores.csv").open(newline="") as file:
        score = {Path(row["path"]).name: float(row["score"]) for row in csv.DictReader(file)}
    records = read_all(Path("runs/generated"), DataConfig())
    assert len(score) == len(records) == PHOTOS
    found = spearmanr([score[record.path.name] for record in records], [record.mos for record in records])
    assert found.statistic > 0.8, "the exported file ranks as the model did"
