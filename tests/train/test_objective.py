"""The objective: the right parts, the right weights, nothing from what is not labelled."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from statistics import NormalDist, fmean

import pytest
import torch
from torch import Tensor

from defnet_train.config import LossConfig
from defnet_train.fidelity import distortion_loss, pair_loss, scene_loss
from defnet_train.model import Defnet
from defnet_train.nig import Nig, nig_loss
from defnet_train.objective import Targets, evidential_losses, objective, weighted_losses
from tests.train.test_model import features

ONES = {"quality": 1.0, "scene": 1.0, "distortion": 1.0}


def _sum_of_losses(nigs: Mapping[str, Nig], labels: Targets, config: LossConfig) -> Tensor:
    return sum(evidential_losses(nigs, labels, config).values(), torch.zeros(()))


def targets(known: list[bool]) -> Targets:
    count = len(known)
    scene = torch.zeros(count, 9)
    scene[:, [1, 4]] = 1
    distortion = torch.nn.functional.one_hot(torch.arange(count) % 11, 11).float()
    mask = torch.tensor(known)
    nothing = torch.zeros(count, dtype=torch.int64)
    return Targets(
        mos=torch.linspace(1.3, 4.6, count),
        target=torch.linspace(1.3, 4.6, count),
        target_known=torch.ones(count, dtype=torch.bool),
        dataset=nothing,
        group=nothing,
        series=nothing,
        scene=scene * mask[:, None],
        distortion=distortion * mask[:, None],
        scene_known=mask,
        distortion_known=mask,
    )


def test_the_total_is_the_weighted_sum_of_its_parts(shared_model: Defnet) -> None:
    weights = {"quality": 1.4, "scene": 0.5, "distortion": 1.1}
    config = LossConfig(cross_weight=0.3, fusion_weight=0.7)
    total, parts = objective(shared_model(features(4, 4), features(4, seed=1)), targets([True] * 4), weights, config)
    assert list(parts) == ["quality", "scene", "distortion", "cross", "fusion"]
    expected = sum(weights[task] * parts[task] for task in weights) + 0.3 * parts["cross"] + 0.7 * parts["fusion"]
    torch.testing.assert_close(total, expected)


def test_the_parts_are_the_losses_of_the_method(shared_model: Defnet) -> None:
    prediction, labels = shared_model(features(4, 4), features(4, seed=1)), targets([True, True, False, True])
    parts = objective(prediction, labels, ONES, LossConfig()).parts
    torch.testing.assert_close(parts["quality"], pair_loss(prediction.score, labels.target, labels.dataset))
    torch.testing.assert_close(parts["scene"], scene_loss(prediction.photo.scene, labels.scene, labels.scene_known))
    torch.testing.assert_close(
        parts["distortion"], distortion_loss(prediction.photo.distortion, labels.distortion, labels.distortion_known)
    )
    for name, nigs in (("cross", prediction.cross), ("fusion", prediction.fused)):
        rows = [0, 1, 3]
        expected = nig_loss(nigs["quality"], labels.target[:, None], tau=0.05).mean()
        for task, label in (("scene", labels.scene), ("distortion", labels.distortion)):
            some = Nig(*(value[rows] for value in nigs[task]))
            expected = expected + nig_loss(some, label[rows], tau=0.05, label_noise=0.05).mean()
        torch.testing.assert_close(parts[name], expected)
    assert (parts["cross"] - parts["fusion"]).abs() > 1e-3


def test_label_noise_is_for_scenes_and_distortions_only() -> None:
    parameters = (torch.tensor([[2.0]]), torch.tensor([[1.0]]), torch.tensor([[2.0]]), torch.tensor([[0.01]]))
    labels = targets([True])
    values = {
        task: [
            _sum_of_losses({task: Nig(*parameters)}, labels, LossConfig(label_noise_aux=noise)).item()
            for noise in (0.0, 0.5)
        ]
        for task in ("quality", "scene")
    }
    assert values["quality"][0] == values["quality"][1]
    assert values["scene"][0] != values["scene"][1]


@pytest.mark.parametrize("known", [[True, True, False, False], [False] * 4])
def test_photos_without_labels_leave_no_trace_in_the_class_losses(
    new_model: Callable[..., Defnet], known: list[bool]
) -> None:
    model = new_model()
    crops = features(4, 4).requires_grad_()
    config = LossConfig(cross_weight=1.0, fusion_weight=1.0)
    prediction = model(crops, features(4, seed=1))
    labels = targets(known)
    nigs = [{task: stage[task] for task in ("scene", "distortion")} for stage in (prediction.cross, prediction.fused)]
    loss = (
        scene_loss(prediction.photo.scene, labels.scene, labels.scene_known)
        + distortion_loss(prediction.photo.distortion, labels.distortion, labels.distortion_known)
        + sum(_sum_of_losses(stage, labels, config) for stage in nigs)
    )
    (gradient,) = torch.autograd.grad(loss, crops)
    strength = gradient.abs().amax(dim=(1, 2))
    assert (strength > 0).tolist() == known
    assert not any(known) or math.isfinite(loss.item())
    if not any(known):
        assert loss.item() == 0


def test_a_batch_without_class_labels_still_trains_quality_with_finite_gradients(
    new_model: Callable[..., Defnet],
) -> None:
    model = new_model()
    losses = objective(model(features(4, 4), features(4, seed=1)), targets([False] * 4), ONES, LossConfig())
    losses.total.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(torch.isfinite(g).all() for g in gradients)
    assert losses.parts["scene"] == losses.parts["distortion"] == 0
    assert model.heads["quality"].affine.weight.grad.abs().max() > 0
    assert model.heads["scene"].affine.weight.grad.abs().max() == 0


def test_a_task_weight_of_zero_silences_that_task_alone(new_model: Callable[..., Defnet]) -> None:
    model, labels = new_model(), targets([True] * 4)
    config = LossConfig(cross_weight=0.0, fusion_weight=0.0)
    prediction = model(features(4, 4), features(4, seed=1))
    silenced = objective(prediction, labels, {**ONES, "scene": 0.0}, config)
    torch.testing.assert_close(silenced.total, silenced.parts["quality"] + silenced.parts["distortion"])
    assert silenced.parts["scene"] > 0, "the log still shows it, unweighted"


def test_a_photo_of_unknown_score_is_ordered_but_not_regressed(new_model: Callable[..., Defnet]) -> None:
    crops = features(4, 4).requires_grad_()
    prediction = new_model()(crops, features(4, seed=1))
    labels = targets([False] * 4)._replace(target_known=torch.tensor([True, False, True, True]))
    (gradient,) = torch.autograd.grad(_sum_of_losses(prediction.cross, labels, LossConfig()), crops, retain_graph=True)
    assert (gradient.abs().amax(dim=(1, 2)) > 0).tolist() == [True, False, True, True]
    (gradient,) = torch.autograd.grad(objective(prediction, labels, ONES, LossConfig()).parts["quality"], crops)
    assert (gradient.abs().amax(dim=(1, 2)) > 0).all(), "its place in the order is known all the same"


def test_weights_on_all_losses_reach_every_evidential_one(shared_model: Defnet) -> None:
    config = LossConfig(cross_weight=0.3, fusion_weight=0.7, dwa_scope="all")
    names = weighted_losses(shared_model.tasks, config)
    assert len(names) == len(set(names)) == 9
    weights = {name: 0.4 + 0.1 * number for number, name in enumerate(names)}
    prediction, labels = shared_model(features(4, 4), features(4, seed=1)), targets([True] * 4)
    total, parts = objective(prediction, labels, weights, config)
    assert set(names) <= set(parts)
    scale = {"cross": 0.3, "fusion": 0.7}
    expected = sum(weights[name] * scale.get(name.partition(".")[0], 1.0) * parts[name] for name in names)
    torch.testing.assert_close(total, expected)
    for stage in scale:
        torch.testing.assert_close(parts[stage], sum(parts[f"{stage}.{task}"] for task in ONES))
    plain = objective(prediction, labels, ONES, LossConfig(cross_weight=0.3, fusion_weight=0.7))
    ones = objective(prediction, labels, dict.fromkeys(names, 1.0), config)
    torch.testing.assert_close(ones.total, plain.total)
    assert set(plain.parts) == {*ONES, *scale}


def test_weights_are_for_the_tasks_alone_unless_told_otherwise() -> None:
    assert weighted_losses(("quality", "scene"), LossConfig()) == ("quality", "scene")


@pytest.mark.parametrize("reduction", ["per_dataset", "flat"])
def test_pairs_count_as_the_settings_of_the_objective_say(shared_model: Defnet, reduction: str) -> None:
    """Eqs. (7) and (8) pair by pair, of three rated photos and of four copies whose order alone is known.

    Two of the rated photos are equally good, and one copy is of another kind: only the original compares with it.
    """
    score, mos = [2.1, 2.9, 3.4, 3.8, 3.5, 3.6, 2.0], [2.0, 3.0, 3.0, 4.0, 3.0, 2.0, 1.0]
    dataset, series = [0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 0, 1, 1, 2]
    rated = [True, True, True, False, False, False, False]
    config = LossConfig(pair_reduction=reduction, tie_probability=0.9, order_weight=0.25, order_sharpness=3.0)
    losses: dict[int, list[float]] = {0: [], 1: []}
    for first, second in itertools.combinations(range(7), 2):
        apart = series[first] != series[second] and 0 not in (series[first], series[second])
        if dataset[first] == dataset[second] and not apart:
            p = 0.9 if mos[first] == mos[second] else float(mos[first] > mos[second])
            sharpness = 1.0 if rated[first] else 3.0
            q = NormalDist().cdf(sharpness * (score[first] - score[second]) / math.sqrt(2))
            losses[dataset[first]].append(1 - math.sqrt(p * q) - math.sqrt((1 - p) * (1 - q)))
    assert [len(some) for some in losses.values()] == [3, 4]
    if reduction == "flat":
        expected = (sum(losses[0]) + 0.25 * sum(losses[1])) / (3 + 0.25 * 4)
    else:
        expected = (fmean(losses[0]) + 0.25 * fmean(losses[1])) / 1.25
    labels = targets([True] * 7)._replace(
        mos=torch.tensor(mos),
        dataset=torch.tensor(dataset),
        series=torch.tensor(series),
        target_known=torch.tensor(rated),
    )
    prediction = shared_model(features(7, 4), features(7, seed=1))._replace(score=torch.tensor(score))
    found = objective(prediction, labels, ONES, config).parts["quality"].item()
    assert found == pytest.approx(expected, abs=2e-4), "the roots have 1e-8 in them"
