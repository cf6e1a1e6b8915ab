"""A model on rated photos: outputs in order, figures on the right scale."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from defnet_train.batches import FeatureViews
from defnet_train.evaluation import figures, predict, reference_scores, series_figures
from defnet_train.labels import Labels
from defnet_train.model import Defnet
from defnet_train.records import ImageRecord
from tests.train.conftest import Run
from tests.train.test_model import features

SOURCE = FeatureViews(features(40, 2, 16))


def records(targets: np.ndarray, labels: Labels | None = None) -> list[ImageRecord]:
    return [
        ImageRecord(dataset="clive", path=Path(f"{i}.png"), mos=0, target=float(t), group=str(i), labels=labels)
        for i, t in enumerate(targets)
    ]


def test_outputs_come_in_the_order_that_was_asked_for(shared_model: Defnet) -> None:
    everything = predict(shared_model, SOURCE, range(40))
    some = predict(shared_model, SOURCE, [31, 2, 17])
    assert everything["score"].shape == (40,)
    for name, value in some.items():
        np.testing.assert_allclose(value, everything[name][[31, 2, 17]], rtol=1e-4, atol=1e-5)
    assert len(np.unique(everything["score"])) == 40


def test_progress_adds_up_to_the_photos(shared_model: Defnet) -> None:
    done: list[int] = []
    predict(shared_model, SOURCE, range(37), done.append)
    assert sum(done) == 37
    assert len(done) > 1


def test_predicting_leaves_the_mode_of_the_model_as_it_was(new_model: Callable[..., Defnet]) -> None:
    model = new_model()
    before = predict(model, SOURCE, range(3))
    model.train()
    during = predict(model, SOURCE, range(3))
    assert model.training
    assert all(np.array_equal(value, during[name]) for name, value in before.items())


def test_figures_of_a_model_that_knows_the_truth_are_perfect(shared_model: Defnet) -> None:
    outputs = predict(shared_model, SOURCE, range(40))
    found = figures(outputs, records(outputs["score"]))
    assert found["srcc"] == pytest.approx(1)
    assert found["krcc"] == pytest.approx(1)
    assert found["plcc_raw"] == pytest.approx(1)
    assert found["photos"] == 40
    turned = figures(outputs, records(6 - outputs["score"]))
    assert turned["srcc"] == pytest.approx(-1), "the sign is kept: higher must be better"
    assert found["fused_srcc"] == pytest.approx(-turned["fused_srcc"])
    assert found["fused_srcc"] != pytest.approx(found["srcc"])


def test_what_is_not_defined_is_left_out_and_takes_nothing_from_other_sets(shared_model: Defnet) -> None:
    outputs = predict(shared_model, SOURCE, range(40))
    varied = records(outputs["score"])
    equal = [replace(record, dataset="equal", target=3.0) for record in varied[20:]]
    one = figures({name: value[:1] for name, value in outputs.items()}, varied[:1])
    both = figures(outputs, [*varied[:20], *equal])
    assert "error_rank" not in one, "of one photo"
    assert {"srcc", "plcc", "krcc", "fused_srcc"}.isdisjoint(both["datasets"]["equal"])
    assert both["srcc"] == both["datasets"]["clive"]["srcc"] == pytest.approx(1)
    json.dumps([one, both], allow_nan=False)


def test_a_kind_that_a_photo_cannot_show_counts_in_no_order() -> None:
    """A gray photo without colour to lose, beside one that has it."""
    ladder = [("", 0), *(("desaturation", level) for level in (1, 2, 3))]
    about = {"dataset": "synthetic", "mos": 0, "target": None, "labels": None, "series": True}
    photos = [
        ImageRecord(path=Path(group), group=group, kind=kind, level=level, **about)
        for group in ("gray", "colour")
        for kind, level in ladder
    ]
    both = series_figures({"score": np.array([3, 3, 3, 3, 4, 3, 2, 1], np.float32)}, photos)
    assert both["level_order"] == both["level_order_worst"] == pytest.approx(-1)
    assert both["original_on_top"] == pytest.approx(0.5)
    gray = series_figures({"score": np.full(4, 3, np.float32)}, photos[:4])
    assert gray == {"original_on_top": 0.0}


def test_class_accuracies_are_over_labelled_photos_and_absent_without_any(shared_model: Defnet) -> None:
    outputs = predict(shared_model, SOURCE, range(40))
    targets = np.linspace(1, 5, 40)
    assert not {"scene_accuracy", "distortion_accuracy"} & set(figures(outputs, records(targets)))
    right = Labels(scenes=(int(outputs["scene"][3].argmax()),), distortion=int(outputs["distortion"][3].argmax()))
    some = records(targets)
    some[3] = records(targets, right)[3]
    found = figures(outputs, some)
    assert found["scene_accuracy"] == found["distortion_accuracy"] == 1, "the other 39 have no label to miss"


def test_the_best_checkpoint_of_a_run_reproduces_its_figures(smoke_run: Run) -> None:
    # From the photos themselves, not from the cached features that the run measured on.
    from defnet_train.batches import PhotoViews
    from defnet_train.checkpoint import load_checkpoint
    from defnet_train.run_data import load_data

    model, info = load_checkpoint(smoke_run.out / "best.safetensors")
    data = load_data(info.config, smoke_run.release.root)
    source = PhotoViews(data.records, model.contract().preprocess)
    with torch.inference_mode():
        found = figures(predict(model, source, data.parts["test"]), data.of("test"))
    expected = smoke_run.result["test"]
    for name in ("datasets", "types"):
        assert list(found[name]) == list(expected[name]) == ["clive"]
    numbers = [{k: v for k, v in figures.items() if isinstance(v, float)} for figures in (found, expected)]
    assert numbers[0] == pytest.approx(numbers[1], rel=1e-3, abs=1e-3)
    assert found["datasets"]["clive"] == pytest.approx(expected["datasets"]["clive"], rel=1e-3, abs=1e-3)


def many(keys: list[str], targets: np.ndarray) -> list[ImageRecord]:
    return [replace(record, dataset=key) for record, key in zip(records(targets), keys, strict=True)]


def test_data_sets_count_once_each_and_never_mix_their_scales(shared_model: Defnet) -> None:
    outputs = predict(shared_model, SOURCE, range(40))
    score = outputs["score"]
    keys = ["small"] * 8 + ["large"] * 32
    targets = np.where(np.arange(40) < 8, -score, score)
    found = figures(outputs, many(keys, targets))
    small, large = found["datasets"]["small"], found["datasets"]["large"]
    assert (small["photos"], large["photos"], found["photos"]) == (8, 32, 40)
    assert large["srcc"] == pytest.approx(1)
    assert small["srcc"] == pytest.approx(-1)
    assert found["srcc"] == pytest.approx(0), "not weighted by photos, and far from the correlation of all together"
    assert found["coverage"] == pytest.approx((8 * small["coverage"] + 32 * large["coverage"]) / 40), "pooled"


def test_a_data_set_of_fewer_photos_than_the_logistic_needs_has_no_correlation(shared_model: Defnet) -> None:
    outputs = predict(shared_model, SOURCE, range(40))
    found = figures(outputs, many(["few"] * 4 + ["many"] * 36, np.linspace(1, 5, 40)))
    assert "srcc" not in found["datasets"]["few"]
    assert "coverage" in found["datasets"]["few"]
    assert found["srcc"] == found["datasets"]["many"]["srcc"]


def test_figures_are_split_by_distortion_type_and_unlabelled_photos_are_in_none(shared_model: Defnet) -> None:
    outputs = predict(shared_model, SOURCE, range(40))
    score = outputs["score"]
    labels = [Labels(scenes=(), distortion=3)] * 10 + [Labels(scenes=(), distortion=1)] * 4 + [None] * 26
    targets = np.where(np.arange(40) < 10, 6 - score, score)
    labelled = [replace(record, labels=label) for record, label in zip(records(targets), labels, strict=True)]
    types = figures(outputs, labelled)["types"]["clive"]
    assert set(types) == {"blur", "JPEG"}
    assert types["blur"]["srcc"] == pytest.approx(-1), "these ten are the other way round"
    assert types["JPEG"]["photos"] == 4
    assert "srcc" not in types["JPEG"]


def test_a_model_without_a_task_has_no_accuracy_of_it(shared_model: Defnet) -> None:
    outputs = predict(shared_model, SOURCE, range(40))
    del outputs["scene"]
    labels = Labels(scenes=(2,), distortion=3)
    found = figures(outputs, records(np.linspace(1, 5, 40), labels))
    assert "scene_accuracy" not in found
    assert "distortion_accuracy" in found


def test_reference_scores_are_quantiles_from_the_lowest_photo_to_the_highest() -> None:
    score = np.random.default_rng(4).uniform(1, 5, 101).astype(np.float32)
    found = reference_scores(score)
    assert found["what"] == "101 photos kept out of training"
    assert found["quantiles"] == pytest.approx(np.sort(score)[::5], abs=6e-4)
