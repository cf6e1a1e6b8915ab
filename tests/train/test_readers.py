"""Reading the LIVE Challenge release, on a generated copy of its layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from defnet_infer.errors import DatasetError, UsageError
from defnet_train.config import DataConfig
from defnet_train.labels import Labels
from defnet_train.readers import data_folder, read_all
from defnet_train.recipe_file import load_config
from defnet_train.records import ImageRecord
from tests.train.conftest import RATER_TRAINING, Release, write_scores

NewRelease = Callable[..., Release]


def read_live_challenge(root: Path, config: DataConfig) -> list[ImageRecord]:
    assert list(config.sets) == ["clive"]
    return read_all(root, config)


def test_the_photos_that_trained_the_raters_are_dropped(new_release: NewRelease) -> None:
    release = new_release()
    records = read_live_challenge(release.root, DataConfig())
    assert [r.path.name for r in records] == release.names[RATER_TRAINING:]
    assert [r.mos for r in records] == pytest.approx(release.scores[RATER_TRAINING:])


def test_a_score_from_0_to_100_becomes_a_target_from_1_to_5(new_release: NewRelease) -> None:
    release = new_release()
    write_scores(release.root, release.names, [50.0] * RATER_TRAINING + [0, 25, 50, 92.43, 100, 100.05])
    targets = [r.target for r in read_live_challenge(release.root, DataConfig())]
    assert targets == pytest.approx([1, 2, 3, 4.6972, 5, 5]), "higher stays better; what rounding adds is clipped"


@pytest.mark.parametrize("score", [104, -3])
def test_a_score_outside_the_scale_names_photo_and_entry(new_release: NewRelease, score: float) -> None:
    release = new_release()
    write_scores(release.root, release.names, [*release.scores[:-1], score])
    with pytest.raises(
        DatasetError, match=rf"AllMOS_release\.mat, entry 13: score {score} of Images/6\.bmp is outside"
    ):
        read_live_challenge(release.root, DataConfig())


def test_the_folder_may_be_the_release_itself_or_the_one_around_it(new_release: NewRelease) -> None:
    release = new_release()
    inside = read_live_challenge(release.root / "ChallengeDB_release", DataConfig())
    assert inside == read_live_challenge(release.root, DataConfig())


def test_a_photo_is_a_group_of_its_own(new_release: NewRelease) -> None:
    records = read_all(new_release().root, DataConfig())
    assert len({r.group for r in records}) == len(records) == 6
    assert {r.dataset for r in records} == {"clive"}


def test_labels_are_found_by_path_and_may_be_missing(new_release: NewRelease, tmp_path: Path) -> None:
    release = new_release()
    (tmp_path / "clive.tsv").write_text(
        "path\tdistortion\tscene1\tscene2\tscene3\nImages/2.bmp\trealistic noise\tplant\thuman\t\n"
        "elsewhere/5.bmp\trealistic blur\tplant\t\t\n"
    )
    records = read_live_challenge(release.root, DataConfig(labels=str(tmp_path)))
    assert {r.path.name: r.labels for r in records if r.labels} == {"2.bmp": Labels(scenes=(6, 2), distortion=2)}


def test_a_missing_photo_is_an_error_that_offers_to_skip_it(new_release: NewRelease) -> None:
    release = new_release()
    (release.images / "2.bmp").unlink()
    (release.images / "5.bmp").unlink()
    with pytest.raises(
        DatasetError, match=r"2 of 6 photos are not in .*, the first is Images/2\.bmp.*data\.missing=skip"
    ):
        read_live_challenge(release.root, DataConfig())


def test_a_missing_photo_is_skipped_when_asked_and_shifts_no_score(new_release: NewRelease) -> None:
    release = new_release()
    whole = {r.path.name: r for r in read_live_challenge(release.root, DataConfig())}
    (release.images / "2.bmp").unlink()
    rest = read_live_challenge(release.root, DataConfig(missing="skip"))
    assert len(rest) == 5
    assert all(whole[r.path.name] == r for r in rest)


def test_a_folder_without_any_photo_is_an_error_even_when_skipping(new_release: NewRelease) -> None:
    release = new_release()
    for photo in release.images.iterdir():
        photo.unlink()
    with pytest.raises(DatasetError, match="no photo of the score file"):
        read_live_challenge(release.root, DataConfig(missing="skip"))


def test_a_score_that_is_not_a_number_names_its_photo(new_release: NewRelease) -> None:
    release = new_release()
    write_scores(release.root, release.names, [*release.scores[:-1], np.nan])
    with pytest.raises(DatasetError, match=r"AllMOS_release\.mat, entry 13: the score of 6\.bmp, 'nan' is not a"):
        read_live_challenge(release.root, DataConfig())


def test_score_files_of_different_length_are_an_error_not_a_shift(new_release: NewRelease) -> None:
    release = new_release()
    write_scores(release.root, release.names, release.scores[1:])
    with pytest.raises(DatasetError, match="13 photo names but 12 scores"):
        read_live_challenge(release.root, DataConfig())


@pytest.mark.parametrize("missing", ["AllImages_release.mat", "AllMOS_release.mat"])
def test_a_missing_score_file_is_named(new_release: NewRelease, missing: str) -> None:
    release = new_release()
    (release.root / "ChallengeDB_release" / "Data" / missing).unlink()
    with pytest.raises(DatasetError, match=rf"LIVE Challenge: .*{missing} not found; it is part of the release"):
        read_live_challenge(release.root, DataConfig())


def test_a_score_file_that_is_cut_off_is_named(new_release: NewRelease) -> None:
    release = new_release()
    path = release.root / "ChallengeDB_release" / "Data" / "AllMOS_release.mat"
    path.write_bytes(path.read_bytes()[:140])
    with pytest.raises(DatasetError, match=r"AllMOS_release\.mat"):
        read_live_challenge(release.root, DataConfig())


def test_an_unknown_data_set_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown data set 'livee' in data\.sets; known: live, csiq, bid, clive"):
        read_all(tmp_path, DataConfig(sets={"livee": 4}))


def test_a_data_folder_that_is_not_there_says_how_to_pass_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not found; pass it with --data"):
        read_all(tmp_path / "nowhere", DataConfig())


def test_data_may_be_a_folder_or_a_csv_file_and_nothing_else(tmp_path: Path) -> None:
    config = load_config("lite")
    assert data_folder(config, tmp_path) == (config, tmp_path)
    (tmp_path / "my.csv").write_text("path,mos\n")
    alone, folder = data_folder(config, tmp_path / "my.csv")
    assert folder == tmp_path
    assert alone.data.csv == "my.csv"
    assert alone.data.sets == {"csv": sum(config.data.sets.values())}, "batches stay as large as they were"
    assert data_folder(config, tmp_path / "my.csv", ["data.session=2"])[0].data.sets == alone.data.sets
    with pytest.raises(UsageError, match=r"my\.csv is all of the data, .* --set data\.csv=my\.csv --set 'data\.sets="):
        data_folder(config, tmp_path / "my.csv", ["data.sets={csv=16, clive=16}"])
    (tmp_path / "my.txt").write_text("path,mos\n")
    for wrong, said in (("my.txt", "is no .csv file; rename it"), ("nowhere", "not found; name a folder that holds")):
        with pytest.raises(UsageError, match=said):
            data_folder(config, tmp_path / wrong)
