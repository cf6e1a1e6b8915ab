"""The exported form of a tower computes what open_clip's and timm's modules compute."""

from __future__ import annotations

import pytest
import torch
from open_clip.model import QuickGELU
from open_clip.transformer import VisionTransformer
from torch import nn

from defnet_export.graph import ScoringGraph
from defnet_export.towers import PlainVit, deployed, fold_batch_norms
from defnet_train.config import HeadConfig, ModelConfig
from defnet_train.model import Defnet
from defnet_train.multilevel import MultiLevelMobileNet
from tests.lively_model import lively_model
from tests.texture_columns import assert_close_features


@pytest.fixture(scope="module")
def vit() -> VisionTransformer:
    """A vision transformer of CLIP's kind, with every parameter away from its start."""
    torch.manual_seed(3)
    tower = VisionTransformer(64, 16, 128, 2, 2, 4.0, output_dim=32, act_layer=QuickGELU).eval()
    with torch.no_grad():
        for parameter in tower.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
        tower.ln_pre.weight[3] = 20.0  # a channel that dwarfs the others, as CLIP has them
    return tower


def test_the_plain_vision_transformer_equals_open_clips(vit):
    pixels = torch.randn(5, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(PlainVit(vit, torch.float32)(pixels), vit(pixels), rtol=1e-4, atol=1e-4)


def test_half_products_change_the_embedding_a_little_and_only_a_little(vit):
    pixels = torch.randn(5, 3, 64, 64)
    with torch.inference_mode():
        exact, half = vit(pixels), PlainVit(vit, torch.float16)(pixels)
    error = (half - exact).norm() / exact.norm()
    assert half.dtype == torch.float32
    assert 1e-5 < error < 5e-3


def test_the_attention_scale_is_in_the_weights_of_the_query_and_of_nothing_else(vit):
    plain = PlainVit(vit, torch.float32)
    for block, attention in zip(vit.transformer.resblocks, (one.attention for one in plain.blocks), strict=True):
        expected = block.attn.in_proj_weight.detach().T.clone()
        expected[:, :128] /= 8  # two heads of 64 channels
        parts = [attention.qkv] if hasattr(attention, "qkv") else [attention.query, attention.key_value]
        torch.testing.assert_close(torch.cat([part.weight for part in parts], dim=1), expected, rtol=0, atol=0)


def test_the_last_block_computes_the_class_token_alone_and_the_one_before_computes_all(vit):
    plain = PlainVit(vit, torch.float32)
    tokens = torch.randn(3, 17, 128)
    with torch.inference_mode():
        first, last = plain.blocks[0](tokens), plain.blocks[1](tokens)
        expected = vit.transformer.resblocks[1](tokens)
    assert first.shape == (3, 17, 128)
    assert last.shape == (3, 1, 128)
    torch.testing.assert_close(last, expected[:, :1], rtol=1e-4, atol=1e-4)


def test_folded_batch_norms_leave_the_features_as_they_were():
    torch.manual_seed(0)
    trunk = MultiLevelMobileNet().eval()
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.3, 3)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias)
    pixels = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = trunk(pixels)
    folded = fold_batch_norms(trunk)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with torch.inference_mode():
        error = (folded(pixels) - expected).norm() / expected.norm()
    assert error < 3e-5, "float32 rounding of fifty layers; another order of threads' sums moves it"


@pytest.mark.parametrize(("views", "parts"), [(16, 8), (15, 5), (32, 8), (12, 3)])
def test_views_that_pass_the_first_stages_in_parts_give_the_same_features_in_the_same_order(views, parts):
    torch.manual_seed(0)
    trunk = MultiLevelMobileNet().eval()
    pixels = torch.randn(views, 3, 64, 64)
    with torch.inference_mode():
        at_once = trunk(pixels)
        trunk.parts = parts
        in_parts = trunk(pixels)
    assert_close_features(in_parts, at_once, trunk, textures=3e-3)
    apart = (at_once[1:] - at_once[:-1]).abs().amax(dim=1)
    assert apart.min() > 0.1, "views differ, so their order is seen"


def test_only_a_float32_file_has_parts_and_they_divide_the_views():
    graph = ScoringGraph(lively_model()).eval()
    trunk = deployed(graph, torch.float32).model.encoder.trunk
    assert trunk.parts == 8, "15 crops and an overview"
    assert deployed(graph, torch.float16).model.encoder.trunk.parts == 1
    bare = ModelConfig(tower="mobilenetv2_100", weights="random", head=HeadConfig(kind="none"))
    assert deployed(ScoringGraph(Defnet(bare)).eval(), torch.float32).model.encoder.trunk.parts == 5, "15 crops"
    assert graph.model.encoder.trunk.parts == 1, "the model itself is as it was"


def test_deploying_a_graph_leaves_the_original_in_float32_with_its_own_modules():
    graph = ScoringGraph(lively_model()).eval()
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    half = deployed(graph, torch.float16)
    after = graph.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert any(value.dtype == torch.float16 for value in half.state_dict().values())
