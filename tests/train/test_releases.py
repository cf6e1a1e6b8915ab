"""Reading nine data sets, on generated copies of their layouts: the right score, direction, scale, group and label."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import pytest

from defnet_infer.errors import DatasetError
from defnet_infer.taxonomy import DISTORTIONS
from defnet_train.config import DataConfig
from defnet_train.datasets.catalog import RELEASES
from defnet_train.labels import Labels
from defnet_train.readers import read_all
from defnet_train.records import ImageRecord
from defnet_train.splits import split
from tests.train.releases import (
    LIVE_ENTRIES,
    WRITERS,
    cells,
    put,
    write_bid,
    write_csiq,
    write_kadid10k,
    write_koniq10k,
    write_live,
    write_pipal,
    write_spaq,
    write_tid2013,
)


def read(root: Path, key: str, **config: object) -> dict[str, ImageRecord]:
    """Records by path below the release's folder."""
    folder = RELEASES[key].locate(root)
    records = read_all(root, DataConfig(sets={key: 1}, **config))  # type: ignore[arg-type]
    return {record.path.relative_to(folder).as_posix(): record for record in records}


def coarse(record: ImageRecord) -> str:
    assert record.labels is not None
    assert record.labels.distortion is not None
    return DISTORTIONS[record.labels.distortion]


@pytest.mark.parametrize("key", sorted(set(WRITERS) - {"tid2013"}))
def test_every_rated_photo_of_a_release_is_found_under_its_path(key: str, tmp_path: Path) -> None:
    scores = WRITERS[key](tmp_path)
    records = read(tmp_path, key)
    assert list(records) == list(scores), "in the order of the label file"
    assert {record.dataset for record in records.values()} == {key}


@pytest.mark.parametrize("key", sorted(set(WRITERS) - {"live", "csiq", "tid2013"}))
def test_scores_that_point_up_stay_as_they_are(key: str, tmp_path: Path) -> None:
    scores = WRITERS[key](tmp_path)
    assert {path: record.mos for path, record in read(tmp_path, key).items()} == pytest.approx(scores)


@pytest.mark.parametrize(
    ("key", "scale"),
    [("bid", (0, 5)), ("clive", (0, 100)), ("koniq10k", (1, 5)), ("kadid10k", (1, 5)), ("spaq", (0, 100))],
)
def test_targets_map_the_ends_of_the_scale_to_1_and_5(key: str, scale: tuple[float, float], tmp_path: Path) -> None:
    scores = WRITERS[key](tmp_path)
    low, high = scale
    expected = {path: 1 + 4 * (score - low) / (high - low) for path, score in scores.items()}
    assert {path: record.target for path, record in read(tmp_path, key).items()} == pytest.approx(expected)


def test_live_scores_are_turned_by_the_worst_and_scaled_by_the_range_of_the_release(tmp_path: Path) -> None:
    dmos = write_live(tmp_path, best=-2.6, worst=111.8)
    records = read(tmp_path, "live")
    assert {path: r.mos for path, r in records.items()} == pytest.approx({p: 111.8 - d for p, d in dmos.items()})
    assert records["jp2k/img1.bmp"].target == pytest.approx(1 + 4 * 114.4 / 114.4147), "the best"
    assert min(r.target or 0 for r in records.values()) == 1


def test_live_leaves_out_the_references_that_every_folder_lists(tmp_path: Path) -> None:
    write_live(tmp_path)
    records = read(tmp_path, "live")
    assert len(records) == RELEASES["live"].photos == 779
    assert sum(entries for entries, _ in LIVE_ENTRIES.values()) == 982
    per_folder = Counter(path.split("/")[0] for path in records)
    assert per_folder == {name: entries - originals for name, (entries, originals) in LIVE_ENTRIES.items()}


def test_live_names_distortion_and_reference_by_place_in_the_file(tmp_path: Path) -> None:
    write_live(tmp_path)
    records = read(tmp_path, "live")
    assert records["gblur/img2.bmp"].group == f"ref{(227 + 233 + 174 + 1) % 29}.bmp"
    kinds = {path.split("/")[0]: (r.distortion_type, coarse(r)) for path, r in records.items()}
    assert kinds == {
        "jp2k": ("jpeg2000 compression", "JPEG2000"),
        "jpeg": ("jpeg compression", "JPEG"),
        "wn": ("white noise", "noise"),
        "gblur": ("gaussian blur", "blur"),
        "fastfading": ("fastfading", "JPEG2000"),
    }


