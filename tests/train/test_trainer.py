"""One training step: what is random in it goes on after a restore, and what must be float32 is, whatever autocast."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import lightning_fabric
import pytest
import torch

from defnet_infer.errors import CheckpointError
from defnet_train.batches import FeatureViews
from defnet_train.config import LossConfig, TrainConfig
from defnet_train.model import Defnet
from defnet_train.objective import objective
from defnet_train.recipe_file import load_config
from defnet_train.records import ImageRecord
from defnet_train.run_data import RunData
from defnet_train.run_state import load_state, save_state
from defnet_train.trainer import Trainer, adamw, restore_generators
from tests.train.conftest import TINY
from tests.train.test_model import features

PHOTOS = 12


def records() -> list[ImageRecord]:
    return [
        ImageRecord(dataset="clive", path=Path("x"), mos=float(i), target=1 + i / 3, group=str(i), labels=None)
        for i in range(PHOTOS)
    ]


def config_with(*settings: str) -> TrainConfig:
    return load_config("smoke", ["data.sets={clive = 5}", "optim.clip_norm=0.5", *settings])


def trainer_of(config: TrainConfig, precision: str = "32-true") -> Trainer:
    """A trainer on made-up features of a frozen trunk."""
    fabric = lightning_fabric.Fabric(accelerator="cpu", devices=1, precision=precision)
    torch.manual_seed(config.seed)
    model = Defnet(config.model)
    width = model.encoder.trunk.num_features
    made = torch.randn(PHOTOS, 2, 16, width, generator=torch.Generator().manual_seed(1))
    data = RunData(records(), {"train": list(range(PHOTOS)), "val": [], "test": []})
    trainer = Trainer(fabric, config, model, FeatureViews(made), data)
    trainer.begin_epoch()
    return trainer


def test_dropout_data_order_and_windows_go_on_where_they_were(tmp_path: Path) -> None:
    config = config_with("model.tower=mobilenetv2_100", "model.dropout=0.5")
    unbroken = trainer_of(config)
    for _ in range(2):
        unbroken.step()
    save_state(tmp_path / "state.safetensors", unbroken.state())
    for _ in range(2):
        unbroken.step()
    torch.manual_seed(99)
    other = trainer_of(config)
    other.restore(load_state(tmp_path / "state.safetensors"))
    other.begin_epoch()
    for _ in range(2):
        other.step()
    assert other.position == unbroken.position
    end, same = unbroken.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in end.items())
    torch.manual_seed(99)
    forgetful = trainer_of(config)
    forgetful.restore(load_state(tmp_path / "state.safetensors"))
    torch.manual_seed(99)
    for _ in range(2):
        forgetful.step()
    changed = forgetful.model.state_dict()
    assert not all(torch.equal(value, changed[name]) for name, value in end.items()), "dropout is part of the state"


def test_every_process_gets_its_own_generator_back() -> None:
    states, expected = [], []
    for seed in (3, 4):
        torch.manual_seed(seed)
        states.append(torch.get_rng_state())
        expected.append(torch.rand(5))
    for rank in (1, 0):
        restore_generators({"rng.cpu": torch.stack(states)}, rank, torch.device("cpu"))
        assert torch.equal(torch.rand(5), expected[rank])


def test_a_state_of_another_tower_is_refused() -> None:
    state = trainer_of(config_with(f"model.tower={TINY}")).state()
    with pytest.raises(CheckpointError, match="the training state does not fit mobilenetv2_100"):
        trainer_of(config_with("model.tower=mobilenetv2_100")).restore(state)


def test_after_the_towers_everything_is_float32_under_autocast(new_model: Callable[..., Defnet]) -> None:
    model = new_model(seed=2)
    crops, overview = features(3, 4), features(3, seed=1)
    seen: dict[str, torch.Tensor] = {}
    embed = model._embed

    def spy(views: torch.Tensor, **options: bool) -> torch.Tensor:
        seen["crops" if views.dim() == 3 else "overview"] = embedded = embed(views, **options)
        return embedded

    model._embed = spy
    encode_text = model.encoder.encode_text
    model.encoder.encode_text = lambda: seen.setdefault("text", encode_text())
    model.train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(crops, overview)
    exact = encode_text()
    assert 1e-4 < (seen["text"] - exact).abs().max() < 0.1, "the towers did run in bfloat16"
    # The same embeddings, in float32 from there on.
    model._embed = lambda views, **_: seen["crops" if views.dim() == 3 else "overview"]
    full = model(crops, overview)
    for one, other in zip(_tensors(mixed), _tensors(full), strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other)
    assert torch.allclose(mixed.photo.quality.sum(-1), torch.ones(3), atol=1e-6)


def _tensors(nest: object) -> list[torch.Tensor]:
    if isinstance(nest, torch.Tensor):
        return [nest]
    parts = nest.values() if isinstance(nest, dict) else nest
    return [tensor for part in parts for tensor in _tensors(part)]


def test_mixed_precision_trains_float32_weights_on_float32_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    config = config_with(f"model.tower={TINY}", 'run.precision="bf16-mixed"')
    trainer, full = trainer_of(config, "bf16-mixed"), trainer_of(config)
    seen = []

    def spy(prediction: object, targets: object, weights: object, losses: LossConfig) -> object:
        assert not torch.is_autocast_enabled("cpu")
        seen.append({tensor.dtype for tensor in _tensors(prediction)})
        return objective(prediction, targets, weights, losses)

    monkeypatch.setattr("defnet_train.trainer.objective", spy)
    for _ in range(3):
        trainer.step()
        full.step()
    assert seen == [{torch.float32}] * 6
    assert {value.dtype for value in trainer.model.parameters()} == {torch.float32}
    mixed, exact = trainer.mean_losses(), full.mean_losses()
    assert mixed != exact
    assert mixed == pytest.approx(exact, rel=0.05, abs=0.02)


def moved(model: Defnet, before: dict[str, torch.Tensor]) -> dict[str, float]:
    """The farthest that any number of each tensor has gone."""
    return {name: (value - before[name]).abs().max().item() for name, value in model.state_dict().items()}


def test_the_text_tower_may_have_a_rate_of_its_own() -> None:
    """Adam's first step is as long as the rate, whatever the gradient, where there is one."""
    settings = ("model.tower=mobilenetv2_100", "optim.clip_norm=0", "optim.encoder_weight_decay=0")
    text, image = "encoder.clip.text_projection", "encoder.clip.visual.head.proj.weight"
    kappa = "encoder.clip.logit_scale"
    steps = {}
    for rate in ("0", "1e-4"):
        trainer = trainer_of(config_with(*settings, "optim.encoder_lr=1e-3", f"optim.text_lr={rate}"))
        before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
        trainer.step()
        steps[rate] = moved(trainer.model, before)
    assert steps["0"][text] == pytest.approx(1e-3, rel=0.05)
    assert steps["1e-4"][text] == pytest.approx(1e-4, rel=0.05)
    for name in (image, kappa):
        assert steps["1e-4"][name] == pytest.approx(steps["0"][name], rel=1e-2), "only the text tower is slower"


