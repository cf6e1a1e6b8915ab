"""Join the results of shards into one file: sorted, with the bytes of a run that was not split.

Each part is sorted already, so rows are merged as they are read and memory does not grow with their number.
"""

from __future__ import annotations

import csv
import heapq
import json
import os
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from itertools import groupby
from pathlib import Path
from typing import Any

from defnet_infer import journal, parquet, parquet_log, run_record
from defnet_infer.archives import archive_of
from defnet_infer.errors import DefnetError, UsageError
from defnet_infer.inputs import order_key
from defnet_infer.out_file import require_folder
from defnet_infer.results import COLUMNS, DETAILED_COLUMNS, Row, header_line, rows_from_lines
from defnet_infer.results_file import PARQUET, ResultsFile, format_of

_SAME = ("model", "contract", "options")
_NOT_UTF8 = re.compile(rb"\\x([89a-f][0-9a-f])")


def merge(out: Path, parts: Sequence[Path], *, overwrite: bool = False) -> dict[str, Any]:
    """Join results files into `out`, and their records into its record.

    A part that held no photo has a record but no file, and is named like the others.

    Args:
        out: Has the same suffix as the parts.
        parts: Results files, in any order.
        overwrite: Replace an existing `out`.

    Returns:
        The record.

    Raises:
        UsageError: If the parts do not belong together, are not all there or not finished, or `out` exists.
        DefnetError: If the disk is full.
    """
    require_folder(out)
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists; replace it with --overwrite, or name another file")
    if any(part.resolve() == out.resolve() for part in parts):
        raise UsageError(f"{out} is both a part and the result; name another file")
    for part in parts:
        if part.suffix.lower() != out.suffix.lower():
            raise UsageError(f"{part} and {out} have different formats; merge parts of one format into the same")
    if len({part.resolve() for part in parts}) < len(parts):
        raise UsageError("a part is named more than once; give each part once")
    record = _joined(parts, [_record(part) for part in parts])
    columns = DETAILED_COLUMNS if record["options"].get("details") else COLUMNS
    draft = out.with_name(out.name + ".part" + out.suffix)
    with ExitStack() as stack:
        stack.callback(draft.unlink, missing_ok=True)
        streams = []
        for part, of_part in zip(parts, record["parts"], strict=True):
            if part.exists():
                rows = _rows(part, columns)
                stack.callback(rows.close)
                streams.append(_sorted(part, rows, of_part["counts"]["photos"]))
        joined = _merged(streams)
        try:
            if out.suffix.lower() == PARQUET:
                parquet.write(joined, draft, columns)
            else:
                with ResultsFile(draft, overwrite=True, columns=columns) as file:
                    for row in joined:
                        file.write(row)
                    file.sync()
            os.replace(draft, out)
        except OSError as error:
            raise DefnetError(f"cannot write {out}: {error.strerror or error}; the parts are as they were") from error
    run_record.write(out, record)
    return record


def _record(part: Path) -> dict[str, Any]:
    beside = run_record.path_beside(part)
    try:
        record = json.loads(beside.read_bytes())
        if not part.exists() and record["counts"]["photos"]:
            raise UsageError(f"{part} does not exist; give the results files of all shards: defnet merge OUT PART...")
        if not record["finished"]:
            raise _unfinished(part)
        return {key: record[key] for key in (*_SAME, "shard", "counts", "seconds", "device", "versions", "decoder")}
    except FileNotFoundError:
        # A run that is killed leaves no record, but what it goes on from.
        if journal.path_beside(part).exists() or parquet_log.path_of(part).exists():
            raise _unfinished(part) from None
        what = f"there is no {beside.name} beside it" if part.exists() else "does not exist"
        raise UsageError(f"{part}: {what}; give results files that `defnet score --out` wrote") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{beside} is not a record of this defnet; score the part again") from error


def _unfinished(part: Path) -> UsageError:
    return UsageError(f"{part} is of an interrupted run; finish it first, with the same command and --resume")


