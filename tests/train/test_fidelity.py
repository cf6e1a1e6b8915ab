"""The three multitask losses against brute force and against arithmetic done by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from defnet_train.fidelity import comparable, distortion_loss, pair_loss, scene_loss

EPS = 1e-8


def phi(x: float) -> float:
    """Standard normal distribution function, by another road than the code's."""
    return 0.5 * (1 + math.erf(x / math.sqrt(2)))


def brute_force(score: list[float], mos: list[float], dataset: list[int], reduction: str, tie: float) -> float:
    """Eqs. (7) and (8) as two loops."""
    by_set: dict[int, list[float]] = {}
    for i in range(len(score)):
        for j in range(i + 1, len(score)):
            if dataset[i] != dataset[j]:
                continue
            p = tie if mos[i] == mos[j] else 1.0 if mos[i] > mos[j] else 0.0
            p_hat = phi((score[i] - score[j]) / math.sqrt(2))
            loss = 1 - math.sqrt(p * p_hat + EPS) - math.sqrt((1 - p) * (1 - p_hat) + EPS)
            by_set.setdefault(dataset[i], []).append(loss)
    if reduction == "flat":
        everything = [loss for losses in by_set.values() for loss in losses]
        return sum(everything) / len(everything)
    means = [sum(losses) / len(losses) for losses in by_set.values()]
    return sum(means) / len(means)


SCORE = [3.2, 1.4, 4.8, 2.9, 2.2, 4.1, 1.9, 3.6, 2.5]
MOS = [3.0, 1.0, 3.0, 2.0, 80.0, 30.0, 30.0, 55.0, 4.0]
"""Ties inside both data sets; the second on another scale; the third data set has a single photo."""
DATASET = [0, 0, 0, 0, 1, 1, 1, 1, 2]


