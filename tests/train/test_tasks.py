"""Models of fewer tasks: shorter prompts, fewer classes, fewer losses, and no answer that was not learned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from defnet_infer.taxonomy import PRESETS
from defnet_train.config import LossConfig
from defnet_train.evaluation import figures
from defnet_train.joint import TASK_SUBSETS, JointReadOut
from defnet_train.labels import Labels
from defnet_train.model import Defnet
from defnet_train.objective import objective, weighted_losses
from defnet_train.records import ImageRecord
from tests.train.test_model import features
from tests.train.test_objective import targets

SIZES = {"q": 5, "q+s": 45, "q+d": 55, "q+s+d": 495}


@pytest.mark.parametrize(
    ("scene", "distortion", "sentence"),
    [
        (0, None, "a photo of an animal, which is of poor quality."),
        (None, 3, "a photo with blur artifacts, which is of poor quality."),
        (None, None, "a photo, which is of poor quality."),
    ],
)
def test_a_prompt_leaves_out_the_words_of_an_absent_task(
    scene: int | None, distortion: int | None, sentence: str
) -> None:
    assert PRESETS["paper"].sentence(1, scene, distortion) == sentence


@pytest.mark.parametrize("tasks", SIZES)
def test_there_is_one_prompt_for_every_joint_class(new_model: Callable[..., Defnet], tasks: str) -> None:
    model = new_model(tasks=tasks)
    assert len(model.encoder.tokens_JL) == len(set(map(tuple, model.encoder.tokens_JL.tolist()))) == SIZES[tasks]
    assert model.read_out.matrix.shape[0] == SIZES[tasks]


@pytest.mark.parametrize(("tasks", "shape"), [("q+s", (5, 9)), ("q+d", (5, 11))])
def test_marginals_of_two_tasks_are_sums_over_the_grid(tasks: str, shape: tuple[int, int]) -> None:
    joint = torch.rand(3, shape[0] * shape[1], dtype=torch.float64).softmax(-1)
    found = JointReadOut(TASK_SUBSETS[tasks]).double().marginals(joint)
    grid = joint.reshape(3, *shape)
    torch.testing.assert_close(found.quality, grid.sum(2))
    torch.testing.assert_close(found.of(TASK_SUBSETS[tasks][1]), grid.sum(1))
    assert (found.scene is None) == (tasks == "q+d")
    assert (found.distortion is None) == (tasks == "q+s")


@pytest.mark.parametrize("tasks", SIZES)
def test_the_objective_and_the_outputs_know_the_tasks_of_the_model_only(
    new_model: Callable[..., Defnet], tasks: str
) -> None:
    model = new_model(tasks=tasks)
    prediction = model(features(4, 4), features(4, seed=1))
    weights = dict.fromkeys(weighted_losses(model.tasks, LossConfig()), 1.0)
    losses = objective(prediction, targets([True] * 4), weights, LossConfig())
    assert tuple(losses.parts) == (*TASK_SUBSETS[tasks], "cross", "fusion")
    losses.total.backward()
    assert all(head.affine.weight.grad.abs().max() > 0 for head in model.heads.values())
    assert tuple(model.heads) == TASK_SUBSETS[tasks]
    with torch.inference_mode():
        outputs = model.score_views(features(4, 15), features(4, seed=1), model.text_matrix())
    assert {"quality", "scene", "distortion"} & set(outputs) == set(TASK_SUBSETS[tasks])
    torch.testing.assert_close(outputs["quality"].sum(-1), torch.ones(4))


def test_figures_of_a_model_without_scenes_hold_no_scene_accuracy(new_model: Callable[..., Defnet]) -> None:
    records = [
        ImageRecord(
            dataset="clive", path=Path(f"{i}.png"), mos=i, target=1 + i / 4, group=str(i), labels=Labels((1,), i % 3)
        )
        for i in range(12)
    ]
    model = new_model(tasks="q+d")
    with torch.inference_mode():
        outputs = model.score_views(features(12, 15), features(12, seed=1), model.text_matrix())
    found = figures({name: value.numpy() for name, value in outputs.items()}, records)
    assert "distortion_accuracy" in found
    assert "scene_accuracy" not in found
