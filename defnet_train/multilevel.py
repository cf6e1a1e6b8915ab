"""MultiLevelMobileNet: the image trunk of the small tower, MobileNetV2 read at several depths.

The last layer of a classifier says what is in a photo and forgets how sharp or noisy it is: classes do not
depend on that. Means and deviations of earlier layers keep it. On the LIVE Challenge photos a ridge regression
on frozen features ranks test photos with SRCC 0.777 from these features and 0.745 from the last layer alone
(mean of five splits). How filters answer together is read beside them (`textures.py`), and how dark, bright and
colourful a view is comes from its pixels (`tones.py`).
"""

from __future__ import annotations

import math

import timm
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from defnet_train.textures import Texture
from defnet_train.tones import Tones

RGB = tuple[float, float, float]
MEAN: RGB = (0.5, 0.5, 0.5)
STD: RGB = (0.5, 0.5, 0.5)
"""Of the pixel normalisation. The ImageNet weights come from TensorFlow: pixels in [-1, 1]."""

LEVELS = (1, 2, 3, 4, 5)
"""Block stages whose outputs are pooled: 56 x 56 to 7 x 7 at 224 pixels. Earlier ones cost time and add nothing."""

WIDE_STAGES = 2
"""First stages, whose maps are the largest: 4.8 MB a view at 224 pixels, of 32-bit numbers."""

FARTHEST = 6.0
"""Deviations from the mean of the training photos at which a feature ends."""


class MultiLevelMobileNet(nn.Module):
    """timm's `mobilenetv2_100`, read at five depths and at its end, beside the tones of its pixels.

    Padding is TensorFlow's "same", which the ImageNet weights were trained with: an even side is padded only at
    its end. With PyTorch's symmetric padding every stride-2 layer would look half a stride off.
    """

    def __init__(self) -> None:
        super().__init__()
        self.net = timm.create_model("mobilenetv2_100", num_classes=0, global_pool="", pad_type="same")
        self.tones = Tones(MEAN, STD)
        self.textures = nn.ModuleDict({str(level): Texture(_width(self.net.blocks[level])) for level in LEVELS})
        self.look_along_weights()
        self.parts = 1
        """In how many parts views pass the first stages, one part after another. What is exported for a CPU has
        several: the maps of all views of a photo would leave its caches."""
        self.num_features = self._statistics(self.stages) + self.net.num_features

    @property
    def stages(self) -> int:
        """Number of block stages, 7."""
        return len(self.net.blocks)

    def forward(self, pixels_NCHW: Tensor) -> Tensor:
        """Normalised pixels to features (N, F).

        They are tones, then mean, deviation and texture of each level, then the mean of the last layer.
        """
        x, pooled = self._start(pixels_NCHW, self.stages)
        return self._end(x, pooled)

    def begin(self, pixels_NCHW: Tensor, stages: int) -> Tensor:
        """What the first stages make of pixels: tones, statistics, and the last one's map, (N, P + C * H * W).

        `finish` makes of it what `forward` gives. Where the first stages are frozen, it need be computed only once.
        """
        x, pooled = self._start(pixels_NCHW, stages)
        return torch.cat([*pooled, x.flatten(1)], dim=1)

    def finish(self, begun: Tensor, stages: int) -> Tensor:
        """Features (N, F) from what `begin` gave for the same number of stages; H and W must be equal."""
        width = _width(self.net.blocks[stages - 1])
        statistics = self._statistics(stages)
        map_NCHW = begun[:, statistics:].unflatten(1, (width, -1)).contiguous()
        side = math.isqrt(map_NCHW.shape[-1])
        map_NCHW = map_NCHW.unflatten(2, (side, side)).contiguous(memory_format=torch.channels_last)
        return self._end(*self._run(map_NCHW, stages, self.stages, [begun[:, :statistics]]))

    def _statistics(self, stages: int) -> int:
        """How many features there are before the map of so many stages."""
        levels = [level for level in LEVELS if level < stages]
        pooled = sum(2 * _width(self.net.blocks[level]) + self.textures[str(level)].width for level in levels)
        return self.tones.width + pooled

    def look_along_weights(self) -> None:
        """Let textures look as the weights that read each map do; to be called when others have been loaded."""
        for level in LEVELS:
            reader = self.net.blocks[level + 1][0]
            weights, _ = fuse_conv_bn_weights(
                reader.conv_pw.weight, None, reader.bn1.running_mean, reader.bn1.running_var, reader.bn1.eps,
                reader.bn1.weight, reader.bn1.bias,
            )  # fmt: skip
            self.textures[str(level)].look_along(weights.detach().flatten(1))

    def _start(self, pixels_NCHW: Tensor, end: int) -> tuple[Tensor, list[Tensor]]:
        tones = self.tones(pixels_NCHW)
        if self.parts == 1 or end < WIDE_STAGES:
            return self._run(self._stem(pixels_NCHW), 0, end, [tones])
        # Whatever the number of views: those of one part stand `parts` places apart.
        pixels_NPCHW = pixels_NCHW.unflatten(0, (-1, self.parts))
        begun = [self._run(self._stem(pixels_NPCHW[:, k]), 0, WIDE_STAGES, []) for k in range(self.parts)]
        by_part = zip(*((x, *pooled) for x, pooled in begun), strict=True)
        x, *levels = (torch.stack(parts, dim=1).flatten(0, 1) for parts in by_part)
        return self._run(x, WIDE_STAGES, end, [tones, *levels])

    def _stem(self, pixels_NCHW: Tensor) -> Tensor:
        return self.net.bn1(self.net.conv_stem(pixels_NCHW))

    def _run(self, x: Tensor, first: int, end: int, pooled: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        for level in range(first, end):
            x = self.net.blocks[level](x)
            if level in LEVELS:
                level_NCHW = x.float()  # A no-op but in an exported half-precision tower: half sums lose digits.
                mean = level_NCHW.mean(dim=(2, 3), keepdim=True)
                # In two passes: E[x^2] - E[x]^2 cancels on flat views, where runtimes would then disagree.
                centred_NCHW = level_NCHW - mean
                variance = centred_NCHW.square().mean(dim=(2, 3))
                pooled += [mean.flatten(1), variance.add(1e-6).sqrt(), self.textures[str(level)](centred_NCHW)]
        return x, pooled

    def _end(self, x: Tensor, pooled: list[Tensor]) -> Tensor:
        x = self.net.bn2(self.net.conv_head(x))
        return torch.cat([*pooled, x.float().mean(dim=(2, 3))], dim=1)


def _width(stage: nn.Sequential) -> int:
    block = stage[-1]
    return int((block.bn3 if hasattr(block, "bn3") else block.bn2).num_features)  # The first stage does not expand.


class FeatureNorm(nn.Module):
    """Fixed shift and scale of features: levels differ in size by two orders of magnitude.

    What lies further out than `FARTHEST` deviations is brought back there: strong noise lies at dozens of them, and
    would count for more in the projection than everything else together.

    Args:
        width: Number of features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("std", torch.ones(width))

    def forward(self, features: Tensor) -> Tensor:
        """Standardise (..., F)."""
        return ((features - self.mean) / self.std).clamp(-FARTHEST, FARTHEST)

    def fit(self, features: Tensor) -> None:
        """Take mean and deviation from training features (..., F); a feature that never varies keeps scale 1."""
        flat = features.flatten(0, -2)
        std, mean = torch.std_mean(flat, dim=0)
        self.mean.copy_(mean)
        self.std.copy_(torch.where(std > 1e-5, std, torch.ones_like(std)))
