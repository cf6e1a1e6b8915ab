"""Group maximum differentiation: photos that one model calls equal and another calls most different.

Ma et al., "Group MAD Competition", CVPR 2016. A person who looks at such a pair sees at once which model is wrong: if
the two photos look alike in quality, the attacker; if one is clearly better, the defender.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from defnet_infer.errors import DatasetError

LEVELS = (0.1, 0.5, 0.9)
"""Where on the defender's scale pairs are sought, as quantiles of its scores: bad, middling, good photos."""
WINDOW = 0.05
"""Share of all photos that counts as equal for the defender: those nearest in rank to the level."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two photos of nearly equal score for the defender."""

    defender: str
    attacker: str
    level: float
    better: str
    """The photo that the attacker prefers."""
    worse: str
    defender_scores: tuple[float, float]
    """Of the better and of the worse."""
    attacker_scores: tuple[float, float]

    @property
    def attack(self) -> float:
        """The attacker's difference, in its own unit."""
        return self.attacker_scores[0] - self.attacker_scores[1]


def pairs(
    first: tuple[str, Mapping[str, float]],
    second: tuple[str, Mapping[str, float]],
    levels: Sequence[float] = LEVELS,
    window: float = WINDOW,
) -> list[Pair]:
    """Pairs with each model as defender, in the order of the levels.

    Args:
        first: Name and scores by photo of a model; larger is better, on any scale.
        second: The same of the other. Photos that only one of them scored are left out.
        levels: Quantiles, 0 to 1.
        window: Share of photos that are equal for the defender; at least two photos are.

    Raises:
        DatasetError: If fewer than two photos have both scores.
    """
    names = sorted(set(first[1]) & set(second[1]))
    if len(names) < 2:
        raise DatasetError(f"{first[0]} and {second[0]} have {len(names)} photos in common; two are needed for a pair")
    found = []
    for (defender, by_defender), (attacker, by_attacker) in ((first, second), (second, first)):
        defence = np.array([by_defender[name] for name in names])
        attack = np.array([by_attacker[name] for name in names])
        order = np.argsort(defence, kind="stable")
        count = min(max(round(window * len(names)), 2), len(names))
        for level in levels:
            start = round(level * (len(names) - 1) - (count - 1) / 2)
            equal = order[np.clip(start, 0, len(names) - count) :][:count]
            ranked = equal[np.argsort(attack[equal], kind="stable")]  # Two photos, also where the attacker sees none.
            worse, better = ranked[0], ranked[-1]
            found.append(
                Pair(
                    defender=defender,
                    attacker=attacker,
                    level=level,
                    better=names[better],
                    worse=names[worse],
                    defender_scores=(float(defence[better]), float(defence[worse])),
                    attacker_scores=(float(attack[better]), float(attack[worse])),
                )
            )
    return found
