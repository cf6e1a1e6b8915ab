"""How many parameters a model has, part by part: every tensor that training can change, counted once."""

from __future__ import annotations

from collections import Counter

from defnet_train.model import Defnet


def parameter_counts(model: Defnet) -> dict[str, int]:
    """Parameters of ``image`` tower, ``text`` tower, ``temperature`` and evidential ``heads``.

    A frozen trunk counts too: it has to be stored and run. Buffers, such as the calibration, do not.
    """
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        counts[_part(name)] += parameter.numel()
    return {part: counts[part] for part in ("image", "text", "temperature", "heads")}


def _part(name: str) -> str:
    if name.startswith("heads."):
        return "heads"
    if name.endswith("logit_scale"):
        return "temperature"
    return "image" if ".visual." in f".{name}" else "text"
