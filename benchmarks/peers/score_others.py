"""Time another no-reference metric on the folder: `piq BRISQUE`, `piq CLIP-IQA` or `torchmetrics CLIP-IQA`.

    python score_others.py --out REPORT "piq BRISQUE" FOLDER

Their weights are downloads, so random ones of the same shapes stand in: the time is theirs, the scores mean nothing
and are not reported.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import report
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_tensor

PROMPTS = ("Good photo.", "Bad photo.")
BRISQUE_FEATURES = 36
SUPPORT_VECTORS = 774


def brisque() -> Callable[[Tensor], Tensor]:
    import piq

    def load_url(*_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        return torch.randn(SUPPORT_VECTORS), torch.randn(SUPPORT_VECTORS, BRISQUE_FEATURES)

    sys.modules["piq.brisque"].load_url = load_url
    return piq.brisque


def _random_resnet50_clip() -> torch.nn.Module:
    from piq.feature_extractors import clip

    clip.load = lambda: clip.CLIP(1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 12).eval()
    return clip.load()


def _tokens() -> Tensor:
    from pyiqa.archs.clip_imports import clip

    return clip.tokenize(PROMPTS)


def piq_clip_iqa() -> Callable[[Tensor], Tensor]:
    import piq

    _random_resnet50_clip()
    sys.modules["piq.clip_iqa"].download_tensor = lambda *_: _tokens()
    return piq.CLIPIQA().eval()


def torchmetrics_clip_iqa() -> Callable[[Tensor], Tensor]:
    from torchmetrics.multimodal import clip_iqa

    class Processor:
        tokenizer = SimpleNamespace(model_max_length=77)

        def __call__(self, text: list[str]) -> dict[str, list[list[int]]]:
            assert tuple(text) == PROMPTS
            return {"input_ids": _tokens().tolist()}

    clip_iqa._get_clip_iqa_model_and_processor = lambda _: (_random_resnet50_clip(), Processor())
    return clip_iqa.CLIPImageQualityAssessment(data_range=1.0)


METRICS = {
    "piq BRISQUE": brisque,
    "piq CLIP-IQA": piq_clip_iqa,
    "torchmetrics CLIP-IQA": torchmetrics_clip_iqa,
}


def main() -> None:
    given = report.arguments(__doc__, "metric", "photos")
    metric = METRICS[str(given.metric)]()
    paths = report.photos_of(given.photos)

    def score(path: Any) -> None:
        with torch.no_grad():
            float(metric(to_tensor(Image.open(path).convert("RGB"))[None]))

    score(paths[0])
    first = report.since_start()
    begun = time.perf_counter()
    for path in paths:
        score(path)
    report.write(
        given.out, scores=dict.fromkeys(path.name for path in paths), seconds=time.perf_counter() - begun, first=first
    )


if __name__ == "__main__":
    main()
