"""LIQE's sessions in both their forms, and its labels held against the tables beside the checkout."""

from __future__ import annotations

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

from defnet_infer.errors import DatasetError
from defnet_infer.taxonomy import DISTORTIONS
from defnet_train.config import DataConfig
from defnet_train.datasets.authentic import read_live_challenge
from defnet_train.datasets.catalog import RELEASES
from defnet_train.datasets.distorted import CSIQ_TYPES, KADID_TYPES, LIVE_FOLDERS, TID2013_TYPES
from defnet_train.labels import DISTORTION_IDS, SCENE_IDS, Labels, read_label_table
from defnet_train.liqe_splits import parts_of_table
from defnet_train.readers import read_all
from defnet_train.splits import split
from tests.train.releases import write_bid, write_koniq10k

LABELS = Path(__file__).resolve().parents[3] / "shared" / "data" / "labels"
needs_labels = pytest.mark.skipif(not LABELS.is_dir(), reason="needs LIQE's label tables beside the checkout")
LIQE_CLASSES = {
    "jpeg2000 compression": "JPEG2000",
    "jpeg compression": "JPEG",
    "overexposure": "over-exposure",
    "underexposure": "under-exposure",
}
"""LIQE's words for classes where ours differ."""


def write_table(folder: Path, scores: dict[str, float], part: dict[int, str], sessions: int = 3) -> Path:
    """A table in which session s gives photo i the part `part[(i + s) % len(part)]`."""
    header = ["path", "mos", "mos_std", "distortion", "scene1", "scene2", "scene3"]
    header += [f"s{s}" for s in range(1, sessions + 1)]
    rows = [
        [
            path,
            str(mos),
            "0.5",
            "realistic blur",
            "human",
            "",
            "",
            *(part[(i + s) % len(part)] for s in range(sessions)),
        ]
        for i, (path, mos) in enumerate(scores.items())
    ]
    path = folder / "koniq10k.tsv"
    path.write_text("".join("\t".join(row) + "\n" for row in [header, *rows]))
    return path


def write_text_files(root: Path, session: int, parts: dict[str, list[str]]) -> Path:
    folder = root / "koniq-10k" / "splits2" / str(session)
    folder.mkdir(parents=True)
    for part, paths in parts.items():
        lines = [f"{path}\t3.2\trealistic noise\tanimal\tstill_life\tinvalid" for path in paths]
        (folder / f"koniq10k_{part}_clip.txt").write_text("".join(line + "\n" for line in lines))
    return folder


def read_parts(root: Path, **config: object) -> list[list[str]]:
    settings = DataConfig(sets={"koniq10k": 1}, splits="liqe", **config)  # type: ignore[arg-type]
    parts = split(read_all(root, settings), settings.session)
    return [[f"1024x768/{record.path.name}" for record in part] for part in parts.values()]


def test_a_session_of_a_table_is_the_split(tmp_path: Path) -> None:
    paths = list(scores := write_koniq10k(tmp_path))
    write_table(tmp_path, scores, {0: "0", 1: "2", 2: "0", 3: "1"})
    assert read_parts(tmp_path, labels=str(tmp_path), session=1) == [paths[0::2], paths[3::4], paths[1::4]]
    assert read_parts(tmp_path, labels=str(tmp_path), session=2) == [paths[1::2], paths[2::4], paths[0::4]]


def test_liqes_own_files_give_split_and_labels_without_a_table(tmp_path: Path) -> None:
    paths = list(write_koniq10k(tmp_path))
    write_text_files(tmp_path, 4, {"train": paths[3:], "val": paths[:1], "test": paths[1:3]})
    assert read_parts(tmp_path, session=4) == [paths[3:], paths[:1], paths[1:3]]
    records = read_all(tmp_path, DataConfig(sets={"koniq10k": 1}, splits="liqe", session=4))
    assert {r.labels for r in records} == {Labels(scenes=(0, 7), distortion=2)}
    assert records[0].mos == pytest.approx(1.2), "the score is the release's own"


@pytest.mark.parametrize("labels", [True, False])
def test_a_session_that_does_not_exist_lists_those_that_do(tmp_path: Path, labels: bool) -> None:
    paths = list(scores := write_koniq10k(tmp_path))
    write_table(tmp_path, scores, {0: "0"})
    for session in (1, 2, 3):
        write_text_files(tmp_path, session, {"train": paths, "val": [], "test": []})
    with pytest.raises(
        DatasetError, match=r"KonIQ-10k: .* has no session 11 \(there are: 1, 2, 3\); .*data\.session=N"
    ):
        read_parts(tmp_path, session=11, labels=str(tmp_path) if labels else "")


def test_splits_that_are_nowhere_say_where_they_were_looked_for(tmp_path: Path) -> None:
    write_koniq10k(tmp_path)
    with pytest.raises(DatasetError, match=r"koniq-10k/splits2 not found; .*data\.labels.*data\.splits=generated"):
        read_parts(tmp_path)


def test_a_photo_that_the_split_leaves_out_is_an_error_not_a_training_photo(tmp_path: Path) -> None:
    paths = list(write_koniq10k(tmp_path))
    write_text_files(tmp_path, 1, {"train": paths[2:], "val": paths[:1], "test": []})
    with pytest.raises(DatasetError, match=rf"csv, line 3: {paths[1]} is in no part of the split file"):
        read_parts(tmp_path)


