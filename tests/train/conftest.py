"""A LIVE Challenge release made of generated photos, and models small enough for a laptop's test run.

`tiny-resnet` is built like the `mobilenetv2_100` tower, a timm trunk and a linear projection beside a text
transformer, but a whole data set of 224 x 224 views passes through it in seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from scipy.io import savemat

from defnet_train.config import ModelConfig, TrainConfig
from defnet_train.listener import StepReport
from defnet_train.loop import train
from defnet_train.model import Defnet
from defnet_train.recipe_file import load_config

# On another number of threads sums are rounded in another order, and some tests compare bits with another process.
torch.set_num_threads(1)

TINY = "tiny-resnet"

RATER_TRAINING = 7
"""The release lists seven photos first that trained the raters."""


def textured_photo(quality: float, seed: int, side: int = 256) -> Image.Image:
    """A random texture, blurred more the lower the quality in [0, 1]."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(60, 196, (4, 4, 3), dtype=np.uint8)).resize((side, side))
    grain = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    mixed = Image.blend(coarse, Image.fromarray(grain), 0.6)
    return mixed.filter(ImageFilter.GaussianBlur(4 * (1 - quality)))


def write_scores(root: Path, names: Sequence[str], scores: Sequence[float]) -> None:
    """Write the two score files as the release has them: a column of cells, a row of numbers."""
    data = root / "ChallengeDB_release" / "Data"
    data.mkdir(parents=True, exist_ok=True)
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    savemat(data / "AllImages_release.mat", {"AllImages_release": cells})
    savemat(data / "AllMOS_release.mat", {"AllMOS_release": np.array([scores], dtype=float)})


@dataclass(frozen=True)
class Release:
    """A generated data set: where it is, and what its score files say (rater training included)."""

    root: Path
    names: list[str]
    scores: list[float]

    @property
    def images(self) -> Path:
        """Folder of the photos."""
        return self.root / "ChallengeDB_release" / "Images"


def make_release(root: Path, count: int, side: int = 256) -> Release:
    """A release of `count` rated photos whose blur decides their score."""
    qualities = np.random.default_rng(11).permutation(np.linspace(0, 1, count))
    names = [f"t{i}.bmp" for i in range(1, RATER_TRAINING + 1)] + [f"{i}.bmp" for i in range(1, count + 1)]
    scores = [50.0] * RATER_TRAINING + [float(5 + 90 * q) for q in qualities]
    write_scores(root, names, scores)
    images = root / "ChallengeDB_release" / "Images"
    images.mkdir()
    for seed, (name, quality) in enumerate(zip(names[RATER_TRAINING:], qualities, strict=True)):
        textured_photo(float(quality), seed, side).save(images / name)
    return Release(root, names, scores)


def write_labels(folder: Path, names: Sequence[str]) -> None:
    """A label table like LIQE's for photos of the release."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        f"Images/{name}\t50\t10\t{'realistic blur' if i % 2 else 'other realistic'}\t"
        f"{'human' if i % 3 else 'night'}\t{'landscape' if i % 4 == 0 else ''}\t"
        for i, name in enumerate(names)
    ]
    header = "path\tmos\tmos_std\tdistortion\tscene1\tscene2\tscene3"
    (folder / "clive.tsv").write_text("\n".join([header, *rows]) + "\n")


def randomise(model: Defnet, seed: int = 0) -> Defnet:
    """Give head and text tower weights away from their start, where many mistakes would not show."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for head in model.heads.values():
            head.affine.weight.copy_(torch.randn(head.affine.weight.shape, generator=generator))
            head.affine.bias.add_(0.3 * torch.randn(head.affine.bias.shape, generator=generator))
    return model


def tiny_model(seed: int = 0, overview_gradient: str = "head", **config: Any) -> Defnet:
    """A tiny model in eval mode with non-trivial heads."""
    torch.manual_seed(seed)
    model = Defnet(ModelConfig(**{"tower": TINY, "weights": "random", **config}), overview_gradient)
    return randomise(model, seed).eval()


@dataclass
class Recorder:
    """A listener that remembers what it was told."""

    stages: list[tuple[str, int]] = field(default_factory=list)
    advanced: list[int] = field(default_factory=list)
    steps: list[StepReport] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)

    def stage(self, name: str, total: int) -> None:
        """See `listener.Listener`."""
        self.stages.append((name, total))
        self.advanced.append(0)

    def advance(self, count: int = 1) -> None:
        """See `listener.Listener`."""
        self.advanced[-1] += count

    def step(self, report: StepReport) -> None:
        """See `listener.Listener`."""
        self.steps.append(report)

    def epoch(self, entry: dict[str, Any]) -> None:
        """See `listener.Listener`."""
        self.epochs.append(entry)


class StopIn(Recorder):
    """Asks the run to stop in a stage."""

    def __init__(self, name: str, stop: threading.Event) -> None:
        super().__init__()
        self._name, self._stop = name, stop

    def stage(self, name: str, total: int) -> None:
        super().stage(name, total)
        if name == self._name:
            self._stop.set()


@dataclass(frozen=True)
class Run:
    """A finished run of the smoke recipe on generated photos, and all there is to know about it."""

    release: Release
    config: TrainConfig
    out: Path
    result: dict[str, Any]
    listener: Recorder


@pytest.fixture
def new_release(tmp_path: Path) -> Callable[..., Release]:
    """Make a release of a few photos below `tmp_path`."""
    return lambda count=6, side=230: make_release(tmp_path / "data", count, side)


@pytest.fixture
def new_model() -> Callable[..., Defnet]:
    """Build a tiny model; see `tiny_model`."""
    return tiny_model


@pytest.fixture(scope="session")
def shared_model() -> Defnet:
    """One tiny model for tests that only read."""
    return tiny_model()


@pytest.fixture(scope="session")
def smoke_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One training run that many tests look at. Recipe `smoke` with the tiny tower."""
    folder = tmp_path_factory.mktemp("smoke")
    release = make_release(folder / "data", 60)
    # The first photos stay without labels, so that their losses have to be masked.
    write_labels(folder / "labels", release.names[RATER_TRAINING + 5 :])
    settings = [
        f"model.tower={TINY}",
        f"data.labels={folder / 'labels'}",
        f"data.cache={folder / 'cache'}",
    ]
    config = load_config("smoke", settings)
    listener = Recorder()
    result = train(config, release.root, folder / "run", listener, "cpu")
    return Run(release, config, folder / "run", result, listener)
