"""From photos to rows: decode in threads, batch, run the session, one row per photo in the order given.

Knows no file format. A photo that cannot be read becomes an error row in its place and touches no other.
Only `in_flight` photos are held at a time, as views, so memory does not grow with the number of photos.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType

import numpy as np

from defnet_infer import photos, views
from defnet_infer.artifact import Artifact, builtin_model_path
from defnet_infer.contract import Preprocess
from defnet_infer.errors import PhotoError
from defnet_infer.results import Row, row_from_outputs
from defnet_infer.sessions import Session
from defnet_infer.sessions.onnxruntime import Device, OnnxRuntimeSession

BATCH_SIZE = 8


def default_workers() -> int:
    """Decode threads for this machine: one per core, at most 8 (more wait for the model)."""
    return min(8, os.cpu_count() or 1)


@dataclass(frozen=True)
class _Prepared:
    """One photo on its way: its views, or why there are none."""

    path: str
    views: views.Views | None = None
    width: int = 0
    height: int = 0
    notes: tuple[str, ...] = ()
    error: str = ""


def score(
    paths: Iterable[str],
    session: Session,
    rule: Preprocess,
    *,
    batch_size: int = BATCH_SIZE,
    workers: int | None = None,
    max_pixels: int = photos.MAX_PIXELS,
) -> Iterator[Row]:
    """Score photos, yielding one row each in the order of `paths`.

    Closing the iterator, or an exception such as KeyboardInterrupt, stops decoding; photos that no thread has
    begun are dropped.

    Args:
        paths: Photo files, as `photos.find` lists them.
        session: The loaded model.
        rule: Its preprocessing rule, `Contract.preprocess`.
        batch_size: Photos handed to the session at once.
        workers: Decode threads; None chooses for this machine.
        max_pixels: Larger photos become error rows.

    Raises:
        SessionError: If the runtime fails.
    """
    workers = workers or default_workers()
    in_flight = 2 * batch_size + workers
    waiting: deque[Future[_Prepared]] = deque()
    pending: list[_Prepared] = []
    source = iter(paths)
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        try:
            while True:
                while len(waiting) < in_flight and (path := next(source, None)) is not None:
                    waiting.append(pool.submit(_prepare, path, rule, max_pixels))
                if not waiting:
                    break
                pending.append(waiting.popleft().result())
                ready = sum(photo.views is not None for photo in pending)
                if ready == batch_size or len(pending) >= in_flight:
                    yield from _rows(pending, session)
                    pending = []
            yield from _rows(pending, session)
        finally:
            for future in waiting:
                future.cancel()


def _prepare(path: str, rule: Preprocess, max_pixels: int) -> _Prepared:
    """Runs in a decode thread. The full-size pixels end here; only views travel on."""
    try:
        photo = photos.decode(path, max_pixels)
        made = views.make(photo.pixels, rule)
    except PhotoError as error:
        return _Prepared(path, error=str(error))
    except MemoryError:
        return _Prepared(path, error="not enough memory to resize it")
    height, width = photo.pixels.shape[:2]
    notes = photo.notes + (("enlarged",) if made.enlarged else ())
    return _Prepared(path, made, width, height, notes)


def _rows(batch: Sequence[_Prepared], session: Session) -> Iterator[Row]:
    good = [photo.views for photo in batch if photo.views is not None]
    if good:
        outputs = session.run(np.stack([v.crops for v in good]), np.stack([v.overview for v in good]))
    index = 0
    for photo in batch:
        if photo.views is None:
            yield Row(path=photo.path, error=photo.error)
        else:
            yield row_from_outputs(
                photo.path, outputs, index, width=photo.width, height=photo.height, notes=photo.notes
            )
            index += 1


class Scorer:
    """Scores photos with a loaded model: the Python form of `defnet score`.

    Example:
        >>> for row in Scorer().score("photos"):  # doctest: +SKIP
        ...     print(row.path, row.score)

    Args:
        model: An exported file; None takes the built-in model.
        device: ``auto``, ``cpu`` or ``cuda``.
        batch_size: Photos handed to the model at once.
        workers: Decode threads; None chooses for this machine.
        threads: Threads of the model on the CPU; 0 uses every core.
        max_pixels: Larger photos become error rows.

    Raises:
        ArtifactError: If the model file cannot be used.
        SessionError: If the device cannot be used.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] | None = None,
        *,
        device: Device = "auto",
        batch_size: int = BATCH_SIZE,
        workers: int | None = None,
        threads: int = 0,
        max_pixels: int = photos.MAX_PIXELS,
    ) -> None:
        self.artifact = Artifact.open(builtin_model_path() if model is None else model)
        self._session: Session = OnnxRuntimeSession(self.artifact.path, device=device, threads=threads)
        self._batch_size = batch_size
        self._workers = workers
        self._max_pixels = max_pixels

    @property
    def device(self) -> str:
        """What really runs the model."""
        return self._session.device

    def score(self, paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> Iterator[Row]:
        """Score files and folders, yielding one row per photo in sorted order; a broken photo is a row with an error.

        Raises:
            UsageError: If a path does not exist or a folder holds no photo.
            SessionError: If the runtime fails.
        """
        given = [paths] if isinstance(paths, (str, os.PathLike)) else paths
        return self.score_files(photos.find(given))

    def score_files(self, paths: Iterable[str]) -> Iterator[Row]:
        """Score exactly these photo files, in this order."""
        return score(
            paths,
            self._session,
            self.artifact.contract.preprocess,
            batch_size=self._batch_size,
            workers=self._workers,
            max_pixels=self._max_pixels,
        )

    def close(self) -> None:
        """Free the model."""
        self._session.close()

    def __enter__(self) -> Scorer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
