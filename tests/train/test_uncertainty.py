"""Uncertainty against SciPy, hand arithmetic, and laws that hold whatever the numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from defnet_train.nig import Nig, nig_nll
from defnet_train.uncertainty import (
    LEVELS,
    conformal_factor,
    photos_needed,
    reliability,
    sparsification,
    spearman_interval,
    student_nll,
    uncertainty,
)


def drawn_nigs(count: int, seed: int = 0) -> np.ndarray:
    """Parameters (delta, v, alpha, beta) away from every special value, (N, 4)."""
    rng = np.random.default_rng(seed)
    draws = [rng.uniform(low, high, count) for low, high in ((1, 5), (0.3, 6), (1.4, 9), (0.05, 2))]
    return np.column_stack(draws)


def drawn_outputs(count: int, factor: float = 1.0, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """A model whose opinion scores really come from its predictive distributions, widened by a factor."""
    nig = drawn_nigs(count, seed)
    delta, v, alpha, beta = nig.T
    scale = np.sqrt(beta * (1 + v) / (v * alpha))
    target = stats.t.rvs(2 * alpha, loc=delta, scale=factor * scale, random_state=np.random.default_rng(seed + 1))
    half = factor * stats.t.ppf(0.975, 2 * alpha) * scale
    outputs = {
        "fused_score": delta,
        "interval": np.column_stack([delta - half, delta + half]),
        "aleatoric": beta / (alpha - 1),
        "epistemic": beta / (v * (alpha - 1)),
        "nig": nig,
    }
    return outputs, target


def test_uncertainty_figures_by_hand() -> None:
    outputs = {
        "fused_score": np.array([2.0, 3.0, 4.0, 2.5]),
        "interval": np.array([[1.0, 3.0], [2.5, 3.5], [3.0, 5.0], [2.0, 3.0]]),
        "aleatoric": np.array([0.01, 0.04, 0.09, 0.16]),
        "epistemic": np.array([0.0, 0.01, 0.01, 0.02]),
        "nig": np.array([[2.0, 1, 2, 0.1], [3.0, 2, 3, 0.2], [4.0, 1, 2, 0.3], [2.5, 1, 4, 0.4]]),
    }
    found = uncertainty(outputs, np.array([2.1, 3.6, 4.4, 3.0]))
    assert found["coverage"] == pytest.approx(3 / 4), "3.6 is above 3.5; 3.0 on the edge is inside"
    assert found["width"] == pytest.approx((2 + 1 + 2 + 1) / 4)
    assert found["error_rank"] == pytest.approx(0.4)  # errors rank 1 4 2 3, deviations 1 2 3 4
    assert found["error_rank_low"] < 0.4 < found["error_rank_high"]
    assert 0 < found["ause"] < found["ause_random"], "better than chance, not perfect"


@pytest.mark.parametrize(("count", "place"), [(3, 3), (19, 19), (20, 20), (39, 38), (99, 95), (199, 190)])
def test_the_conformal_factor_is_the_order_statistic_of_split_conformal(count: int, place: int) -> None:
    ratio = np.random.default_rng(0).permutation(np.arange(1, count + 1)).astype(float)
    half = np.linspace(0.5, 2, count)
    assert conformal_factor(ratio * half, half) == pytest.approx(place)


def test_the_conformal_factor_covers_new_photos_whatever_the_law_of_the_errors() -> None:
    rng = np.random.default_rng(0)

    def errors(count: int) -> tuple[np.ndarray, np.ndarray]:
        half = rng.uniform(0.2, 1.5, count)
        return half * rng.exponential(2.0, count), half  # far wider than the half widths claim

    factor = conformal_factor(*errors(2000))
    residual, half = errors(20000)
    assert np.mean(residual <= half) < 0.5, "uncalibrated intervals are far too narrow here"
    assert np.mean(residual <= factor * half) == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize("level", [0.8, 0.9, 0.95, 0.99])
def test_fewer_photos_than_needed_cannot_promise_the_level(level: float) -> None:
    fewest = photos_needed(level)
    assert np.ceil((fewest + 1) * level - 1e-9) <= fewest, "the quantile is one of the photos"
    assert np.ceil(fewest * level - 1e-9) > fewest - 1, "with one photo less it is beyond the largest"
    assert photos_needed(0.95) == 19


def test_the_likelihood_is_the_loss_of_training() -> None:
    nig = drawn_nigs(50)
    target = np.random.default_rng(9).uniform(1, 5, 50)
    in_torch = nig_nll(Nig(*torch.from_numpy(nig.T.copy())), torch.from_numpy(target))
    np.testing.assert_allclose(student_nll(nig, target), in_torch.numpy(), rtol=1e-9)


def test_intervals_of_the_right_law_cover_every_level() -> None:
    for factor in (1.0, 1.7):
        outputs, target = drawn_outputs(8000, factor)
        np.testing.assert_allclose(reliability(outputs, target), LEVELS, atol=0.018)
        low, high = outputs["interval"].T
        assert np.mean((low <= target) & (target <= high)) == pytest.approx(0.95, abs=0.008)


def test_intervals_of_the_wrong_width_show_in_the_reliability_diagram() -> None:
    outputs, target = drawn_outputs(4000, 2.0)
    too_narrow = {**outputs, "interval": (outputs["interval"] + outputs["fused_score"][:, None]) / 2}
    covered = reliability(too_narrow, target)
    assert (covered < LEVELS - 0.02).all()
    assert (np.diff(covered) >= 0).all()


def test_coverage_at_the_nominal_level_is_that_of_the_interval() -> None:
    outputs, target = drawn_outputs(500, 1.3, seed=6)
    assert reliability(outputs, target, np.array([0.95]))[0] == pytest.approx(uncertainty(outputs, target)["coverage"])


def test_sparsification_by_hand() -> None:
    error, unsure = np.array([0.4, 0.1, 0.3]), np.array([3.0, 2.0, 1.0])
    fractions, by_unsure, oracle = sparsification(error, unsure)
    mean = 0.8 / 3
    np.testing.assert_allclose(fractions, [0, 1 / 3, 2 / 3])
    np.testing.assert_allclose(by_unsure, np.array([mean, 0.2, 0.3]) / mean, err_msg="the photo of 0.4 goes first")
    np.testing.assert_allclose(oracle, np.array([mean, 0.2, 0.1]) / mean)


def test_ause_is_zero_for_perfect_ranking_and_larger_than_chance_for_a_reversed_one() -> None:
    outputs, target = drawn_outputs(300)
    error = np.abs(outputs["fused_score"] - target)

    def ause(variance: np.ndarray) -> tuple[float, float]:
        found = uncertainty({**outputs, "aleatoric": variance, "epistemic": np.zeros(300)}, target)
        return found["ause"], found["ause_random"]

    assert ause(error)[0] == pytest.approx(0, abs=1e-12)
    reversed_area, chance = ause(1 / error)
    assert reversed_area > chance > 0.2


def test_what_has_no_rank_correlation_has_no_interval_either() -> None:
    for first in ([0.3], [0.3, 0.3, 0.3]):
        assert np.isnan(spearman_interval(np.array(first), np.arange(len(first), dtype=float))).all()


def test_the_bootstrap_interval_agrees_with_fishers_transformation() -> None:
    rng = np.random.default_rng(2)
    first = rng.normal(size=400)
    second = 0.6 * first + 0.8 * rng.normal(size=400)
    rank = stats.spearmanr(first, second).statistic
    # Bonett and Wright: the deviation of atanh(rank) is sqrt((1 + rank^2 / 2) / (n - 3)).
    reach = 1.96 * np.sqrt((1 + rank**2 / 2) / 397)
    low, high = spearman_interval(first, second)
    assert low == pytest.approx(np.tanh(np.arctanh(rank) - reach), abs=0.02)
    assert high == pytest.approx(np.tanh(np.arctanh(rank) + reach), abs=0.02)
    assert spearman_interval(first, second) == (low, high), "the same figure every time"
