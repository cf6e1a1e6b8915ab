"""The two CLIP towers, from open_clip: views to unit vectors, prompts to unit vectors.

Four image towers are supported, by open_clip model name. `ViT-B-32-quickgelu` is the paper's. `ViT-B-32-gelu` is what
open_clip calls `ViT-B-32`, for weights that were trained so; that name is not taken, because it would load OpenAI's
weights with the wrong activation, without an error (open_clip issue 771).
`mobilenetv2_100` is timm's MobileNetV2 read at several depths, with a small text tower; `tiny-resnet` is timm's
`test_resnet`, which learns next to nothing but runs in no time. Sizes of these three are in towers/.

Legend: N image, H W C pixels, F trunk feature, E embedding, J prompt (joint class), L token.
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from pathlib import Path

import open_clip
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from defnet_infer.contract import CLIP_MEAN, CLIP_STD
from defnet_infer.errors import CheckpointError, UsageError
from defnet_infer.taxonomy import PRESETS
from defnet_train import multilevel
from defnet_train.joint import TASK_SUBSETS
from defnet_train.multilevel import RGB, MultiLevelMobileNet
from defnet_train.projection import hidden_projection

MAX_LOGIT_SCALE = 100.0
VIEWS_AT_ONCE = 64
"""Views that finish a trunk together: more are slower on a CPU, whose caches their activations leave."""


@dataclass(frozen=True, kw_only=True)
class Tower:
    """What a tower expects of its pixels, and whether its trunk is read at several depths."""

    mean: RGB
    std: RGB
    multilevel: bool = False


TOWERS = {
    "ViT-B-32-quickgelu": Tower(mean=CLIP_MEAN, std=CLIP_STD),
    "ViT-B-32-gelu": Tower(mean=CLIP_MEAN, std=CLIP_STD),
    "mobilenetv2_100": Tower(mean=multilevel.MEAN, std=multilevel.STD, multilevel=True),
    "tiny-resnet": Tower(mean=CLIP_MEAN, std=CLIP_STD),
}


class Encoder(nn.Module):
    """Both towers and the temperature.

    Args:
        name: A key of `TOWERS`.
        prompt_preset: A key of `taxonomy.PRESETS`.
        weights: ``random``, an open_clip tag such as ``openai`` (downloaded), or a local CLIP weights file.
        trunk_weights: Local safetensors file for the image trunk of a timm tower; empty for none.
        dropout: Share of trunk features, and of a projection's hidden units, dropped while training; towers with
            textures only.
        tasks: What the prompts name, a key of `joint.TASK_SUBSETS`.

    Raises:
        UsageError: If the tower is unknown.
        CheckpointError: If a weights file is missing or belongs to another architecture.
    """

    def __init__(
        self,
        name: str,
        prompt_preset: str,
        weights: str = "random",
        trunk_weights: str = "",
        dropout: float = 0.0,
        tasks: str = "q+s+d",
    ) -> None:
        super().__init__()
        if name not in TOWERS:
            raise UsageError(f"unknown image tower '{name}'; choose one of: {', '.join(TOWERS)}")
        self.name = name
        self.clip = _build_clip(name, weights, dropout)
        if trunk_weights:
            _load_trunk(self.clip, name, trunk_weights)
        tower = TOWERS[name]
        self.register_buffer("pixel_scale", 1 / (255 * torch.tensor(tower.std)), persistent=False)
        self.register_buffer("pixel_shift", -torch.tensor(tower.mean) / torch.tensor(tower.std), persistent=False)
        named = TASK_SUBSETS[tasks]
        sentences = PRESETS[prompt_preset].sentences(scene="scene" in named, distortion="distortion" in named)
        tokens = open_clip.get_tokenizer(name)(sentences)
        self.register_buffer("tokens_JL", tokens[:, : _context_needed(tokens)], persistent=False)

    @property
    def trunk(self) -> nn.Module:
        """The part of the image tower before its projection; for a ViT the whole tower."""
        return getattr(self.clip.visual, "trunk", self.clip.visual)

    @property
    def embed_dim(self) -> int:
        """Length of the unit vectors."""
        return int(self.clip.text_projection.shape[1])

    def text_tower(self) -> list[nn.Parameter]:
        """The parameters that prompts pass through; the temperature is not one of them."""
        clip = self.clip
        modules = [clip.token_embedding, clip.transformer, clip.ln_final]
        return [clip.positional_embedding, clip.text_projection, *(p for m in modules for p in m.parameters())]

    def trunk_features(self, views_NHWC: Tensor) -> Tensor:
        """Views (..., H, W, 3) with values 0 to 255 to trunk features (..., F)."""
        return self.trunk(self._pixels(views_NHWC)).unflatten(0, (-1, *views_NHWC.shape[1:-3]))

    def begin_trunk(self, views_NHWC: Tensor, stages: int) -> Tensor:
        """Views (..., H, W, 3) to what the first stages of a multi-level trunk make of them, (..., G).

        See `MultiLevelMobileNet.begin`.
        """
        begun = self.trunk.begin(self._pixels(views_NHWC), stages)
        return begun.unflatten(0, (-1, *views_NHWC.shape[1:-3]))

    def finish_trunk(self, begun: Tensor, stages: int) -> Tensor:
        """Trunk features (..., F) from what `begin_trunk` gave for the same number of stages."""
        few = begun.flatten(0, -2).float().split(VIEWS_AT_ONCE)
        return torch.cat([self.trunk.finish(some, stages) for some in few]).unflatten(0, begun.shape[:-1])

    def last_stages(self, stages: int) -> list[nn.Parameter]:
        """Parameters of a multi-level trunk after its first stages."""
        net = self.trunk.net
        modules = [*net.blocks[stages:], net.conv_head, net.bn2]
        return [p for module in modules for p in module.parameters()]

    def _pixels(self, views_NHWC: Tensor) -> Tensor:
        # Transposed before they are scaled: with the three channels last, ONNX Runtime scales three numbers at a time,
        # and a sixth of the small tower's time went there.
        planes_NCHW = views_NHWC.float().flatten(0, -4).permute(0, 3, 1, 2)
        pixels_NCHW = planes_NCHW * self.pixel_scale[:, None, None] + self.pixel_shift[:, None, None]
        if pixels_NCHW.device.type != "cuda":
            pixels_NCHW = pixels_NCHW.contiguous(memory_format=torch.channels_last)
        return pixels_NCHW

    def project(self, features: Tensor) -> Tensor:
        """Trunk features (..., F) to unit image embeddings (..., E), in float32."""
        head = getattr(self.clip.visual, "head", None)
        embedding = features if head is None else head(features)
        return _unit(embedding.float())

    def fit_feature_norm(self, features: Tensor) -> None:
        """Standardise trunk features by those of the training photos (..., F); only a multi-level trunk needs it."""
        if TOWERS[self.name].multilevel:
            self.clip.visual.head.norm.fit(features)

    def encode_text(self) -> Tensor:
        """All prompts to unit vectors (J, E), in float32.

        The context is cut after the longest prompt's end token. CLIP's text attention is causal and reads its
        result at the end token, so later positions cannot matter: the cut is exact and 3 to 4 times cheaper.
        """
        clip, tokens = self.clip, self.tokens_JL
        length = tokens.shape[1]
        x = clip.token_embedding(tokens) + clip.positional_embedding[:length]
        x = clip.transformer(x, attn_mask=clip.attn_mask[:length, :length])
        x = clip.ln_final(x)[torch.arange(len(tokens), device=x.device), tokens.argmax(dim=-1)]
        return _unit((x @ clip.text_projection).float())

    def logit_scale(self) -> Tensor:
        """The exponential of the learned temperature, 1 / kappa of Eq. (4); training keeps it at most 100."""
        return self.clip.logit_scale.float().exp()

    def limit_logit_scale(self) -> None:
        """Bring the temperature back to its bound, as CLIP's training did after every step.

        A clamp inside the graph would stop the gradient at the bound, and that is where CLIP's weights start.
        """
        with torch.no_grad():
            self.clip.logit_scale.clamp_(max=math.log(MAX_LOGIT_SCALE))


def _unit(vectors: Tensor) -> Tensor:
    """Unit vectors along the last axis. `F.normalize` would export an Expand to a shape computed at run time."""
    return vectors / vectors.square().sum(dim=-1, keepdim=True).clamp_min(1e-24).sqrt()


def _context_needed(tokens_JL: Tensor) -> int:
    """Positions up to the last end token; CLIP's end token has the highest id, so argmax finds it."""
    return int(tokens_JL.argmax(dim=-1).max()) + 1