def test_fast_fading_is_believed_from_the_folder_unless_liqe_is_to_be_repeated(tmp_path: Path) -> None:
    write_live(tmp_path)
    header = "path\tdistortion\tscene1\tscene2\tscene3"
    row = "fastfading/img4.bmp\twhite noise\tanimal\tplant\t"
    (tmp_path / "live.tsv").write_text(f"{header}\n{row}\nwn/img4.bmp\twhite noise\thuman\t\t\n")
    fixed = read(tmp_path, "live", labels=str(tmp_path))
    assert fixed["fastfading/img4.bmp"].labels == Labels(scenes=(0, 6), distortion=DISTORTIONS.index("JPEG2000"))
    assert coarse(fixed["wn/img4.bmp"]) == "noise"
    as_liqe = read(tmp_path, "live", labels=str(tmp_path), fix_live_fastfading=False)
    assert coarse(as_liqe["fastfading/img4.bmp"]) == "noise"
    assert coarse(as_liqe["fastfading/img5.bmp"]) == "JPEG2000", "without a row in the table the folder is all there is"


@pytest.mark.parametrize("name", ["csiq.DMOS.xlsx", "csiq.beta.xlsx"])
def test_csiq_is_read_under_both_names_that_its_sheet_goes_by(name: str, tmp_path: Path) -> None:
    dmos = write_csiq(tmp_path, name)
    records = read(tmp_path, "csiq")
    assert {path: r.mos for path, r in records.items()} == pytest.approx({path: 1 - d for path, d in dmos.items()})
    numbered = records["dst_imgs/jpeg2000/1600.jpeg2000.3.png"]
    assert (numbered.group, numbered.distortion_type, numbered.level) == ("1600", "jpeg2000 compression", 3)
    assert coarse(records["dst_imgs/fnoise/snow_leaves.fnoise.1.png"]) == "noise"
    assert len({r.group for r in records.values()}) == 3


def test_csiq_keeps_its_whole_scale_when_not_all_of_it_is_used(tmp_path: Path) -> None:
    write_csiq(tmp_path)
    assert read(tmp_path, "csiq")["dst_imgs/awgn/snow_leaves.AWGN.5.png"].target == pytest.approx(1 + 4 * 0.2)


def test_kadid_scores_are_not_flipped_whatever_their_column_is_called(tmp_path: Path) -> None:
    write_kadid10k(tmp_path)
    records = read(tmp_path, "kadid10k")
    ladder = [records[f"images/I02_10_0{level}.png"] for level in range(1, 6)]
    assert [r.level for r in ladder] == [1, 2, 3, 4, 5]
    assert all(mild.target > severe.target for mild, severe in itertools.pairwise(ladder))  # type: ignore[operator]
    assert {r.group for r in ladder} == {"I02.png"}
    assert {r.distortion_type for r in records.values()} >= {"jpeg compression", "color blocking", "sharpness"}
    assert coarse(records["images/I01_24_01.png"]) == "contrast", "sharpness"
    assert coarse(records["images/I01_18_01.png"]) == "other", "mean shift"


@pytest.mark.parametrize("suffix", [".xls", ".xlsx"])
def test_bid_is_read_from_either_spreadsheet_format(suffix: str, tmp_path: Path) -> None:
    grades = write_bid(tmp_path, suffix)
    records = read(tmp_path, "bid")
    assert {path: r.mos for path, r in records.items()} == pytest.approx(grades)
    assert records["ImageDatabase/DatabaseImage0003.JPG"].target == pytest.approx(1 + 4 * 1.300189 / 5)


