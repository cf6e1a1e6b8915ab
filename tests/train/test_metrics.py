"""Figures of merit against SciPy, against arithmetic, and on data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from defnet_train.metrics import (
    agreement,
    conformal_factor,
    distortion_accuracy,
    krcc,
    logistic_fit,
    scene_accuracy,
    srcc,
    uncertainty,
)


def test_rank_correlations_by_hand() -> None:
    prediction, mos = np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 30.0, 20.0, 40.0])
    assert srcc(prediction, mos) == pytest.approx(1 - 6 * 2 / (4 * 15))  # two ranks are off by one
    assert krcc(prediction, mos) == pytest.approx((5 - 1) / 6)  # five pairs in order, one not
    assert srcc(-prediction, mos) == pytest.approx(-0.8)


def test_the_logistic_fit_finds_a_known_logistic() -> None:
    x = np.linspace(1, 5, 80)
    truth = 10 + 80 / (1 + np.exp(-(x - 3.2) / 0.5))
    noise = np.random.default_rng(0).normal(0, 1.0, 80)
    fitted = logistic_fit(x, truth + noise)
    assert fitted is not None
    assert np.abs(fitted - truth).max() < 1.0, "well inside the noise"


def test_the_logistic_fit_also_falls() -> None:
    x = np.linspace(1, 5, 60)
    truth = 90 - 70 / (1 + np.exp(-(x - 2.5) / 0.7))
    noise = np.random.default_rng(1).normal(0, 0.5, 60)
    fitted = logistic_fit(x, truth + noise)
    assert fitted is not None
    assert np.abs(fitted - truth).max() < 1.0


def test_plcc_is_after_the_logistic_and_the_raw_one_is_kept() -> None:
    x = np.linspace(0, 6, 100)
    mos = 1 + 4 / (1 + np.exp(-(x - 3) / 0.2)) + np.random.default_rng(0).normal(0, 0.05, 100)
    found = agreement(x, mos)
    assert found["plcc_raw"] == pytest.approx(stats.pearsonr(x, mos).statistic)
    assert found["plcc"] > 0.99 > 0.95 > found["plcc_raw"]
    assert found["rmse"] == pytest.approx(0.05, abs=0.02), "in units of the opinion score, after the logistic"
    assert found["srcc"] == pytest.approx(stats.spearmanr(x, mos).statistic)
    assert found["krcc"] == pytest.approx(stats.kendalltau(x, mos).statistic)
    assert found["logistic_failed"] == 0


def test_where_the_logistic_cannot_be_fitted_the_raw_correlation_stands_in_and_says_so() -> None:
    prediction = np.arange(6.0)
    mos = np.array([1.0, 1.0, 1.0, 1.0, 1.0, 5.0])  # a step: every narrow logistic fits, so none is determined
    assert logistic_fit(prediction, mos) is None
    found = agreement(prediction, mos)
    assert found["logistic_failed"] == 1
    assert found["plcc"] == found["plcc_raw"] == pytest.approx(stats.pearsonr(prediction, mos).statistic)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean((prediction - mos) ** 2)))


def test_scene_accuracy_counts_hits_among_as_many_predictions_as_there_are_labels() -> None:
    probability = np.array(
        [
            [0.5, 0.3, 0.1, 0.05, 0.05],  # labels 0 and 2: top two are 0 and 1, one hit
            [0.1, 0.2, 0.6, 0.05, 0.05],  # label 2: hit
            [0.1, 0.2, 0.6, 0.05, 0.05],  # label 1: second place does not count for one label
            [0.3, 0.1, 0.2, 0.35, 0.05],  # labels 0, 2, 3: all three
        ]
    )
    label = np.array([[1, 0, 1, 0, 0], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [1, 0, 1, 1, 0]])
    assert scene_accuracy(probability, label) == pytest.approx((1 + 1 + 0 + 3) / 7)


def test_distortion_accuracy_is_top_one() -> None:
    probability = np.array([[0.6, 0.4, 0], [0.1, 0.2, 0.7], [0.5, 0.3, 0.2]])
    label = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]])
    assert distortion_accuracy(probability, label) == pytest.approx(2 / 3)


def test_uncertainty_figures_by_hand() -> None:
    outputs = {
        "fused_score": np.array([2.0, 3.0, 4.0, 2.5]),
        "interval": np.array([[1.0, 3.0], [2.5, 3.5], [3.0, 5.0], [2.0, 3.0]]),
        "aleatoric": np.array([0.01, 0.04, 0.09, 0.16]),
        "epistemic": np.array([0.0, 0.01, 0.01, 0.02]),
    }
    found = uncertainty(outputs, np.array([2.1, 3.6, 4.4, 3.0]))
    assert found["coverage"] == pytest.approx(3 / 4), "3.6 is above 3.5; 3.0 on the edge is inside"
    assert found["width"] == pytest.approx((2 + 1 + 2 + 1) / 4)
    assert found["error_rank"] == pytest.approx(0.4)  # errors rank 1 4 2 3, deviations 1 2 3 4


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
