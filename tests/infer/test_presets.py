"""Named preprocessing rules, and contracts of models that tell less than the paper's."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from defnet_infer import views
from defnet_infer.contract import PREPROCESS_PRESETS, Contract, Preprocess
from tests.conftest import picture

PYIQA = PREPROCESS_PRESETS["pyiqa"]


def strided_windows(pixels: np.ndarray, stride: int, count: int) -> np.ndarray:
    """Every window of a photo, row by row, of which each (n // count)-th is taken: what pyiqa does with `unfold`."""
    every = np.lib.stride_tricks.sliding_window_view(pixels, (224, 224), axis=(0, 1))[::stride, ::stride]
    every = every.reshape(-1, 3, 224, 224).transpose(0, 2, 3, 1)
    step = max(1, len(every) // count)
    return every[: step * count : step][:count]


@pytest.mark.parametrize("size", [(512, 384), (1024, 768), (320, 320), (1400, 1000), (224, 700)])
def test_pyiqas_crops_are_windows_32_apart_of_the_photo_as_it_is(size: tuple[int, int]) -> None:
    pixels = picture(*size)
    assert np.array_equal(views.make(pixels, PYIQA).crops, strided_windows(pixels, 32, 15))


@pytest.mark.parametrize("size", [(288, 288), (224, 224), (256, 300)])
def test_a_photo_with_too_few_windows_shows_pyiqas_windows_again_and_no_others(size: tuple[int, int]) -> None:
    pixels = picture(*size)
    windows = strided_windows(pixels, 32, 15)
    assert len(windows) < 15
    assert np.array_equal(views.make(pixels, PYIQA).crops, windows[np.arange(15) % len(windows)])


def test_the_presets_differ_where_they_should() -> None:
    assert views.working_size(4000, 3000, PREPROCESS_PRESETS["liqe"]) == (1024, 768)
    assert views.working_size(4000, 3000, PYIQA) == (4000, 3000)
    assert views.grid(1024, 768, PREPROCESS_PRESETS["liqe"])[0] == 48
    assert views.grid(1024, 768, PYIQA)[0] == 32
    assert views.grid(288, 288, PREPROCESS_PRESETS["liqe"])[0] == 16
    assert {name: rule.name for name, rule in PREPROCESS_PRESETS.items()} == {n: n for n in PREPROCESS_PRESETS}


def test_a_rule_without_overview_makes_none() -> None:
    made = views.make(picture(300, 260), replace(PYIQA, overview_mode="none"))
    assert made.overview.shape == (0, 0, 3)
    assert made.crops.shape == (15, 224, 224, 3)


def test_a_contract_names_the_tensors_that_there_are() -> None:
    rule = replace(PYIQA, overview_mode="none")
    contract = Contract(encoder="x", prompt_preset="pyiqa", tasks=("quality",), uncertainty=False, preprocess=rule)
    assert [spec.name for spec in contract.inputs] == ["crops"]
    assert [spec.name for spec in contract.outputs] == ["score", "quality", "crop_score"]
    assert Contract.from_json(contract.to_json()) == contract


def test_what_was_added_later_leaves_older_contracts_as_they_were() -> None:
    contract = Contract(encoder="x", prompt_preset="paper")
    body = json.loads(contract.to_json())
    assert not {"tasks", "uncertainty"} & body.keys()
    assert "few_windows" not in body["preprocess"]
    assert Preprocess.from_dict(asdict(PYIQA)) == Preprocess.from_dict(PYIQA.to_dict()) == PYIQA
