"""The runtimes that can run an exported file, one small class each behind one protocol."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Outputs = dict[str, npt.NDArray[Any]]
"""Output name -> array with the batch on its first axis, as in `Contract.outputs`."""


class Session(Protocol):
    """A loaded model on one device."""

    device: str
    """What really runs the model, such as ``cpu`` or ``cuda``; goes into the run's record."""

    def run(self, crops: npt.NDArray[np.uint8], overview: npt.NDArray[np.uint8]) -> Outputs:
        """Score a batch of B >= 1 photos.

        Args:
            crops: (B, 15, 224, 224, 3), RGB.
            overview: (B, 224, 224, 3), RGB.

        Raises:
            SessionError: If the runtime fails, for example because device memory is full.
        """
        ...

    def close(self) -> None:
        """Free the model and its memory. The session cannot be used afterwards."""
        ...
