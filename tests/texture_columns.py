"""Where textures stand among the features of the small tower's trunk: their third moments cancel, and lose digits."""

from __future__ import annotations

import torch
from torch import Tensor

from defnet_train.multilevel import LEVELS, MultiLevelMobileNet


def assert_close_features(found: Tensor, expected: Tensor, trunk: MultiLevelMobileNet, *, textures: float) -> None:
    """Features (..., F) equal to float32 rounding, and textures, of random maps, to an absolute difference."""
    is_texture = torch.zeros(trunk.num_features, dtype=torch.bool)
    start = trunk.tones.width
    for level in LEVELS:
        width = trunk.textures[str(level)].width
        start += 2 * trunk.textures[str(level)].directions.shape[1]
        is_texture[start : start + width] = True
        start += width
    torch.testing.assert_close(found[..., ~is_texture], expected[..., ~is_texture], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[..., is_texture], expected[..., is_texture], rtol=1e-4, atol=textures)
