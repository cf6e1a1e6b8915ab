"""What is said of a run's photos before it starts."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from defnet_train.config import TrainConfig
from defnet_train.labels import Labels
from defnet_train.recipe_file import apply_overrides
from defnet_train.run_data import RunData
from defnet_train.run_notes import run_notes
from tests.train.test_splits import records

SCENE, DISTORTION = Labels(scenes=(1,), distortion=None), Labels(scenes=(), distortion=2)


def notes(labels: Labels | None, *settings: str, train: int = 40, val: int = 19) -> list[str]:
    """Of a run whose last training photo alone has a label, as all those of other parts."""
    photos = records("csv", train + val + 5)
    found = [photo if i < train - 1 else replace(photo, labels=labels) for i, photo in enumerate(photos)]
    places = list(range(len(found)))
    data = RunData(found, {"train": places[:train], "val": places[train : train + val], "test": places[train + val :]})
    return run_notes(apply_overrides(TrainConfig(), ["data.sets={csv = 4}", *settings]), data)


@pytest.mark.parametrize(
    ("labels", "tasks", "said"),
    [
        (None, "q+s+d", "a scene or distortion label; .*: add the columns scene and distortion, .*=q$"),
        (SCENE, "q+s+d", r"a distortion label; .*: add the column distortion, or leave .*: --set model\.tasks=q\+s$"),
        (DISTORTION, "q+s+d", r"a scene label; .*: add the column scene, .*=q\+d$"),
        (SCENE, "q+d", "a distortion label; .*=q$"),
        (SCENE, "q+s", ""),
        (None, "q", ""),
    ],
)
def test_what_no_training_photo_shows_is_said_to_mean_nothing(labels: Labels | None, tasks: str, said: str) -> None:
    found = notes(labels, f"model.tasks={tasks}")
    assert len(found) == bool(said)
    assert all(re.search(said, line) for line in found), found


def test_few_photos_promise_less_than_95_percent() -> None:
    quality = "model.tasks=q"
    told = "validation photos promise an interval of {} %, not 95 %; more photos, or --set calibration.folds=8"
    assert notes(None, quality, val=19) == []
    assert notes(None, quality, val=18) == ["18 " + told.format(94)]
    assert notes(None, quality, val=5) == ["5 " + told.format(83)]
    assert notes(None, quality, "calibration.folds=8", val=5) == [], "45 photos calibrate"
