"""The folder that `defnet gmad --out` writes: pairs for programs, photos for people."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from defnet_infer.errors import UsageError
from defnet_train.gmad import Pair
from defnet_train.plots.style import save
from defnet_train.safe_write import replacing

COLUMNS = (
    *("defender", "attacker", "level", "better", "worse"),
    *("defender_better", "defender_worse", "attacker_better", "attacker_worse"),
)
"""Of gmad.csv: better and worse are the photos as the attacker sees them."""
FILES = ("gmad.csv", "gmad.png", "gmad.svg")


def refuse_to_replace(folder: Path, *reads: Path) -> None:
    """Stop before the work whose files would replace any but those of an earlier competition.

    Args:
        folder: That ``--out`` names.
        reads: Score files, which are never replaced.

    Raises:
        UsageError: If one would be.
    """
    taken = [folder / name for name in FILES if (folder / name).exists()]
    for path in taken:
        if any(read.exists() and path.samefile(read) for read in reads):
            raise UsageError(f"--out {folder}: {path} is what this command reads; name another folder")
    if taken and not _is_ours(folder / "gmad.csv"):
        raise UsageError(f"--out {folder}: {taken[0]} is not of an earlier defnet gmad; name another folder")


def _is_ours(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline().rstrip("\n") == ",".join(COLUMNS)
    except (OSError, UnicodeDecodeError):
        return False


def write_pairs(folder: Path, pairs: Sequence[Pair], figure: Figure) -> None:
    """Write gmad.png, gmad.svg and gmad.csv; those of an earlier competition are replaced.

    Args:
        folder: Where; it exists.
        pairs: As `gmad.pairs` gives them.
        figure: What shows them.

    Raises:
        StorageError: If gmad.csv cannot be written.
        OSError: If a picture cannot be.
    """
    # First: by this file the next competition knows the folder again, should this one be stopped.
    with replacing(folder / "gmad.csv") as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(
            (p.defender, p.attacker, p.level, p.better, p.worse, *p.defender_scores, *p.attacker_scores) for p in pairs
        )
    save(figure, folder, "gmad")
