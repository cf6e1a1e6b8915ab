"""The 495 joint classes and what is read off them."""

from __future__ import annotations

import pytest
import torch

from defnet_infer.taxonomy import JOINT_SHAPE, joint_index
from defnet_train.joint import JointReadOut, marginal_matrix


def joint(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, 495, generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(-1)


def test_the_marginal_matmul_equals_reshaping_and_summing() -> None:
    read_out = JointReadOut().double()
    prob_BVJ = joint(2, 3)
    grid_BVQSD = prob_BVJ.reshape(2, 3, *JOINT_SHAPE)
    found = read_out.marginals(prob_BVJ)
    torch.testing.assert_close(found.quality, grid_BVQSD.sum((-2, -1)))
    torch.testing.assert_close(found.scene, grid_BVQSD.sum((-3, -1)))
    torch.testing.assert_close(found.distortion, grid_BVQSD.sum((-3, -2)))


def test_every_joint_class_counts_once_in_each_task() -> None:
    matrix = marginal_matrix()
    assert matrix.shape == (495, 25)
    assert set(matrix.unique().tolist()) == {0.0, 1.0}
    for block in matrix.split([5, 9, 11], dim=1):
        assert (block.sum(1) == 1).all()


def test_a_joint_class_sits_at_its_index_and_feeds_its_three_marginals() -> None:
    one_hot = torch.zeros(495)
    one_hot[joint_index(3, 7, 2)] = 1
    found = JointReadOut().marginals(one_hot)
    assert [part.argmax().item() for part in found] == [3, 7, 2]
    assert joint_index(3, 7, 2) == 99 * 3 + 11 * 7 + 2


def test_the_score_is_the_expected_level() -> None:
    quality = torch.tensor([[0.1, 0.2, 0.3, 0.25, 0.15], [0, 0, 0, 0, 1.0]])
    assert JointReadOut().score(quality).tolist() == pytest.approx([0.1 + 0.4 + 0.9 + 1.0 + 0.75, 5.0])


def test_the_photo_joint_averages_probabilities_or_logits_as_asked() -> None:
    read_out = JointReadOut()
    logits_BVJ = 3 * torch.randn(2, 3, 495, generator=torch.Generator().manual_seed(2))
    by_probability = read_out.photo_joint(logits_BVJ, "prob_mean")
    by_logit = read_out.photo_joint(logits_BVJ, "logit_mean")
    naive = torch.stack([sum(torch.softmax(crop, 0) for crop in photo) / 3 for photo in logits_BVJ])
    torch.testing.assert_close(by_probability, naive)
    torch.testing.assert_close(by_logit, torch.softmax(sum(logits_BVJ.unbind(1)) / 3, -1))
    assert (by_probability - by_logit).abs().sum() > 0.1
    torch.testing.assert_close(by_logit.sum(-1), torch.ones(2))


def test_logits_are_cosines_times_the_scale() -> None:
    image = torch.tensor([[0.6, 0.8]])
    text = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-0.6, -0.8]])
    assert JointReadOut().logits(image, text, torch.tensor(10.0)).tolist() == [pytest.approx([6.0, 8.0, -10.0])]
