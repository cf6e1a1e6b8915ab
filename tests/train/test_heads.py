"""The kinds of evidential heads: each against its formula, and each different from the others."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from defnet_infer.errors import UsageError
from defnet_train.config import HeadConfig, ModelConfig
from defnet_train.heads import make_head
from defnet_train.model import Defnet
from tests.train.test_model import features

QUALITY = [0.1, 0.2, 0.3, 0.25, 0.15]
EMBED = 6


def head(task: str = "quality", classes: int = 5, **config: object) -> torch.nn.Module:
    torch.manual_seed(0)
    made = make_head(task, classes, HeadConfig(**config), EMBED).double()  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.4 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return made


def marginal(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).softmax(-1)


def softplus(x: Tensor) -> Tensor:
    return torch.log1p(torch.exp(x))


def test_moment_takes_the_noise_from_the_variance_of_the_levels() -> None:
    made = head(kind="moment")
    p = torch.tensor(QUALITY, dtype=torch.float64)
    delta, v, alpha, beta = made(p)
    mean = sum((c + 1) * x for c, x in enumerate(QUALITY))
    variance = sum(x * (c + 1 - mean) ** 2 for c, x in enumerate(QUALITY))
    assert delta.item() == pytest.approx(mean, abs=1e-12)
    assert (beta / (alpha - 1)).item() == pytest.approx(variance, rel=1e-12)
    raw_v, raw_alpha = made.raw.tolist()
    assert v.item() == pytest.approx(math.log1p(math.exp(raw_v)) + 1e-3, rel=1e-12)
    assert alpha.item() == pytest.approx(math.log1p(math.exp(raw_alpha)) + 1.001, rel=1e-12)


def test_moment_takes_the_noise_of_a_class_from_its_probability() -> None:
    nig = head("scene", 9, kind="moment")(p := marginal(3, 9))
    torch.testing.assert_close(nig.aleatoric, p * (1 - p), rtol=1e-10, atol=0)
    certain = head("scene", 9, kind="moment")(torch.eye(9, dtype=torch.float64)[0])
    assert certain.beta.min().item() == pytest.approx(1e-4), "no noise at all is floored"


@pytest.mark.parametrize("task, classes", [("quality", 5), ("scene", 9)])
def test_noise_from_the_marginal_is_for_scoring_and_leaves_all_else_as_learned(task: str, classes: int) -> None:
    learned, made = (head(task, classes, noise=noise) for noise in ("learned", "marginal"))
    p = marginal(4, classes)
    made.noise_factor.fill_(0.3)
    in_training, scoring = made.train()(p), made.eval()(p)
    for value, expected in zip(in_training, learned.eval()(p), strict=True):
        assert torch.equal(value, expected)
    variance = p - p.square()
    if task == "quality":
        values = torch.arange(1.0, 6.0, dtype=torch.float64)
        variance = (p @ values.square() - (p @ values).square())[:, None]
    torch.testing.assert_close(scoring.aleatoric, 0.3 * variance, rtol=1e-9, atol=0)
    for name in ("delta", "v", "alpha"):
        assert torch.equal(getattr(scoring, name), getattr(in_training, name))


def test_tied_parameters_are_all_softplus_of_the_bracket() -> None:
    made = head(kind="tied")
    assert list(made.parameters()) == []
    expected = math.log1p(math.exp(3.15))
    assert [value.item() for value in made(torch.tensor(QUALITY, dtype=torch.float64))] == [pytest.approx(expected)] * 4
    scene = head("scene", 9, kind="tied")(marginal(9))
    assert scene.alpha.max() < 1, "which is why its variances mean nothing"


def test_mlp_is_an_affine_map_after_one_hidden_layer() -> None:
    made, p = head("scene", 9, kind="mlp", hidden=7), marginal(4, 9)
    first, last = made.hidden[0], made.affine
    inner = p @ first.weight.T + first.bias
    inner = 0.5 * inner * (1 + torch.erf(inner / math.sqrt(2)))
    raw = inner @ last.weight.T + last.bias
    nig = made(p)
    torch.testing.assert_close(nig.delta, p)
    torch.testing.assert_close(nig.v, softplus(raw[:, :9]) + 1e-3)
    torch.testing.assert_close(nig.alpha, softplus(raw[:, 9:18]) + 1.001)
    torch.testing.assert_close(nig.beta, softplus(raw[:, 18:]) + 1e-4)
    assert first.weight.shape == (7, 9)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_a_head_that_sees_the_embedding_follows_it_without_teaching_it(kind: str) -> None:
    made = head(kind=kind, input="marginal+embedding")
    p, embedding = marginal(2, 5), torch.randn(2, EMBED, dtype=torch.float64, requires_grad=True)
    before, after = made(p, embedding), made(p, embedding + 0.5)
    assert torch.equal(before.delta, after.delta)
    for a, b in zip(before[1:], after[1:], strict=True):
        assert (a - b).abs().min() > 1e-4
    sum(value.sum() for value in before[1:]).backward()
    assert embedding.grad is None


def test_a_head_of_marginals_alone_does_not_look_at_the_embedding() -> None:
    made, p = head(), marginal(2, 5)
    one, other = made(p, torch.zeros(2, EMBED)), made(p, torch.ones(2, EMBED))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_residual_delta_starts_at_the_bracket_and_moves_away() -> None:
    p = marginal(2, 9)
    fresh = make_head("scene", 9, HeadConfig(residual_delta=True), EMBED).double()
    assert torch.equal(fresh(p).delta, p)
    made = head("scene", 9, residual_delta=True)
    raw = p @ made.affine.weight.T + made.affine.bias
    torch.testing.assert_close(made(p).delta, p + raw[:, 27:])
    torch.testing.assert_close(made(p).beta, softplus(raw[:, 18:27]) + 1e-4)


@pytest.mark.parametrize("kind", ["moment", "tied"])
@pytest.mark.parametrize("option", [{"input": "marginal+embedding"}, {"residual_delta": True}, {"noise": "marginal"}])
def test_a_head_without_a_layer_refuses_what_needs_one(kind: str, option: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=f"model.head.kind = '{kind}' has no layer"):
        HeadConfig(kind=kind, **option)  # type: ignore[arg-type]


@pytest.mark.parametrize("share", [True, False])
def test_the_overview_has_a_head_of_its_own_only_when_asked(new_model: Callable[..., Defnet], share: bool) -> None:
    model = new_model(head=HeadConfig(share_overview=share))
    crops, overview = features(2, 4), features(2, seed=1)
    with torch.inference_mode():
        before = model(crops, overview)
        head_of_crops = model.heads["quality"]
        head_of_overview = model.heads["quality" if share else "quality_overview"]
        assert (head_of_crops is head_of_overview) is share
        head_of_overview.affine.bias.add_(1.0)
        after = model(crops, overview)
    assert (before.fused["quality"].v - after.fused["quality"].v).abs().min() > 1e-3
    assert torch.equal(before.cross["quality"].v, after.cross["quality"].v) is not share


@pytest.mark.parametrize(
    "config", [{"kind": "mlp"}, {"kind": "moment"}, {"input": "marginal+embedding"}, {"noise": "marginal"}]
)
def test_every_head_scores_as_it_was_trained(config: dict[str, str]) -> None:
    torch.manual_seed(0)
    model = Defnet(ModelConfig(tower="tiny-resnet", weights="random", head=HeadConfig(**config))).eval()  # type: ignore[arg-type]
    crops, overview = features(3, 4), features(3, seed=1)
    with torch.inference_mode():
        forward, outputs = model(crops, overview), model.score_views(crops, overview, model.text_matrix())
    torch.testing.assert_close(torch.cat(list(forward.fused["quality"]), -1), outputs["nig"])
