"""Reference photos distorted by the makers of a data set: LIVE, CSIQ, KADID-10k, TID2013, PIPAL.

Each reader takes the folder of the unpacked release. All copies of one reference form one group, which a split keeps
together. `distortion_type` is LIQE's name of the distortion where LIQE has one.
"""

from __future__ import annotations

import re
from pathlib import Path

from defnet_infer.errors import DatasetError
from defnet_train.datasets.release import Rated
from defnet_train.datasets.tables import first_of, headed_rows, matlab_array, matlab_texts, number, required, text_rows

LIVE_FOLDERS = {
    "jp2k": ("jpeg2000 compression", 227),
    "jpeg": ("jpeg compression", 233),
    "wn": ("white noise", 174),
    "gblur": ("gaussian blur", 174),
    "fastfading": ("fastfading", 174),
}
"""Folder -> distortion and number of entries, references among them, in the order of LIVE's score file."""

CSIQ_TABLES = ("csiq.DMOS.xls*", "csiq.beta*.xls*", "csiq.*.xls*")
CSIQ_TYPES = {
    1: ("awgn", "AWGN", "white noise"),
    2: ("jpeg", "JPEG", "jpeg compression"),
    3: ("jpeg2000", "jpeg2000", "jpeg2000 compression"),
    4: ("fnoise", "fnoise", "fnoise"),
    5: ("blur", "BLUR", "gaussian blur"),
    6: ("contrast", "contrast", "contrast"),
}
"""Number in CSIQ's sheet -> folder, word in the file name, distortion."""

KADID_TYPES = (
    *("gaussian blur", "lens", "motion", "diffusion", "shifting", "color quantization", "oversaturation"),
    *("desaturation", "jpeg2000 compression", "jpeg compression", "white noise", "white with color", "impulse"),
    *("multiplicative", "white noise with denoise", "brighten", "darken", "shifting the mean", "jitter"),
    *("noneccentricity patch", "pixelate", "quantization", "color blocking", "sharpness", "contrast"),
)
"""KADID-10k's 25 distortions, by the number in the file name, from 1."""

TID2013_TYPES = (
    *("white noise", "color noise", "correlated noise", "masked noise", "high frequency noise", "impulse"),
    *("quantization", "gaussian blur", "denoising", "jpeg compression", "jpeg2000 compression"),
    *("jpeg transmission errors", "jpeg2000 transmission errors", "noneccentricity patch", "block-wise distortion"),
    *("shifting the mean", "contrast", "color saturation", "multiplicative", "comfort noise"),
    *("compression of noisy images", "color quantization", "chromatic aberration", "sparse sampling"),
)
"""TID2013's 24 distortions, by the number in the file name, from 1."""


def read_live(folder: Path) -> list[Rated]:
    """Read the LIVE database, release 2: 779 copies of 29 references.

    Expects ``dmos_realigned.mat`` (``dmos_new``, ``orgs``), ``refnames_all.mat`` and the photos as
    ``jp2k/img1.bmp`` and so on in ``jp2k``, ``jpeg``, ``wn``, ``gblur``, ``fastfading``. `dmos_new` is a difference
    score: lower is better. The 982 entries run through the folders in that order; those that `orgs` flags are
    references, listed with every distortion, and are left out.

    Raises:
        DatasetError: If a file is missing, damaged or of the release before the realignment.
    """
    path = folder / "dmos_realigned.mat"
    scores, references = matlab_array(path, "dmos_new"), matlab_array(path, "orgs")
    names = matlab_texts(folder / "refnames_all.mat", "refnames_all")
    count = sum(entries for _, entries in LIVE_FOLDERS.values())
    for what, found in (("dmos_new", len(scores)), ("orgs", len(references)), ("refnames_all", len(names))):
        if found != count:
            raise DatasetError(f"{path}: {found} entries of {what} where the release has {count}; another version?")
    entries = []
    index = 0
    for name, (distortion, photos) in LIVE_FOLDERS.items():
        for image in range(1, photos + 1):
            where = f"{path}, entry {index + 1}"
            if not references[index]:
                score = number(scores[index], where, "dmos_new")
                photo = f"{name}/img{image}.bmp"
                entries.append(
                    Rated(path=photo, score=score, where=where, group=names[index], distortion_type=distortion)
                )
            index += 1
    return entries


def read_csiq(folder: Path) -> list[Rated]:
    """Read CSIQ: 866 copies of 30 references.

    Expects ``csiq.DMOS.xlsx``, also passed on as ``csiq.beta.xlsx``, with the columns ``image``, ``dst_idx``,
    ``dst_lev`` and ``dmos`` (sheet ``all_by_image``), and the photos as ``dst_imgs/awgn/1600.AWGN.1.png``. `dmos` runs
    from 0 to 1, lower is better.

    Raises:
        DatasetError: If the file is missing or damaged, lacks a column, or names an unknown distortion.
    """
    path = first_of(folder, CSIQ_TABLES)
    entries = []
    for where, row in headed_rows(path, ("image", "dst_idx", "dst_lev", "dmos"), sheet="all_by_image"):
        code, level = (int(number(row[name], where, name)) for name in ("dst_idx", "dst_lev"))
        if code not in CSIQ_TYPES:
            raise DatasetError(f"{where}: unknown distortion number {code} in dst_idx; CSIQ has 1 to {len(CSIQ_TYPES)}")
        subfolder, word, distortion = CSIQ_TYPES[code]
        # Some references are called by a number, which a spreadsheet keeps as 1600.0.
        image = str(int(row["image"])) if isinstance(row["image"], float) else str(row["image"]).strip()
        entries.append(
            Rated(
                path=f"dst_imgs/{subfolder}/{image}.{word}.{level}.png",
                score=number(row["dmos"], where, "dmos"),
                where=where,
                group=image,
                distortion_type=distortion,
                level=level,
            )
        )
    return entries