def test_tid_photos_are_found_whatever_the_case_of_their_names(tmp_path: Path) -> None:
    scores = write_tid2013(tmp_path)
    records = read_all(tmp_path, DataConfig(sets={"tid2013": 1}))
    assert [r.mos for r in records] == pytest.approx(list(scores.values()))
    assert all(r.path.is_file() for r in records)
    assert len({r.path.name for r in records} - {Path(path).name for path in scores}) > 100
    assert {r.group for r in records} == {"I01", "I25"}
    by_type = {r.distortion_type: r for r in records}
    assert len(by_type) == 24
    assert coarse(by_type["gaussian blur"]) == "blur"
    assert by_type["chromatic aberration"].labels is None, "LIQE has no class for it"
    assert records[0].target == pytest.approx(1 + 4 * records[0].mos / 9)


def test_pipal_photos_are_found_in_any_of_its_folders_and_scaled_by_their_own_range(tmp_path: Path) -> None:
    scores = write_pipal(tmp_path)
    records = read(tmp_path, "pipal")
    low, high = min(scores.values()), max(scores.values())
    assert {path: r.target for path, r in records.items()} == pytest.approx(
        {path: 1 + 4 * (score - low) / (high - low) for path, score in scores.items()}
    )
    assert {r.group for r in records.values()} == {"A0001", "A0002", "A0003", "A0004"}
    assert records["Distortion_2/A0002_06_03.bmp"].distortion_type == "methods 06"


@pytest.mark.parametrize("key", ["live", "csiq", "kadid10k", "tid2013", "pipal"])
def test_copies_of_one_reference_are_never_torn_apart(key: str, tmp_path: Path) -> None:
    WRITERS[key](tmp_path)
    parts = split(read_all(tmp_path, DataConfig(sets={key: 1})), 1)
    groups = [{record.group for record in part} for part in parts.values()]
    assert sum(map(len, groups)) == len(set().union(*groups)) > 1
    assert groups[0]


@pytest.mark.parametrize("key", ["bid", "clive", "koniq10k", "spaq"])
def test_an_authentic_photo_is_a_group_of_its_own_and_without_labels(key: str, tmp_path: Path) -> None:
    WRITERS[key](tmp_path)
    records = read(tmp_path, key)
    assert len({r.group for r in records.values()}) == len(records)
    assert {(r.labels, r.distortion_type, r.level) for r in records.values()} == {(None, "", 0)}


def test_the_release_may_be_the_folder_itself_or_below_it_in_any_case(tmp_path: Path) -> None:
    write_koniq10k(tmp_path)
    below = read(tmp_path, "koniq10k")
    (tmp_path / "koniq-10k").rename(tmp_path / "KonIQ10k")
    assert list(read(tmp_path, "koniq10k")) == list(below)
    assert list(read(tmp_path / "KonIQ10k", "koniq10k")) == list(below)


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("live", "LIVE: .*databaserelease2/dmos_realigned.mat"),
        ("csiq", "CSIQ: .*csiq.DMOS.xlsx"),
        ("bid", "BID: .*DatabaseGrades.xls"),
        ("koniq10k", "KonIQ-10k: .*koniq10k_scores_and_distributions.csv"),
        ("kadid10k", "KADID-10k: .*kadid10k/dmos.csv"),
        ("tid2013", "TID2013: .*mos_with_names.txt"),
        ("spaq", "SPAQ: .*MOS and Image attribute scores.xlsx"),
        ("pipal", "PIPAL: .*Train_Label"),
    ],
)
def test_a_release_without_its_label_file_names_the_file(key: str, named: str, tmp_path: Path) -> None:
    release = RELEASES[key]
    (tmp_path / release.folders[0]).mkdir()
    with pytest.raises(DatasetError, match=rf"{named} not found; pass the folder that holds {release.folders[0]}"):
        read_all(tmp_path, DataConfig(sets={key: 1}))


def test_a_release_that_is_there_twice_is_an_error_that_names_both(tmp_path: Path) -> None:
    write_koniq10k(tmp_path)
    write_koniq10k(tmp_path / "more")
    (tmp_path / "more" / "koniq-10k").rename(tmp_path / "koniq10k")
    with pytest.raises(DatasetError, match=r"KonIQ-10k is there twice, in .*koniq-10k and in .*koniq10k; move one"):
        read_all(tmp_path, DataConfig(sets={"koniq10k": 1}))


