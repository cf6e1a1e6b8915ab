"""Figures of merit against SciPy, against arithmetic, and on data whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from defnet_train.metrics import (
    agreement,
    distortion_accuracy,
    krcc,
    logistic_fit,
    mean_band,
    scatter_ci_width,
    scene_accuracy,
    srcc,
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


def test_the_band_of_the_regression_line_is_that_of_the_normal_equations() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(1, 5, 40)
    y = 0.7 * x + 1 + rng.normal(0, 0.4, 40)
    at = np.array([0.5, 2.0, 6.0])
    design, wanted = np.column_stack([np.ones(40), x]), np.column_stack([np.ones(3), at])
    solution, residual, *_ = np.linalg.lstsq(design, y, rcond=None)
    covariance = residual[0] / 38 * np.linalg.inv(design.T @ design)
    half = stats.t.ppf(0.975, 38) * np.sqrt(np.einsum("ij,jk,ik->i", wanted, covariance, wanted))
    line, found = mean_band(x, y, at)
    np.testing.assert_allclose(line, wanted @ solution, rtol=1e-10)
    np.testing.assert_allclose(found, half, rtol=1e-10)


def test_the_band_narrows_with_more_photos_whatever_the_scales() -> None:
    rng = np.random.default_rng(4)
    x = rng.uniform(1, 5, 400)
    y = x + rng.normal(0, 1, 400)
    few, many = scatter_ci_width(x[:50], y[:50]), scatter_ci_width(x, y)
    assert many < 0.6 * few, "it is about the line, not about photos"
    assert scatter_ci_width(10 * x - 3, 25 * y + 7) == pytest.approx(many), "both axes are scaled to [0, 1]"


def test_there_is_no_rank_correlation_with_one_score_for_all() -> None:
    assert math.isnan(srcc(np.arange(5.0), np.full(5, 3.0)))
    assert math.isnan(srcc(np.full(5, 3.0), np.arange(5.0)))
