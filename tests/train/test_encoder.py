"""The two towers: pixels and prompts reach the network as their authors meant."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from defnet_infer.errors import CheckpointError, UsageError
from defnet_infer.taxonomy import PRESETS
from defnet_train.encoder import TOWERS, Encoder, refuse_idle_dropout
from defnet_train.model import Defnet
from tests.train.conftest import TINY

VIT = "ViT-B-32-quickgelu"


def full_context(encoder: Encoder, prompts: list[str]) -> torch.Tensor:
    """open_clip's own text encoding, over the whole context of 77."""
    tokens = open_clip.get_tokenizer(encoder.name)(prompts)
    assert tokens.shape[1] == 77
    return encoder.clip.encode_text(tokens, normalize=True)


@pytest.mark.parametrize("preset", ["paper", "liqe"])
def test_cutting_the_text_context_changes_nothing(preset: str) -> None:
    torch.manual_seed(0)
    encoder = Encoder("mobilenetv2_100", preset)
    assert encoder.tokens_JL.shape[1] < 40
    with torch.inference_mode():
        found, expected = encoder.encode_text(), full_context(encoder, PRESETS[preset].sentences())
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    assert (found @ found.T - torch.eye(495)).max() < 0.99999, "all prompts differ"


@pytest.mark.slow
def test_cutting_the_text_context_changes_nothing_in_the_tower_of_the_paper() -> None:
    torch.manual_seed(0)
    encoder = Encoder(VIT, "paper")
    some = slice(0, 495, 31)
    encoder.tokens_JL = encoder.tokens_JL[some]
    with torch.inference_mode():
        found, expected = encoder.encode_text(), full_context(encoder, PRESETS["paper"].sentences()[some])
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_the_tower_of_the_paper_has_clips_size_and_activation() -> None:
    encoder = Encoder(VIT, "paper")
    assert sum(p.numel() for p in encoder.parameters()) == 151_277_313
    assert sum(p.numel() for p in encoder.trunk.parameters()) == 87_849_216
    activations = {type(m).__name__ for m in encoder.modules() if "GELU" in type(m).__name__}
    assert activations == {"QuickGELU"}, "OpenAI's weights were trained with it"
    assert encoder.embed_dim == 512


def test_text_embeddings_are_unit_vectors(shared_model: Defnet) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(shared_model.encoder.encode_text().norm(dim=-1), torch.ones(495))


def test_presets_give_different_text_embeddings(new_model: Callable[..., Defnet]) -> None:
    one, other = (new_model(prompt_preset=preset).encoder for preset in ("paper", "liqe"))
    assert torch.equal(one.clip.text_projection, other.clip.text_projection)
    with torch.inference_mode():
        assert (one.encode_text() - other.encode_text()).norm(dim=-1).min() > 1e-3


