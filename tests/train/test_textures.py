"""Textures of a map: covariances and third moments along directions, held against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from defnet_train.multilevel import LEVELS, MultiLevelMobileNet
from defnet_train.textures import DIRECTIONS, FLOOR, Texture, _root

CHANNELS = 40


def a_map(seed: int, channels: int = CHANNELS) -> torch.Tensor:
    """Skewed, with channels that vary together."""
    generator = torch.Generator().manual_seed(seed)
    mixed = torch.einsum("nchw,cd->ndhw", torch.randn(3, channels, 9, 7, generator=generator),
                         torch.randn(channels, channels, generator=generator))  # fmt: skip
    return mixed.exp().clamp(max=50) + mixed


def centred(map_NCHW: torch.Tensor) -> torch.Tensor:
    return map_NCHW - map_NCHW.mean(dim=(2, 3), keepdim=True)


def fitted(channels: int = CHANNELS) -> Texture:
    texture = Texture(channels)
    texture.look_along(torch.randn(90, channels, generator=torch.Generator().manual_seed(7)))
    return texture


def test_they_are_signed_roots_of_covariances_and_third_moments_along_the_directions() -> None:
    seen, texture = a_map(0), fitted()
    found = texture(centred(seen)).numpy()
    along_NPK = seen.flatten(2).transpose(1, 2).double().numpy() @ texture.directions.T.double().numpy()
    rows = []
    for points in along_NPK:
        covariance = np.cov(points.T, ddof=0)
        third = ((points - points.mean(axis=0)) ** 3).mean(axis=0)
        upper = covariance[np.triu_indices(DIRECTIONS)]
        rows.append(np.concatenate([np.sign(upper) * np.sqrt(np.abs(upper)), np.cbrt(third)]))
    expected = np.array(rows)
    assert found.shape == (3, texture.width) == (3, 324)
    large = np.abs(expected) > 5 * FLOOR ** (1 / 3)
    assert large.mean() > 0.9
    np.testing.assert_allclose(found[large], expected[large], rtol=1e-3)
    assert (found[:, :300] < 0).any(), "covariances of both signs"
    assert (found[:, 300:] > 0).any()


@pytest.mark.parametrize("degree", [2, 3])
def test_small_ones_are_drawn_towards_0_and_straight(degree: int) -> None:
    values = torch.tensor([-0.3, -FLOOR, -0.01, 0.0, 1e-4, FLOOR, 0.3, 50.0], dtype=torch.float64)
    plain = values.sign() * values.abs() ** (1 / degree)
    shrink = (1 + (FLOOR / values.abs().clamp_min(1e-9)) ** 2) ** (-(1 - 1 / degree) / 2)
    torch.testing.assert_close(_root(values, degree), plain * shrink)
    slope = FLOOR ** -(1 - 1 / degree)
    torch.testing.assert_close(_root(values[4], degree), values[4] * slope, rtol=1e-5, atol=0)


def test_half_precision_of_training_does_not_reach_them() -> None:
    seen, texture = centred(a_map(4)) * 30, fitted()  # Squares beyond the largest half-precision number.
    expected = texture(seen)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(texture(seen), expected)


def test_the_directions_are_unit_vectors_that_the_weights_weigh_most() -> None:
    weights = torch.randn(90, CHANNELS, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    texture = Texture(CHANNELS)
    texture.look_along(weights)
    directions = texture.directions.T.double()
    torch.testing.assert_close(directions.T @ directions, torch.eye(DIRECTIONS).double(), rtol=0, atol=1e-6)
    eigenvalues = torch.linalg.eigvalsh(weights.T @ weights).flip(0)[:DIRECTIONS]
    torch.testing.assert_close((weights @ directions).square().sum(dim=0), eigenvalues, rtol=1e-5, atol=0)


def test_the_sign_of_the_weights_does_not_turn_a_direction() -> None:
    weights = torch.randn(90, CHANNELS, generator=torch.Generator().manual_seed(3))
    one, other = Texture(CHANNELS), Texture(CHANNELS)
    one.look_along(weights)
    other.look_along(-weights.flip(0))
    torch.testing.assert_close(one.directions, other.directions, rtol=0, atol=1e-5)


def test_a_map_of_few_channels_is_read_whole() -> None:
    texture = fitted(10)
    assert texture.width == 55 + 10
    assert texture(centred(a_map(1, 10))).shape == (3, 65)


def test_where_filters_answer_tells_maps_apart_that_have_the_same_means_and_deviations() -> None:
    seen = a_map(2)
    moved = seen.clone()
    moved[:, ::2] = seen[:, ::2].flip(-1)  # Every other filter answers at other places, as often and as strongly.
    texture = fitted()
    apart = (texture(centred(seen)) - texture(centred(moved))).abs()
    torch.testing.assert_close(seen.std(dim=(2, 3)), moved.std(dim=(2, 3)))
    assert apart[:, :300].mean() > 0.1 * texture(centred(seen))[:, :300].abs().mean()


def test_a_flat_map_has_no_texture_and_finite_gradients() -> None:
    flat = torch.zeros(2, CHANNELS, 7, 7, requires_grad=True)
    found = fitted()(flat)
    found.sum().backward()
    assert torch.equal(found, torch.zeros_like(found))
    assert torch.isfinite(flat.grad).all()


@pytest.mark.parametrize("level", LEVELS)
def test_in_the_trunk_they_follow_the_weights_that_read_each_level(level: int) -> None:
    torch.manual_seed(0)
    trunk = MultiLevelMobileNet()
    reader = trunk.net.blocks[level + 1][0]
    before = trunk.textures[str(level)].directions.clone()
    with torch.no_grad():
        reader.conv_pw.weight.normal_()
        reader.bn1.weight.uniform_(0.5, 2.0)
        reader.bn1.running_var.uniform_(0.2, 5.0)
    trunk.look_along_weights()
    scale = reader.bn1.weight / (reader.bn1.running_var + reader.bn1.eps).sqrt()
    expected = Texture(before.shape[1])
    expected.look_along(scale.detach()[:, None] * reader.conv_pw.weight.detach().flatten(1))
    found = trunk.textures[str(level)].directions
    torch.testing.assert_close(found, expected.directions, rtol=0, atol=1e-4)
    assert (found - before).abs().max() > 0.1
