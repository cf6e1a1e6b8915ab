from __future__ import annotations

import errno
import os

import pytest

from defnet_infer.sources import LONGEST_REASON, short_reason


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EACCES, os.strerror(errno.EACCES), "a.jpg"), "Permission denied"),
        (ValueError("first line\nsecond"), "first line"),
        (ValueError("cannot identify <_io.BytesIO object at 0x7f00>"), "cannot identify"),
        (KeyError(), "KeyError"),
        (ValueError("word " * 22 + "broken"), "word " * 22 + "broken"),
        (ValueError("word " * 22 + "broken off here"), "word " * 22 + "broken ..."),
        (ValueError("x" * 200), "x" * LONGEST_REASON + " ..."),
    ],
)
def test_a_reason_is_one_short_line_that_ends_with_a_word(error: Exception, reason: str) -> None:
    assert short_reason(error) == reason
