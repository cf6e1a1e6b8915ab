"""The log of a run as TensorBoard event files: the same figures as log.jsonl, as curves."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any


def write_events(folder: Path, entries: Iterable[Mapping[str, Any]], *, afresh: bool = False) -> None:
    """Write epochs into a new event file of a folder; TensorBoard reads all files of a folder as one run.

    Args:
        folder: Made if needed.
        entries: Lines of log.jsonl; a table in a line becomes a group of curves.
        afresh: Remove what earlier processes wrote.
    """
    # tensorboardX writes the files with protobuf alone; the tensorboard package would bring a web server.
    from tensorboardX import SummaryWriter

    if afresh:
        shutil.rmtree(folder, ignore_errors=True)
    entries = list(entries)
    if not entries:
        return
    with SummaryWriter(str(folder), filename_suffix=f".{entries[0]['epoch']:04}") as writer:
        for entry in entries:
            for name, value in _curves(entry):
                writer.add_scalar(name, value, entry["epoch"] + 1)


def _curves(entry: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    for name, value in entry.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{key}", figure) for key, figure in value.items())
        elif name != "epoch":
            yield name, value
