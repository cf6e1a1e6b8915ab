"""Do two ways of scoring the same photos agree? The bounds of every precision, and the figures held against them.

Differences are of scores on the 1 to 5 scale. Uncertainty is compared relatively, because a variance has no
natural unit to be wrong by. Needs NumPy only, so that it runs wherever `defnet score` does.

Legend: N photo, C class.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from defnet_infer.evidential import t_quantile_975
from defnet_infer.sessions import Outputs
from defnet_infer.taxonomy import TASKS
from defnet_infer.verdict import Check, Verdict

Numbers = npt.NDArray[np.float64]
Precision = Literal["float32", "float16", "int8"]
Run = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.uint8]], Outputs]
"""Crops (B, 15, 224, 224, 3) and overviews (B, 224, 224, 3) to outputs."""

SCORES = ("score", "fused_score")
VARIANCES = ("aleatoric", "epistemic")
COMPARED = (*SCORES, *VARIANCES, "interval", "nig", *TASKS)
"""Outputs that are compared, as far as the model has them."""
TIE = 1e-5
"""Classes whose probabilities differ by less in the reference are tied: naming either is right."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How far a file may be from the float32 PyTorch model. None: reported, not held."""

    score_max: float | None = None
    score_p99: float | None = None
    score_mean: float | None = None
    srcc: float | None = None
    labels: float | None = None
    """Share of photos whose most likely class is the same."""
    uncertainty_p99: float = 0.02
    """Relative error of variances and interval width."""
    coverage: float = 0.005
    """Change of the share of opinions that the interval holds."""
    batch: float | None = None
    """Between a photo alone, in a batch, and in the batch in another order."""


BOUNDS: dict[Precision, Bounds] = {
    # Differences this small move no label but a tied one, so none may move.
    "float32": Bounds(score_max=1e-4, labels=1.0, batch=1e-4),
    "float16": Bounds(score_max=0.03, score_p99=0.01, score_mean=0.003, srcc=0.9995, labels=0.995, batch=5e-3),
    # Activations are scaled by the range of the call they are in, so photos of one call touch each other. Scoring
    # on the CPU hands over one photo a call.
    "int8": Bounds(score_mean=0.02, srcc=0.998),
}


def compare(
    reference: Outputs,
    candidate: Outputs,
    names: Sequence[str],
    *,
    precision: Precision,
    between: tuple[str, str],
    batch_difference: float | None = None,
    notes: Sequence[str] = (),
) -> Verdict:
    """Hold the outputs of one way of scoring against those of another.

    Args:
        reference: What is right: those of `COMPARED` that the model has, each with N >= 1 photos on its first axis.
        candidate: The same photos, scored the other way.
        names: What to call the photos.
        precision: Whose bounds to hold.
        between: Reference and candidate in words.
        batch_difference: What `batch_difference` measured, if it did.
        notes: For the reader of the verdict.

    Raises:
        ValueError: If there is no photo, or the two are not of the same photos.
    """
    count = len(names)
    if count == 0:
        raise ValueError("nothing to compare: no photos")
    names_of = [[name for name in COMPARED if name in outputs] for outputs in (reference, candidate)]
    if names_of[0] != names_of[1]:
        raise ValueError("reference and candidate do not have the same outputs")
    pairs = {
        name: (np.asarray(reference[name], np.float64), np.asarray(candidate[name], np.float64)) for name in names_of[0]
    }
    if any(len(a) != count or a.shape != b.shape for a, b in pairs.values()):
        raise ValueError("reference and candidate are not of the same photos")
    bounds = BOUNDS[precision]
    finite_N = np.all([np.isfinite(a.reshape(count, -1)).all(axis=1) for pair in pairs.values() for a in pair], axis=0)
    broken = int(count - finite_N.sum())
    checks = [Check(what="photos with an output that is no number", value=broken, bound=0)]
    difference_N = np.max([np.abs(b - a) for a, b in (pairs[name] for name in SCORES if name in pairs)], axis=0)
    if broken < count:
        checks += _figures({name: (a[finite_N], b[finite_N]) for name, (a, b) in pairs.items()}, bounds)
    if batch_difference is not None:
        checks.append(
            Check(what="alone, in a batch, in another order: max", value=batch_difference, bound=bounds.batch)
        )
    # A photo without numbers is worse than any difference.
    worst = (
        int(np.where(np.isfinite(difference_N), difference_N, np.inf).argmax())
        if not broken
        else int(finite_N.argmin())
    )
    return Verdict(
        reference=between[0],
        candidate=between[1],
        precision=precision,
        photos=count,
        checks=tuple(checks),
        worst_photo=names[worst],
        worst_difference=float(difference_N[worst]),
        notes=tuple(notes),
    )


def _figures(pairs: dict[str, tuple[Numbers, Numbers]], bounds: Bounds) -> list[Check]:
    checks = []
    for name in (name for name in SCORES if name in pairs):
        reference, candidate = pairs[name]
        difference = np.abs(candidate - reference)
        checks += [
            Check(what=f"{name}: max difference", value=float(difference.max()), bound=bounds.score_max),
            Check(what=f"{name}: p99", value=float(np.percentile(difference, 99)), bound=bounds.score_p99),
            Check(what=f"{name}: mean", value=float(difference.mean()), bound=bounds.score_mean),
            _rank_check(name, reference, candidate, bounds.srcc),
        ]
    checks += [_label_check(task, *pairs[task], bounds.labels) for task in TASKS if task in pairs]
    if "interval" in pairs:
        checks += _uncertainty_checks(pairs, bounds)
    return checks


