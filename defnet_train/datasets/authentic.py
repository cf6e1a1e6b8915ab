"""Photos damaged by life, each a scene of its own: BID, LIVE Challenge, KonIQ-10k, SPAQ.

Each reader takes the folder of the unpacked release. Scores are higher the better the photo, and are not changed.
"""

from __future__ import annotations

from pathlib import Path

from defnet_infer.errors import DatasetError
from defnet_train.datasets.release import Rated
from defnet_train.datasets.tables import (
    first_of,
    headed_rows,
    matlab_array,
    matlab_texts,
    number,
    sheet_rows,
    text_rows,
)

RATER_TRAINING = 7
"""LIVE Challenge lists the photos first that trained its raters."""
BID_TABLES = ("DatabaseGrades.xls", "DatabaseGrades.xlsx")
SPAQ_TABLES = ("Annotations/MOS and Image attribute scores.xlsx", "MOS and Image attribute scores.xlsx")


def read_live_challenge(folder: Path) -> list[Rated]:
    """Read the LIVE In the Wild Image Quality Challenge Database: 1162 phone photos.

    Expects ``Images/`` and, in ``Data/``, ``AllImages_release.mat`` and ``AllMOS_release.mat``. The mean opinion
    score runs from 0 to 100. The first seven entries trained the raters and are dropped.

    Raises:
        DatasetError: If a file is missing or damaged, the two disagree in length, or a score is not a number.
    """
    data = folder / "Data"
    names = matlab_texts(data / "AllImages_release.mat", "AllImages_release")
    scores = matlab_array(data / "AllMOS_release.mat", "AllMOS_release")
    if len(names) != len(scores):
        raise DatasetError(f"{len(names)} photo names but {len(scores)} scores in {data}")
    entries = []
    for index, (name, score) in enumerate(zip(names, scores, strict=True), start=1):
        if index > RATER_TRAINING:
            where = f"{data / 'AllMOS_release.mat'}, entry {index}"
            entries.append(
                Rated(path=f"Images/{name}", score=number(score, where, f"the score of {name},"), where=where)
            )
    return entries


def read_koniq10k(folder: Path) -> list[Rated]:
    """Read KonIQ-10k: 10073 photos of a photo-sharing site.

    Expects ``koniq10k_scores_and_distributions.csv`` (columns ``image_name`` and ``MOS`` among others) and the photos
    in ``1024x768/``. `MOS` runs from 1 to 5; the column `MOS_zscore`, from 0 to 100, is not used.

    Raises:
        DatasetError: If the file is missing, lacks a column, or a score is not a number.
    """
    return [
        Rated(path=f"1024x768/{row['image_name']}", score=number(row["MOS"], where, "MOS"), where=where)
        for where, row in text_rows(folder / "koniq10k_scores_and_distributions.csv", ("image_name", "MOS"))
    ]


def read_bid(folder: Path) -> list[Rated]:
    """Read BID, the blurred image database: 586 photos.

    Expects ``DatabaseGrades.xls`` or ``.xlsx``, the number of a photo in the first column and its mean grade in
    the second, and the photos as ``ImageDatabase/DatabaseImageNNNN.JPG``. Grades run from 0 to 5.

    Raises:
        DatasetError: If the file is missing or damaged, or a grade is not a number.
    """
    entries = []
    path = first_of(folder, BID_TABLES)
    for where, cells in sheet_rows(path):
        # Rows of titles stand above the grades, and differ between copies.
        if not cells or not isinstance(cells[0], int | float):
            continue
        grade = number(cells[1] if len(cells) > 1 else None, where, "grade")
        name = f"ImageDatabase/DatabaseImage{int(cells[0]):04d}.JPG"
        entries.append(Rated(path=name, score=grade, where=where))
    if not entries:
        raise DatasetError(f"{path}: no row starts with the number of a photo; is this another version of the file?")
    return entries


def read_spaq(folder: Path) -> list[Rated]:
    """Read SPAQ, smartphone photography: 11125 photos.

    Expects ``Annotations/MOS and Image attribute scores.xlsx`` (columns ``Image name`` and ``MOS`` among others) and
    the photos in ``TestImage/``. The mean opinion score runs from 0 to 100.

    Raises:
        DatasetError: If the file is missing or damaged, lacks a column, or a score is not a number.
    """
    path = first_of(folder, SPAQ_TABLES)
    return [
        Rated(path=f"TestImage/{row['Image name']}", score=number(row["MOS"], where, "MOS"), where=where)
        for where, row in headed_rows(path, ("Image name", "MOS"))
    ]
