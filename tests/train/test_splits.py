"""Splits: nothing leaks, nothing depends on luck."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from defnet_infer.errors import DatasetError
from defnet_train.records import ImageRecord
from defnet_train.splits import split


def records(dataset: str, groups: int, per_group: int = 1) -> list[ImageRecord]:
    return [
        ImageRecord(
            dataset=dataset,
            path=Path(f"{dataset}/{g}-{n}.png"),
            mos=50.0,
            target=3.0,
            group=f"reference {g}",
            labels=None,
        )
        for g in range(groups)
        for n in range(per_group)
    ]


def names(parts: dict[str, list[ImageRecord]]) -> dict[str, set[str]]:
    return {part: {str(r.path) for r in chosen} for part, chosen in parts.items()}


def test_parts_are_disjoint_and_nothing_is_lost() -> None:
    everything = records("live", 100)
    parts = split(everything, 1)
    assert sorted(str(r.path) for part in parts.values() for r in part) == sorted(str(r.path) for r in everything)


@pytest.mark.parametrize(("groups", "sizes"), [(100, (70, 10, 20)), (1162, (813, 117, 232)), (30, (21, 3, 6))])
def test_parts_hold_70_10_and_20_percent(groups: int, sizes: tuple[int, int, int]) -> None:
    parts = split(records("csiq", groups), 3)
    assert tuple(len(part) for part in parts.values()) == sizes
    assert list(parts) == ["train", "val", "test"]


def test_every_part_has_a_group_from_three_on_and_where_rounding_gave_it_one_the_split_stays() -> None:
    for groups in (*range(1, 40), 81, 586, 1162):
        everything = records("csiq", groups, per_group=2)
        order = np.random.default_rng([2, *b"csiq"]).permutation(groups)
        names = sorted(f"reference {g}" for g in range(groups))
        ends = round(0.7 * groups), round((0.7 + 0.1) * groups)
        rounded = [{names[i] for i in part} for part in np.split(order, ends)]
        found = [{r.group for r in part} for part in split(everything, 2).values()]
        if groups < 3 or all(rounded):
            assert found == rounded, groups
        else:
            assert groups in (3, 4, 5, 8)
            assert [len(part) for part in found] == [ends[0] - 1, 1, groups - ends[1]]


def test_photos_of_one_reference_stay_together() -> None:
    parts = split(records("kadid", 20, per_group=7), 1)
    groups = {part: {r.group for r in chosen} for part, chosen in parts.items()}
    assert not groups["train"] & groups["val"]
    assert not groups["train"] & groups["test"]
    assert not groups["val"] & groups["test"]
    assert [len(part) for part in parts.values()] == [98, 14, 28]


def test_the_order_of_the_records_does_not_change_the_split() -> None:
    everything = records("live", 40) + records("bid", 40)
    shuffled = [everything[i] for i in np.random.default_rng(0).permutation(len(everything))]
    assert names(split(everything, 2)) == names(split(shuffled, 2))


def test_a_part_keeps_the_order_of_the_records() -> None:
    everything = records("live", 40)
    for part in split(everything, 2).values():
        assert [everything.index(r) for r in part] == sorted(everything.index(r) for r in part)


def test_the_same_session_gives_the_same_split_and_another_session_another() -> None:
    everything = records("live", 60)
    assert names(split(everything, 1)) == names(split(everything, 1))
    tests = [frozenset(names(split(everything, session))["test"]) for session in range(1, 11)]
    assert len(set(tests)) == 10


def test_every_data_set_is_split_by_itself() -> None:
    parts = split(records("live", 20) + records("bid", 50), 1)
    for part, fraction in {"train": 0.7, "val": 0.1, "test": 0.2}.items():
        counts = [sum(r.dataset == key for r in parts[part]) for key in ("live", "bid")]
        assert counts == [round(20 * fraction), round(50 * fraction)]


def test_two_data_sets_of_one_size_are_not_split_alike() -> None:
    parts = split(records("a", 50) + records("b", 50), 1)
    tested = {key: {r.group for r in parts["test"] if r.dataset == key} for key in ("a", "b")}
    assert tested["a"] != tested["b"]


def test_adding_a_data_set_leaves_the_split_of_another_as_it_was() -> None:
    alone = records("koniq", 40)
    joined = split([*records("bid", 30), *alone], 3)
    for part, members in split(alone, 3).items():
        assert [r for r in joined[part] if r.dataset == "koniq"] == members


def given(parts: str) -> list[ImageRecord]:
    names = {"t": "train", "v": "val", "e": "test"}
    return [replace(r, part=names[part]) for r, part in zip(records("live", len(parts)), parts, strict=True)]  # type: ignore[arg-type]


def test_a_given_part_is_kept_whatever_the_session() -> None:
    everything = given("evtteet")
    for session in (1, 2):
        parts = split(everything, session)
        assert [[everything.index(r) for r in part] for part in parts.values()] == [[2, 3, 6], [1], [0, 4, 5]]


def test_a_given_split_leaves_the_generated_one_of_another_data_set_as_it_was() -> None:
    others = records("bid", 40)
    together = split([*given("tvetve"), *others], 4)
    for part, members in split(others, 4).items():
        assert [r for r in together[part] if r.dataset == "bid"] == members


def test_a_given_split_that_tears_a_group_apart_is_refused() -> None:
    torn = [replace(r, group="one scene") for r in given("tte")]
    with pytest.raises(
        DatasetError, match=r"live: photos of 'one scene' are both in train and in test, .*live/2-0\.png"
    ):
        split(torn, 1)