def _uncertainty_checks(pairs: dict[str, tuple[Numbers, Numbers]], bounds: Bounds) -> list[Check]:
    checks = []
    width = tuple(interval[:, 1] - interval[:, 0] for interval in pairs["interval"])
    for name, (reference, candidate) in {**{name: pairs[name] for name in VARIANCES}, "interval width": width}.items():
        error = np.abs(candidate - reference) / np.abs(reference)
        checks += [
            Check(
                what=f"{name}: relative error, p99",
                value=float(np.percentile(error, 99)),
                bound=bounds.uncertainty_p99,
                percent=True,
            ),
            Check(what=f"{name}: relative error, max", value=float(error.max()), percent=True),
        ]
    change = expected_coverage(pairs["interval"][1], *_reference_t(pairs)) - expected_coverage(
        pairs["interval"][0], *_reference_t(pairs)
    )
    checks.append(
        Check(what="interval coverage: change", value=abs(float(change.mean())), bound=bounds.coverage, percent=True)
    )
    return checks


def srcc(a: Numbers, b: Numbers) -> float | None:
    """Spearman's rank correlation, ties sharing their mean rank; None where one of them has no spread."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return None
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Numbers) -> Numbers:
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Numbers = (last - (counts - 1) / 2)[index]
    return ranks


def _rank_check(name: str, reference: Numbers, candidate: Numbers, bound: float | None) -> Check:
    count, value = len(reference), srcc(reference, candidate)
    undecided = ""
    if value is None:
        if np.ptp(reference) == 0:
            undecided = f"the reference gives all {count} photos the same {name}"
        else:
            value = 0.0  # The candidate lost an order that is there.
    elif bound is not None and value < bound and 12 / (count * (count**2 - 1)) > 1 - bound:
        # Swapping two neighbours costs 12 / (n (n^2 - 1)).
        undecided = f"{count} photos are too few, one swap of neighbours is beyond the bound"
    return Check(what=f"{name}: SRCC", value=value, bound=bound, at_least=True, undecided=undecided)


def _label_check(task: str, reference_NC: Numbers, candidate_NC: Numbers, bound: float | None) -> Check:
    count = len(reference_NC)
    chosen = candidate_NC.argmax(axis=1)
    agree = reference_NC[np.arange(count), chosen] >= reference_NC.max(axis=1) - TIE
    undecided = ""
    if bound is not None and bound < 1 and agree.sum() == count - 1 and 1 / count > 1 - bound:
        undecided = f"{count} photos are too few, one of them is beyond the bound"
    return Check(
        what=f"{task}: same label",
        value=float(agree.mean()),
        bound=bound,
        at_least=True,
        percent=True,
        undecided=undecided,
    )


def _reference_t(pairs: dict[str, tuple[Numbers, Numbers]]) -> tuple[Numbers, Numbers, Numbers]:
    """Mean, scale and degrees of freedom of the reference's calibrated predictive Student-t, each (N,)."""
    nig_N4, interval = pairs["nig"][0], pairs["interval"][0]
    dof = 2 * nig_N4[:, 2]
    # Calibration widened the scale; the interval tells by how much.
    scale: Numbers = (interval[:, 1] - interval[:, 0]) / 2 / t_quantile_975(dof)
    return nig_N4[:, 0], scale, dof


def expected_coverage(interval_N2: Numbers, mean_N: Numbers, scale_N: Numbers, dof_N: Numbers) -> Numbers:
    """Share of opinions in each interval if opinions follow a Student-t, (N,).

    Photos that are checked have no opinions with them, so the reference's own belief stands in for people.
    """
    low, high = (_t_mass(z, dof_N) for z in ((interval_N2 - mean_N[:, None]) / scale_N[:, None]).T)
    return high - low


def _t_mass(z_N: Numbers, dof_N: Numbers) -> Numbers:
    """Student-t probability from 0 to z, negative for negative z.

    With tan u = z / sqrt(dof) it is a constant times the integral of cos(u)^(dof - 1), a smooth integrand over a
    finite range, which Gauss-Legendre nodes integrate to better than 1e-9.
    """
    nodes, weights = np.polynomial.legendre.leggauss(64)
    half_N = np.arctan(z_N / np.sqrt(dof_N)) / 2
    integral_N = half_N * (np.cos(half_N[:, None] * (nodes + 1)) ** (dof_N[:, None] - 1) @ weights)
    log_constant = [math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2) - math.log(math.pi) / 2 for dof in dof_N]
    mass: Numbers = np.exp(log_constant) * integral_N
    return mass


def batch_difference(run: Run, crops: npt.NDArray[np.uint8], overview: npt.NDArray[np.uint8]) -> float:
    """Largest difference of any photo's scores alone, in one batch, and in that batch in reverse order.

    Args:
        run: Takes a whole batch in one call.
        crops: (B, 15, 224, 224, 3), B >= 2.
        overview: (B, 224, 224, 3).
    """
    together, reverse = run(crops, overview), run(crops[::-1].copy(), overview[::-1].copy())
    alone = [run(crops[k : k + 1], overview[k : k + 1]) for k in range(len(crops))]
    differences = [
        np.asarray(other, np.float64) - together[name]
        for name in (name for name in SCORES if name in together)
        for other in (reverse[name][::-1], np.concatenate([outputs[name] for outputs in alone]))
    ]
    return float(np.abs(differences).max())