def test_two_data_sets_in_one_folder_are_an_error_that_names_both(tmp_path: Path) -> None:
    write_koniq10k(tmp_path)
    write_kadid10k(tmp_path)
    for folder in ("koniq-10k", "kadid10k"):
        for child in (tmp_path / folder).iterdir():
            child.rename(tmp_path / child.name)
    assert read_all(tmp_path, DataConfig(sets={"kadid10k": 1})), "one alone can be meant"
    with pytest.raises(DatasetError, match=r"KonIQ-10k and KADID-10k are both unpacked in .*: koniq-10k and kadid10k"):
        read_all(tmp_path, DataConfig(sets={"koniq10k": 1, "kadid10k": 1}))


def test_a_missing_photo_names_the_line_that_rates_it(tmp_path: Path) -> None:
    write_kadid10k(tmp_path)
    (tmp_path / "kadid10k" / "images" / "I01_01_03.png").unlink()
    with pytest.raises(DatasetError, match=r"1 of 375 photos .* images/I01_01_03\.png \(.*dmos\.csv, line 4\).*skip"):
        read_all(tmp_path, DataConfig(sets={"kadid10k": 1}))
    assert len(read(tmp_path, "kadid10k", missing="skip")) == 374


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "dist_img,ref_img,dmos",
            "dist_img,ref_img,mos",
            r"line 1: no column dmos \(there are: dist_img, ref_img, mos",
        ),
        ("I01_01_02.png,I01.png,3.7", "I01_01_02.png,I01.png,nan", r"line 3: dmos 'nan' is not a number"),
        ("I01_01_02.png,I01.png,3.7", "I01_01_02.png,I01.png,", r"line 3: dmos '' is not a number"),
        ("I01_01_02.png,I01.png,3.7", "I01_01_02.png,I01.png,72.1", r"line 3: score 72\.1 of .* outside .*1 to 5"),
        ("I01_01_02.png,", "I01_26_02.png,", r"line 3: unknown distortion 26 in 'I01_26_02\.png'; there are 01 to 25"),
        ("I01_01_02.png,", "I01-2.png,", r"line 3: 'I01-2\.png' is not a name such as I01_25_05\.png"),
        ("I01_01_02.png,", "I01_01_01.png,", r"line 3: images/I01_01_01\.png is rated twice, first in .*line 2"),
    ],
)
def test_a_label_file_that_does_not_fit_says_data_set_file_and_line(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    write_kadid10k(tmp_path)
    change(tmp_path / "kadid10k" / "dmos.csv", old, new)
    with pytest.raises(DatasetError, match=rf"KADID-10k: .*dmos\.csv, {message}"):
        read_all(tmp_path, DataConfig(sets={"kadid10k": 1}))


def test_scores_of_another_scale_are_not_taken_for_those_of_the_release(tmp_path: Path) -> None:
    write_koniq10k(tmp_path)
    change(tmp_path / "koniq-10k" / "koniq10k_scores_and_distributions.csv", '"SD","MOS_zscore"', '"SD","z"')
    change(tmp_path / "koniq-10k" / "koniq10k_scores_and_distributions.csv", '"MOS"', '"MOS_raw"')
    change(tmp_path / "koniq-10k" / "koniq10k_scores_and_distributions.csv", '"z"', '"MOS"')
    with pytest.raises(DatasetError, match=r"line 2: score 24 of .* is outside the scale .*another version"):
        read_all(tmp_path, DataConfig(sets={"koniq10k": 1}))


def test_live_scores_of_before_the_realignment_are_refused(tmp_path: Path) -> None:
    from scipy.io import savemat

    write_live(tmp_path)
    path = tmp_path / "databaserelease2" / "dmos_realigned.mat"
    savemat(path, {"dmos": [[1.0] * 982], "orgs": [[0] * 982]})
    with pytest.raises(DatasetError, match=r"LIVE: .*dmos_realigned\.mat holds dmos, orgs, not dmos_new"):
        read_all(tmp_path, DataConfig(sets={"live": 1}))
    savemat(path, {"dmos_new": [[1.0] * 779], "orgs": [[0] * 779]})
    with pytest.raises(DatasetError, match="779 entries of dmos_new where the release has 982"):
        read_all(tmp_path, DataConfig(sets={"live": 1}))
    savemat(path, {"dmos_new": [[1.0] * 982], "orgs": [[0] * 982]})
    savemat(path.parent / "refnames_all.mat", {"refnames_all": cells(["a.bmp"] * 900)})
    with pytest.raises(DatasetError, match="900 entries of refnames_all where the release has 982"):
        read_all(tmp_path, DataConfig(sets={"live": 1}))


def test_an_unknown_distortion_number_in_a_sheet_says_the_row(tmp_path: Path) -> None:
    from openpyxl import load_workbook

    write_csiq(tmp_path)
    path = tmp_path / "CSIQ" / "csiq.DMOS.xlsx"
    book = load_workbook(path)
    book["all_by_image"].cell(6, 5).value = 7
    book.save(path)
    with pytest.raises(DatasetError, match=r"csiq\.DMOS\.xlsx, row 6: unknown distortion number 7"):
        read_all(tmp_path, DataConfig(sets={"csiq": 1}))


def test_a_sheet_without_its_columns_or_cut_off_is_named(tmp_path: Path) -> None:
    write_spaq(tmp_path)
    path = tmp_path / "SPAQ" / "Annotations" / "MOS and Image attribute scores.xlsx"
    whole = path.read_bytes()
    write_bid(tmp_path, ".xlsx")
    path.write_bytes((tmp_path / "BID" / "DatabaseGrades.xlsx").read_bytes())
    with pytest.raises(DatasetError, match=r"SPAQ: .*attribute scores\.xlsx: no row with the columns Image name, MOS"):
        read_all(tmp_path, DataConfig(sets={"spaq": 1}))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"SPAQ: .*attribute scores\.xlsx cannot be read .*copy it again"):
        read_all(tmp_path, DataConfig(sets={"spaq": 1}))


