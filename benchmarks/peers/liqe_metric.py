"""pyiqa's LIQE with weights of ours: only the download of CLIP is replaced, the rest is pyiqa as it is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

TEXTS_AT_ONCE = 33


def random_clip_class() -> type[torch.nn.Module]:
    """CLIP of pyiqa, with a text encoder that takes few prompts at a time.

    pyiqa encodes its 495 prompts in one call that keeps what a gradient would need, 20 GB; a part at a time without
    gradients gives the same features.
    """
    from pyiqa.archs.clip_model import CLIP

    class ChunkedClip(CLIP):  # type: ignore[misc, valid-type]
        def encode_text(self, text: Tensor) -> Tensor:
            with torch.no_grad():
                return torch.cat([super(ChunkedClip, self).encode_text(few) for few in text.split(TEXTS_AT_ONCE)])

    return ChunkedClip


def random_clip(*_: Any, **__: Any) -> torch.nn.Module:
    """ViT-B/32 with the initial weights of its constructor; stands in for `load`, which would download CLIP's."""
    return random_clip_class()(
        embed_dim=512,
        image_resolution=224,
        vision_layers=12,
        vision_width=768,
        vision_patch_size=32,
        context_length=77,
        vocab_size=49408,
        transformer_width=512,
        transformer_heads=8,
        transformer_layers=12,
    ).eval()


def metric_of(checkpoint: Path) -> torch.nn.Module:
    """What `pyiqa.create_metric("liqe_mix")` gives its users, with these weights, on the CPU.

    The first call encodes the prompts; pyiqa keeps the features below TORCH_HOME and reads them from there afterwards,
    whatever the checkpoint: one folder must not serve two.
    """
    import pyiqa
    from pyiqa.archs import liqe_arch

    liqe_arch.load = random_clip
    if hasattr(liqe_arch, "DEFAULT_CACHE_DIR"):
        Path(liqe_arch.DEFAULT_CACHE_DIR).mkdir(parents=True, exist_ok=True)
    return pyiqa.create_metric("liqe_mix", device=torch.device("cpu"), pretrained_model_path=str(checkpoint))
