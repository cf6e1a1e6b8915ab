"""Scene and distortion labels: the names that label files use, and the ids they mean.

Label files come from LIQE, which tagged the photos of six data sets. They name a fine distortion (33 kinds)
that belongs to one of eleven classes, and up to three scenes. Facts restated from its label vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from defnet_infer.errors import DatasetError
from defnet_infer.taxonomy import DISTORTIONS, PRESETS, SCENES
from defnet_train.datasets.tables import text_rows

# Coarse class -> the fine names in it. Some are not where one would look: fast fading is a JPEG 2000 stream
# with bit errors, sharpness counts as contrast, colour diffusion as colour, block patterns as spatial.
_FINE_NAMES = {
    "JPEG2000": ("jpeg2000 compression", "fastfading"),
    "JPEG": ("jpeg compression",),
    "noise": (
        "white noise",
        "fnoise",
        "white with color",
        "impulse",
        "multiplicative",
        "white noise with denoise",
        "realistic noise",
    ),
    "blur": ("gaussian blur", "lens", "motion", "shifting", "realistic blur"),
    "color": ("diffusion", "oversaturation", "desaturation"),
    "contrast": ("contrast", "sharpness", "realistic contrast change"),
    "over-exposure": ("brighten", "overexposure"),
    "under-exposure": ("darken", "underexposure"),
    "spatial": ("jitter", "noneccentricity patch", "pixelate", "color blocking"),
    "quantization": ("color quantization", "quantization"),
    "other": ("shifting the mean", "other realistic"),
}
DISTORTION_IDS = {fine: DISTORTIONS.index(coarse) for coarse, fines in _FINE_NAMES.items() for fine in fines}
SCENE_IDS = {word: i for words in (SCENES, PRESETS["liqe"].scene_words) for i, word in enumerate(words)}


@dataclass(frozen=True)
class Labels:
    """Ids of one photo's classes. No scene, or None for the distortion: nobody said."""

    scenes: tuple[int, ...]
    distortion: int | None


def read_label_table(path: Path) -> dict[str, Labels]:
    """Read a tab-separated label table, by the path in it.

    Expects a header with at least ``path``, ``distortion``, ``scene1``, ``scene2``, ``scene3``; an empty scene
    means none. Paths are relative to the data set's root, such as ``Images/10.bmp``: file names alone repeat.

    Raises:
        DatasetError: If the file is missing or lacks a column, names an unknown class, or a photo twice; says file and
            line.
    """
    if not path.is_file():
        raise DatasetError(f"label table {path} not found; set data.labels to the folder that holds {path.name}")
    labels: dict[str, Labels] = {}
    for where, row in text_rows(path, ("path", "distortion", "scene1", "scene2", "scene3"), delimiter="\t"):
        if row["path"] in labels:
            raise DatasetError(f"{where}: {row['path']} is labelled twice")
        scenes = [row[key] for key in ("scene1", "scene2", "scene3") if row[key]]
        labels[row["path"]] = labels_of(row["distortion"], scenes, where)
    return labels


def labels_of(distortion: str, scenes: Sequence[str], where: str) -> Labels:
    """Ids of the names that label files use.

    Args:
        distortion: One of the 33 fine names.
        scenes: Scene names.
        where: File and line, for messages.

    Raises:
        DatasetError: If a name is unknown.
    """
    return Labels(
        scenes=tuple(_known(SCENE_IDS, scene, "scene", where) for scene in scenes),
        distortion=_known(DISTORTION_IDS, distortion, "distortion", where),
    )


def _known(ids: dict[str, int], name: str, kind: str, where: str) -> int:
    if name not in ids:
        raise DatasetError(f"{where}: unknown {kind} '{name}'; known: {', '.join(ids)}")
    return ids[name]
