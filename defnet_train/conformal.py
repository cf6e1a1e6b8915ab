"""What is fitted on photos that trained nothing: the scale of noise from marginals, and the conformal factor.

Such photos are those of the validation part (split conformal prediction), or every photo in turn, each scored by a
model that was trained without it (`folds`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from defnet_train.batches import ViewSource
from defnet_train.evaluation import Outputs, predict
from defnet_train.model import Defnet
from defnet_train.run_data import RunData
from defnet_train.uncertainty import conformal_factor, total_variance

ON_THE_EDGE = 1 + 1e-5
"""The photo that sets the factor lies on the edge of its interval; float32 rounding must not leave it outside."""


@dataclass(frozen=True)
class HeldOut:
    """Rated photos, each with a model that did not train on it."""

    source: ViewSource
    """Where the views come from."""
    parts: Sequence[tuple[Defnet, Sequence[int]]]
    """Models, and the photos of the source that each scores."""
    target: npt.NDArray[np.floating]
    """Opinion scores on [1, 5] of the photos of all parts, one after another."""
    device: torch.device | None = None
    """Where models score, one after another; each goes back to where it was. None: where each is."""

    @classmethod
    def of(
        cls,
        source: ViewSource,
        parts: Sequence[tuple[Defnet, Sequence[int]]],
        data: RunData,
        device: torch.device | None = None,
    ) -> HeldOut:
        """Held-out photos with the opinion scores of a run's data."""
        photos = data.at([index for _, indices in parts for index in indices])
        return cls(source, parts, np.array([photo.target for photo in photos], dtype=float), device)

    def predict(self, progress: Callable[[int], None] = lambda _: None) -> Outputs:
        """What the models say of their photos; see `evaluation.predict`."""
        found = []
        for model, indices in self.parts:
            home = model.calibration.device
            model.to(self.device or home)
            found.append(predict(model, self.source, indices, progress))
            model.to(home)
        return {name: np.concatenate([outputs[name] for outputs in found]) for name in found[0]}


def passes(model: Defnet) -> int:
    """How often `calibrate` scores every held-out photo."""
    return 3 if model.noise_factors else 1


def calibrate(
    model: Defnet, held_out: HeldOut, progress: Callable[[int], None] = lambda _: None
) -> tuple[float, Outputs]:
    """Fit what is fitted on photos not trained on, and store it in the model.

    That is the conformal factor of the interval, and before it, where noise is taken from the marginal
    (``model.head.noise``), the factor that makes the mean of total variance that of squared errors.

    Args:
        model: Its `calibration` is set, and `noise_factors`.
        held_out: The photos. Their models may be this one; what is fitted is set in all of them.
        progress: Called with the number of photos done since the last call; see `passes`.

    Returns:
        The conformal factor, and the outputs of the held-out photos under it.
    """
    models = (model, *(scorer for scorer, _ in held_out.parts))
    for one in models:
        one.calibration.fill_(1.0)
    _fit_noise(models, held_out, progress)
    outputs = held_out.predict(progress)
    half = (outputs["interval"][:, 1] - outputs["interval"][:, 0]) / 2
    factor = ON_THE_EDGE * conformal_factor(np.abs(held_out.target - outputs["fused_score"]), half)
    for one in models:
        one.calibration.fill_(factor)
    centre = outputs["fused_score"][:, None]
    return factor, {**outputs, "interval": centre + factor * (outputs["interval"] - centre)}


def _fit_noise(models: Sequence[Defnet], held_out: HeldOut, progress: Callable[[int], None]) -> None:
    """Where noise is taken from the marginal, scale it so that the mean of total variance is that of squared errors.

    Variance is a sum of noise, which the factor multiplies, and of what views disagree about, which it does not.
    """
    factors = [factor for model in models for factor in model.noise_factors]
    if not factors:
        return

    def set_all(value: float) -> None:
        for factor in factors:
            factor.fill_(value)

    def with_factor(value: float) -> Outputs:
        set_all(value)
        return held_out.predict(progress)

    without, outputs = with_factor(0.0), with_factor(1.0)
    disagreement, both = (float(total_variance(found).mean()) for found in (without, outputs))
    squared_error = float(np.square(outputs["fused_score"] - held_out.target).mean())
    noise = both - disagreement
    # Marginals that are all certain have none. Where views disagree by more than they err, a hundredth is left.
    set_all(max((squared_error - disagreement) / noise, 0.01) if noise > 1e-6 else 1.0)
