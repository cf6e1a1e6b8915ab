"""NIG arithmetic in torch: head, fusion and loss against formulas written down a second time.

Points are away from every special value: errors and label noise are not zero, parameters differ by view.
"""

from __future__ import annotations

import functools
import itertools
import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch.distributions import StudentT

from defnet_train.heads import EvidentialHead
from defnet_train.nig import (
    Nig,
    fuse,
    fuse_local_global,
    fuse_tempered,
    half_width_95,
    nig_loss,
    nig_nll,
    t_quantile_975,
)

Numbers = tuple[float, float, float, float]


def random_nig(*shape: int, seed: int = 0) -> Nig:
    generator = torch.Generator().manual_seed(seed)

    def between(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(*shape, generator=generator, dtype=torch.float64)

    return Nig(between(1, 5), between(0.2, 3), between(1.1, 4), between(0.05, 0.9))


def view_axis(views: list[Numbers]) -> Nig:
    return Nig(*torch.tensor(views, dtype=torch.float64).T)


def eq_20(a: Numbers, b: Numbers) -> Numbers:
    """Two NIGs fused, as the paper prints it."""
    delta = (a[1] * a[0] + b[1] * b[0]) / (a[1] + b[1])
    spread = a[1] * (a[0] - delta) ** 2 + b[1] * (b[0] - delta) ** 2
    return delta, a[1] + b[1], a[2] + b[2] + 1 / 2, a[3] + b[3] + spread / 2


def numbers(nig: Nig) -> list[float]:
    return [value.item() for value in nig]


VIEWS: list[Numbers] = [(1.5, 0.7, 2.1, 0.3), (3.4, 1.9, 1.4, 0.1), (2.2, 0.4, 3.3, 0.8), (4.6, 2.6, 1.2, 0.2)]


def test_fusion_of_two_by_hand() -> None:
    assert numbers(fuse(view_axis([(1, 1, 2, 1), (3, 1, 2, 1)]), dim=0)) == [2, 2, 4.5, 3]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_fusing_all_views_at_once_equals_folding_them_in_any_order(count: int) -> None:
    for order in itertools.permutations(VIEWS[:count]):
        folded = functools.reduce(eq_20, order)
        assert numbers(fuse(view_axis(VIEWS[:count]), dim=0)) == pytest.approx(folded, rel=1e-12)


def test_fusion_removes_the_axis_it_is_told_to() -> None:
    views_BVK = random_nig(2, 3, 9)
    fused_BK = fuse(views_BVK, dim=1)
    assert fused_BK.delta.shape == (2, 9)
    one = Nig(*(value[1, :, 4] for value in views_BVK))
    assert [value[1, 4].item() for value in fused_BK] == pytest.approx(numbers(fuse(one, dim=0)))


def test_views_that_disagree_leave_more_of_both_variances_than_views_that_agree() -> None:
    agree = fuse(view_axis([(3.0, 1.5, 2.0, 0.2), (3.0, 0.8, 1.7, 0.3)]), dim=0)
    disagree = fuse(view_axis([(2.0, 1.5, 2.0, 0.2), (4.0, 0.8, 1.7, 0.3)]), dim=0)
    assert disagree.aleatoric > 1.5 * agree.aleatoric
    assert disagree.epistemic > 1.5 * agree.epistemic


def test_the_view_with_more_evidence_pulls_the_mean_to_itself() -> None:
    fused = fuse(view_axis([(1.0, 3.0, 2.0, 0.2), (5.0, 1.0, 9.0, 0.2)]), dim=0)
    assert fused.delta.item() == pytest.approx(2.0), "weights are v, not alpha"


def test_tempered_fusion_of_four_views_is_plain_fusion() -> None:
    views = view_axis(VIEWS)
    assert numbers(fuse_tempered(views, dim=0)) == pytest.approx(numbers(fuse(views, dim=0)), rel=1e-14)


@pytest.mark.parametrize("count", [1, 3, 4])
def test_tempered_fusion_does_not_change_when_every_crop_is_duplicated(count: int) -> None:
    views = VIEWS[:count]
    once, five_times = fuse_tempered(view_axis(views), dim=0), fuse_tempered(view_axis(views * 5), dim=0)
    assert numbers(five_times) == pytest.approx(numbers(once), rel=1e-12)
    plain_once, plain_five_times = fuse(view_axis(views), dim=0), fuse(view_axis(views * 5), dim=0)
    assert plain_five_times.v > 4 * plain_once.v, "the plain sum does grow: that is why there is a tempered one"


def test_tempered_fusion_of_fifteen_by_the_formula() -> None:
    views = random_nig(15)
    w = 4 / 15
    v, alpha, beta = (w * value.sum() for value in views[1:])
    delta = (views.v * views.delta).sum() / views.v.sum()
    beta = beta + 0.5 * w * (views.v * (views.delta - delta) ** 2).sum()
    expected = [delta.item(), v.item(), alpha.item() + 1.5, beta.item()]
    assert numbers(fuse_tempered(views, dim=0)) == pytest.approx(expected, rel=1e-12)


def test_local_global_fusion_is_each_crop_with_the_overview_then_the_mean() -> None:
    overview: Numbers = (2.8, 1.1, 1.6, 0.4)
    fused = fuse_local_global(
        Nig(*(value.reshape(1, -1, 1) for value in view_axis(VIEWS))),
        Nig(*(value.reshape(1, 1) for value in view_axis([overview]))),
    )
    pairs = [eq_20(view, overview) for view in VIEWS]
    assert fused.delta.shape == (1, 1)
    assert numbers(fused) == pytest.approx([sum(column) / 4 for column in zip(*pairs, strict=True)], rel=1e-12)


def test_local_global_fusion_does_not_depend_on_how_often_crops_repeat() -> None:
    crops, overview = random_nig(2, 3, 9), random_nig(2, 9, seed=1)
    once = fuse_local_global(crops, overview)
    repeated = fuse_local_global(Nig(*(value.repeat(1, 4, 1) for value in crops)), overview)
    for a, b in zip(once, repeated, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


def test_local_global_fusion_does_depend_on_the_overview() -> None:
    crops = random_nig(2, 3, 9)
    one, other = (fuse_local_global(crops, random_nig(2, 9, seed=seed)) for seed in (1, 2))
    for a, b in zip(one, other, strict=True):
        assert (a - b).abs().min() > 0


@pytest.mark.parametrize("kind", ["plain", "tempered", "local-global"])
def test_constraints_hold_after_fusion(kind: str) -> None:
    # The smallest parameters that a head can give, and views far apart.
    views = Nig(
        torch.tensor([[[1.0], [5.0], [3.0]]]),
        torch.full((1, 3, 1), 1e-3),
        torch.full((1, 3, 1), 1.001),
        torch.full((1, 3, 1), 1e-4),
    )
    overview = Nig(*(value[:, 0] for value in views))
    fused = {
        "plain": lambda: fuse(views, dim=1),
        "tempered": lambda: fuse_tempered(views, dim=1),
        "local-global": lambda: fuse_local_global(views, overview),
    }[kind]()
    assert fused.v > 0
    assert fused.alpha > 2.5, "so that the Student-t has more than 5 degrees of freedom"
    assert fused.beta > 0
    assert fused.aleatoric > 0
    assert fused.epistemic > 0


def test_the_likelihood_is_that_of_a_student_t() -> None:
    nig, target = random_nig(40), random_nig(40, seed=7).delta
    scale = (nig.beta * (1 + nig.v) / (nig.v * nig.alpha)).sqrt()
    found = nig_nll(nig, target)
    torch.testing.assert_close(found, -StudentT(2 * nig.alpha, nig.delta, scale).log_prob(target), rtol=0, atol=1e-10)
    by_scipy = -stats.t(df=2 * nig.alpha.numpy(), loc=nig.delta.numpy(), scale=scale.numpy()).logpdf(target.numpy())
    np.testing.assert_allclose(found.numpy(), by_scipy, rtol=0, atol=1e-10)


def test_the_likelihood_with_label_noise_is_that_of_a_target_farther_away() -> None:
    nig, target = random_nig(10), random_nig(10, seed=7).delta
    farther = nig.delta + ((target - nig.delta) ** 2 + 0.3**2).sqrt()
    noisy = nig_nll(nig, target, label_noise=0.3)
    torch.testing.assert_close(noisy, nig_nll(nig, farther), rtol=0, atol=1e-12)
    assert (noisy > nig_nll(nig, target)).all()


def test_label_noise_bounds_the_reward_for_ever_smaller_noise() -> None:
    def at(beta: float, label_noise: float) -> float:
        nig = Nig(*(torch.tensor(value, dtype=torch.float64) for value in (1.0, 1.0, 2.0, beta)))
        return nig_nll(nig, torch.tensor(1.0, dtype=torch.float64), label_noise).item()

    assert at(1e-12, 0.0) < at(1e-8, 0.0) < at(1e-4, 0.0), "an exact label has no lower bound"
    assert at(1e-12, 0.05) > at(1e-4, 0.05), "with the floor, claiming too little noise costs"


def test_wrong_evidence_costs_error_times_evidence() -> None:
    nig = Nig(*(torch.tensor(value, dtype=torch.float64) for value in (2.0, 0.7, 1.6, 0.4)))
    target = torch.tensor(3.5, dtype=torch.float64)
    penalty = nig_loss(nig, target, tau=0.05) - nig_nll(nig, target)
    assert penalty.item() == pytest.approx(0.05 * 1.5 * (2 * 0.7 + 1.6), rel=1e-10)
    noisy = nig_loss(nig, target, tau=0.05, label_noise=0.3) - nig_nll(nig, target, 0.3)
    assert noisy.item() == pytest.approx(penalty.item(), rel=1e-10), "label noise is no error of the model's"


def test_the_loss_has_finite_gradients_at_an_exact_prediction() -> None:
    parameters = [torch.tensor(value, requires_grad=True) for value in (1.0, 1.0, 2.0, 0.1)]
    nig_loss(Nig(*parameters), torch.tensor(1.0), tau=0.05).backward()
    assert all(p.grad is not None and torch.isfinite(p.grad) for p in parameters)


@pytest.mark.parametrize(
    ("task", "classes", "parameters", "beta"),
    [("quality", 5, 18, 0.10), ("scene", 9, 270, 0.05), ("distortion", 11, 396, 0.05)],
)
def test_a_fresh_head_starts_at_its_values_whatever_it_sees(
    task: str, classes: int, parameters: int, beta: float
) -> None:
    head = EvidentialHead(task, classes)
    assert sum(p.numel() for p in head.parameters()) == parameters
    marginal = torch.rand(2, 3, classes, generator=torch.Generator().manual_seed(0)).softmax(-1)
    nig = head(marginal)
    quantities = 1 if task == "quality" else classes
    for value, start in zip(nig[1:], (1.0, 2.0, beta), strict=True):
        torch.testing.assert_close(value, torch.full((2, 3, quantities), start), rtol=1e-5, atol=0)


def test_the_quality_head_is_anchored_to_the_expected_score_and_the_others_to_the_probability() -> None:
    quality = torch.tensor([[0.1, 0.2, 0.3, 0.25, 0.15]])
    assert EvidentialHead("quality", 5)(quality).delta.tolist() == [[pytest.approx(3.15)]]
    scene = torch.rand(1, 9).softmax(-1)
    assert torch.equal(EvidentialHead("scene", 9)(scene).delta, scene)


def test_head_rows_are_all_v_then_all_alpha_then_all_beta() -> None:
    head = EvidentialHead("scene", 9)
    marginal = torch.rand(1, 9).softmax(-1)
    before = head(marginal)
    with torch.no_grad():
        head.affine.bias[9 + 4] += 1.0
    after = head(marginal)
    assert torch.equal(before.v, after.v)
    assert torch.equal(before.beta, after.beta)
    assert torch.nonzero(before.alpha != after.alpha).tolist() == [[0, 4]], "row 13 is alpha of the fifth class"


def test_a_trained_head_is_softplus_of_an_affine_map_above_its_floors() -> None:
    head = EvidentialHead("quality", 5).double()
    weight = torch.randn(3, 5, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    bias = torch.tensor([0.3, -0.8, -2.0], dtype=torch.float64)
    with torch.no_grad():
        head.affine.weight.copy_(weight)
        head.affine.bias.copy_(bias)
    p = [0.1, 0.2, 0.3, 0.25, 0.15]
    raw = [
        sum(w * x for w, x in zip(row, p, strict=True)) + b
        for row, b in zip(weight.tolist(), bias.tolist(), strict=True)
    ]
    v, alpha, beta = (math.log(1 + math.exp(r)) for r in raw)
    found = head(torch.tensor(p, dtype=torch.float64))
    assert numbers(found)[1:] == pytest.approx([v + 1e-3, alpha + 1.001, beta + 1e-4], rel=1e-12)


def test_a_head_that_is_pushed_to_the_limit_keeps_its_constraints() -> None:
    head = EvidentialHead("distortion", 11)
    with torch.no_grad():
        head.affine.bias.fill_(-200.0)
    nig = head(torch.full((11,), 1 / 11))
    assert nig.v.min() > 0
    assert nig.alpha.min() > 1
    assert nig.beta.min() > 0


@pytest.mark.parametrize(("dof", "error"), [(5.0, 3e-4), (6.5, 1e-4), (10.0, 1e-5), (40.0, 1e-7)])
def test_the_t_quantile_agrees_with_scipy(dof: float, error: float) -> None:
    found = t_quantile_975(torch.tensor(dof, dtype=torch.float64)).item()
    assert found == pytest.approx(stats.t.ppf(0.975, dof), abs=error)


def test_the_half_width_covers_95_percent_of_the_predictive_student_t() -> None:
    nig = fuse_local_global(random_nig(6, 4, 1), random_nig(6, 1, seed=3))
    half = half_width_95(nig).numpy()
    scale = (nig.beta * (1 + nig.v) / (nig.v * nig.alpha)).sqrt().numpy()
    inside = 2 * stats.t(df=2 * nig.alpha.numpy()).cdf(half / scale) - 1
    np.testing.assert_allclose(inside, 0.95, atol=2e-5)


def test_the_two_variances_add_up_to_that_of_the_predictive_student_t() -> None:
    nig = random_nig(20)
    scale = (nig.beta * (1 + nig.v) / (nig.v * nig.alpha)).sqrt().numpy()
    expected = stats.t(df=2 * nig.alpha.numpy(), scale=scale).var()
    np.testing.assert_allclose((nig.aleatoric + nig.epistemic).numpy(), expected, rtol=1e-10)
