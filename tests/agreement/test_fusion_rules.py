"""The rules of fusion that are options: NumPy and torch alike, against formulas, and each unlike the others."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defnet_infer import evidential
from defnet_train import nig as torch_nig
from defnet_train.config import HeadConfig
from tests.agreement.conftest import read_out_of
from tests.agreement.test_numpy_torch import NewModel, assert_same, by_torch, inputs, random_nig, to_torch

RULES = ("tempered", "sum", "sample4")


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("views", [2, 4, 15])
def test_both_fuse_crops_alike(rule: str, views: int) -> None:
    local_BV = random_nig(5, views)
    as_BVK = torch_nig.Nig(*(value.unsqueeze(-1) for value in to_torch(local_BV)))
    found = torch_nig.fuse_crops(as_BVK, rule)
    assert_same(evidential.fuse_crops(local_BV, rule), torch_nig.Nig(*(value.squeeze(-1) for value in found)))  # type: ignore[arg-type]


def test_all_rules_are_the_same_with_four_crops_and_all_differ_with_fifteen() -> None:
    four, fifteen = random_nig(5, 4), random_nig(5, 15)
    for rule in RULES[1:]:
        for name in ("delta", "v", "alpha", "beta"):
            tempered, other = (getattr(evidential.fuse_crops(four, r), name) for r in ("tempered", rule))  # type: ignore[arg-type]
            np.testing.assert_allclose(other, tempered, rtol=1e-12)
    tempered, plain, sampled = (evidential.fuse_crops(fifteen, rule) for rule in RULES)  # type: ignore[arg-type]
    assert (plain.v > 3 * tempered.v).all(), "evidence grows with the crop count"
    np.testing.assert_allclose(plain.delta, tempered.delta, rtol=1e-12)
    assert np.abs(sampled.delta - tempered.delta).min() > 1e-4


def test_four_crops_are_sampled_once_and_for_all_and_from_all_over() -> None:
    chosen = evidential.sampled_views(15)
    assert chosen == evidential.sampled_views(15)
    assert len(set(chosen)) == 4
    assert chosen == sorted(chosen)
    assert max(chosen) > 7
    assert evidential.sampled_views(3) == [0, 1, 2]


@pytest.mark.parametrize("views", [1, 4, 15])
def test_the_moment_average_adds_the_spread_of_the_crops_to_the_epistemic_variance_and_nothing_else(views: int) -> None:
    local_BV, overview_B = random_nig(6, views), random_nig(6, seed=1)
    param, moment = (evidential.fuse_local_global(local_BV, overview_B, rule) for rule in ("param", "moment"))  # type: ignore[arg-type]
    v, overview_v = local_BV.v, overview_B.v[:, None]
    delta = (v * local_BV.delta + overview_v * overview_B.delta[:, None]) / (v + overview_v)
    spread = ((delta - delta.mean(1, keepdims=True)) ** 2).mean(1)
    np.testing.assert_allclose(moment.epistemic, param.epistemic + spread, rtol=1e-10)
    for name in ("delta", "alpha", "beta", "aleatoric"):
        np.testing.assert_array_equal(getattr(moment, name), getattr(param, name))
    assert (spread > 1e-4).all() == (views > 1)


@pytest.mark.parametrize("average", ["param", "moment"])
def test_both_average_alike_and_the_interval_follows(average: str) -> None:
    local_BV, overview_B = random_nig(6, 15), random_nig(6, seed=1)
    found = evidential.fuse_local_global(local_BV, overview_B, average)  # type: ignore[arg-type]
    assert_same(found, torch_nig.fuse_local_global(to_torch(local_BV), to_torch(overview_B), average))
    width = np.diff(evidential.interval_95(found), axis=-1)
    plain = np.diff(evidential.interval_95(evidential.fuse_local_global(local_BV, overview_B)), axis=-1)
    assert (width > plain).all() == (average == "moment")


@pytest.mark.parametrize(
    ("source", "option", "changes"),
    [
        ("cross", {"cross_inference": "sum"}, True),
        ("cross", {"cross_inference": "sample4"}, True),
        ("fusion", {"cross_inference": "sum"}, False),
        ("fusion", {"local_global_average": "moment"}, True),
        ("cross", {"local_global_average": "moment"}, False),
    ],
)
def test_numpy_scores_as_torch_does_by_every_rule(
    new_model: NewModel, source: str, option: dict[str, str], changes: bool
) -> None:
    model = new_model("prob_mean", source, **option)
    crops, overview, text = inputs()
    found = evidential.predict(crops, overview, read_out_of(model, text))
    for name, expected in by_torch(model, crops, overview, text).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-4, err_msg=name)
    plain = evidential.predict(crops, overview, read_out_of(new_model("prob_mean", source), text))
    assert (np.abs(found["interval"] - plain["interval"]).min() > 1e-4) == changes
    np.testing.assert_array_equal(found["score"], plain["score"])


@pytest.mark.parametrize("source", ["cross", "fusion"])
def test_numpy_takes_the_noise_from_the_marginal_as_torch_does(new_model: NewModel, source: str) -> None:
    model = new_model("prob_mean", source, head=HeadConfig(noise="marginal"))
    (factor,) = model.noise_factors
    factor.fill_(0.4)
    crops, overview, text = inputs()
    found = evidential.predict(crops, overview, read_out_of(model, text))
    for name, expected in by_torch(model, crops, overview, text).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-3, atol=1e-4, err_msg=name)
    plain = evidential.predict(crops, overview, read_out_of(new_model("prob_mean", source), text))
    assert np.abs(found["aleatoric"] / plain["aleatoric"] - 1).min() > 1e-2
    np.testing.assert_array_equal(found["fused_score"], plain["fused_score"])


def test_the_spread_of_crops_is_told_when_scoring_and_teaches_nothing(new_model: NewModel) -> None:
    crops, overview = (torch.from_numpy(values).float() for values in inputs()[:2])
    fused = {}
    for average in ("param", "moment"):
        model = new_model("prob_mean", "fusion", local_global_average=average)
        for training in (True, False):
            fused[average, training] = model.train(training)(crops, overview).fused["quality"]
    assert torch.equal(fused["param", True].v, fused["moment", True].v)
    assert (fused["moment", False].epistemic > fused["param", False].epistemic * 1.001).all()


def test_the_moment_average_has_finite_gradients_where_crops_agree() -> None:
    parameters = [torch.full((1, 4, 1), value, requires_grad=True) for value in (3.0, 1.0, 2.0, 0.1)]
    overview = torch_nig.Nig(*(torch.full((1, 1), value) for value in (3.0, 1.0, 2.0, 0.1)))
    fused = torch_nig.fuse_local_global(torch_nig.Nig(*parameters), overview, "moment")
    sum(value.sum() for value in fused).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in parameters)
