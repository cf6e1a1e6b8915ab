"""What is fitted on photos that trained nothing: the interval covers them, noise is as large as their errors."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from defnet_train.batches import FeatureViews
from defnet_train.config import HeadConfig
from defnet_train.conformal import HeldOut, calibrate
from defnet_train.evaluation import predict
from defnet_train.model import Defnet
from defnet_train.uncertainty import total_variance
from tests.train.test_model import features

SOURCE = FeatureViews(features(40, 2, 16))


def held_out(model: Defnet, targets: np.ndarray) -> HeldOut:
    return HeldOut(SOURCE, [(model, range(40))], targets)


def test_a_calibrated_interval_covers_the_photos_it_was_fitted_on(new_model: Callable[..., Defnet]) -> None:
    model = new_model()
    model.calibration.fill_(123.0)  # an earlier calibration must not matter
    raw = predict(new_model(), SOURCE, range(40))
    targets = raw["fused_score"] + np.random.default_rng(0).standard_t(3, 40)
    factor, _ = calibrate(model, held_out(model, targets))
    assert model.calibration.item() == pytest.approx(factor)
    outputs = predict(model, SOURCE, range(40))
    low, high = outputs["interval"].T
    inside = (targets >= low) & (targets <= high)
    assert inside.sum() == 39, "ceil(41 x 0.95) = 39 of 40"
    np.testing.assert_allclose(high - low, factor * np.diff(raw["interval"])[:, 0], rtol=1e-5)


def test_noise_from_the_marginal_is_as_large_as_the_errors_it_was_fitted_on(new_model: Callable[..., Defnet]) -> None:
    model = new_model(head=HeadConfig(noise="marginal"))
    raw = predict(model, SOURCE, range(40))
    targets = raw["fused_score"] + 0.7 * np.random.default_rng(0).standard_normal(40)
    calibrate(model, held_out(model, targets))
    outputs = predict(model, SOURCE, range(40))
    assert total_variance(outputs).mean() == pytest.approx(np.mean((outputs["fused_score"] - targets) ** 2), rel=1e-3)
    assert total_variance(raw).mean() != pytest.approx(total_variance(outputs).mean(), rel=0.1)
    np.testing.assert_array_equal(outputs["fused_score"], raw["fused_score"])


def test_views_that_disagree_by_more_than_the_errors_leave_a_hundredth_of_the_noise(
    new_model: Callable[..., Defnet],
) -> None:
    model = new_model(head=HeadConfig(noise="marginal"), local_global_average="moment")
    raw = predict(model, SOURCE, range(40))
    calibrate(model, held_out(model, raw["fused_score"]))
    assert [factor.item() for factor in model.noise_factors] == [pytest.approx(0.01)]


def test_both_heads_of_quality_get_the_factor(new_model: Callable[..., Defnet]) -> None:
    model = new_model(head=HeadConfig(noise="marginal", share_overview=False))
    targets = predict(model, SOURCE, range(40))["fused_score"] + 0.7 * np.random.default_rng(0).standard_normal(40)
    calibrate(model, held_out(model, targets))
    crops, overview = (factor.item() for factor in model.noise_factors)
    assert crops == overview != 1
    variance = total_variance(predict(model, SOURCE, range(40)))
    errors = predict(model, SOURCE, range(40))["fused_score"] - targets
    assert variance.mean() == pytest.approx(np.mean(errors**2), rel=1e-3)


def test_marginals_without_any_variance_leave_the_factor_at_1(new_model: Callable[..., Defnet]) -> None:
    model = new_model(head=HeadConfig(noise="marginal"))
    with torch.no_grad():
        model.encoder.clip.logit_scale.fill_(20.0)  # Every marginal is one class.
    targets = predict(model, SOURCE, range(40))["fused_score"] + 0.5
    calibrate(model, held_out(model, targets))
    assert [factor.item() for factor in model.noise_factors] == [1]
    assert np.isfinite(model.calibration.item())


def test_photos_of_several_models_are_judged_each_by_its_own(new_model: Callable[..., Defnet]) -> None:
    """As folds calibrate: the factor comes from the pool of both models' ratios."""
    settings = {"head": HeadConfig(noise="marginal")}
    model, first, second = (new_model(**settings) for _ in range(3))
    with torch.no_grad():
        for scorer, scale in ((first, 3.0), (second, 12.0)):
            scorer.encoder.clip.logit_scale.fill_(np.log(scale))
    parts = [(first, range(25)), (second, range(25, 40))]
    raw = [predict(scorer, SOURCE, photos) for scorer, photos in parts]
    assert np.abs(predict(first, SOURCE, range(25, 40))["fused_score"] - raw[1]["fused_score"]).max() > 0.01
    centre = np.concatenate([outputs["fused_score"] for outputs in raw])
    targets = centre + 0.5 * np.random.default_rng(1).standard_t(4, 40)
    factor, pooled = calibrate(model, HeldOut(SOURCE, parts, targets))
    assert [scorer.calibration.item() for scorer in (model, first, second)] == [pytest.approx(factor)] * 3
    for scorer in (first, second):
        scorer.calibration.fill_(1.0)
    after = [predict(scorer, SOURCE, photos) for scorer, photos in parts]
    variance = np.concatenate([total_variance(outputs) for outputs in after])
    assert variance.mean() == pytest.approx(np.mean((targets - centre) ** 2), rel=1e-3)
    half = np.concatenate([np.diff(outputs["interval"])[:, 0] for outputs in after]) / 2
    assert factor == pytest.approx(np.sort(np.abs(targets - centre) / half)[38], rel=2e-5), "the 39th of 40"
    low, high = pooled["interval"].T
    np.testing.assert_allclose(high - low, 2 * factor * half, rtol=1e-5)
    assert ((low <= targets) & (targets <= high)).sum() == 39
    assert [f.item() for f in model.noise_factors] == [f.item() for f in first.noise_factors] != [1.0]
