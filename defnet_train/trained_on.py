"""Whether photos may have trained a model: then its figures on them say nothing about new ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from defnet_train.checkpoint import CheckpointInfo
from defnet_train.config import DataConfig
from defnet_train.datasets.own_csv import KEY as CSV
from defnet_train.photo_digests import photo_digest, taken_apart
from defnet_train.records import ImageRecord
from defnet_train.run_data import PARTS, RunData

SYNTHETIC = "synthetic"


@dataclass(frozen=True)
class TrainedOn:
    """What is known about the photos that trained a model."""

    sets: tuple[str, ...]
    """Keys of the data sets."""
    split: DataConfig | None = None
    """How they were split; None if that is not known, as of files exported before it was written into them."""
    photos: Mapping[str, int] | None = None
    """Data set -> photos of it that the run had, all parts together; None if that is not known."""
    originals: int = 0
    """Photos that `synthetic` made its copies of; 0 if there were none, or that is not known."""
    imported: bool = False
    """Trained elsewhere, on which photos of its data sets nobody knows."""
    start_may_know: tuple[str, ...] = ()
    """Data sets of which photos of any part may have trained the weights that the run started from."""
    digests: Mapping[str, Mapping[str, str]] | None = None
    """Of the run's rated photos, as `digests_by_part` gives them; None if not known, as of an exported file."""
    csv_sha256: str = ""
    """Of the run's CSV file; empty if there was none, or that is not known."""

    @classmethod
    def of_checkpoint(cls, info: CheckpointInfo) -> TrainedOn:
        """As a checkpoint tells it."""
        return cls(
            sets=tuple(info.config.data.sets),
            split=info.config.data,
            photos=info.record.get("photos"),
            originals=info.record.get("originals", 0),
            imported="imported" in info.record,
            start_may_know=tuple(info.record.get("start_may_know", ())),
            digests=info.record.get("photo_digests"),
            csv_sha256=info.record.get("csv_sha256", ""),
        )

    @classmethod
    def of_metadata(cls, about: Mapping[str, Any]) -> TrainedOn:
        """As `to_metadata` wrote it into an exported file."""
        photos = about.get("photos", {})
        known = {name: about[name] for name in ("session", "splits", "csv") if name in about}
        return cls(
            sets=tuple(photos),
            split=DataConfig(**known) if known else None,
            photos=photos,
            originals=about.get("originals", 0),
            imported=bool(about.get("imported")),
            start_may_know=tuple(about.get("start_may_know", ())),
            csv_sha256=about.get("csv_sha256", ""),
        )

    def to_metadata(self) -> dict[str, Any]:
        """What an exported file says of it."""
        about: dict[str, Any] = {"photos": self.photos or {}}
        if self.split is not None:
            about |= {"session": self.split.session, "splits": self.split.splits, "csv": self.split.csv}
        if self.originals:
            about["originals"] = self.originals
        if self.imported:
            about["imported"] = True
        if self.start_may_know:
            about["start_may_know"] = list(self.start_may_know)
        if self.csv_sha256:
            about["csv_sha256"] = self.csv_sha256
        return about

    def may_know(
        self, part: str, asked: DataConfig, records: Sequence[ImageRecord], measured: Sequence[ImageRecord]
    ) -> set[str]:
        """Data sets of which photos that are measured may have trained the model.

        Args:
            part: ``train``, ``val``, ``test`` or ``all``.
            asked: Says how `records` are split.
            records: Photos of all parts.
            measured: Those of the part.

        Raises:
            DatasetError: If a photo cannot be read.
        """
        known = self.common(asked, {record.dataset for record in measured})
        if not (self.imported or may_have_trained(part, asked, self.split) or split_anew(asked, records, self)):
            known &= {*self.start_may_know, *self.copies_anew(records)}
        return known | {record.dataset for record in self.seen(part, measured)}

    def copies_anew(self, records: Iterable[ImageRecord]) -> set[str]:
        """The data set of synthetic copies, if its split, always a generated one, is not the run's.

        That is so if there are more or fewer originals now.
        """
        originals = {record.group for record in records if record.dataset == SYNTHETIC}
        return {SYNTHETIC} if originals and self.originals not in (0, len(originals)) else set()

    def common(self, asked: DataConfig, sets: Iterable[str]) -> set[str]:
        """Those of some data sets that the model was trained on, as far as names tell.

        A CSV file is left out where `seen` tells it, photo by photo. Else another file is another set of the same key.
        """
        other_csv = self.split is not None and self.split.csv != asked.csv
        return set(sets) & set(self.sets) - ({CSV} if other_csv or self.digests is not None else set())

    def is_own_csv(self, asked: DataConfig, sha256: str) -> bool:
        """Whether a CSV file is the run's: of the same content, or of the same name where that is not known.

        Args:
            asked: Names the file.
            sha256: Of its content.
        """
        if CSV not in self.sets:
            return False
        return sha256 == self.csv_sha256 if self.csv_sha256 else self.split is None or self.split.csv == asked.csv

    def seen(self, part: str, photos: Sequence[ImageRecord]) -> list[ImageRecord]:
        """Those of some photos that trained the model, whatever list names them; none where that is not known.

        Only where a CSV file named a photo, now or then: names tell of the rest.

        Args:
            part: That is measured. Photos of the run's validation part chose its epoch and calibrated it, so they count
                as seen, but not as long as they are validation photos.
            photos: The photos.

        Raises:
            DatasetError: If one cannot be read.
        """
        if self.digests is None:
            return []
        parts = ("train",) if part == "val" else ("train", "val")
        of_set: dict[str, set[str]] = {}
        for key, digests in self.digests.items():
            which = PARTS if key in self.start_may_know else parts
            of_set[key] = {one for name in which for one in taken_apart(digests[name])}
        of_csv, of_all = of_set.get(CSV, set()), set().union(*of_set.values())
        known = {photo.dataset: of_all if photo.dataset == CSV else of_csv for photo in photos}
        return [p for p in photos if known[p.dataset] and photo_digest(p.path) in known[p.dataset]]

    def same_csv(self, data: RunData) -> bool:
        """Whether photos of a CSV file are divided as the run's were, as far as that is known, or there are none.

        Raises:
            DatasetError: If one cannot be read.
        """
        photos = {part: [photo for photo in data.at(data.rated(part)) if photo.dataset == CSV] for part in PARTS}
        if self.digests is None or not any(photos.values()):
            return True
        of_run = self.digests.get(CSV, {})
        return all(
            {photo_digest(photo.path) for photo in some} == taken_apart(of_run.get(part, ""))
            for part, some in photos.items()
        )


def may_have_trained(part: str, asked: DataConfig, trained: DataConfig | None) -> bool:
    """Whether photos of a data set that was trained on may be among those trained on.

    Args:
        part: That is measured.
        asked: Says to which split it belongs.
        trained: Of the run; None if that is not known, as of an exported file, which is then believed.
    """
    same = trained is None or (trained.splits, trained.session) == (asked.splits, asked.session)
    return part in ("train", "all") or not same


def split_anew(asked: DataConfig, records: Sequence[ImageRecord], trained: TrainedOn) -> bool:
    """Whether a generated split is another one than the run's, because a data set has more or fewer photos now.

    Args:
        asked: Says how `records` are split.
        records: Photos of all parts.
        trained: What the run had.
    """
    if asked.splits != "generated":
        return False
    photos = Counter(record.dataset for record in records)
    # Synthetic copies follow their originals: other levels of them change no split. See `copies_anew`.
    known = trained.common(asked, trained.photos or ()) - {SYNTHETIC}
    return any(photos[key] != count for key, count in (trained.photos or {}).items() if key in photos and key in known)
