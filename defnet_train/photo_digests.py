"""What tells a rated photo again, whatever it is called and whichever list names it: a short digest of its file.

A checkpoint keeps those of its run's photos, part by part, as strings of hexadecimal digits: twelve digits a photo.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from defnet_infer.errors import DatasetError
from defnet_train.run_data import PARTS, RunData

DIGITS = 12
"""Ten thousand photos and ten thousand others then have one in common by chance once in some million times."""
SAMPLE = 4096
"""Bytes that are read at the beginning, in the middle and at the end: all of a large set would take minutes."""


def photo_digest(path: Path) -> str:
    """Digest of a file's size and of three samples of it.

    Raises:
        DatasetError: If the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            found = hashlib.sha256(str(size).encode())
            for start in (0, size // 2, size - SAMPLE):
                file.seek(max(start, 0))
                found.update(file.read(SAMPLE))
    except OSError as error:
        raise DatasetError(
            f"{path} cannot be read: {error.strerror or error}; find every such photo with: defnet data check FOLDER"
        ) from error
    return found.hexdigest()[:DIGITS]


def digests_by_part(data: RunData) -> dict[str, dict[str, str]]:
    """Data set -> part -> digests of its rated photos, one after another.

    Raises:
        DatasetError: If a photo cannot be read.
    """
    found: dict[str, dict[str, list[str]]] = {}
    for part in PARTS:
        for record in data.at(data.rated(part)):
            of_set = found.setdefault(record.dataset, {part: [] for part in PARTS})
            of_set[part].append(photo_digest(record.path))
    return {key: {part: "".join(some) for part, some in of_set.items()} for key, of_set in found.items()}


def taken_apart(digests: str) -> set[str]:
    """The digests in one of the strings that `digests_by_part` makes."""
    return {digests[start : start + DIGITS] for start in range(0, len(digests), DIGITS)}
