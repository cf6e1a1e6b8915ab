"""The runtimes that can run an exported file, one small class each behind one protocol."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Outputs = dict[str, npt.NDArray[Any]]
"""Output name -> array with the batch on its first axis, as in `Contract.outputs`."""

BATCH_SIZE = 8
"""Photos of one call on a GPU, where nothing else is asked for: 128 views."""


class Session(Protocol):
    """A loaded model on one device."""

    device: str
    """What really runs the model, such as ``cpu`` or ``cuda``; goes into the run's record."""
    why: str
    """What was chosen and why, one line for a person."""
    photos_per_call: int
    """The batch that `run` does best with, and at most takes."""
    calls_at_once: int
    """How many threads may call `run` at a time, and should."""

    def run(self, crops: npt.NDArray[np.uint8], overview: npt.NDArray[np.uint8]) -> Outputs:
        """Score a batch of B >= 1 photos. Safe to call from several threads.

        Args:
            crops: (B, 15, 224, 224, 3), RGB.
            overview: (B, 224, 224, 3), RGB; not looked at by a model that has no such input.

        Raises:
            SessionError: If the runtime fails, for example because device memory is full.
        """
        ...

    def close(self) -> None:
        """Free the model and its memory. The session cannot be used afterwards."""
        ...