def loss_of(score: list[float], mos: list[float], dataset: list[int], **options: object) -> Tensor:
    return pair_loss(
        torch.tensor(score, dtype=torch.float64),
        torch.tensor(mos, dtype=torch.float64),
        torch.tensor(dataset),
        **options,  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("reduction", ["per_dataset", "flat"])
@pytest.mark.parametrize("tie", [0.5, 1.0])
@pytest.mark.parametrize("count", [4, 8, 9])
def test_the_pair_loss_equals_a_double_loop(reduction: str, tie: float, count: int) -> None:
    data = SCORE[:count], MOS[:count], DATASET[:count]
    found = loss_of(*data, reduction=reduction, tie_probability=tie)
    assert found.item() == pytest.approx(brute_force(*data, reduction, tie), abs=1e-12)


def test_the_order_of_the_photos_does_not_matter_to_the_pair_loss() -> None:
    order = [5, 2, 8, 0, 7, 1, 6, 4, 3]
    shuffled = [[column[i] for i in order] for column in (SCORE, MOS, DATASET)]
    assert loss_of(*shuffled).item() == pytest.approx(loss_of(SCORE, MOS, DATASET).item(), abs=1e-12)  # type: ignore[arg-type]


def test_a_data_set_counts_by_its_weight() -> None:
    score, mos, dataset = [1.0, 2, 3, 4, 3, 2], [1.0, 2, 3, 4, 1, 5], [0, 0, 0, 0, 1, 1]
    first, second = loss_of(score[:4], mos[:4], dataset[:4]).item(), loss_of(score[4:], mos[4:], dataset[4:]).item()
    assert second > 3 * first, "the second data set is the one that is wrong"
    weight = torch.tensor([1.0, 1, 1, 1, 0.25, 0.25])
    assert loss_of(score, mos, dataset, weight_B=weight).item() == pytest.approx((first + 0.25 * second) / 1.25)
    flat = loss_of(score, mos, dataset, weight_B=weight, reduction="flat").item()
    assert flat == pytest.approx((6 * first + 0.25 * second) / 6.25), "six pairs and one"
    nothing = loss_of(score, mos, dataset, weight_B=torch.tensor([1.0, 1, 1, 1, 0, 0])).item()
    assert nothing == pytest.approx(first)
    assert loss_of(score[4:], mos[4:], dataset[4:], weight_B=torch.zeros(2)).item() == 0.0


def test_a_sharper_data_set_is_as_if_its_scores_lay_further_apart() -> None:
    sharpness = torch.tensor([1.0] * 4 + [5.0] * 4)
    wider = SCORE[:4] + [5 * score for score in SCORE[4:8]]
    found = loss_of(SCORE[:8], MOS[:8], DATASET[:8], sharpness_B=sharpness).item()
    assert found == pytest.approx(brute_force(wider, MOS[:8], DATASET[:8], "per_dataset", 0.5), abs=1e-12)
    assert abs(found - loss_of(SCORE[:8], MOS[:8], DATASET[:8]).item()) > 0.01


def test_with_a_sharp_loss_a_pair_in_order_pulls_far_less_than_one_out_of_order() -> None:
    def pull(score: list[float], sharpness: float) -> float:
        leaf = torch.tensor(score, requires_grad=True)
        pair_loss(leaf, torch.tensor([2.0, 1.0]), torch.zeros(2), sharpness_B=torch.full((2,), sharpness)).backward()
        return float(leaf.grad.abs().max())

    right, wrong = [3.6, 3.0], [3.0, 3.6]
    assert pull(right, 1) > 0.5 * pull(wrong, 1)
    assert pull(right, 5) < 0.2 * pull(wrong, 5)


def test_a_small_data_set_counts_as_much_as_a_large_one_unless_pairs_are_counted_flat() -> None:
    score, mos, dataset = [1.0, 2, 3, 4, 3, 2], [1.0, 2, 3, 4, 1, 5], [0, 0, 0, 0, 1, 1]
    per_dataset = loss_of(score, mos, dataset)
    flat = loss_of(score, mos, dataset, reduction="flat")
    assert per_dataset > 1.5 * flat, "the one wrong pair is half of the mean over data sets, a seventh of the flat one"


def test_pairs_across_data_sets_are_not_compared() -> None:
    apart = loss_of([1.0, 5.0, 2.0, 4.0], [1.0, 2.0, 90.0, 99.0], [0, 0, 1, 1])
    together = loss_of([1.0, 5.0, 2.0, 4.0], [1.0, 2.0, 90.0, 99.0], [0, 0, 0, 0])
    moved = loss_of([1.0, 5.0, 2.5, 4.5], [1.0, 2.0, 90.0, 99.0], [0, 0, 1, 1])
    assert apart.item() == pytest.approx(moved.item(), abs=1e-12), "only differences inside a data set count"
    assert abs(apart - together) > 0.01


def test_ranking_as_people_did_costs_less_than_ranking_the_other_way_round() -> None:
    right = loss_of([1.0, 3.0, 5.0], [10.0, 50.0, 90.0], [0, 0, 0])
    wrong = loss_of([5.0, 3.0, 1.0], [10.0, 50.0, 90.0], [0, 0, 0])
    assert right < 0.05 < 0.5 < wrong


def test_a_batch_without_any_pair_gives_zero_loss_and_zero_gradient() -> None:
    score = torch.tensor([3.0, 2.0], requires_grad=True)
    loss = pair_loss(score, torch.tensor([1.0, 5.0]), torch.tensor([0, 1]))
    loss.backward()
    assert loss.item() == 0
    assert score.grad is not None
    assert score.grad.tolist() == [0, 0]


def test_the_pair_loss_has_finite_gradients_where_the_normal_distribution_saturates() -> None:
    score = torch.tensor([1.0, 60.0, 5.0], requires_grad=True)
    pair_loss(score, torch.tensor([5.0, 1.0, 5.0]), torch.zeros(3, dtype=torch.int64)).backward()
    assert score.grad is not None
    assert torch.isfinite(score.grad).all()


def test_the_pair_loss_pushes_the_better_photo_up() -> None:
    score = torch.tensor([3.0, 3.0], requires_grad=True)
    pair_loss(score, torch.tensor([4.0, 2.0]), torch.zeros(2, dtype=torch.int64)).backward()
    assert score.grad is not None
    assert score.grad[0] < 0 < score.grad[1], "gradient descent subtracts"


def test_the_scene_loss_is_nine_yes_no_questions() -> None:
    probability = torch.tensor([[0.5, 0.2, 0.0, 0.0, 0.3, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    label = torch.tensor([[1.0, 1.0, 0, 0, 0, 0, 0, 0, 0]], dtype=torch.float64)

    def question(g: float, p: float) -> float:
        return 1 - math.sqrt(g * p + EPS) - math.sqrt((1 - g) * (1 - p) + EPS)

    expected = (question(1, 0.5) + question(1, 0.2) + question(0, 0.3) + 6 * question(0, 0)) / 9
    assert scene_loss(probability, label, torch.tensor([True])).item() == pytest.approx(expected, abs=1e-12)


def test_the_distortion_loss_is_one_minus_the_overlap_with_the_label() -> None:
    probability = torch.tensor([[0.64, 0.36] + [0.0] * 9, [0.0, 0.25] + [0.75] + [0.0] * 8], dtype=torch.float64)
    label = torch.nn.functional.one_hot(torch.tensor([0, 1]), 11).double()
    expected = ((1 - 0.8 - 10e-4) + (1 - 0.5 - 10e-4)) / 2  # each of the ten absent classes adds sqrt(1e-8)
    found = distortion_loss(probability, label, torch.tensor([True, True])).item()
    assert found == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize(("loss", "classes"), [(scene_loss, 9), (distortion_loss, 11)])
def test_a_photo_without_label_contributes_nothing(loss: object, classes: int) -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(4, classes, generator=generator, dtype=torch.float64, requires_grad=True)
    label = torch.nn.functional.one_hot(torch.tensor([1, 2, 0, 0]), classes).double()
    label[2:] = 0
    known = torch.tensor([True, True, False, False])
    masked = loss(logits.softmax(-1), label, known)  # type: ignore[operator]
    alone = loss(logits[:2].softmax(-1), label[:2], known[:2])  # type: ignore[operator]
    assert masked.item() == pytest.approx(alone.item(), abs=1e-12)
    (gradient,) = torch.autograd.grad(masked, logits)
    assert gradient[2:].abs().max() == 0
    assert gradient[:2].abs().min() > 0


@pytest.mark.parametrize(("loss", "classes"), [(scene_loss, 9), (distortion_loss, 11)])
def test_a_batch_without_labels_gives_zero_loss_and_zero_gradient(loss: object, classes: int) -> None:
    # One-hot marginals: the roots of the losses are taken at exactly 0.
    probability = torch.eye(classes)[:3].requires_grad_()
    value = loss(probability, torch.zeros(3, classes), torch.zeros(3, dtype=torch.bool))  # type: ignore[operator]
    (gradient,) = torch.autograd.grad(value, probability)
    assert value.item() == 0
    assert gradient.abs().max() == 0, "also not NaN"


def test_only_pairs_whose_order_is_known_are_compared() -> None:
    # Two originals (series 0), each with copies of two distortions; groups are the originals.
    group = torch.tensor([1, 1, 1, 1, 2, 2])
    series = torch.tensor([0, 1, 1, 2, 0, 1])
    expected = torch.tensor(
        [
            [1, 1, 1, 1, 0, 0],
            [1, 1, 1, 0, 0, 0],
            [1, 1, 1, 0, 0, 0],
            [1, 0, 0, 1, 0, 0],
            [0, 0, 0, 0, 1, 1],
            [0, 0, 0, 0, 1, 1],
        ]
    ).bool()
    found = comparable(group, series)
    assert torch.equal(found, expected)
    score = torch.tensor([3.0, 2.5, 2.9, 1.0, 4.0, 4.5], dtype=torch.float64)
    mos = torch.tensor([0.0, -1.0, -3.0, -3.0, 0.0, -1.0], dtype=torch.float64)
    one = torch.zeros(6, dtype=torch.int64)
    pairs = [(0, 1), (0, 2), (0, 3), (1, 2), (4, 5)]
    by_hand = [pair_loss(score[list(p)], mos[list(p)], one[:2]) for p in pairs]
    torch.testing.assert_close(pair_loss(score, mos, one, found), torch.stack(by_hand).mean())
