"""The small tower's trunk: what it pools, and how its features are standardised."""

from __future__ import annotations

import timm
import torch

from defnet_train.multilevel import LEVELS, FeatureNorm, MultiLevelMobileNet


def test_features_are_tones_then_mean_deviation_and_texture_of_five_levels_and_the_mean_of_the_end() -> None:
    torch.manual_seed(0)
    trunk = MultiLevelMobileNet().eval()
    pixels = torch.randn(2, 3, 224, 224)
    seen = []
    hooks = [
        trunk.net.blocks[level].register_forward_hook(lambda _module, _inputs, output: seen.append(output))
        for level in LEVELS
    ]
    with torch.inference_mode():
        found = trunk(pixels)
        end = trunk.net(pixels).mean(dim=(2, 3))
    for hook in hooks:
        hook.remove()
    expected = [trunk.tones(pixels)]
    for number, level in zip(LEVELS, seen[: len(LEVELS)], strict=True):
        mean = level.mean(dim=(2, 3), keepdim=True)
        texture = trunk.textures[str(number)](level - mean)
        expected += [mean.flatten(1), level.flatten(2).std(dim=2, correction=0), texture]
    assert found.shape == (2, trunk.num_features)
    torch.testing.assert_close(found, torch.cat([*expected, end], dim=1), rtol=1e-3, atol=1e-3)


def test_a_classifiers_weights_fit_the_trunk() -> None:
    plain = timm.create_model("mobilenetv2_100", num_classes=0)
    MultiLevelMobileNet().net.load_state_dict(plain.state_dict())


def test_the_feature_norm_standardises_the_features_it_was_fitted_to() -> None:
    generator = torch.Generator().manual_seed(0)
    scale, shift = torch.tensor([0.01, 3.0, 100.0]), torch.tensor([5.0, -2.0, 0.5])
    features = torch.randn(40, 2, 16, 3, generator=generator) * scale + shift
    norm = FeatureNorm(3)
    near = torch.randn(4, 3, generator=generator)
    assert torch.equal(norm(near), near), "before it is fitted it changes nothing"
    norm.fit(features)
    found = norm(features).flatten(0, -2)
    torch.testing.assert_close(found.mean(0), torch.zeros(3), rtol=0, atol=1e-3)
    torch.testing.assert_close(found.std(0), torch.ones(3), rtol=1e-3, atol=0)


def test_a_feature_far_from_those_of_training_ends_at_six_deviations() -> None:
    norm = FeatureNorm(2)
    norm.fit(torch.tensor([[1.0, -1.0], [3.0, 1.0], [5.0, 3.0]]))  # Means 3 and 1, deviations 2.
    far = torch.tensor([[3.0 + 2 * 5.9, 1.0 - 2 * 40], [3.0 + 2 * 50, 1.0]])
    torch.testing.assert_close(norm(far), torch.tensor([[5.9, -6.0], [6.0, 0.0]]))


def test_a_feature_that_never_varies_is_centred_and_stays_finite() -> None:
    features = torch.cat([torch.randn(30, 1), torch.full((30, 1), 7.0)], dim=1)
    norm = FeatureNorm(2)
    norm.fit(features)
    assert torch.equal(norm(features)[:, 1], torch.zeros(30))
