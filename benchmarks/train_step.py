"""What cutting the text context and encoding the prompts once save of a training step.

    python benchmarks/train_step.py [--tower ViT-B-32-quickgelu] [--share 5] [--rounds 5] [--device cpu]

One step is what training does: crops and overview through the image tower, prompts through the text tower, losses,
backward, AdamW. "plain" is the same step as the published code takes it: prompts padded to CLIP's 77 tokens, and
encoded once for the crops (with gradient) and once more for the overview (without). Weights are random, views noise:
neither changes what is computed. The two forms take turns, so that a busy machine slows both. Before timing it is
checked that both give the same loss. Prints a table and writes benchmarks/results/train_step.json.

The plain step of the paper, 48 photos and 495 prompts, needs some 20 GB for the text tower alone. `--share N` takes the
N-th part of both, so that text and image keep their proportion: each encoded prompt then stands for N classes. AdamW is
not divided, which makes the ratio a little worse than that of the whole step (`--share 1`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import open_clip
import torch
from torch import Tensor

from defnet_infer.taxonomy import JOINT_COUNT, PRESETS
from defnet_train.config import LossConfig, ModelConfig
from defnet_train.encoder import Encoder
from defnet_train.model import Defnet
from defnet_train.objective import Targets, objective

RESULTS = Path(__file__).parent / "results" / "train_step.json"
PHOTOS, CROPS = 48, 4
WARM_UP = 1
SAME_LOSS = 1e-3


class TwoForms(Defnet):
    """The model with a share of the prompts, each of which stands for as many classes.

    Args:
        config: The model.
        share: Every how manieth prompt is encoded.
    """

    def __init__(self, config: ModelConfig, share: int) -> None:
        super().__init__(config)
        whole = open_clip.get_tokenizer(config.tower)(PRESETS[config.prompt_preset].sentences())
        self.share = share
        self.tokens = {"ours": self.encoder.tokens_JL[::share], "plain": whole[::share]}
        self.encoder.encode_text = self._share_of_text
        self.take("ours")

    def take(self, form: str) -> None:
        """Choose ``ours`` or ``plain``: the whole context, encoded once for each branch."""
        self.plain = form == "plain"
        self.encoder.tokens_JL = self.tokens[form].to(self.calibration.device)

    def _share_of_text(self) -> Tensor:
        return Encoder.encode_text(self.encoder).repeat_interleave(self.share, dim=0)[:JOINT_COUNT]

    def _embed(self, views: Tensor, *, pixels: bool = False) -> Tensor:
        if self.plain and not torch.is_grad_enabled():  # The overview's branch: its own pass through the text tower.
            self.encoder.encode_text()
        return super()._embed(views, pixels=pixels)


def labels(photos: int) -> Targets:
    known = torch.ones(photos, dtype=torch.bool)
    zeros = torch.zeros(photos, dtype=torch.int64)
    mos = torch.linspace(1, 5, photos)
    return Targets(
        mos=mos,
        target=mos,
        target_known=known,
        dataset=zeros,
        group=zeros,
        series=zeros,
        scene=torch.nn.functional.one_hot(torch.arange(photos) % 9, 9).float(),
        distortion=torch.nn.functional.one_hot(torch.arange(photos) % 11, 11).float(),
        scene_known=known,
        distortion_known=known,
    )


def seconds(step: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tower", default="ViT-B-32-quickgelu")
    parser.add_argument("--share", type=int, default=5, help="which part of the paper's 48 photos and 495 prompts")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    arguments = parser.parse_args()
    device = torch.device(arguments.device)
    generator = torch.Generator().manual_seed(0)
    photos = round(PHOTOS / arguments.share)
    shape = (photos, CROPS + 1, 224, 224, 3)
    views = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    torch.manual_seed(0)
    model = TwoForms(ModelConfig(tower=arguments.tower, weights="random"), arguments.share).to(device).train()
    model.encoder.trunk.eval()
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-6, weight_decay=1e-3)
    crops, overview = views[:, 1:].to(device), views[:, 0].to(device)
    targets = Targets(*(value.to(device) for value in labels(photos)))
    ones = dict.fromkeys(model.tasks, 1.0)

    def loss() -> Tensor:
        return objective(model(crops, overview), targets, ones, LossConfig()).total

    def step() -> None:
        value = loss()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    losses: dict[str, float] = {}
    times: dict[str, list[float]] = {form: [] for form in model.tokens}
    for form in model.tokens:
        model.take(form)
        with torch.no_grad():
            losses[form] = loss().item()
    difference = abs(losses["ours"] - losses["plain"])
    assert difference < SAME_LOSS, losses
    for round_number in range(WARM_UP + arguments.rounds):
        for form, taken in times.items():
            model.take(form)
            duration = seconds(step, device)
            if round_number >= WARM_UP:
                taken.append(duration)
    context = {form: tokens.shape[1] for form, tokens in model.tokens.items()}
    figures = {
        "tower": arguments.tower,
        "photos": photos,
        "crops": CROPS,
        "prompts": len(model.tokens["ours"]),
        "context_ours": context["ours"],
        "context_plain": context["plain"],
        "loss_difference": difference,
        "seconds_ours": statistics.median(times["ours"]),
        "seconds_plain": statistics.median(times["plain"]),
        "ratio": statistics.median(p / o for p, o in zip(times["plain"], times["ours"], strict=True)),
        "rounds": arguments.rounds,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.processor() or "cpu",
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
    }
    for name, value in figures.items():
        print(f"{name:16} {value:.3f}" if isinstance(value, float) else f"{name:16} {value}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
