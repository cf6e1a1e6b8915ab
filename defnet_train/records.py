"""One rated photo, as every data set hands it on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from defnet_infer import photos
from defnet_infer.errors import DatasetError, PhotoError
from defnet_infer.views import Pixels
from defnet_train.labels import Labels
from defnet_train.synthetic import load_distorted

Part = Literal["train", "val", "test"]


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
    distortion_type: str = ""
    """What the data set itself calls the distortion of a photo that it distorted; empty where nobody did."""
    part: Part | None = None
    """Part that a split file puts the photo in; None: `defnet_train.splits.split` decides."""
    kind: str = ""
    """Name of the synthetic distortion made when the photo is loaded; empty for none."""
    level: int = 0
    """Level, 1 to 5, of `kind` or `distortion_type`; 0 where there is none or it is not known."""
    series: bool = False
    """Only comparable with photos of its `group`, and among those with its own `kind` or the undistorted one."""

    def pixels(self) -> Pixels:
        """Decode to upright RGB (height, width, 3), uint8, distorted where `kind` says so.

        Raises:
            DatasetError: If the file cannot be decoded, naming it.
        """
        try:
            return load_distorted(self.path, self.kind, self.level) if self.kind else photos.decode(self.path).pixels
        except PhotoError as error:
            raise DatasetError(
                f"{self.path} cannot be read: {error}; find every such photo with: defnet data check FOLDER --decode"
            ) from error
