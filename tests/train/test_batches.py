"""Which photos, windows and labels make a batch."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from defnet_infer import views
from defnet_infer.contract import Preprocess
from defnet_infer.errors import DatasetError
from defnet_infer.photos import decode
from defnet_train.batch_order import BatchOrder
from defnet_train.batches import FeatureViews, PhotoViews, take, targets_of
from defnet_train.config import DataConfig
from defnet_train.labels import Labels
from defnet_train.readers import read_all
from defnet_train.records import ImageRecord
from tests.train.conftest import Release


def record(dataset: str, target: float = 3.0, labels: Labels | None = None) -> ImageRecord:
    return ImageRecord(dataset=dataset, path=Path("x.png"), mos=50, target=target, group="g", labels=labels)


def test_label_tensors_hold_what_the_records_say() -> None:
    records = [
        record("koniq", 2.5, Labels(scenes=(1, 8), distortion=4)),
        record("bid", 4.5),
        record("koniq", 1.0, Labels(scenes=(), distortion=10)),
    ]
    found = targets_of(records)
    assert found.target.tolist() == [2.5, 4.5, 1.0]
    assert found.dataset.tolist() == [1, 0, 1]
    assert [torch.nonzero(row).flatten().tolist() for row in found.scene] == [[1, 8], [], []]
    assert [torch.nonzero(row).flatten().tolist() for row in found.distortion] == [[4], [], [10]]
    assert found.scene_known.tolist() == [True, False, False], "a photo without a scene says nothing about scenes"
    assert found.distortion_known.tolist() == [True, False, True]
    assert take(found, [2, 0]).target.tolist() == [1.0, 2.5]
    assert take(found, [2, 0]).scene_known.tolist() == [False, True]


@pytest.mark.parametrize(("kind", "level"), [("", 0), ("gaussian blur", 3)])
def test_a_photo_that_cannot_be_decoded_is_named(tmp_path: Path, kind: str, level: int) -> None:
    path = tmp_path / "broken.png"
    path.write_bytes(b"no picture")
    broken = replace(record("a"), path=path, kind=kind, level=level)
    with pytest.raises(DatasetError, match=rf"^{re.escape(str(path))} cannot be read: "):
        broken.pixels()


def test_a_batch_holds_its_share_of_every_data_set_in_order() -> None:
    records = [record("a")] * 10 + [record("b")] * 7
    for batch in itertools.islice(BatchOrder(records, {"b": 3, "a": 4}, np.random.default_rng(0)), 20):
        assert [records[i].dataset for i in batch] == ["b"] * 3 + ["a"] * 4
        assert len(set(batch)) == 7, "no photo twice"


def test_every_photo_is_seen_once_before_any_is_seen_again() -> None:
    records = [record("a")] * 12
    batches = list(itertools.islice(BatchOrder(records, {"a": 4}, np.random.default_rng(0)), 6))
    assert sorted(itertools.chain(*batches[:3])) == list(range(12))
    assert sorted(itertools.chain(*batches[3:])) == list(range(12))
    assert batches[:3] != batches[3:], "each round in another order"


def test_a_data_set_smaller_than_its_share_repeats_evenly() -> None:
    (batch,) = itertools.islice(BatchOrder([record("a")] * 3, {"a": 7}, np.random.default_rng(0)), 1)
    assert sorted(Counter(batch).values()) == [2, 2, 3]


def test_an_order_that_was_put_down_goes_on_where_it_was() -> None:
    series = [
        ImageRecord(
            dataset="s", path=Path("x"), mos=0.0, target=None, group=g, labels=None, kind=k, level=n, series=True
        )
        for g in "gh"
        for k, n in [("", 0), ("blur", 1), ("blur", 3), ("noise", 2), ("noise", 5)]
    ]
    records, mixture = [record("a")] * 10 + series, {"a": 4, "s": 3}
    rng = np.random.default_rng(0)
    order = BatchOrder(records, mixture, rng)
    for _ in range(4):
        next(order)
    state, draws = json.loads(json.dumps(order.state())), rng.bit_generator.state
    rest = [next(order) for _ in range(6)]
    other_rng = np.random.default_rng(1)
    other = BatchOrder(records, mixture, other_rng)
    next(other)
    other.restore(state)
    other_rng.bit_generator.state = draws
    assert [next(other) for _ in range(6)] == rest
    lost = BatchOrder(records, mixture, np.random.default_rng(0))
    assert [next(lost) for _ in range(6)] != rest


def test_a_data_set_without_photos_is_an_error() -> None:
    with pytest.raises(DatasetError, match=r"no training photo of 'b', which data\.sets asks for"):
        BatchOrder([record("a")], {"a": 1, "b": 2}, np.random.default_rng(0))


def test_fixed_views_are_those_of_scoring(new_release: Callable[..., Release]) -> None:
    records = read_all(new_release(3, 300).root, DataConfig())
    crops, overview = PhotoViews(records, Preprocess()).fixed([2, 0])
    assert crops.shape == (2, 15, 224, 224, 3)
    assert crops.dtype == overview.dtype == torch.uint8
    for row, index in enumerate([2, 0]):
        made = views.make(decode(records[index].path).pixels, Preprocess())
        assert np.array_equal(crops[row].numpy(), made.crops)
        assert np.array_equal(overview[row].numpy(), made.overview)


def test_drawn_views_are_windows_of_the_grid_flipped_together_with_the_overview(
    new_release: Callable[..., Release],
) -> None:
    records = read_all(new_release(1, 300).root, DataConfig())
    pixels = decode(records[0].path).pixels
    rule = Preprocess()
    stride, columns, rows = views.grid(300, 300, rule)
    places = [views.window(i, stride, columns) for i in range(columns * rows)]
    grid = {window.tobytes(): place for window, place in zip(views.cut(pixels, places, rule), places, strict=True)}
    upright = views.overview(pixels, rule)
    source, rng = PhotoViews(records, rule), np.random.default_rng(0)
    flips, drawn = set(), set()
    for _ in range(12):
        crops, overview = source.draw([0], 4, rng)
        flip = not np.array_equal(overview[0].numpy(), upright)
        restored = (crops[0].flip(-2) if flip else crops[0]).contiguous().numpy()
        drawn |= {grid[crop.tobytes()] for crop in restored}  # a KeyError: no window of the grid
        flips.add(flip)
    assert flips == {True, False}
    assert len(drawn) > 0.6 * len(places), "windows come from all over the grid"


def test_the_same_generator_draws_the_same_views_whatever_thread_is_first(new_release: Callable[..., Release]) -> None:
    records = read_all(new_release(4, 300).root, DataConfig())
    one, other = (
        PhotoViews(records, Preprocess(), workers).draw([3, 1, 0, 2], 2, np.random.default_rng(5)) for workers in (1, 4)
    )
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    third = PhotoViews(records, Preprocess()).draw([3, 1, 0, 2], 2, np.random.default_rng(6))
    assert not torch.equal(one[0], third[0])


def test_drawn_features_keep_photo_and_mirror_together() -> None:
    # The feature says where it comes from: photo, mirrored, view.
    features = torch.cartesian_prod(torch.arange(5), torch.arange(2), torch.arange(16)).reshape(5, 2, 16, 3)
    crops, overview = FeatureViews(features).draw([4, 0, 2] * 20, 4, np.random.default_rng(0))
    assert crops.shape == (60, 4, 3)
    assert crops[:, :, 0].tolist() == [[photo] * 4 for photo in [4, 0, 2] * 20]
    assert overview[:, 0].tolist() == [4, 0, 2] * 20
    assert torch.equal(crops[:, :, 1], overview[:, 1:2].expand(-1, 4)), "crops and overview are flipped together"
    assert set(overview[:, 1].tolist()) == {0, 1}
    assert set(overview[:, 2].tolist()) == {15}
    assert set(crops[:, :, 2].flatten().tolist()) == set(range(15)), "every crop is drawn, the overview never is"


def test_fixed_features_are_upright_and_in_order() -> None:
    features = torch.cartesian_prod(torch.arange(5), torch.arange(2), torch.arange(16)).reshape(5, 2, 16, 3)
    crops, overview = FeatureViews(features).fixed([3, 1])
    assert crops[1].tolist() == [[1, 0, view] for view in range(15)]
    assert overview.tolist() == [[3, 0, 15], [1, 0, 15]]


def test_a_scene_may_be_known_without_a_distortion() -> None:
    found = targets_of([record("a", labels=Labels(scenes=(3,), distortion=None)), record("a")])
    assert found.scene_known.tolist() == [True, False]
    assert found.distortion_known.tolist() == [False, False]
    assert found.distortion.sum() == 0
