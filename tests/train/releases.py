"""Small copies of nine data sets, in the layout and the file formats of their official releases.

Every writer makes a folder as the release unpacks, with photos of a few pixels: readers never decode. What it returns
is what a reader should find: path below the folder -> raw score.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from openpyxl import Workbook
from PIL import Image
from scipy.io import savemat

from tests.train.conftest import RATER_TRAINING
from tests.train.xls_file import write_xls

Scores = dict[str, float]

LIVE_ENTRIES = {"jp2k": (227, 58), "jpeg": (233, 58), "wn": (174, 29), "gblur": (174, 29), "fastfading": (174, 29)}
"""Folder -> entries, and how many of them are references; together 982 entries and 779 distorted photos."""
CSIQ_FILES = {
    1: ("noise", "awgn/{}.AWGN.{}.png"),
    2: ("jpeg", "jpeg/{}.JPEG.{}.png"),
    3: ("jpeg 2000", "jpeg2000/{}.jpeg2000.{}.png"),
    4: ("fnoise", "fnoise/{}.fnoise.{}.png"),
    5: ("blur", "blur/{}.BLUR.{}.png"),
    6: ("contrast", "contrast/{}.contrast.{}.png"),
}


@cache
def one_pixel(suffix: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (1, 1), (90, 120, 150)).save(file, {"jpg": "JPEG"}.get(suffix, suffix))
    return file.getvalue()


def put(path: Path) -> None:
    """A photo of one pixel; its format follows the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(one_pixel(path.suffix.lower().lstrip(".")))


def put_all(folder: Path, names: Mapping[str, float]) -> None:
    for name in names:
        put(folder / name)


def cells(texts: list[str]) -> np.ndarray:
    """A MATLAB cell array."""
    array = np.empty((1, len(texts)), dtype=object)
    array[0, :] = texts
    return array


def write_live(root: Path, best: float = -2.6, worst: float = 111.8) -> Scores:
    """LIVE: 982 entries that run through five folders; in each folder references come last."""
    folder = root / "databaserelease2"
    folder.mkdir(parents=True)
    paths, references = [], []
    for name, (entries, undistorted) in LIVE_ENTRIES.items():
        for image in range(1, entries + 1):
            paths.append(f"{name}/img{image}.bmp")
            references.append(image > entries - undistorted)
    dmos = np.random.default_rng(3).uniform(best, worst, len(paths))
    dmos[[0, 300]] = best, worst
    dmos[references] = 0
    names = [f"ref{index % 29}.bmp" for index in range(len(paths))]
    savemat(folder / "dmos_realigned.mat", {
        "dmos_new": dmos[None], "orgs": np.array([references], dtype=np.uint8), "dmos_std": np.ones((1, len(paths))),
    })  # fmt: skip
    savemat(folder / "refnames_all.mat", {"refnames_all": cells(names)})
    scores = {path: float(d) for path, d, original in zip(paths, dmos, references, strict=True) if not original}
    put_all(folder, scores)
    return scores


def write_csiq(root: Path, name: str = "csiq.DMOS.xlsx") -> Scores:
    """CSIQ: a sheet `all_by_image` behind another, its header below empty rows; one reference is called by a number."""
    folder = root / "CSIQ"
    folder.mkdir(parents=True)
    book = Workbook()
    book.active.title = "README"
    sheet = book.create_sheet("all_by_image")
    header = [None, None, None, "image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"]
    for row in ([], [None, "all by image"], [], header):
        sheet.append(row)
    scores = {}
    for place, image in enumerate((1600, "aerial_city", "snow_leaves")):
        for code, (word, pattern) in CSIQ_FILES.items():
            for level in range(1, 6):
                dmos = round(level / 5 - place / 10, 3)
                scores["dst_imgs/" + pattern.format(image, level)] = dmos
                sheet.append([None, None, None, image, code, word, level, 0.05, dmos])
    book.save(folder / name)
    put_all(folder, scores)
    return scores


def write_kadid10k(root: Path) -> Scores:
    """KADID-10k with three references."""
    folder = root / "kadid10k"
    folder.mkdir(parents=True)
    scores = {
        f"images/I{image:02}_{code:02}_{level:02}.png": round(5 - 0.7 * level + 0.1 * image, 2)
        for image in (1, 2, 3)
        for code in range(1, 26)
        for level in range(1, 6)
    }
    lines = [f"{Path(path).name},{Path(path).name[:3]}.png,{score},0.7" for path, score in scores.items()]
    (folder / "dmos.csv").write_text("\n".join(["dist_img,ref_img,dmos,var", *lines]) + "\n")
    put_all(folder, scores)
    return scores


