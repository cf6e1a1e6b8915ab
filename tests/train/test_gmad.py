"""gMAD pairs, and the score files they come from."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from defnet_infer.errors import DatasetError, UsageError
from defnet_train.gmad import pairs
from defnet_train.score_files import read_scores


def competition(count: int = 200) -> tuple[dict[str, float], dict[str, float]]:
    rng = np.random.default_rng(1)
    quality = rng.uniform(1, 5, count)
    return (
        {f"{i}.jpg": float(q + rng.normal(0, 0.3)) for i, q in enumerate(quality)},
        {f"{i}.jpg": float(10 * q + rng.normal(0, 8)) for i, q in enumerate(quality)},
    )


def test_pairs_are_equal_for_the_defender_and_as_different_as_can_be_for_the_attacker() -> None:
    one, other = competition()
    found = pairs(("one", one), ("other", other), levels=(0.2, 0.7), window=0.04)
    assert [(p.defender, p.attacker, p.level) for p in found] == [
        ("one", "other", 0.2),
        ("one", "other", 0.7),
        ("other", "one", 0.2),
        ("other", "one", 0.7),
    ]
    for pair in found:
        defence, attack = (one, other) if pair.defender == "one" else (other, one)
        ranks = {name: rank for rank, name in enumerate(sorted(defence, key=lambda n: defence[n]))}
        assert abs(ranks[pair.better] - ranks[pair.worse]) < 8, "within 4 % of 200 photos"
        assert abs(ranks[pair.better] - pair.level * 199) <= 5
        assert pair.attack == pytest.approx(attack[pair.better] - attack[pair.worse])
        # Nothing among the defender's equals differs more.
        low = min(ranks[pair.better], ranks[pair.worse])
        inside = [n for n in ranks if abs(ranks[n] - pair.level * 199) < 4]
        assert pair.attack >= max(attack[n] for n in inside) - min(attack[n] for n in inside), low


def test_an_attacker_that_sees_no_difference_still_gets_two_photos() -> None:
    one, _ = competition()
    for pair in pairs(("one", one), ("all alike", dict.fromkeys(one, 3.0)), levels=(0.2, 0.7), window=0.04):
        assert pair.better != pair.worse


def test_a_monotone_change_of_either_scale_leaves_the_pairs_of_the_defender() -> None:
    one, other = competition()
    before = pairs(("one", one), ("other", other))
    after = pairs(("one", {n: s**3 for n, s in one.items()}), ("other", {n: 7 * s - 100 for n, s in other.items()}))
    assert [(p.better, p.worse) for p in before] == [(p.better, p.worse) for p in after]


def test_turned_scores_turn_the_pair() -> None:
    one, other = competition()
    forward = pairs(("one", one), ("other", other))[0]
    backward = pairs(("one", one), ("other", {n: -s for n, s in other.items()}))[0]
    assert (forward.better, forward.worse) == (backward.worse, backward.better)


def test_only_photos_of_both_compete_and_two_are_needed() -> None:
    one, other = competition()
    some = {name: other[name] for name in list(other)[:9]}
    assert {p.better for p in pairs(("one", one), ("some", some))} <= set(some)
    with pytest.raises(DatasetError, match="1 photos in common"):
        pairs(("one", one), ("other", {"3.jpg": 1.0}))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for name in ("a.png", "sub/b.png", "sub/c.png", "deep/c.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(folder / name)
    return folder


def test_scores_of_any_tool_are_found_below_the_folder(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    table = tmp_path / "x.csv"
    table.write_text(
        f"score,path,more\n1.5,a.png,\n2.5,photos/sub/b.png,\n3.5,{photos}/deep/c.png,\n,sub/c.png,failed\n"
    )
    assert read_scores(table, photos) == {"a.png": 1.5, "sub/b.png": 2.5, "deep/c.png": 3.5}
    lines = tmp_path / "x.jsonl"
    of_json = [json.dumps({"path": path, "score": score}) for path, score in [("b.png", 4), ("a.png", None)]]
    lines.write_text("\n".join(of_json) + "\n\n")
    spreadsheet = tmp_path / "y.csv"
    spreadsheet.write_text("path,score\na.png,2\n", encoding="utf-8-sig")
    assert read_scores(spreadsheet, photos) == {"a.png": 2.0}
    assert read_scores(lines, photos) == {"sub/b.png": 4.0}, "by its name, which one photo has"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,score\na.png,1\n", r"no column path in its first line"),
        ("path,score\na.png,1\na.png,good\n", r"x\.csv, line 3: score 'good' is not a number"),
        ("path,score\na.png,nan\n", r"line 2: score 'nan' is not a number"),
        ("path,score\nelsewhere/z.png,1\n", r"line 2: elsewhere/z\.png is not in .*pass its folder with --photos"),
        ("path,score\nother/c.png,1\n", r"line 2: other/c\.png is not in"),
        ("path,score\na.png,1\nb.png,\nb.png,2\n./a.png,1\n", r"line 5: a\.png is scored twice, first in line 2; keep"),
        ("model,path,score\nA,a.png,1\nB,a.png,1\n", r"line 3: .* first in line 2; keep the rows of A or of B"),
    ],
)
def test_a_score_file_that_does_not_fit_says_where(photos: Path, tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "x.csv"
    table.write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_scores(table, photos)


def test_a_missing_file_and_a_missing_folder_say_what_to_type(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not found; make it with: defnet score"):
        read_scores(tmp_path / "no.csv", photos)
    (tmp_path / "x.csv").write_text("path,score\n")
    with pytest.raises(UsageError, match=r"--photos .* is not a folder"):
        read_scores(tmp_path / "x.csv", tmp_path / "nowhere")