def test_a_frozen_text_tower_has_no_rate() -> None:
    settings = ("model.tower=mobilenetv2_100", "optim.train_text=false", "optim.text_lr=1e-4")
    trainer = trainer_of(config_with(*settings))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.step()
    steps = moved(trainer.model, before)
    assert steps["encoder.clip.text_projection"] == 0
    assert steps["encoder.clip.visual.head.proj.weight"] > 0


def test_every_rate_falls_with_the_schedule() -> None:
    """Half-way through a cosine the rate is half of the first, and Adam's first step is as long as the rate."""
    settings = (f"model.tower={TINY}", "optim.schedule=cosine", "optim.epochs=4", "optim.encoder_weight_decay=0")
    trainer = trainer_of(config_with(*settings, "optim.encoder_lr=1e-3", "optim.head_lr=1e-2"))
    trainer.position.epoch = 2
    assert trainer.begin_epoch() == pytest.approx(0.5e-3)
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.step()
    steps = moved(trainer.model, before)
    assert steps["encoder.clip.visual.head.proj.weight"] == pytest.approx(0.5e-3, rel=0.05)
    assert steps["heads.quality.affine.bias"] == pytest.approx(0.5e-2, rel=0.05)


def test_gradients_are_cut_to_the_largest_norm_and_only_if_there_is_one() -> None:
    norms = {}
    for largest in ("0", "1e-3"):
        trainer = trainer_of(config_with(f"model.tower={TINY}", f"optim.clip_norm={largest}"))
        trainer.step()
        squares = [p.grad.square().sum() for p in trainer.model.parameters() if p.grad is not None]
        norms[largest] = torch.stack(squares).sum().sqrt().item()
    assert norms["0"] > 0.01
    assert norms["1e-3"] == pytest.approx(1e-3, rel=1e-3)


def test_no_step_leaves_the_temperature_above_its_bound() -> None:
    trainer = trainer_of(config_with(f"model.tower={TINY}", "optim.encoder_lr=1e-3"))
    torch.nn.init.constant_(trainer.model.encoder.clip.logit_scale, 5.0)  # The bound is at 4.6.
    trainer.step()
    assert trainer.model.encoder.logit_scale().item() == pytest.approx(100)


def test_what_decays_is_all_but_the_heads() -> None:
    """Where the loss is flat, AdamW multiplies a weight by 1 - rate x decay and does nothing else."""
    settings = ("model.tower=mobilenetv2_100", "optim.encoder_weight_decay=0.5", "optim.thaw_stages=2")
    rates = {"encoder": 0.1, "heads": 0.2, "text": 0.3, "trunk": 0.4}
    config = config_with(*settings, *(f"optim.{part.removesuffix('s')}_lr={rate}" for part, rate in rates.items()))
    model = Defnet(config.model)
    optimizer = adamw(config, model)
    before = {name: value.clone() for name, value in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, part in {
        "encoder.clip.visual.head.proj.weight": "encoder",
        "heads.quality.affine.bias": "heads",
        "encoder.clip.text_projection": "text",
        "encoder.clip.visual.trunk.net.conv_head.weight": "trunk",
    }.items():
        left = 1 if part == "heads" else 1 - rates[part] * 0.5
        assert before[name].abs().max() > 0
        torch.testing.assert_close(model.get_parameter(name).data, before[name] * left)
