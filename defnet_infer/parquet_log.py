"""Rows of a Parquet results file while a run goes on: JSON Lines beside it, which become Parquet when the run ends.

A run that goes on with a finished file unpacks it into these again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from defnet_infer import journal, parquet
from defnet_infer.errors import UsageError
from defnet_infer.results import Row

OTHER_COLUMNS = "it has other columns than this run writes (with or without --details, or by another defnet)"


def path_of(results: Path) -> Path:
    """``results.parquet`` -> ``results.parquet.rows.jsonl``."""
    return results.with_name(results.name + ".rows.jsonl")


def is_empty(log: Path) -> bool:
    """Whether it is there and holds no row."""
    return log.exists() and log.stat().st_size == 0


def unpack(
    source: Path,
    side: Path,
    draft: Path,
    encode: Callable[[Row], bytes],
    columns: Sequence[str],
    describe: Callable[[str], UsageError],
) -> None:
    """Turn a finished Parquet file into rows again. Names come from the journal, which keeps every byte.

    Args:
        source: The Parquet file.
        side: Its journal.
        draft: Where the rows are written.
        encode: The bytes of a row.
        columns: What this run writes of a row.
        describe: Makes the error from its reason.

    Raises:
        UsageError: If it has other columns, or is not what the journal is of; there is no draft then.
    """
    names: list[str] = []
    with suppress(OSError), side.open("rb") as file:
        names = [value[0] for value in map(journal.parsed, file) if isinstance(value, list)]
    try:
        if parquet.columns(source) != tuple(columns):
            raise describe(OTHER_COLUMNS)
        with draft.open("wb") as file:
            for row, name in zip(parquet.read(source), names, strict=True):
                file.write(encode(Row(**{**vars(row), "path": name})))
    except (ValueError, TypeError) as error:
        draft.unlink(missing_ok=True)
        raise describe("it is not a Parquet file of this defnet, or its .resume file is of another") from error
