"""Photos without visible distortion, from which training makes its own distorted copies."""

from __future__ import annotations

from pathlib import Path

from defnet_infer.errors import DatasetError
from defnet_infer.taxonomy import DISTORTIONS
from defnet_train.config import DataConfig
from defnet_train.distortions import DISTORTION_KINDS
from defnet_train.labels import Labels
from defnet_train.records import ImageRecord

KEY = "synthetic"


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
        common = {"dataset": KEY, "path": path, "target": None, "group": path.name, "series": True}
        records.append(ImageRecord(mos=0.0, labels=None, **common))
        for kind in DISTORTION_KINDS.values():
            labels = Labels(scenes=(), distortion=DISTORTIONS.index(kind.coarse))
            records += [
                ImageRecord(mos=-float(level), labels=labels, kind=kind.name, level=level, **common)
                for level in config.synthetic_levels
            ]
    return records
