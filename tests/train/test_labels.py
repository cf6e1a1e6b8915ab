"""Label tables: names become ids, an unknown name becomes an error with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from defnet_infer.errors import DatasetError
from defnet_infer.taxonomy import DISTORTIONS, SCENES
from defnet_train.labels import DISTORTION_IDS, SCENE_IDS, Labels, read_label_table

HEADER = "path\tmos\tmos_std\tdistortion\tscene1\tscene2\tscene3\ts1"


def table(folder: Path, *rows: str, header: str = HEADER) -> Path:
    path = folder / "clive.tsv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_row_becomes_the_ids_of_its_classes(tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "Images/10.bmp\t82.9\t15.1\tother realistic\thuman\t\t\t0",
        "Images/a b.JPG\t32.5\t19.1\trealistic blur\tnight\tstill_life\tanimal\t2",
    )
    assert read_label_table(path) == {
        "Images/10.bmp": Labels(scenes=(2,), distortion=10),
        "Images/a b.JPG": Labels(scenes=(5, 7, 0), distortion=3),
    }


@pytest.mark.parametrize(
    ("fine", "coarse"),
    [
        ("fastfading", "JPEG2000"),
        ("sharpness", "contrast"),
        ("brighten", "over-exposure"),
        ("darken", "under-exposure"),
        ("shifting the mean", "other"),
        ("diffusion", "color"),
        ("color blocking", "spatial"),
        ("pixelate", "spatial"),
        ("jitter", "spatial"),
        ("color quantization", "quantization"),
        ("shifting", "blur"),
        ("white noise with denoise", "noise"),
    ],
)
def test_a_fine_distortion_belongs_to_the_class_that_liqe_put_it_in(fine: str, coarse: str) -> None:
    assert DISTORTIONS[DISTORTION_IDS[fine]] == coarse


def test_there_are_33_fine_distortions_and_every_class_has_one() -> None:
    assert len(DISTORTION_IDS) == 33
    assert set(DISTORTION_IDS.values()) == set(range(11))


def test_both_spellings_of_a_scene_mean_the_same() -> None:
    assert SCENE_IDS["still_life"] == SCENE_IDS["still life"] == SCENES.index("still life")
    assert set(SCENE_IDS.values()) == set(range(9))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("Images/2.bmp\t1\t1\tblurr\thuman\t\t\t0", "line 3: unknown distortion 'blurr'; known: jpeg2000 compression"),
        ("Images/2.bmp\t1\t1\trealistic blur\thuman\tbeach\t\t0", "line 3: unknown scene 'beach'; known: animal"),
        ("Images/2.bmp\t1\t1", "line 3: unknown distortion ''"),
    ],
)
def test_an_unknown_name_is_an_error_that_says_file_and_line(tmp_path: Path, row: str, message: str) -> None:
    path = table(tmp_path, "Images/1.bmp\t1\t1\trealistic blur\thuman\t\t\t0", row)
    with pytest.raises(DatasetError) as caught:
        read_label_table(path)
    assert f"{path}, {message}" in str(caught.value)


def test_a_table_without_a_column_names_it(tmp_path: Path) -> None:
    path = table(tmp_path, header="path\tmos\tscene1\tscene2\tscene3")
    with pytest.raises(DatasetError, match="no column distortion"):
        read_label_table(path)


def test_a_missing_table_says_which_setting_points_at_it(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"clive\.tsv not found; set data\.labels"):
        read_label_table(tmp_path / "clive.tsv")


def test_a_table_that_is_not_text_and_a_photo_labelled_twice_are_named(tmp_path: Path) -> None:
    row = "Images/1.bmp\t1\t1\trealistic blur\thuman\t\t\t0"
    with pytest.raises(DatasetError, match=r"clive\.tsv, line 3: Images/1\.bmp is labelled twice"):
        read_label_table(table(tmp_path, row, row))
    (tmp_path / "clive.tsv").write_bytes(b"\xff\xfe\x00path")
    with pytest.raises(DatasetError, match=r"clive\.tsv is not a text table in UTF-8"):
        read_label_table(tmp_path / "clive.tsv")