def refuse_idle_dropout(name: str, dropout: float) -> None:
    """Refuse a setting that would mean nothing; checkpoints of runs that had it are read all the same.

    Raises:
        UsageError: If the tower has no layer for dropout.
    """
    if dropout and not (name in TOWERS and TOWERS[name].multilevel):
        known = ", ".join(key for key, tower in TOWERS.items() if tower.multilevel)
        raise UsageError(
            f"model.dropout = {dropout} is for a tower with a hidden projection ({known}); {name} has none"
        )


def _build_clip(name: str, weights: str, dropout: float) -> nn.Module:
    if name not in open_clip.list_models():
        open_clip.add_model_config(Path(__file__).parent / "towers" / f"{name}.json")
    if weights not in ("random", "openai") and not Path(weights).is_file():
        raise CheckpointError(f"CLIP weights {weights} not found; pass a file, 'openai' or 'random'")
    if TOWERS[name].multilevel and weights != "random":
        raise CheckpointError(f"no CLIP weights exist for {name}; set model.weights=random and model.trunk_weights")
    root_logger = logging.getLogger()
    level = root_logger.level
    root_logger.setLevel(logging.ERROR)  # open_clip warns about every model built without weights
    try:
        clip = open_clip.create_model(name, pretrained=None if weights == "random" else weights)
    except (RuntimeError, SafetensorError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"CLIP weights {weights} do not fit {name}: {reason}") from error
    finally:
        root_logger.setLevel(level)
    if TOWERS[name].multilevel:
        trunk = MultiLevelMobileNet()
        clip.visual.trunk = trunk
        clip.visual.head = hidden_projection(trunk.num_features, clip.text_projection.shape[1], dropout)
    return clip.eval()


def _load_trunk(clip: nn.Module, name: str, path: str) -> None:
    if not Path(path).is_file():
        raise CheckpointError(f"trunk weights {path} not found; set model.trunk_weights to a safetensors file")
    try:
        clip.visual.trunk.net.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError, AttributeError) as error:
        raise CheckpointError(f"trunk weights {path} do not fit {name}: {str(error).splitlines()[0]}") from error
    clip.visual.trunk.look_along_weights()