def write_bid(root: Path, suffix: str = ".xls") -> Scores:
    """BID: numbers and grades below a row of titles; numbers have gaps."""
    folder = root / "BID"
    folder.mkdir(parents=True)
    grades = {1: 4.51664, 3: 1.300189, 4: 2.359893, 12: 0.163806, 590: 4.9}
    rows: list[list[str | float | None]] = [["Image number", "Average grade", "Deviation"]]
    rows += [[float(image), grade, 0.5] for image, grade in grades.items()]
    if suffix == ".xls":
        write_xls(folder / "DatabaseGrades.xls", rows)
    else:
        book = Workbook()
        for row in rows:
            book.active.append(row)
        book.save(folder / f"DatabaseGrades{suffix}")
    scores = {f"ImageDatabase/DatabaseImage{image:04}.JPG": grade for image, grade in grades.items()}
    put_all(folder, scores)
    return scores


def write_clive(root: Path) -> Scores:
    """LIVE Challenge: the first seven entries trained the raters, and their photos lie elsewhere."""
    folder = root / "ChallengeDB_release"
    (folder / "Data").mkdir(parents=True)
    names = [f"t{i}.bmp" for i in range(1, RATER_TRAINING + 1)] + [f"{i}.{'bmp' if i % 2 else 'JPG'}" for i in range(9)]
    mos = np.linspace(3.42, 92.43, len(names))
    savemat(folder / "Data" / "AllImages_release.mat", {"AllImages_release": cells(names).T})
    savemat(folder / "Data" / "AllMOS_release.mat", {"AllMOS_release": mos[None]})
    scores = {f"Images/{name}": float(score) for name, score in list(zip(names, mos, strict=True))[RATER_TRAINING:]}
    put_all(folder, scores)
    return scores


def write_koniq10k(root: Path) -> Scores:
    """KonIQ-10k: the score is in `MOS`, beside one from 0 to 100."""
    folder = root / "koniq-10k"
    folder.mkdir(parents=True)
    scores = {f"1024x768/{10004473376 + i}.jpg": round(1.2 + 0.3 * i, 6) for i in range(10)}
    header = '"image_name","c1","c2","c3","c4","c5","c_total","MOS","SD","MOS_zscore"'
    lines = [f'"{Path(path).name}",0,0,25,73,7,105,{mos},0.52,{20 * mos}' for path, mos in scores.items()]
    (folder / "koniq10k_scores_and_distributions.csv").write_text("\n".join([header, *lines]) + "\n")
    put_all(folder, scores)
    return scores


def write_tid2013(root: Path) -> Scores:
    """TID2013: some photos are called otherwise on disk than in the list, in upper and lower case."""
    folder = root / "tid2013"
    folder.mkdir(parents=True)
    scores = {
        f"distorted_images/I{image:02}_{code:02}_{level}.bmp": round(7 - level - image / 50, 5)
        for image in (1, 25)
        for code in range(1, 25)
        for level in range(1, 6)
    }
    lines = [f"{score} {Path(path).name}" for path, score in scores.items()]
    (folder / "mos_with_names.txt").write_text("\r\n".join(lines) + "\r\n")
    for index, path in enumerate(scores):
        name = Path(path).name
        put(folder / "distorted_images" / (name.lower() if index % 3 else name.replace(".bmp", ".BMP")))
    return scores


def write_spaq(root: Path) -> Scores:
    """SPAQ: one of several sheets of annotations."""
    folder = root / "SPAQ"
    (folder / "Annotations").mkdir(parents=True)
    scores = {f"TestImage/{i:05}.jpg": 8.0 * i for i in range(1, 11)}
    book = Workbook()
    book.active.append(["Image name", "MOS", "Brightness", "Colorfulness"])
    for path, score in scores.items():
        book.active.append([Path(path).name, score, 50, 50])
    book.save(folder / "Annotations" / "MOS and Image attribute scores.xlsx")
    put_all(folder, scores)
    return scores


def write_pipal(root: Path) -> Scores:
    """PIPAL's training part: a label file per reference, photos in four folders."""
    folder = root / "PIPAL"
    (folder / "Train_Label").mkdir(parents=True)
    scores = {}
    for image in range(1, 5):
        lines = []
        for code in range(7):
            name = f"A{image:04}_{code:02}_03.bmp"
            scores[f"Distortion_{image}/{name}"] = 1000.0 + 70 * image - 30 * code
            lines.append(f"{name},{scores[f'Distortion_{image}/{name}']}")
        (folder / "Train_Label" / f"A{image:04}.txt").write_text("\n".join(lines) + "\n")
    put_all(folder, scores)
    return scores


WRITERS: dict[str, Callable[[Path], Scores]] = {
    "live": write_live,
    "csiq": write_csiq,
    "bid": write_bid,
    "clive": write_clive,
    "koniq10k": write_koniq10k,
    "kadid10k": write_kadid10k,
    "tid2013": write_tid2013,
    "spaq": write_spaq,
    "pipal": write_pipal,
}
