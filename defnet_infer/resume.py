"""The results of one run, and of the runs that go on with it: the same bytes as if none had been interrupted.

Rows are appended as they come. A run that goes on skips the photos whose row is there, by path, size and
modification time. Where it has to replace rows, or puts new ones between old ones, the new rows stand at the end
until the run ends; then the file is rewritten in order, in one step (`row_order`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import count, takewhile
from pathlib import Path
from types import TracebackType
from typing import IO, TypeVar

from defnet_infer import journal, parquet, parquet_log, row_order
from defnet_infer.errors import DefnetError, UsageError
from defnet_infer.file_lock import FileLock
from defnet_infer.journal import Entry, Identity, Journal, Origin
from defnet_infer.remote import is_url
from defnet_infer.results import COLUMNS, Row, rows_from_lines
from defnet_infer.results_file import PARQUET, ResultsFile, check_is_new

T = TypeVar("T")


class RunResults:
    """Where the rows of a run go: a results file with its journal, or a stream.

    Use it in this order: make it (what cannot be written is found out before a model is loaded), `begin`, `todo`,
    `write` for every row in the order of `todo`, `finish`.

    Args:
        out: ``.csv``, ``.jsonl`` or ``.parquet``; None writes CSV to `stream`.
        stream: Where rows go without a path, binary.
        overwrite: Replace existing results.
        resume: Go on with existing results; where there are none, begin.
        retry_failed: Score photos again whose row is an error. Implies `resume`.
        columns: What is written of a row.

    Raises:
        UsageError: If the results exist, or cannot be written or resumed.
        MissingExtraError: If Parquet is asked for and pyarrow is not installed.
    """

    def __init__(
        self,
        out: Path | None,
        *,
        stream: IO[bytes] | None = None,
        overwrite: bool = False,
        resume: bool = False,
        retry_failed: bool = False,
        columns: Sequence[str] = COLUMNS,
    ) -> None:
        resume = resume or retry_failed
        if resume and overwrite:
            raise UsageError("--overwrite starts over and --resume goes on; give one of them")
        if resume and out is None:
            option = "--retry-failed" if retry_failed else "--resume"
            raise UsageError(f"{option} needs the results file to go on with: --out FILE")
        self.out = out
        self._columns = columns
        self.resumed = 0
        self.kept = 0
        """Rows of earlier runs that `todo` has skipped so far."""
        self.scored = 0
        self.failed = 0
        """Rows of this run with and without a score; after `finish`, those of the whole file."""
        self._overwrite, self._retry_failed = overwrite, retry_failed
        self._past: list[Entry] = []
        self._new: list[Entry] = []
        self._plan: list[int] = []
        self._planned_all = False
        self._pending: deque[tuple[str, Identity, int]] = deque()
        self._journal: Journal | None = None
        self._journal_start = 0
        self._past_origin: Origin | None = None
        self._side = journal.path_beside(out) if out is not None else Path()
        self._parquet = out if out is not None and out.suffix.lower() == PARQUET else None
        self._unpacked = False  # Whether the log holds what the Parquet file holds, and nothing else yet.
        self._log, replace = out, overwrite or resume
        if self._parquet is not None:
            parquet.check_installed()
            self._log = parquet_log.path_of(self._parquet)
            if not replace:
                check_is_new(self._parquet)
                replace = parquet_log.is_empty(self._log)  # Left by a run that was killed before its first row.
        self._lock = FileLock(out) if out is not None else None
        self._file = ResultsFile(self._log, overwrite=replace, stream=stream, columns=columns, lock=self._lock)
        if self._log is not None:
            try:
                self._look_back(self._log, resume=resume)
            except BaseException:
                self.close()
                raise

    def _look_back(self, log: Path, *, resume: bool) -> None:
        """Tidy up after an earlier run; to go on with it, read what is there, and cut off what is not whole."""
        row_order.finish_rewrite(log, self._side)
        if not resume:
            return
        if parquet_log.is_empty(log):
            if self._parquet is None or not self._parquet.exists():
                return
            self._unpacked = True
            draft = row_order.part(log)
            parquet_log.unpack(self._parquet, self._side, draft, self._file.encode, self._columns, self._cannot)
            self._file.take_over(draft)
        with log.open("rb") as results:
            head = results.read(len(self._file.header))
            if not self._file.header.startswith(head):
                raise self._cannot(parquet_log.OTHER_COLUMNS)
            if not self._side.exists():
                raise self._cannot(f"there is no {self._side.name} beside it, so what is done cannot be known")
            results.seek(0)
            past = journal.read(self._side, results, self._file.header, self._cannot)
        self._past, self._past_origin = past.entries, past.origin
        if past.entries:
            self.resumed = past.resumed + 1
            self._journal_start = past.journal_end
            self._file.continue_at(past.results_end)

    def _cannot(self, reason: str) -> UsageError:
        return UsageError(f"cannot resume {self.out}: {reason}; start over with --overwrite, or name another --out")

    def begin(self, origin: Origin) -> None:
        """Say what will make the rows.

        Raises:
            UsageError: If the rows that are there were made by something else.
        """
        if self._log is None:
            return
        if self._past:
            assert self._past_origin is not None
            differing = [key for key in origin if origin[key] != self._past_origin.get(key)]
            if differing:
                what = " and ".join(key.replace("_", " ") for key in differing)
                raise self._cannot(f"its rows were made with another {what}")
        self._origin = origin

    def todo(
        self,
        items: Iterable[T],
        *,
        name: Callable[[T], str] = str,
        identify: Callable[[T], tuple[int, int] | None] | None = None,
        skipped: Callable[[bool], None] = lambda failed: None,
    ) -> Iterator[T]:
        """The items that have no row yet, or whose row is to be made again.

        Args:
            items: Photos in the order that their rows shall have.
            name: What stands in the row's `path`.
            identify: Size and modification time of an item, or None if nothing is known; by default those of the
                file of that name.
            skipped: Called for each that is done, with whether its row is an error.
        """
        if self._log is None:
            yield from items
            return
        rows = row_order.numbered(self._past, range(len(self._past)))
        for item in items:
            key = name(item)
            identity = journal.identify(key) if identify is None else Identity(*(identify(item) or journal.UNKNOWN))
            index = self._take(rows, key, identity)
            # What failed behind a URL may be there by now: nothing tells that it changed.
            if index >= 0 and not (self._past[index].failed and (self._retry_failed or is_url(key))):
                self.kept += 1
                self._plan.append(index)
                skipped(bool(self._past[index].failed))
                continue
            place = len(self._plan)
            if self._past:  # Otherwise rows stand in order as they come, and nothing needs to be remembered.
                self._plan.append(-1)
            self._pending.append((key, identity, place))
            yield item
        self._planned_all = True

    def _take(self, rows: dict[tuple[str, int], int], name: str, identity: Identity) -> int:
        """The place of an item's row among those of earlier runs, which is then no other item's; -1 if it has none."""
        numbered = takewhile(rows.__contains__, ((name, number) for number in count()))
        fitting = [key for key in numbered if rows[key] >= 0 and self._past[rows[key]].identity == identity]
        if not fitting:
            return -1
        # An error that was retried stands before the row that replaces it, until the run ends.
        key = min(fitting, key=lambda key: self._past[rows[key]].failed)
        index, rows[key] = rows[key], -1
        return index

    def write(self, row: Row) -> None:
        """Append the row of the next item of `todo`.

        Raises:
            DefnetError: If the disk is full, or the file is gone or replaced; the rows before are kept.
        """
        self.failed += row.failed
        self.scored += not row.failed
        if self._log is None:
            self._file.write(row)
            return
        name, identity, place = self._pending.popleft()
        line = self._file.encode(row)
        entry = journal.entry_for(name, identity, line, failed=row.failed)
        if self._journal is None:
            self._journal = Journal(self._side, start=self._journal_start, origin=self._origin)
        self._journal.append(entry)
        self._file.append(line)
        if self._past:
            self._plan[place] = len(self._past) + len(self._new)
            self._new.append(entry)

    def finish(self, *, interrupted: bool = False) -> None:
        """Put the rows in order where they are not, and make them Parquet where that is asked for.

        Args:
            interrupted: Photos may be left, so that results which no row has replaced yet stay.

        Raises:
            DefnetError: If the disk is full; every row is kept, and another --resume does the rest. If the file is
                gone or replaced; the rows are kept somewhere else.
        """
        if self._log is None:
            return
        if self._overwrite and self._journal is None:
            if not interrupted:
                self._remove_replaced()
            return
        self._file.check_in_place()
        self._file.sync()
        self._unpacked = False
        try:
            if self._past:
                self._put_in_order()
            if self._parquet is not None and self._log.stat().st_size:
                with self._log.open("rb") as rows:
                    parquet.write(rows_from_lines(rows, "jsonl"), self._parquet, self._columns)
                self._log.unlink()
        except OSError as error:
            raise DefnetError(
                f"cannot complete {self.out}: {error.strerror or error}; no row is lost, run again with --resume"
            ) from error

    def _remove_replaced(self) -> None:
        """Remove results that no row has replaced, as if this run had been the first."""
        self._file.close(remove=True)
        for path in (self._parquet, self._side):
            if path is not None:
                path.unlink(missing_ok=True)

    def _put_in_order(self) -> None:
        assert self._log is not None and self._past_origin is not None and self._lock is not None
        every = self._past + self._new
        order = row_order.final(self._past, self._new, self._plan, planned_all=self._planned_all)
        if order != list(range(len(every))):
            begun = b"".join(map(journal.encode, [self._past_origin, *[{"resumed": True}] * self.resumed]))
            row_order.rewrite(
                self._log,
                self._side,
                self._file.header,
                begun,
                every,
                order,
                lock=self._lock.take,
                before_moving=self._close_files,
            )
        self.failed = sum(every[index].failed for index in order)
        self.scored = len(order) - self.failed

    def rows(self) -> Iterator[Row]:
        """The rows of the finished file, those of earlier runs included."""
        if self._parquet is not None and self._parquet.exists():
            yield from parquet.read(self._parquet)
        elif self._log is not None and self._log.exists():
            with self._log.open("rb") as file:
                yield from rows_from_lines(file, self._file.form)

    def close(self) -> None:
        """Close the files. Without `finish` before, the rows stay as they are, ready to be resumed."""
        self._close_files()
        if self._unpacked and self._journal is None and self._log is not None:
            self._log.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.release()

    def _close_files(self) -> None:
        self._file.close()
        if self._journal is not None:
            self._journal.close()

    def __enter__(self) -> RunResults:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
