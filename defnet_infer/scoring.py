"""From photos to rows: decode in threads, run the model, one row per photo in the order given.

Knows no file format. A photo that cannot be read becomes an error row in its place and touches no other.
Only a few photos are held at a time, as views, so memory does not grow with the number of photos.

Where the session takes one photo per call (the CPU), each photo goes from its decode thread straight to a
model thread: a slow photo holds up nothing but the order of the rows. Where it takes many (a GPU), photos are
batched in order and the next batch is filled while one is running.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from defnet_infer import photos, views
from defnet_infer.contract import Preprocess
from defnet_infer.errors import PhotoError
from defnet_infer.machine import cores
from defnet_infer.results import Row, row_from_outputs
from defnet_infer.sessions import Session

T = TypeVar("T")


def default_workers() -> int:
    """Decode threads for this machine: one per core, at most 16 (more wait for the model)."""
    return min(16, cores())


@dataclass(frozen=True)
class _Prepared:
    """One photo on its way: its views, or why there are none."""

    name: str
    views: views.Views | None = None
    width: int = 0
    height: int = 0
    notes: tuple[str, ...] = ()
    error: str = ""


def score(
    items: Iterable[T],
    session: Session,
    rule: Preprocess,
    *,
    decode: Callable[[T], photos.Photo],
    name: Callable[[T], str] = str,
    workers: int | None = None,
    stop: threading.Event | None = None,
) -> Iterator[Row]:
    """Score photos, yielding one row each in the order of `items`.

    Closing the iterator stops decoding; photos that no thread has begun are dropped. Setting `stop` ends the
    iteration early and in order: photos that a thread has begun still get their rows.

    Args:
        items: Photos, of any type that `decode` takes.
        session: The loaded model.
        rule: Its preprocessing rule, `Contract.preprocess`.
        decode: Makes pixels of one item; called from several threads; raises PhotoError for a broken photo.
        name: What stands in the row's `path`.
        workers: Decode threads; None chooses for this machine.
        stop: Set from outside, for example by a signal handler.

    Raises:
        SessionError: If the runtime fails.
        Exception: What `items` raises, after the rows of those before it.
    """
    workers = workers or default_workers()

    def prepare(item: T) -> _Prepared:
        return _prepare(item, name(item), decode, rule)

    path = _one_by_one if session.photos_per_call == 1 else _in_batches
    with (
        ThreadPoolExecutor(workers, thread_name_prefix="decode") as decoders,
        ThreadPoolExecutor(session.calls_at_once, thread_name_prefix="model") as models,
    ):
        failures: list[Exception] = []
        source = _stoppable(_until_it_fails(items, failures), stop)
        yield from path(source, session, prepare, workers, decoders, models, stop or threading.Event())
        if failures:
            raise failures[0]


def _until_it_fails(items: Iterable[T], failures: list[Exception]) -> Iterator[T]:
    """Items are asked for ahead of time: an error in their making must not lose the rows of those before it."""
    try:
        yield from items
    except Exception as error:
        failures.append(error)


def _stoppable(source: Iterator[T], stop: threading.Event | None) -> Iterator[T]:
    for item in source:
        if stop is not None and stop.is_set():
            return
        yield item


def _prepare(item: T, name: str, decode: Callable[[T], photos.Photo], rule: Preprocess) -> _Prepared:
    """Runs in a decode thread. The full-size pixels end here; only views travel on."""
    try:
        photo = decode(item)
        made = views.make(photo.image, rule)
    except PhotoError as error:
        return _Prepared(name, error=str(error))
    except MemoryError:
        return _Prepared(name, error="not enough memory to resize it")
    width, height = photo.full_size or photo.image.size
    notes = photo.notes + (("enlarged",) if made.enlarged else ())
    return _Prepared(name, made, width, height, notes)


def _one_by_one(
    source: Iterator[T],
    session: Session,
    prepare: Callable[[T], _Prepared],
    workers: int,
    decoders: ThreadPoolExecutor,
    models: ThreadPoolExecutor,
    stop: threading.Event,
) -> Iterator[Row]:
    in_flight = 4 * session.calls_at_once + workers
    waiting: deque[Future[Future[list[Row]]]] = deque()

    def begin(item: T) -> Future[list[Row]]:
        return models.submit(_rows, [prepare(item)], session)

    try:
        while True:
            while len(waiting) < in_flight and (item := next(source, None)) is not None:
                waiting.append(decoders.submit(begin, item))
            if stop.is_set():
                _drop_those_not_begun(waiting)
            if not waiting:
                return
            # Not popped before it is done: an exception from a signal must not lose it for the clean-up.
            yield from waiting[0].result().result()
            waiting.popleft()
    finally:
        _drop_those_not_begun(waiting)
        for running in waiting:
            if running.done() and running.exception() is None:
                running.result().cancel()


def _in_batches(
    source: Iterator[T],
    session: Session,
    prepare: Callable[[T], _Prepared],
    workers: int,
    decoders: ThreadPoolExecutor,
    models: ThreadPoolExecutor,
    stop: threading.Event,
) -> Iterator[Row]:
    in_flight = 2 * session.photos_per_call + workers
    decoding: deque[Future[_Prepared]] = deque()
    running: deque[Future[list[Row]]] = deque()
    pending: list[_Prepared] = []
    try:
        while True:
            while len(decoding) < in_flight and (item := next(source, None)) is not None:
                decoding.append(decoders.submit(prepare, item))
            if stop.is_set():
                _drop_those_not_begun(decoding)
            if len(running) == session.calls_at_once or (running and not decoding and not pending):
                yield from running.popleft().result()
            elif decoding:
                pending.append(decoding.popleft().result())
                ready = sum(photo.views is not None for photo in pending)
                if ready == session.photos_per_call or len(pending) >= in_flight:
                    running.append(models.submit(_rows, pending, session))
                    pending = []
            elif pending:
                running.append(models.submit(_rows, pending, session))
                pending = []
            else:
                return
    finally:
        _drop_those_not_begun(decoding)
        for batch in running:
            batch.cancel()


def _drop_those_not_begun(waiting: deque[Future[T]]) -> None:
    """Threads take jobs in order, so what has not begun is at the end."""
    while waiting and waiting[-1].cancel():
        waiting.pop()


def _rows(batch: Sequence[_Prepared], session: Session) -> list[Row]:
    """Runs in a model thread."""
    good = [photo.views for photo in batch if photo.views is not None]
    if len(good) == 1:
        outputs = session.run(good[0].crops[None], good[0].overview[None])
    elif good:
        outputs = session.run(np.stack([v.crops for v in good]), np.stack([v.overview for v in good]))
    rows, index = [], 0
    for photo in batch:
        if photo.views is None:
            rows.append(Row(path=photo.name, error=photo.error))
        else:
            size = {"width": photo.width, "height": photo.height}
            rows.append(row_from_outputs(photo.name, outputs, index, **size, notes=photo.notes))
            index += 1
    return rows
