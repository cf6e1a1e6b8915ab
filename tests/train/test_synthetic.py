"""Synthetic copies: which there are, what is known of them, and how they become batches and figures."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from defnet_infer.contract import Preprocess
from defnet_infer.errors import DatasetError, UsageError
from defnet_infer.taxonomy import DISTORTIONS
from defnet_train.batch_order import BatchOrder
from defnet_train.batches import targets_of
from defnet_train.config import DataConfig
from defnet_train.datasets.pristine import read_synthetic
from defnet_train.distortions import DISTORTION_KINDS
from defnet_train.evaluation import series_figures
from defnet_train.features import trunk_features
from defnet_train.model import Defnet
from defnet_train.records import ImageRecord
from defnet_train.splits import split
from tests.train.conftest import textured_photo

CONFIG = DataConfig(sets={"synthetic": 6}, synthetic_levels=(2, 5))


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[ImageRecord]:
    root = tmp_path_factory.mktemp("data")
    (root / "pristine").mkdir()
    for seed in range(10):
        textured_photo(1.0, seed).save(root / "pristine" / f"p{seed}.png")
    (root / "pristine" / "ATTRIBUTION.tsv").write_text("not a photo")
    return read_synthetic(root, CONFIG)


def test_every_photo_comes_untouched_and_with_every_distortion_at_every_level(records: list[ImageRecord]) -> None:
    assert len(records) == 10 * (1 + 2 * len(DISTORTION_KINDS))
    assert {r.target for r in records} == {None}, "nobody rated them"
    assert {(r.level, r.mos) for r in records} == {(0, 0.0), (2, -2.0), (5, -5.0)}
    blurred = next(r for r in records if r.kind == "gaussian blur")
    assert blurred.labels is not None
    assert DISTORTIONS[blurred.labels.distortion] == "blur"
    assert next(r for r in records if not r.kind).labels is None


def test_a_record_loads_its_own_distortion(records: list[ImageRecord]) -> None:
    original, mild, severe = (
        next(r for r in records if r.group == "p3.png" and r.kind == kind and r.level == level).pixels().astype(int)
        for kind, level in (("", 0), ("white noise", 2), ("white noise", 5))
    )
    assert 0 < np.abs(mild - original).mean() < np.abs(severe - original).mean()


def test_a_photo_and_its_copies_are_never_torn_apart(records: list[ImageRecord]) -> None:
    parts = split(records, 1)
    groups = [{r.group for r in part} for part in parts.values()]
    assert [len(g) for g in groups] == [7, 1, 2]
    assert sum(len(g) for g in groups) == len(set().union(*groups))


def test_a_batch_is_made_of_two_levels_of_one_distortion_of_a_photo(records: list[ImageRecord]) -> None:
    batches = BatchOrder(records, {"synthetic": 6}, np.random.default_rng(0))
    kinds, levels = set(), Counter[tuple[int, ...]]()
    for _ in range(80):
        chosen = [records[i] for i in next(batches)]
        assert len(chosen) == 6
        for first in (0, 2, 4):
            pair = chosen[first : first + 2]
            assert len({r.group for r in pair}) == 1
            assert len({r.kind for r in pair} - {""}) == 1, "the photo itself is level 0 of every distortion"
            levels[tuple(sorted(r.level for r in pair))] += 1
            kinds |= {r.kind for r in pair}
    assert len(kinds - {""}) == len(DISTORTION_KINDS), "every distortion has its turn"
    assert set(levels) == {(0, 2), (0, 5), (2, 5)}
    assert max(levels.values()) < 2 * min(levels.values()), "all levels as often"


def test_targets_say_that_only_the_order_is_known(records: list[ImageRecord]) -> None:
    some = [r for r in records if r.group in ("p0.png", "p1.png")][:60]
    targets = targets_of(some)
    assert not targets.target_known.any()
    assert not targets.scene_known.any()
    assert targets.distortion_known.tolist() == [r.level > 0 for r in some]
    assert len(targets.group.unique()) == 2
    assert ((targets.series == 0) == (targets.mos == 0)).all()


def test_synthetic_copies_keep_few_windows(records: list[ImageRecord], shared_model: Defnet, tmp_path: Path) -> None:
    features = trunk_features(shared_model.encoder, records[:3], Preprocess(), tmp_path, lambda _: None)
    assert [f.shape[:2] for f in features] == [(1, 5)] * 3
    assert not torch.equal(features[1], features[2]), "two levels of one distortion differ"


def test_a_score_that_falls_with_the_level_is_in_perfect_order(records: list[ImageRecord]) -> None:
    falling = np.array([-r.level for r in records], dtype=np.float32)
    assert series_figures({"score": falling}, records) == pytest.approx(
        {"level_order": -1, "level_order_worst": -1, "original_on_top": 1}
    )
    noise_rises = np.array([r.level if r.kind == "white noise" else -r.level for r in records], dtype=np.float32)
    figures = series_figures({"score": noise_rises}, records)
    assert figures["level_order_worst"] == pytest.approx(1)
    count = len(DISTORTION_KINDS)
    assert figures["level_order"] == pytest.approx((-(count - 1) + 1) / count)
    assert figures["original_on_top"] == pytest.approx(1 - 1 / count)


def test_strong_copies_count_as_named_by_their_most_probable_class(records: list[ImageRecord]) -> None:
    named = np.zeros((len(records), len(DISTORTIONS)), np.float32)
    for row, record in enumerate(records):
        assert record.labels is None or record.labels.distortion is not None
        truth = 0 if record.labels is None else record.labels.distortion
        wrong = record.level == 2 or record.kind == "pixelate"  # Of the strong ones, one kind in 26.
        named[row, (truth + 1) % len(DISTORTIONS) if wrong else truth] = 0.9
    falling = np.array([-r.level for r in records], dtype=np.float32)
    found = series_figures({"score": falling, "distortion": named}, records)
    assert found["strong_distortion_accuracy"] == pytest.approx(25 / 26)
    mild = np.flatnonzero([r.level < 4 for r in records])
    found = series_figures({"score": falling[mild], "distortion": named[mild]}, [records[i] for i in mild])
    assert "strong_distortion_accuracy" not in found, "no copy is strong"


def test_a_missing_folder_and_an_impossible_level_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no PNG or JPEG in .*pristine"):
        read_synthetic(tmp_path, CONFIG)
    with pytest.raises(UsageError, match="levels are 1 to 5"):
        DataConfig(synthetic_levels=(0, 3))
    with pytest.raises(UsageError, match="levels are 1 to 5, each once"):
        DataConfig(synthetic_levels=(3, 3))
