"""The whole model: where gradients go, and that photos do not leak into each other."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from defnet_train.joint import TASK_SIZES
from defnet_train.model import Defnet
from defnet_train.nig import Nig, fuse, fuse_tempered

NewModel = Callable[..., Defnet]
FEATURES = 96
"""Width of the tiny trunk."""


def features(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, FEATURES, generator=torch.Generator().manual_seed(seed)).abs()


def photos(count: int, views: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, views, 224, 224, 3), dtype=torch.uint8, generator=generator)


def fusion_sum(model: Defnet, crops: torch.Tensor, overview: torch.Tensor) -> torch.Tensor:
    """Something that depends on the evidence of the fused NIGs alone."""
    return torch.stack([nig.v.sum() for nig in model(crops, overview).fused.values()]).sum()


@pytest.mark.parametrize("reaches", [False, True])
def test_the_overview_teaches_the_trunk_only_when_asked(new_model: NewModel, reaches: bool) -> None:
    model = new_model(overview_gradient="full" if reaches else "head")
    # Crops come as features, so the overview is the only thing that passes through the trunk.
    fusion_sum(model, features(2, 3), photos(2, 1)[:, 0]).backward()
    gradients = [p.grad for p in model.encoder.trunk.parameters()]
    assert any(g is not None and g.abs().max() > 0 for g in gradients) is reaches
    assert all(head.affine.weight.grad.abs().max() > 0 for head in model.heads.values())


def test_the_overview_always_teaches_the_heads_and_never_the_towers_by_default(new_model: NewModel) -> None:
    # With one crop that equals the overview, both add the same evidence. Stopping the overview's gradient
    # must then leave exactly half of the towers' gradient and all of the heads'.
    view = features(2, 1)
    stopped, full = new_model(overview_gradient="head"), new_model(overview_gradient="full")
    for model in (stopped, full):
        fusion_sum(model, view, view[:, 0]).backward()
    for name in ("visual.head.proj.weight", "text_projection", "token_embedding.weight", "logit_scale"):
        half, whole = (model.encoder.clip.get_parameter(name).grad for model in (stopped, full))
        torch.testing.assert_close(2 * half, whole, rtol=1e-4, atol=1e-7)
        assert whole.abs().max() > 0
    for one, other in zip(stopped.heads.parameters(), full.heads.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_a_batch_of_one_equals_a_row_of_a_batch(shared_model: Defnet) -> None:
    crops, overviews = photos(3, 2), photos(3, 1, seed=1)[:, 0]
    with torch.inference_mode():
        text = shared_model.text_matrix()
        batch = shared_model.score_views(crops, overviews, text)
        alone = [shared_model.score_views(crops[i : i + 1], overviews[i : i + 1], text) for i in range(3)]
    for name, value in batch.items():
        torch.testing.assert_close(value, torch.cat([one[name] for one in alone]), rtol=1e-4, atol=1e-5)


def test_a_photo_does_not_change_what_its_neighbours_get_in_training(new_model: NewModel) -> None:
    model = new_model().train()
    model.encoder.eval()
    crops, overviews = features(3, 4), features(3)
    changed = crops.clone()
    changed[2] = features(4, seed=9)
    before, after = model(crops, overviews), model(changed, overviews)
    torch.testing.assert_close(before.score[:2], after.score[:2], rtol=0, atol=1e-6)
    assert (before.score[2] - after.score[2]).abs() > 1e-6
    for task in TASK_SIZES:
        for a, b in zip(before.fused[task], after.fused[task], strict=True):
            torch.testing.assert_close(a[:2], b[:2], rtol=0, atol=1e-6)


def test_the_order_of_the_crops_does_not_matter_but_the_overview_is_not_one_of_them(shared_model: Defnet) -> None:
    crops, overviews = features(2, 5), features(2, seed=1)
    with torch.inference_mode():
        text = shared_model.text_matrix()
        first = shared_model.score_views(crops, overviews, text)
        turned = shared_model.score_views(crops.flip(1), overviews, text)
        swapped = shared_model.score_views(torch.cat([overviews[:, None], crops[:, 1:]], dim=1), crops[:, 0], text)
    torch.testing.assert_close(first["nig"], turned["nig"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(first["crop_score"], turned["crop_score"].flip(1), rtol=1e-5, atol=1e-6)
    assert (first["nig"] - swapped["nig"]).abs().max() > 1e-5
    assert (first["score"] - swapped["score"]).abs().min() > 1e-7, "a crop does have a say in the score"


def test_views_and_their_features_give_the_same_outputs(shared_model: Defnet) -> None:
    crops, overviews = photos(2, 3), photos(2, 1, seed=1)[:, 0]
    with torch.inference_mode():
        text = shared_model.text_matrix()
        by_views = shared_model.score_views(crops, overviews, text)
        trunk = shared_model.encoder.trunk_features
        by_features = shared_model.score_views(trunk(crops), trunk(overviews), text)
    for name, value in by_views.items():
        torch.testing.assert_close(value, by_features[name], rtol=1e-4, atol=1e-5)


def test_other_prompts_give_other_scores(new_model: NewModel) -> None:
    crops, overviews = features(4, 3), features(4, seed=1)
    with torch.inference_mode():
        scores = [
            model.score_views(crops, overviews, model.text_matrix())["score"]
            for model in (new_model(prompt_preset="paper"), new_model(prompt_preset="liqe"))
        ]
    assert (scores[0] - scores[1]).abs().min() > 1e-4


def test_a_change_of_one_prompt_changes_one_logit(shared_model: Defnet) -> None:
    with torch.inference_mode():
        text_JE = shared_model.encoder.encode_text()
        image = shared_model.encoder.project(features(2))
        other = text_JE.clone()
        other[17] = text_JE[401]
        before, after = (shared_model.read_out.logits(image, t, torch.tensor(10.0)) for t in (text_JE, other))
    assert torch.nonzero((before != after).any(0)).flatten().tolist() == [17]


def test_the_text_matrix_carries_the_temperature(shared_model: Defnet) -> None:
    with torch.inference_mode():
        text = shared_model.text_matrix()
        norms, scale = text.norm(dim=0), shared_model.encoder.logit_scale()
    assert text.shape == (shared_model.encoder.embed_dim, 495)
    torch.testing.assert_close(norms, scale.expand(495))


@pytest.mark.parametrize("aggregation", ["prob_mean", "logit_mean"])
def test_training_and_scoring_agree_on_four_crops(new_model: NewModel, aggregation: str) -> None:
    model = new_model(local_aggregation=aggregation)
    crops, overviews = features(3, 4), features(3, seed=1)
    with torch.inference_mode():
        forward = model(crops, overviews)
        outputs = model.score_views(crops, overviews, model.text_matrix())
    torch.testing.assert_close(forward.score, outputs["score"])
    torch.testing.assert_close(torch.cat(list(forward.fused["quality"]), -1), outputs["nig"])
    assert [forward.cross[task].v.shape for task in TASK_SIZES] == [(3, 1), (3, 9), (3, 11)]


def test_tempering_is_for_scoring_only(new_model: NewModel) -> None:
    model = new_model()
    crops, overviews = features(2, 15), features(2, seed=1)
    with torch.no_grad():
        scoring = model(crops, overviews).cross["quality"]
        model.train()
        model.encoder.eval()
        training = model(crops, overviews).cross["quality"]
    torch.testing.assert_close(training.v * 4 / 15, scoring.v)
    torch.testing.assert_close(training.delta, scoring.delta)


@pytest.mark.parametrize("source", ["fusion", "cross"])
def test_the_uncertainty_comes_from_the_nig_that_is_asked_for(new_model: NewModel, source: str) -> None:
    model = new_model(uncertainty_source=source)
    crops, overviews = features(2, 15), features(2, seed=1)
    with torch.inference_mode():
        outputs = model.score_views(crops, overviews, model.text_matrix())
        forward = model(crops, overviews)
        expected = forward.fused["quality"] if source == "fusion" else forward.cross["quality"]
        torch.testing.assert_close(outputs["nig"], torch.cat(list(expected), -1))
        delta, v, alpha, beta = outputs["nig"].unbind(-1)
        torch.testing.assert_close(outputs["aleatoric"], beta / (alpha - 1))
        torch.testing.assert_close(outputs["epistemic"], beta / (v * (alpha - 1)))
        torch.testing.assert_close(outputs["interval"].mean(-1), delta)


def test_calibration_widens_the_interval_and_nothing_else(new_model: NewModel) -> None:
    model = new_model()
    crops, overviews = features(2, 15), features(2, seed=1)
    with torch.inference_mode():
        text = model.text_matrix()
        before = model.score_views(crops, overviews, text)
        model.calibration.fill_(1.7)
        after = model.score_views(crops, overviews, text)
    torch.testing.assert_close(after["interval"].diff(dim=-1), 1.7 * before["interval"].diff(dim=-1))
    assert all(torch.equal(value, after[name]) for name, value in before.items() if name != "interval")


def test_outputs_are_those_of_the_contract(shared_model: Defnet) -> None:
    with torch.inference_mode():
        outputs = shared_model.score_views(features(2, 15), features(2), shared_model.text_matrix())
    specs = shared_model.contract().outputs
    assert [spec.name for spec in specs] == list(outputs)
    assert all(outputs[spec.name].shape == (2, *spec.shape[1:]) for spec in specs)


def test_the_score_is_the_mean_of_the_crops_scores_with_mean_probabilities(shared_model: Defnet) -> None:
    with torch.inference_mode():
        outputs = shared_model.score_views(features(2, 15), features(2, seed=1), shared_model.text_matrix())
    torch.testing.assert_close(outputs["score"], outputs["crop_score"].mean(-1))
    assert ((outputs["score"] > 1) & (outputs["score"] < 5)).all()


def test_plain_and_tempered_fusion_differ_at_fifteen() -> None:
    views = Nig(*(torch.rand(1, 15, 1) + 1.5 for _ in range(4)))
    assert fuse(views, 1).alpha > 3 * fuse_tempered(views, 1).alpha