def test_a_cell_that_is_no_part_says_its_line(tmp_path: Path) -> None:
    path = write_table(tmp_path, write_koniq10k(tmp_path), {0: "0", 1: "3"})
    with pytest.raises(DatasetError, match=r"koniq10k\.tsv, line 3: s1 is '3'; 0 is train, 1 val, 2 test"):
        parts_of_table(path, 1)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("animal\tstill_life", "animal", "line 1: 5 columns instead of path, score, distortion and three scenes"),
        ("realistic noise", "rain", "line 1: unknown distortion 'rain'; known: jpeg2000 compression"),
        ("animal", "zoo", "line 1: unknown scene 'zoo'; known: animal"),
    ],
)
def test_a_line_of_a_split_file_that_does_not_fit_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    paths = list(write_koniq10k(tmp_path))
    folder = write_text_files(tmp_path, 1, {"train": paths[2:], "val": paths[:1], "test": paths[1:2]})
    path = folder / "koniq10k_val_clip.txt"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(DatasetError, match=rf"koniq10k_val_clip\.txt, {message}"):
        read_parts(tmp_path)


def test_a_photo_in_two_parts_and_a_missing_part_are_named(tmp_path: Path) -> None:
    paths = list(write_koniq10k(tmp_path))
    folder = write_text_files(tmp_path, 1, {"train": paths, "val": paths[:1], "test": []})
    with pytest.raises(DatasetError, match=rf"koniq10k_val_clip\.txt, line 1: {paths[0]} is in the train part already"):
        read_parts(tmp_path)
    (folder / "koniq10k_val_clip.txt").unlink()
    with pytest.raises(
        DatasetError, match=r"koniq10k_val_clip\.txt not found; a session has the parts train, val, test"
    ):
        read_parts(tmp_path)


def test_what_liqe_did_not_split_is_generated(tmp_path: Path) -> None:
    scores = write_koniq10k(tmp_path)
    write_table(tmp_path, scores, {0: "0", 1: "2", 2: "1"})
    (tmp_path / "pristine").mkdir()
    write_bid(tmp_path, ".xlsx")
    (tmp_path / "BID" / "ImageDatabase" / "DatabaseImage0001.JPG").rename(tmp_path / "pristine" / "a.jpg")
    config = DataConfig(sets={"koniq10k": 1, "synthetic": 3}, splits="liqe", labels=str(tmp_path))
    records = read_all(tmp_path, config)
    assert {r.dataset for r in records if r.part is None} == {"synthetic"}
    assert sum(map(len, split(records, 1).values())) == len(records)


@needs_labels
def test_every_distortion_of_liqe_has_its_class() -> None:
    maps = json.loads((LABELS / "maps.json").read_text())
    expected = {fine: LIQE_CLASSES.get(coarse, coarse) for fine, coarse in maps["fine_to_coarse"].items()}
    assert {fine: DISTORTIONS[index] for fine, index in DISTORTION_IDS.items()} == expected
    assert [LIQE_CLASSES.get(name, name) for name in maps["distortion_liqe"]] == list(DISTORTIONS)
    assert [SCENE_IDS[name] for name in maps["scene_liqe"]] == list(range(9))


@needs_labels
def test_codes_and_folders_mean_the_distortions_that_liqe_says() -> None:
    maps = json.loads((LABELS / "maps.json").read_text())
    assert {f"{code:02}": name for code, name in enumerate(KADID_TYPES, start=1)} == maps["kadid_type_code_to_fine"]
    assert {folder: name for folder, (name, _) in LIVE_FOLDERS.items()} == maps["live_folder_to_fine"]
    assert {folder: name for folder, _, name in CSIQ_TYPES.values()} == maps["csiq_folder_to_fine"]
    assert len(TID2013_TYPES) == 24


@needs_labels
@pytest.mark.parametrize(
    ("key", "sizes"),
    [
        ("bid", (410, 59, 117)),
        ("clive", (813, 116, 233)),
        ("koniq10k", (7051, 1007, 2015)),
        ("kadid10k", (7125, 1000, 2000)),
        ("csiq", (607, 87, 172)),
        ("live", (538, 81, 160)),
    ],
)
def test_liqes_tables_are_read_whole_and_split_as_published(key: str, sizes: tuple[int, int, int]) -> None:
    path = LABELS / f"{key}.tsv"
    release = RELEASES[key]
    assert len(read_label_table(path)) == release.photos
    counts = Counter(parts_of_table(path, 1).values())
    assert (counts["train"], counts["val"], counts["test"]) == sizes
    assert parts_of_table(path, 10).keys() == parts_of_table(path, 1).keys()
    with path.open(newline="") as file:
        scores = [float(row["mos"]) for row in csv.DictReader(file, delimiter="\t")]
    low, high = release.scale or (0, 0)
    assert low - 1e-5 * (high - low) <= min(scores)
    assert max(scores) <= high + 1e-5 * (high - low), "the table's scale holds every score of the release"
    assert max(scores) > low + 0.7 * (high - low), "and is not far larger"


CLIVE = LABELS.parent / "clive"


@needs_labels
@pytest.mark.skipif(not (CLIVE / "Data").is_dir(), reason="needs the score files of LIVE Challenge beside the checkout")
def test_the_release_of_live_challenge_and_liqes_table_say_the_same_scores() -> None:
    with (LABELS / "clive.tsv").open(newline="") as file:
        table = {row["path"]: float(row["mos"]) for row in csv.DictReader(file, delimiter="\t")}
    release = {entry.path: entry.score for entry in read_live_challenge(CLIVE)}
    assert len(release) == RELEASES["clive"].photos
    assert release == pytest.approx(table, abs=1e-5)
