"""Learning rate by epoch, as a factor of the starting rate. Every parameter group follows the same shape."""

from __future__ import annotations

import math

HALF_PERIOD = 5


def learning_rate_factor(kind: str, epoch: int, epochs: int) -> float:
    """Factor for an epoch, counted from 0.

    Args:
        kind: ``liqe_cyclic``: LIQE's cosine with half period 5 that is never restarted, its zero-rate epoch left
            out, so that the rate falls for five epochs, rises for four, and so on. ``cosine``: one fall over
            all epochs. ``constant``.
        epoch: 0 to epochs - 1.
        epochs: Length of the whole run.
    """
    if kind == "liqe_cyclic":
        step = epoch % (2 * HALF_PERIOD - 1)
        step += step >= HALF_PERIOD
        return 0.5 * (1 + math.cos(math.pi * step / HALF_PERIOD))
    if kind == "cosine":
        return 0.5 * (1 + math.cos(math.pi * epoch / epochs))
    assert kind == "constant", kind
    return 1.0