@pytest.mark.parametrize("name", [TINY, "mobilenetv2_100"])
def test_pixels_are_normalised_as_the_tower_expects(name: str) -> None:
    torch.manual_seed(0)
    encoder = Encoder(name, "paper")
    views = torch.randint(0, 256, (2, 1, 224, 224, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (TOWERS[name].mean, TOWERS[name].std))
    by_hand = (views[:, 0].permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.inference_mode():
        found, expected = encoder.trunk_features(views), encoder.trunk(by_hand)
        swapped = encoder.trunk(by_hand.transpose(2, 3))
    assert found.shape[:2] == (2, 1)
    # Third moments of a random net's maps cancel: their last digits are lost.
    digits = 1e-5 if name == TINY else 1e-3
    torch.testing.assert_close(found[:, 0], expected, rtol=1e-4, atol=digits)
    assert (expected - swapped).abs().max() > 10 * digits, "height and width are not interchangeable"


def test_image_embeddings_are_unit_vectors_in_the_shape_of_their_views(shared_model: Defnet) -> None:
    views = torch.randint(0, 256, (2, 3, 224, 224, 3), dtype=torch.uint8)
    with torch.inference_mode():
        embedded = shared_model.encoder.project(shared_model.encoder.trunk_features(views))
    assert embedded.shape == (2, 3, shared_model.encoder.embed_dim)
    torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(2, 3))


def test_mobilenet_pads_an_even_side_at_its_end_only() -> None:
    encoder = Encoder("mobilenetv2_100", "paper")
    stem = encoder.trunk.net.conv_stem
    pixels = torch.randn(1, 3, 224, 224)
    padded = torch.nn.functional.pad(pixels, (0, 1, 0, 1))
    with torch.inference_mode():
        expected = torch.nn.functional.conv2d(padded, stem.weight, stride=2)
        torch.testing.assert_close(stem(pixels), expected, rtol=1e-4, atol=1e-4)


def test_the_temperature_learns_from_the_bound_where_clip_starts(new_model: Callable[..., Defnet]) -> None:
    encoder = new_model().encoder
    torch.nn.init.constant_(encoder.clip.logit_scale, math.log(100))
    encoder.logit_scale().backward()
    assert encoder.clip.logit_scale.grad == pytest.approx(100, rel=1e-4)


def test_the_temperature_is_brought_back_to_its_bound(new_model: Callable[..., Defnet]) -> None:
    encoder = new_model().encoder
    torch.nn.init.constant_(encoder.clip.logit_scale, 7.0)
    encoder.limit_logit_scale()
    assert encoder.logit_scale().item() == pytest.approx(100)
    torch.nn.init.constant_(encoder.clip.logit_scale, 2.5)
    encoder.limit_logit_scale()
    assert encoder.logit_scale().item() == pytest.approx(math.exp(2.5)), "below the bound it is left alone"


def test_trunk_weights_come_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    donor, path = Encoder("mobilenetv2_100", "paper"), tmp_path / "trunk.safetensors"
    save_file(donor.trunk.net.state_dict(), path)
    encoder = Encoder("mobilenetv2_100", "paper", trunk_weights=str(path))
    assert all(torch.equal(a, b) for a, b in zip(encoder.trunk.parameters(), donor.trunk.parameters(), strict=True))
    assert not torch.equal(encoder.clip.text_projection, donor.clip.text_projection), "and only those of the trunk"
    state = donor.trunk.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in encoder.trunk.state_dict().items()), "textures too"


def test_the_projection_of_the_small_tower_bends_and_drops_only_in_training() -> None:
    torch.manual_seed(0)
    encoder = Encoder("mobilenetv2_100", "paper", dropout=0.5)
    features = torch.randn(64, encoder.trunk.num_features)
    head = encoder.clip.visual.head
    norm, hidden = head.norm, head.hidden
    inside = torch.nn.functional.gelu((features - norm.mean) / norm.std @ hidden.rounded().T + hidden.bias)
    by_hand = torch.nn.functional.normalize(inside @ head.proj.weight.T, dim=-1)
    assert torch.allclose(encoder.project(features), by_hand, atol=1e-6)
    assert not torch.allclose(encoder.project(-features), -encoder.project(features), atol=0.1), "it is not linear"
    head.train()
    assert not torch.allclose(encoder.project(features), encoder.project(features), atol=0.01), "dropout"


def test_dropout_is_refused_where_there_is_no_hidden_projection_to_drop_from() -> None:
    with pytest.raises(UsageError, match=rf"model\.dropout = 0\.2 is for .*mobilenetv2_100\); {TINY} has none"):
        refuse_idle_dropout(TINY, 0.2)
    refuse_idle_dropout("mobilenetv2_100", 0.2)
    refuse_idle_dropout(TINY, 0.0)
    Encoder(TINY, "paper", dropout=0.2)  # A checkpoint of a run that had it can be read.


def test_weights_that_do_not_fit_or_are_not_there_are_named(tmp_path: Path) -> None:
    path = tmp_path / "trunk.safetensors"
    save_file({"conv.weight": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"trunk\.safetensors do not fit mobilenetv2_100"):
        Encoder("mobilenetv2_100", "paper", trunk_weights=str(path))
    with pytest.raises(CheckpointError, match=r"gone\.safetensors not found; set model\.trunk_weights"):
        Encoder(TINY, "paper", trunk_weights=str(tmp_path / "gone.safetensors"))
    with pytest.raises(CheckpointError, match=r"gone\.pt not found; pass a file, 'openai' or 'random'"):
        Encoder(TINY, "paper", weights=str(tmp_path / "gone.pt"))


def test_an_unknown_tower_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="unknown image tower 'ViT-B-32'; choose one of: ViT-B-32-quickgelu"):
        Encoder("ViT-B-32", "paper")


def test_a_training_step_encodes_the_prompts_once(new_model: Callable[..., Defnet]) -> None:
    model, passes = new_model(), []
    model.encoder.clip.transformer.register_forward_hook(lambda *_: passes.append(1))
    model(torch.rand(2, 4, 96), torch.rand(2, 96))
    assert len(passes) == 1, "crops and overview share them"
