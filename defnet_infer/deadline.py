"""Give up on a decode that hangs: a storage that stopped answering, a file that sends a decoder in circles.

A thread cannot be killed. So a decode thread lends the work to a helper thread and waits for a limited time; a
helper that is late is left behind, and the next photo gets a new one. Helpers are daemons: one that never comes
back does not keep the process from ending. What holds Python's interpreter lock while it hangs cannot be
given up on; the decoders of Pillow and pillow-heif let go of it.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from defnet_infer.errors import DefnetError, PhotoError

DECODE_SECONDS = 60.0
MOST_LATE = 32
"""Helpers left behind at one time. Each may hold a whole photo, so a run does not collect them without end."""

Work = TypeVar("Work")
Result = TypeVar("Result")


class Deadline(Generic[Work, Result]):
    """A function with a time limit, to be called from several threads.

    Args:
        function: What may hang.
        seconds: The limit; 0 for none.
    """

    def __init__(self, function: Callable[[Work], Result], seconds: float = DECODE_SECONDS) -> None:
        self._function = function
        self._seconds = min(seconds, threading.TIMEOUT_MAX)
        self._idle: deque[_Helper[Work, Result]] = deque()
        self._late: list[_Helper[Work, Result]] = []
        self._lock = threading.Lock()

    def __call__(self, work: Work) -> Result:
        """The function's result or exception.

        Raises:
            PhotoError: If the function takes longer than the limit.
            DefnetError: If too many calls hang at the same time, which is no fault of single photos.
        """
        if not self._seconds:
            return self._function(work)
        try:
            helper = self._idle.pop()
        except IndexError:
            helper = _Helper(self._function)
        helper.begin(work)
        try:
            result, error = helper.answers.get(timeout=self._seconds)
        except queue.Empty:
            self._leave_behind(helper)
            raise PhotoError(
                f"decoding took longer than {self._seconds:g} s and was given up; allow more with --decode-timeout"
            ) from None
        self._idle.append(helper)
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def _leave_behind(self, helper: _Helper[Work, Result]) -> None:
        helper.dismiss()
        with self._lock:
            self._late = [late for late in self._late if late.alive]
            self._late.append(helper)
            hanging = len(self._late)
        if hanging >= MOST_LATE:
            raise DefnetError(
                f"{hanging} photos hang at the same time, so the storage seems to be gone; the rows before are kept, "
                "go on with --resume when it is back"
            )

    def close(self) -> None:
        """Dismiss the helpers; those that hang end whenever their work does, or with the process."""
        while self._idle:
            self._idle.pop().dismiss(wait=True)

    def __enter__(self) -> Deadline[Work, Result]:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Helper(Generic[Work, Result]):
    """A thread that does one piece of work at a time."""

    def __init__(self, function: Callable[[Work], Result]) -> None:
        self._function = function
        self._work: queue.SimpleQueue[tuple[Work] | None] = queue.SimpleQueue()
        self.answers: queue.SimpleQueue[tuple[Result | None, Exception | None]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="decode-helper", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def begin(self, work: Work) -> None:
        self._work.put((work,))

    def dismiss(self, *, wait: bool = False) -> None:
        self._work.put(None)
        if wait:
            self._thread.join()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            try:
                self.answers.put((self._function(*work), None))
            except Exception as error:
                self.answers.put((None, error))
            del work  # Or an array would be held until the next one comes.