def read_kadid10k(folder: Path) -> list[Rated]:
    """Read KADID-10k: 10125 copies of 81 references.

    Expects ``dmos.csv`` (header ``dist_img,ref_img,dmos,var``) and the photos as ``images/I01_25_05.png``: reference,
    distortion, level. Despite its name, `dmos` is a mean opinion score from 1 to 5: higher is better.

    Raises:
        DatasetError: If the file is missing, lacks a column, or a name has an unknown distortion code.
    """
    entries = []
    for where, row in text_rows(folder / "dmos.csv", ("dist_img", "ref_img", "dmos")):
        name = row["dist_img"]
        distortion, level = _coded(name, KADID_TYPES, where)
        entries.append(
            Rated(
                path=f"images/{name}",
                score=number(row["dmos"], where, "dmos"),
                where=where,
                group=row["ref_img"],
                distortion_type=distortion,
                level=level,
            )
        )
    return entries


def read_tid2013(folder: Path) -> list[Rated]:
    """Read TID2013: 3000 copies of 25 references.

    Expects ``mos_with_names.txt`` (a score and a file name on each line) and the photos in ``distorted_images/``, whose
    names differ from the list in upper and lower case from copy to copy. Scores run from 0 to 9, higher is better.

    Raises:
        DatasetError: If the file is missing, a line has another form, or a name has an unknown distortion code.
    """
    path = required(folder / "mos_with_names.txt")
    entries = []
    for where, (score, name) in _pairs(path, None, "a score and a file name"):
        distortion, level = _coded(name, TID2013_TYPES, where)
        entries.append(
            Rated(
                path=f"distorted_images/{name}",
                score=number(score, where, "score"),
                where=where,
                group=name.split("_")[0].upper(),
                distortion_type=distortion,
                level=level,
            )
        )
    return entries


def read_pipal(folder: Path) -> list[Rated]:
    """Read the training part of PIPAL: 23200 results of restoration methods on 200 references.

    Expects ``Train_Label/A0001.txt`` and so on, with lines such as ``A0001_03_12.bmp,1480.58``, and the photos of 288 x
    288 pixels in ``Distortion_1`` to ``Distortion_4`` or ``Train_Dist``. Scores are Elo ratings: higher is better,
    without fixed ends. `distortion_type` is the code of the group of methods, the second part of the name.

    Raises:
        DatasetError: If there is no label file, or a line has another form.
    """
    homes = [child for child in sorted(folder.iterdir()) if re.match(r"(?i)(distortion_\d|train_dist)", child.name)]
    home_of = {path.name: home.name for home in homes for path in home.glob("*.bmp")}
    entries = []
    for path in sorted(required(folder / "Train_Label").glob("*.txt")):
        for where, (name, score) in _pairs(path, ",", "a file name and a rating, such as A0001_03_12.bmp,1480.58"):
            match = re.fullmatch(r"(\w+)_(\d+)_(\d+)\.bmp", name)
            if not match:
                raise DatasetError(f"{where}: '{name}' is not a name such as A0001_03_12.bmp")
            entries.append(
                Rated(
                    path=f"{home_of.get(name, 'Train_Dist')}/{name}",
                    score=number(score, where, "rating"),
                    where=where,
                    group=match[1],
                    distortion_type=f"methods {match[2]}",
                )
            )
    return entries


def _pairs(path: Path, separator: str | None, form: str) -> list[tuple[str, list[str]]]:
    """Lines of two values, each with its place; empty lines are left out."""
    pairs = []
    for index, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        values = [value.strip() for value in line.split(separator)]
        if line.strip() and len(values) != 2:
            raise DatasetError(f"{path}, line {index}: '{line.strip()[:60]}' is not {form}")
        if line.strip():
            pairs.append((f"{path}, line {index}", values))
    return pairs


def _coded(name: str, types: tuple[str, ...], where: str) -> tuple[str, int]:
    """Distortion and level of a name such as I01_25_05.png."""
    match = re.fullmatch(r"(?i)i\d+_(\d+)_(\d+)\.\w+", name)
    if not match:
        raise DatasetError(f"{where}: '{name}' is not a name such as I01_25_05.png: reference, distortion, level")
    code, level = int(match[1]), int(match[2])
    if not 1 <= code <= len(types):
        raise DatasetError(f"{where}: unknown distortion {match[1]} in '{name}'; there are 01 to {len(types)}")
    return types[code - 1], level
