"""LIQE's ten sessions, in the two forms in which they are passed on.

One table per data set, ``KEY.tsv``, has the columns ``s1`` to ``s10`` with 0 for train, 1 for val, 2 for test. LIQE's
own text files lie below the data set's folder, ``splits2/SESSION/KEY_{train,val,test}_clip.txt``: no header, six
columns separated by tabs: path, score, distortion and three scenes, ``invalid`` where there is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from defnet_infer.errors import DatasetError
from defnet_train.datasets.tables import text_rows
from defnet_train.labels import Labels, labels_of
from defnet_train.records import Part

PARTS: tuple[Part, ...] = ("train", "val", "test")
"""In the order of the numbers in a table."""
NO_SCENE = "invalid"


def parts_of_table(path: Path, session: int) -> dict[str, Part]:
    """Part of every photo of a label table, by path.

    Args:
        path: A tab-separated table with the columns ``path`` and ``s1``, ``s2``, ...
        session: Number of the split, from 1.

    Raises:
        DatasetError: If the table has no such session, or a cell is not 0, 1 or 2; says file and line.
    """
    column = f"s{session}"
    parts: dict[str, Part] = {}
    for where, row in text_rows(path, ("path",), delimiter="\t"):
        if column not in row:
            known = [int(name[1:]) for name in row if re.fullmatch(r"s\d+", name)]
            raise DatasetError(_no_session(path, session, known))
        if row[column] not in ("0", "1", "2"):
            raise DatasetError(f"{where}: {column} is '{row[column]}'; 0 is train, 1 val, 2 test")
        parts[row["path"]] = PARTS[int(row[column])]
    return parts


def read_split_files(folder: Path, key: str, session: int) -> tuple[dict[str, Part], dict[str, Labels]]:
    """Parts and labels of LIQE's text files, by path.

    Args:
        folder: Folder of the data set, which holds ``splits2``.
        key: Data set.
        session: Number of the split, from 1.

    Raises:
        DatasetError: If a file is missing or a line has another form, a path is in two parts, or a class is unknown;
            says file and line.
    """
    home = folder / "splits2"
    if not home.is_dir():
        raise DatasetError(
            f"{home} not found; LIQE's splits are read from there, or from the folder that data.labels names; "
            "for a split of our own: --set data.splits=generated"
        )
    if not (home / str(session)).is_dir():
        known = [int(child.name) for child in home.iterdir() if child.name.isdigit()]
        raise DatasetError(_no_session(home, session, known))
    parts: dict[str, Part] = {}
    labels: dict[str, Labels] = {}
    for part in PARTS:
        path = home / str(session) / f"{key}_{part}_clip.txt"
        if not path.is_file():
            raise DatasetError(f"{path} not found; a session has the parts {', '.join(PARTS)}")
        for index, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            where = f"{path}, line {index}"
            cells = line.split("\t")
            if len(cells) != 6:
                raise DatasetError(f"{where}: {len(cells)} columns instead of path, score, distortion and three scenes")
            name, _, distortion, *scenes = (cell.strip() for cell in cells)
            if name in parts:
                raise DatasetError(f"{where}: {name} is in the {parts[name]} part already")
            parts[name] = part
            labels[name] = labels_of(distortion, [scene for scene in scenes if scene != NO_SCENE], where)
    return parts, labels


def _no_session(path: Path, session: int, known: Sequence[int]) -> str:
    there = ", ".join(map(str, sorted(known))) or "none"
    return f"{path} has no session {session} (there are: {there}); choose one with --set data.session=N"
