"""``--shard i/n``: the same split of the photos on every machine, whatever order they are found in."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass

from defnet_infer.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """One of `count` disjoint parts that together are all photos."""

    index: int
    """From 1 to `count`."""
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``2/8``.

        Raises:
            UsageError: If it is not of this form, or the index is not from 1 to the count.
        """
        numbers = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        if not numbers or not 1 <= int(numbers[1]) <= int(numbers[2]):
            raise UsageError(f"--shard {text}: give a part and the number of parts, from 1/8 to 8/8")
        return cls(int(numbers[1]), int(numbers[2]))

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, relative: str) -> bool:
        """Whether a photo belongs to this part.

        Args:
            relative: Its path below the folder that was given, so that machines may keep the folder anywhere.
        """
        digest = hashlib.sha256(os.fsencode(relative.replace(os.sep, "/"))).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1
