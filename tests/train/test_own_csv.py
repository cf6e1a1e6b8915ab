"""Your own rated photos: what a CSV may hold, and what it is told when it does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from defnet_infer.errors import DatasetError, UsageError
from defnet_infer.taxonomy import DISTORTIONS, SCENES
from defnet_train.batches import targets_of
from defnet_train.config import DataConfig
from defnet_train.labels import Labels
from defnet_train.readers import data_folder, read_all
from defnet_train.recipe_file import load_config
from defnet_train.records import ImageRecord
from defnet_train.splits import split
from tests.train.releases import put, write_bid


def read(folder: Path, *lines: str, **config: object) -> list[ImageRecord]:
    (folder / "my.csv").write_text("".join(line + "\n" for line in lines))
    return read_all(folder, DataConfig(sets={"csv": 4}, csv="my.csv", **config))  # type: ignore[arg-type]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "trip/c, d.jpg", "ü.jpg"):
        put(tmp_path / name)
    return tmp_path


def test_path_and_score_are_enough(folder: Path) -> None:
    records = read(folder, "path,mos", "a.jpg,20", "b.jpg,60", '"trip/c, d.jpg",100')
    assert [r.path for r in records] == [folder / "a.jpg", folder / "b.jpg", folder / "trip" / "c, d.jpg"]
    assert [r.target for r in records] == pytest.approx([1, 3, 5]), "the scale is that of the scores"
    assert {(r.dataset, r.labels, r.part) for r in records} == {("csv", None, None)}
    assert len({r.group for r in records}) == 3


def test_the_ends_of_the_scale_can_be_said(folder: Path) -> None:
    records = read(folder, "path,mos", "a.jpg,20", "b.jpg,60", csv_range=(0.0, 100.0))
    assert [r.target for r in records] == pytest.approx([1.8, 3.4])
    assert [r.mos for r in records] == [20, 60]


def test_scores_can_point_down(folder: Path) -> None:
    records = read(folder, "path,mos", "a.jpg,20", "b.jpg,60", csv_range=(0.0, 100.0), csv_lower_is_better=True)
    assert [r.mos for r in records] == [80, 40]
    assert [r.target for r in records] == pytest.approx([4.2, 2.6])


def test_a_file_as_excel_writes_it_is_read(folder: Path) -> None:
    (folder / "my.csv").write_bytes("\ufeffpath, mos\r\nü.jpg, 2\r\nb.jpg,4\r\n".encode())
    records = read_all(folder, DataConfig(sets={"csv": 4}, csv="my.csv"))
    assert [(r.path.name, r.mos) for r in records] == [("ü.jpg", 2), ("b.jpg", 4)]


def test_labels_may_be_missing_row_by_row_and_are_masked(folder: Path) -> None:
    records = read(
        folder,
        "path,mos,scene,distortion,comment",
        "a.jpg,1,Night|still life,JPEG2000,x",
        "b.jpg,2,,over-exposure,",
        '"trip/c, d.jpg",3,human,,',
        "ü.jpg,4,,,",
    )
    assert [r.labels for r in records] == [
        Labels(scenes=(SCENES.index("night"), SCENES.index("still life")), distortion=DISTORTIONS.index("JPEG2000")),
        Labels(scenes=(), distortion=DISTORTIONS.index("over-exposure")),
        Labels(scenes=(SCENES.index("human"),), distortion=None),
        None,
    ]
    targets = targets_of(records)
    assert targets.scene_known.tolist() == [True, False, True, False]
    assert targets.distortion_known.tolist() == [True, True, False, False]


def test_names_that_liqe_uses_for_distortions_are_understood(folder: Path) -> None:
    records = read(folder, "path,mos,distortion", "a.jpg,1,motion", "b.jpg,2,realistic noise")
    assert [DISTORTIONS[r.labels.distortion] for r in records if r.labels] == ["blur", "noise"]  # type: ignore[index]


def test_a_group_is_kept_together_and_a_row_without_one_stands_alone(folder: Path) -> None:
    records = read(folder, "path,mos,group", "a.jpg,1,trip", "b.jpg,2,", '"trip/c, d.jpg",3,trip')
    assert [r.group for r in records] == ["trip", "b.jpg", "trip"]


def test_the_file_may_bring_its_split(folder: Path) -> None:
    records = read(folder, "path,mos,split", "a.jpg,1,test", "b.jpg,2,train", '"trip/c, d.jpg",3,val')
    assert {part: [r.path.name for r in chosen] for part, chosen in split(records, 7).items()} == {
        "train": ["b.jpg"],
        "val": ["c, d.jpg"],
        "test": ["a.jpg"],
    }


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["file,mos", "a.jpg,1"], r"line 1: no column path \(there are: file, mos\); write the header path,mos"),
        (["path;mos", "a.jpg;1"], r"line 1: no column path, mos \(there are: path;mos\); .* with commas between"),
        (["path,mos,mos", "a.jpg,1,2"], "line 1: more than one column mos; keep one of them"),
        (["path,mos"], "rates no photo"),
        ([], r"line 1: no column path, mos \(there are: none\)"),
        (["path,mos", "a.jpg,1", "b.jpg,nan"], "line 3: mos 'nan' is not a number"),
        (["path,mos", "a.jpg,1", "b.jpg,good"], "line 3: mos 'good' is not a number"),
        (["path,mos", "a.jpg,1", "b.jpg"], "line 3: mos '' is not a number"),
        (["path,mos", "a.jpg,3,5"], "line 2: more cells than the header has columns"),
        (["path,mos", ",3"], "line 2: no path"),
        (["path,mos", "a.jpg,1", "b.jpg,2", "./a.jpg,3"], r"line 4: a\.jpg is rated twice, first in .*my\.csv, line 2"),
        (["path,mos", "a.jpg,1", "../b.jpg,2"], r"line 3: \.\./b\.jpg lies outside .*--set data\.csv_root=FOLDER"),
        (["path,mos", "a.jpg,1", "/b.jpg,2"], r"line 3: /b\.jpg lies outside"),
        (["path,mos", "a.jpg,3", "b.jpg,3"], "every photo has the score 3; there is nothing to learn from"),
        (["path,mos,scene", "a.jpg,1,beach"], "line 2: unknown scene 'beach'; known: animal(?!.*still_life)"),
        (["path,mos,distortion", "a.jpg,1,", "b.jpg,2,rain"], "line 3: unknown distortion 'rain'; known: "),
        (["path,mos,split", "a.jpg,1,dev"], "line 2: unknown split 'dev'; choose one of train, val, test"),
        (["path,mos,split", "a.jpg,1,", "b.jpg,2,val"], "line 2: no split, but 1 rows have one"),
        (["path,mos", "a.jpg,1", "gone.jpg,2"], r"1 of 2 photos are not in .*gone\.jpg \(.*my\.csv, line 3\).*skip"),
    ],
)
def test_a_file_that_does_not_fit_says_where_and_what(folder: Path, lines: list[str], message: str) -> None:
    with pytest.raises(DatasetError, match=message) as caught:
        read(folder, *lines)
    assert "my.csv" in str(caught.value)


def test_a_score_outside_the_scale_that_was_said_names_its_line(folder: Path) -> None:
    told = r"my\.csv, line 3: score 7 of b\.jpg is outside the scale .*1 to 5.*; correct it, or .*data\.csv_range="
    with pytest.raises(DatasetError, match=told):
        read(folder, "path,mos", "a.jpg,4", "b.jpg,7", csv_range=(1.0, 5.0))


def test_a_file_in_another_encoding_is_to_be_saved_again(folder: Path) -> None:
    (folder / "my.csv").write_bytes("path,mos\nü.jpg,2\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"my\.csv is not a text table in UTF-8 .*; save it as one or copy it again"):
        read_all(folder, DataConfig(sets={"csv": 4}, csv="my.csv"))


def test_columns_without_a_name_may_be_several(folder: Path) -> None:
    assert len(read(folder, "path,mos,,", "a.jpg,1,,", "b.jpg,2,,")) == 2


def test_a_file_of_another_suffix_is_to_be_renamed(folder: Path) -> None:
    (folder / "my.tsv").write_text("path\tmos\n")
    with pytest.raises(UsageError, match=r"my\.tsv is no \.csv file; rename it to \.csv, with commas"):
        data_folder(load_config("smoke"), folder / "my.tsv")


def test_paths_may_count_from_another_folder(folder: Path) -> None:
    (folder / "lists").mkdir()
    (folder / "lists" / "my.csv").write_text("path,mos\ntrip/../a.jpg,1\nb.jpg,2\n")
    config = DataConfig(sets={"csv": 4}, csv="lists/my.csv", csv_root=".")
    assert [r.path for r in read_all(folder, config)] == [folder / "a.jpg", folder / "b.jpg"]
    (folder / "lists" / "my.csv").write_text(f"path,mos\n{folder / 'a.jpg'},1\nb.jpg,2\n")
    assert next(r.path for r in read_all(folder, config)) == folder / "a.jpg", "an absolute path inside it is fine"


def test_a_missing_file_and_a_missing_name_say_what_to_type(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"no file is named; add --set data\.csv=FILE\.csv"):
        read_all(folder, DataConfig(sets={"csv": 4}))
    with pytest.raises(DatasetError, match=r"other\.csv not found; data\.csv names a CSV file"):
        read_all(folder, DataConfig(sets={"csv": 4}, csv="other.csv"))


def test_it_may_be_mixed_with_a_data_set(folder: Path) -> None:
    write_bid(folder)
    (folder / "my.csv").write_text("path,mos\na.jpg,1\nb.jpg,2\n")
    records = read_all(folder, DataConfig(sets={"csv": 2, "bid": 3}, csv="my.csv"))
    assert [r.dataset for r in records] == ["csv"] * 2 + ["bid"] * 5


@pytest.mark.parametrize("ends", ["[5, 1]", "[1]", "[0, nan]", "[0, inf]", "[1, 2, 3]"])
def test_a_scale_without_two_ends_in_order_is_refused(ends: str) -> None:
    with pytest.raises(UsageError, match=r"data\.csv_range = .* write the two ends"):
        load_config("smoke", [f"data.csv_range={ends}"])
    assert load_config("smoke", ["data.csv_range=[0, 10]"]).data.csv_range == (0.0, 10.0)
