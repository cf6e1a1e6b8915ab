"""CLIP's tensors by name and shape, written from its paper's sizes, and as files that weigh next to nothing."""

from __future__ import annotations

import torch
from torch import Tensor


def blocks(prefix: str, width: int, layers: int) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for k in range(layers):
        block = f"{prefix}.resblocks.{k}"
        shapes |= {
            f"{block}.attn.in_proj_weight": (3 * width, width),
            f"{block}.attn.in_proj_bias": (3 * width,),
            f"{block}.attn.out_proj.weight": (width, width),
            f"{block}.attn.out_proj.bias": (width,),
            f"{block}.mlp.c_fc.weight": (4 * width, width),
            f"{block}.mlp.c_fc.bias": (4 * width,),
            f"{block}.mlp.c_proj.weight": (width, 4 * width),
            f"{block}.mlp.c_proj.bias": (width,),
        }
        shapes |= {f"{block}.ln_{n}.{part}": (width,) for n in (1, 2) for part in ("weight", "bias")}
    return shapes


def vit_shapes(
    *, width: int = 768, patch: int = 32, layers: int = 12, embedding: int = 512, text: int = 512, pixels: int = 224
) -> dict[str, tuple[int, ...]]:
    """Name -> shape of a CLIP with a vision transformer; ViT-B/32 as it stands."""
    norms = {"visual.ln_pre": width, "visual.ln_post": width, "ln_final": text}
    return {
        "positional_embedding": (77, text),
        "text_projection": (text, embedding),
        "logit_scale": (),
        "visual.class_embedding": (width,),
        "visual.positional_embedding": ((pixels // patch) ** 2 + 1, width),
        "visual.proj": (width, embedding),
        "visual.conv1.weight": (width, 3, patch, patch),
        "token_embedding.weight": (49408, text),
        **{f"{name}.{part}": (size,) for name, size in norms.items() for part in ("weight", "bias")},
        **blocks("visual.transformer", width, layers),
        **blocks("transformer", text, 12),
    }


def resnet_50() -> dict[str, tuple[int, ...]]:
    """Enough of CLIP RN50 to tell it."""
    stages = {
        f"visual.layer{s}.{k}.conv1.weight": (64, 64, 1, 1) for s, n in enumerate((3, 4, 6, 3), 1) for k in range(n)
    }
    return {"visual.conv1.weight": (32, 3, 3, 3), **stages, "token_embedding.weight": (49408, 512), "logit_scale": ()}


def light(shapes: dict[str, tuple[int, ...]], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Tensors of these shapes that share one number each, in memory and in a file of `torch.save`."""
    return {name: torch.full((), 0.5, dtype=dtype).expand(shape) for name, shape in shapes.items()}
