"""A decode that hangs is given up on: the others go on, and the process ends."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from defnet_infer import Scorer
from defnet_infer.deadline import MOST_LATE, Deadline
from defnet_infer.errors import DefnetError, PhotoError
from defnet_infer.sources import Source
from tests.conftest import MakePhoto


@pytest.fixture
def blocked() -> Iterator[threading.Event]:
    """Blocks until the test is over."""
    event = threading.Event()
    yield event
    event.set()


def test_a_photo_that_hangs_is_a_row_and_the_others_are_scored(
    tiny_model: Path, make_photo: MakePhoto, blocked: threading.Event
) -> None:
    data = make_photo("a.jpg").read_bytes()

    def hang() -> bytes:
        blocked.wait()
        return data

    sources = [Source(f"{k}", hang if k in (0, 1, 2, 7) else data) for k in range(12)]
    with Scorer(tiny_model, device="cpu", workers=2, decode_timeout=0.3) as scorer:
        rows = list(scorer.score_sources(sources))
    assert [row.path for row in rows if row.failed] == ["0", "1", "2", "7"]
    assert rows[0].error == "decoding took longer than 0.3 s and was given up; allow more with --decode-timeout"
    assert len({row.score for row in rows if not row.failed}) == 1


def test_a_limit_that_is_not_reached_changes_nothing(tiny_model: Path, make_photo: MakePhoto) -> None:
    folder = make_photo("in/a.jpg").parent
    make_photo("in/b.jpg", seed=1)
    (folder / "c.jpg").touch()
    rows = []
    for limit in (0.0, 60.0):
        with Scorer(tiny_model, device="cpu", decode_timeout=limit) as scorer:
            rows.append(list(scorer.score(folder)))
    assert rows[0] == rows[1]


def test_a_limit_that_no_clock_reaches_is_none(tiny_model: Path, make_photo: MakePhoto) -> None:
    for seconds in (1e10, float("inf")):
        with Scorer(tiny_model, device="cpu", decode_timeout=seconds) as scorer:
            assert [row.failed for row in scorer.score(make_photo("a.jpg"))] == [False]


def test_no_helper_is_left_when_the_rows_are_through(tiny_model: Path, make_photo: MakePhoto) -> None:
    before = threading.active_count()
    with Scorer(tiny_model, device="cpu") as scorer:
        list(scorer.score(make_photo("a.jpg")))
        assert threading.active_count() <= before


def test_a_helper_is_used_again_and_one_that_comes_back_late_ends() -> None:
    release = threading.Event()
    with Deadline[bool, int | None](
        lambda wait: release.wait() and None if wait else threading.get_ident(), 0.1
    ) as run:
        first = run(False)
        assert run(False) == first
        with pytest.raises(PhotoError, match="given up"):
            run(True)
        assert run(False) != first
        release.set()
        deadline = time.monotonic() + 5
        while any(thread.ident == first for thread in threading.enumerate()) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert all(thread.ident != first for thread in threading.enumerate())


def test_when_everything_hangs_the_run_ends_and_says_why(blocked: threading.Event) -> None:
    run = Deadline[None, bool](lambda _: blocked.wait(), 0.001)
    for _ in range(MOST_LATE - 1):
        with pytest.raises(PhotoError):
            run(None)
    with pytest.raises(DefnetError, match="storage seems to be gone") as caught:
        run(None)
    assert not isinstance(caught.value, PhotoError)


def test_the_process_ends_though_a_decode_never_does(tiny_model: Path, make_photo: MakePhoto) -> None:
    photo = make_photo("a.jpg")
    code = (
        "import sys, threading\n"
        "from defnet_infer import Scorer\n"
        "from defnet_infer.sources import Source\n"
        "sources = [Source('hangs', lambda: threading.Event().wait() and b''), Source(sys.argv[2], sys.argv[2])]\n"
        "with Scorer(sys.argv[1], device='cpu', decode_timeout=0.2) as scorer:\n"
        "    print([row.status for row in scorer.score_sources(sources)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tiny_model, photo], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "['error', 'ok']\n"
    assert done.stderr == ""
