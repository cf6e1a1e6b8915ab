"""A LIQE checkpoint as pyiqa saves one, with random weights whose scores spread over the photos.

Default initialisation would prove nothing: all photos would score alike. The towers get the activations of
benchmarks/random_clip.py, and the projections are fitted to pyiqa's own prompts and to windows of the photos.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import report
import torch
from liqe_metric import metric_of, random_clip
from PIL import Image
from random_clip import IMAGE_COSINE, TEXT_COSINE, enliven, fit_projection, turn_towards
from torch import Tensor, nn

SEED = 0
WINDOWS = 4
"""A photo; cut at random places for the fit."""
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


def fit_text(clip: nn.Module) -> Tensor:
    """Spread the prompts; the direction from bad to perfect, (E,)."""
    from pyiqa.archs import liqe_arch
    from pyiqa.archs.clip_imports import clip as tokenizer

    shape = (len(liqe_arch.qualitys), len(liqe_arch.scenes), len(liqe_arch.dists_map))
    tokens_JT = tokenizer.tokenize(
        [
            f"a photo of a {scene} with {distortion} artifacts, which is of {quality} quality"
            for quality, scene, distortion in product(liqe_arch.qualitys, liqe_arch.scenes, liqe_arch.dists_map)
        ]
    )
    trained = clip.text_projection
    clip.text_projection = nn.Parameter(torch.eye(len(trained)))
    features_JC = clip.encode_text(tokens_JT)
    clip.text_projection = trained
    fit_projection(trained, features_JC, TEXT_COSINE)
    with torch.no_grad():
        text_JE = nn.functional.normalize(features_JC @ trained, dim=1)
    text_QE = text_JE.unflatten(0, shape).mean(dim=(1, 2))
    return nn.functional.normalize(text_QE[-1] - text_QE[0], dim=0)


def fit_images(clip: nn.Module, windows_NCHW: Tensor, quality_E: Tensor) -> None:
    """Spread the windows, and let what varies most among them weigh on quality."""
    visual = clip.visual
    trained, visual.proj = visual.proj, None
    with torch.no_grad():
        features_NC = torch.cat([visual(few) for few in windows_NCHW.split(16)])
    visual.proj = trained
    turn_towards(trained, fit_projection(trained, features_NC, IMAGE_COSINE), quality_E)


def windows(paths: list[Path]) -> Tensor:
    """Normalised windows of 224 x 224 at random places, (N, 3, 224, 224)."""
    rng = np.random.default_rng(SEED)
    cut = []
    for path in paths:
        with Image.open(path) as photo:
            for _ in range(WINDOWS):
                x, y = rng.integers(photo.width - 223), rng.integers(photo.height - 223)
                cut.append(np.asarray(photo.convert("RGB").crop((x, y, x + 224, y + 224))))
    pixels_NHWC = (np.stack(cut) / 255 - MEAN) / STD
    return torch.from_numpy(pixels_NHWC.transpose(0, 3, 1, 2).astype(np.float32))


def main() -> None:
    given = report.arguments(__doc__, "checkpoint", "photos")
    torch.manual_seed(SEED)
    clip = random_clip()
    enliven(clip)
    fit_images(clip, windows(report.photos_of(given.photos)), fit_text(clip))
    torch.save({"params": {f"clip_model.{name}": value for name, value in clip.state_dict().items()}}, given.checkpoint)
    # pyiqa loads it strictly: a name or a shape of another form would be an error. It also encodes the prompts now.
    metric = metric_of(given.checkpoint)
    report.write(given.out, prompts=len(metric.net.text_features), tensors=len(clip.state_dict()))


if __name__ == "__main__":
    main()
