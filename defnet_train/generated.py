"""Photos that defnet makes itself, in the layout of the LIVE Challenge release: a data set for when there is none.

    defnet train smoke

A photo is a random texture, and how much it is blurred decides its score. So the score can be learned from pixels, in
seconds and by the smallest of towers, and a run shows that training, measuring and exporting work on a machine. It
says nothing about real photos.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from scipy.io import savemat

RATER_TRAINING = 7
"""The release lists seven photos first that trained the raters; readers drop them."""
PHOTOS = 200
"""A tenth of them, the validation part, is enough to calibrate on."""
SIDE = 240
MOST_BLUR = 4.0
"""Standard deviation in pixels."""


def make_release(folder: Path) -> Path:
    """Write the photos, unless they are there.

    Args:
        folder: Made here; filled under another name first, so that it is never half there.

    Returns:
        The data folder: what `--data` takes.
    """
    if folder.exists():
        return folder
    partial = folder.with_name(f"{folder.name}.partial-{os.getpid()}")
    images, data = partial / "ChallengeDB_release" / "Images", partial / "ChallengeDB_release" / "Data"
    images.mkdir(parents=True)
    data.mkdir()
    qualities = np.random.default_rng(0).permutation(np.linspace(0, 1, PHOTOS))
    names = [f"t{number}.png" for number in range(1, RATER_TRAINING + 1)]
    scores = [50.0] * RATER_TRAINING
    for number, quality in enumerate(qualities):
        names.append(f"{number:03}.png")
        scores.append(float(100 * quality))
        blurred_texture(float(quality), number).save(images / names[-1])
    cells = np.empty((len(names), 1), dtype=object)
    cells[:, 0] = names
    savemat(data / "AllImages_release.mat", {"AllImages_release": cells})
    savemat(data / "AllMOS_release.mat", {"AllMOS_release": np.array([scores])})
    try:
        os.replace(partial, folder)
    except OSError:  # Another process was faster.
        shutil.rmtree(partial)
    return folder


def blurred_texture(quality: float, seed: int) -> Image.Image:
    """A random texture, blurred the more the lower its quality.

    Args:
        quality: 0 (worst) to 1 (sharp).
        seed: Decides the texture.
    """
    rng = np.random.default_rng(seed)
    colours = Image.fromarray(rng.integers(60, 196, (4, 4, 3), dtype=np.uint8)).resize((SIDE, SIDE))
    grain = Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    return Image.blend(colours, grain, 0.6).filter(ImageFilter.GaussianBlur(MOST_BLUR * (1 - quality)))
