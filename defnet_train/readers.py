"""Data sets from their official layouts. Each reader says what must be on disk and which way the score points.

This version reads the LIVE In the Wild Image Quality Challenge Database and makes synthetic distortions of pristine
photos; `READERS` is where others join.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from defnet_infer import photos
from defnet_infer.errors import DatasetError, UsageError
from defnet_infer.taxonomy import DISTORTIONS
from defnet_infer.views import Pixels
from defnet_train.config import DataConfig
from defnet_train.distortions import DISTORTION_KINDS
from defnet_train.labels import Labels, read_label_table
from defnet_train.synthetic import load_distorted


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """One rated photo.

    `mos` is the data set's own scale turned so that higher is better; `target` is `mos` mapped to [1, 5] by the
    scale's nominal ends (departure 20), or None where only an order is known. `group` is what a split must not
    tear apart: the reference photo of a synthetic data set, the photo itself of an authentic one.
    """

    dataset: str
    path: Path
    mos: float
    target: float | None
    group: str
    labels: Labels | None
    kind: str = ""
    """Name of the synthetic distortion made when the photo is loaded; empty for none."""
    level: int = 0
    """Its level, 1 to 5."""
    series: bool = False
    """Only comparable with photos of its `group`, and among those with its own `kind` or the undistorted one."""

    def pixels(self) -> Pixels:
        """Decode to upright RGB (height, width, 3), uint8, distorted where `kind` says so.

        Raises:
            PhotoError: If the file cannot be decoded.
        """
        return load_distorted(self.path, self.kind, self.level) if self.kind else photos.decode(self.path).pixels


def read_live_challenge(root: Path, config: DataConfig) -> list[ImageRecord]:
    """Read the LIVE Challenge release: 1162 rated phone photos.

    Expects ``ChallengeDB_release`` (or `root` itself) with ``Images/`` and ``Data/AllImages_release.mat``,
    ``Data/AllMOS_release.mat``. The opinion score runs from 0 to 100, higher is better. The first seven entries
    trained the raters and are dropped.

    Raises:
        DatasetError: If a file is missing, or the two score files disagree in length, or a score is not a number.
    """
    base = root / "ChallengeDB_release" if (root / "ChallengeDB_release").is_dir() else root
    data, images = base / "Data", base / "Images"
    for needed in (data / "AllImages_release.mat", data / "AllMOS_release.mat", images):
        if not needed.exists():
            raise DatasetError(f"LIVE Challenge: {needed} not found; pass the folder that holds ChallengeDB_release")
    names = [str(cell.item()) for cell in _matlab_array(data / "AllImages_release.mat")]
    scores = _matlab_array(data / "AllMOS_release.mat").astype(float)
    if len(names) != len(scores):
        raise DatasetError(f"LIVE Challenge: {len(names)} photo names but {len(scores)} scores in {data}")
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise DatasetError(f"LIVE Challenge: the score of {names[bad[0]]} in {data} is not a number")
    labels = read_label_table(Path(config.labels) / "clive.tsv") if config.labels else {}
    records, absent = [], []
    for name, mos in list(zip(names, scores, strict=True))[7:]:
        if not (images / name).is_file():
            absent.append(name)
            continue
        records.append(
            ImageRecord(
                dataset="clive",
                path=images / name,
                mos=float(mos),
                target=float(np.clip(1 + 4 * mos / 100, 1, 5)),
                group=name,
                labels=labels.get(f"Images/{name}"),
            )
        )
    if absent and config.missing == "error":
        raise DatasetError(
            f"LIVE Challenge: {len(absent)} of {len(names) - 7} photos are not in {images}, the first is {absent[0]}; "
            "complete the folder, or train on what is there with --set data.missing=skip"
        )
    if not records:
        raise DatasetError(f"LIVE Challenge: no photo of the score file is in {images}")
    return records


def _matlab_array(path: Path) -> np.ndarray:
    """The array that a MATLAB file holds under the file's own name, flat."""
    try:
        return loadmat(path)[path.stem].ravel()
    except Exception as error:  # SciPy raises OSError, ValueError, KeyError, zlib.error, ... on damaged files
        raise DatasetError(f"{path} cannot be read ({error}); copy it again from the release") from error


def read_synthetic(root: Path, config: DataConfig) -> list[ImageRecord]:
    """Photos without visible distortion, each with every synthetic distortion at the configured levels.

    Expects ``root/pristine`` with PNG or JPEG files. Nobody rated the copies: only the order of levels of one
    distortion of one photo is certain, so `target` is None and `series` is set. Distortion labels are exact.

    Raises:
        DatasetError: If the folder is missing or holds no photo.
    """
    folder = root / "pristine"
    paths = sorted(p for p in folder.glob("*") if p.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not paths:
        raise DatasetError(f"synthetic: no PNG or JPEG in {folder}; put undistorted photos there")
    records = []
    for path in paths:
        # Level 0 has no distortion label: "other", where it would have to go, means something else.
        common = {"dataset": "synthetic", "path": path, "target": None, "group": path.name, "series": True}
        records.append(ImageRecord(mos=0.0, labels=None, **common))
        for kind in DISTORTION_KINDS.values():
            labels = Labels(scenes=(), distortion=DISTORTIONS.index(kind.coarse))
            records += [
                ImageRecord(mos=-float(level), labels=labels, kind=kind.name, level=level, **common)
                for level in config.synthetic_levels
            ]
    return records


READERS: dict[str, Callable[[Path, DataConfig], list[ImageRecord]]] = {
    "clive": read_live_challenge,
    "synthetic": read_synthetic,
}


def read_all(root: Path, config: DataConfig) -> list[ImageRecord]:
    """Records of every data set that the configuration names.

    Raises:
        UsageError: If a data set is unknown or the folder does not exist.
        DatasetError: From the readers.
    """
    if not root.is_dir():
        raise UsageError(f"data folder {root} not found; pass it with --data")
    records = []
    for key in config.sets:
        if key not in READERS:
            raise UsageError(f"unknown data set '{key}' in data.sets; known: {', '.join(READERS)}")
        records += READERS[key](root, config)
    return records