def test_a_line_of_another_form_in_a_text_list_says_its_number(tmp_path: Path) -> None:
    write_tid2013(tmp_path)
    change(tmp_path / "tid2013" / "mos_with_names.txt", "5.98 I01_01_1.bmp", "I01_01_1.bmp")
    with pytest.raises(DatasetError, match=r"mos_with_names\.txt, line 1: 'I01_01_1\.bmp' is not a score and a file"):
        read_all(tmp_path, DataConfig(sets={"tid2013": 1}))
    write_pipal(tmp_path)
    change(tmp_path / "PIPAL" / "Train_Label" / "A0002.txt", "A0002_01", "B_A2-01")
    with pytest.raises(DatasetError, match=r"A0002\.txt, line 2: 'B_A2-01_03\.bmp' is not a name such as"):
        read_all(tmp_path, DataConfig(sets={"pipal": 1}))


def test_several_data_sets_are_read_from_one_folder(tmp_path: Path) -> None:
    for key in ("csiq", "bid", "clive"):
        WRITERS[key](tmp_path)
    put(tmp_path / "stray.png")
    records = read_all(tmp_path, DataConfig(sets={"clive": 4, "csiq": 4, "bid": 4}))
    assert Counter(r.dataset for r in records) == {"clive": 9, "csiq": 90, "bid": 5}


def test_the_six_data_sets_of_the_paper_and_three_for_zero_shot_tests_are_known() -> None:
    assert [key for key, release in RELEASES.items() if release.liqe] == [
        "live", "csiq", "bid", "clive", "koniq10k", "kadid10k",
    ]  # fmt: skip
    assert set(RELEASES) == set(WRITERS)
    assert [r.photos for r in RELEASES.values()] == [779, 866, 586, 1162, 10073, 10125, 3000, 11125, 23200]
    assert {key for key, release in RELEASES.items() if release.better == "lower"} == {"live", "csiq"}


def test_the_documentation_names_every_release_as_it_is_looked_for() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
    rows = {cells[1].strip(" `"): cells for line in page.splitlines() if len(cells := line.split("|")) == 7}
    for key, release in RELEASES.items():
        _, _, folder, files, photos, score, _ = rows[key]
        assert folder.strip(" `") == release.folders[0]
        assert release.markers[0] in files
        assert int(photos) == release.photos
        assert ("lower is better" in score) == (release.better == "lower")
        assert release.scale is None or all(f"{end:.7g}" in score for end in release.scale)
