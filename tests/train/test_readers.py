"""Reading the LIVE Challenge release, on a generated copy of its layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from defnet_infer.errors import DatasetError, UsageError
from defnet_train.config import DataConfig
from defnet_train.labels import Labels
from defnet_train.readers import read_all, read_live_challenge
from tests.train.conftest import RATER_TRAINING, Release, write_scores

NewRelease = Callable[..., Release]


def test_the_photos_that_trained_the_raters_are_dropped(new_release: NewRelease) -> None:
    release = new_release()
    records = read_live_challenge(release.root, DataConfig())
    assert [r.path.name for r in records] == release.names[RATER_TRAINING:]
    assert [r.mos for r in records] == pytest.approx(release.scores[RATER_TRAINING:])


def test_a_score_from_0_to_100_becomes_a_target_from_1_to_5(new_release: NewRelease) -> None:
    release = new_release()
    write_scores(release.root, release.names, [50.0] * RATER_TRAINING + [0, 25, 50, 92.43, 100, 104])
    targets = [r.target for r in read_live_challenge(release.root, DataConfig())]
    assert targets == pytest.approx([1, 2, 3, 4.6972, 5, 5]), "higher stays better; beyond the scale is clipped"


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
    with pytest.raises(DatasetError, match=r"2 of 6 photos are not in .*, the first is 2\.bmp.*data\.missing=skip"):
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
    with pytest.raises(DatasetError, match=r"the score of 6\.bmp in .* is not a number"):
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
    with pytest.raises(DatasetError, match=rf"{missing} not found; pass the folder that holds ChallengeDB_release"):
        read_live_challenge(release.root, DataConfig())


def test_a_score_file_that_is_cut_off_is_named(new_release: NewRelease) -> None:
    release = new_release()
    path = release.root / "ChallengeDB_release" / "Data" / "AllMOS_release.mat"
    path.write_bytes(path.read_bytes()[:140])
    with pytest.raises(DatasetError, match=r"AllMOS_release\.mat"):
        read_live_challenge(release.root, DataConfig())


def test_an_unknown_data_set_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown data set 'livee' in data\.sets; known: clive"):
        read_all(tmp_path, DataConfig(sets={"livee": 4}))


def test_a_data_folder_that_is_not_there_says_how_to_pass_it(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not found; pass it with --data"):
        read_all(tmp_path / "nowhere", DataConfig())