def _joined(parts: Sequence[Path], records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """One record of all, after checking that they belong together."""
    for key in _SAME:
        for part, record in zip(parts, records, strict=True):
            if _essence(record[key]) != _essence(records[0][key]):
                raise UsageError(f"{parts[0]} and {part} were made with another {key}; score one of them again")
    shards = [record["shard"] for record in records if record["shard"]]
    counts = {shard.partition("/")[2] for shard in shards}
    if len(counts) > 1:
        raise UsageError(f"the parts are shards of different splits: {', '.join(sorted(shards))}")
    if shards and len(shards) == len(parts):
        missing = {f"{k}/{count}" for count in counts for k in range(1, int(count) + 1)} - set(shards)
        if missing:
            raise UsageError(
                f"shard {', '.join(sorted(missing))} is missing; name its results file too, even if it held no photo"
            )
    total = {key: sum(record["counts"][key] for record in records) for key in records[0]["counts"]}
    if not total["photos"]:
        raise UsageError("the parts hold no rows; there is nothing to merge")
    return {
        **{key: records[0][key] for key in _SAME},
        "shard": None,
        "counts": total,
        "seconds": round(sum(record["seconds"] for record in records), 3),
        "finished": True,
        "device": ", ".join(sorted({record["device"] for record in records})),
        "versions": records[0]["versions"],
        "decoder": records[0]["decoder"],
        "parts": [{"file": part.name, **record} for part, record in zip(parts, records, strict=True)],
    }


def _essence(value: Any) -> Any:
    """A model is what it holds, not what its file is called."""
    return value.get("sha256", value) if isinstance(value, dict) else value


def _rows(part: Path, columns: Sequence[str]) -> Generator[Row, None, None]:
    """The rows of a part; columns are checked before the first."""
    try:
        if part.suffix.lower() == PARQUET:
            yield from parquet.read(part)
            return
        form = format_of(part)
        header = header_line(form, columns).encode()
        with part.open("rb") as file:
            if file.read(len(header)) != header:
                raise UsageError(f"{part} has other columns than this defnet writes: {', '.join(columns)}")
            file.seek(0)
            yield from rows_from_lines(file, form)
    except OSError as error:
        raise UsageError(f"{part} cannot be read: {error.strerror or error}") from error
    except (ValueError, TypeError, csv.Error) as error:
        raise UsageError(f"{part} is damaged or has other columns than this defnet writes; score it again") from error


def _merged(streams: Sequence[Iterator[tuple[bytes, Path, Row]]]) -> Iterator[Row]:
    for _, group in groupby(heapq.merge(*streams, key=_first), key=_first):
        owner: Path | None = None
        for _, part, row in group:
            owner = owner or part
            if part != owner:
                raise UsageError(f"{archive_of(row.path)} is both in {owner} and in {part}; give each part once")
            yield row


def _first(item: tuple[bytes, Path, Row]) -> bytes:
    return item[0]


def _sorted(part: Path, rows: Iterator[Row], count: int) -> Iterator[tuple[bytes, Path, Row]]:
    """The rows with their keys, after checking that they are all there and in order."""
    key = _parquet_key if part.suffix.lower() == PARQUET else order_key
    before, name, seen = b"", "", 0
    for row in rows:
        now = key(row.path)
        # An archive may hold two members of one name.
        if now < before or (row.path == name and archive_of(name) == name):
            what = "twice" if row.path == name else "out of order"
            raise UsageError(f"{part} holds {row.path} {what}; give a file as `defnet score` wrote it")
        yield now, part, row
        before, name, seen = now, row.path, seen + 1
    if seen != count:
        raise UsageError(f"{part} holds {seen} rows and its record says {count}; complete it with --resume")


def _parquet_key(name: str) -> bytes:
    """Parquet holds text only; sorted were the bytes that its escapes stand for."""
    return _NOT_UTF8.sub(lambda escape: bytes([int(escape[1], 16)]), order_key(name))
