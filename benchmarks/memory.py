"""Resident memory while many photos are scored, and while one huge photo is.

    python benchmarks/memory.py [--photos 20000] [--megapixels 200]

Scores generated photos with the tests' tiny model in one process, reads the resident memory after every 100 rows,
and compares photo 1,000 with the last. Then scores one large JPEG in a process of its own. Linux only (/proc).
Writes benchmarks/results/memory.json, and memory.png where matplotlib is installed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from scoring_material import ROOT, make_copies, make_jpegs, model_or_builtin, record, tiny_model

MIB = 2**20
EVERY = 100
ONE_PHOTO = """
import sys
from defnet_infer import Scorer
from defnet_infer.machine import peak_memory
row = list(Scorer(sys.argv[2], device="cpu").score(sys.argv[1]))[0]
print(row.status, peak_memory())
"""


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE")


def flat(folder: Path, photos: int) -> list[tuple[int, float]]:
    from defnet_infer import Scorer
    from defnet_infer.resume import RunResults

    make_copies(folder / "photos", make_jpegs(folder / "originals", 20, 500, 500), photos)
    curve = []
    with RunResults(folder / "r.csv") as results, Scorer(tiny_model(folder), device="cpu") as scorer:
        results.begin(scorer.origin)
        for done, row in enumerate(scorer.score(folder / "photos"), start=1):
            if done == 1:
                assert not row.failed
            if done % EVERY == 0:
                curve.append((done, resident() / MIB))
    return curve


def huge(folder: Path, megapixels: int, model: Path) -> tuple[str, float]:
    """Status and peak MiB of one large JPEG, 5 : 4."""
    width = int((megapixels * 1e6 * 5 / 4) ** 0.5)
    height = int(megapixels * 1e6 / width)
    tile = np.random.default_rng(0).integers(0, 256, (500, 500, 3), dtype=np.uint8)
    photo = Image.new("RGB", (width, height))
    for x in range(0, width, 500):
        for y in range(0, height, 500):
            photo.paste(Image.fromarray(tile), (x, y))
    path = folder / "huge.jpg"
    photo.save(path, quality=85)
    del photo
    done = subprocess.run(
        [sys.executable, "-c", ONE_PHOTO, str(path), str(model)], check=True, capture_output=True, text=True, cwd=ROOT
    )
    status, _, peak = done.stdout.strip().rpartition(" ")
    return status, int(peak) / MIB


def plot(curve: list[tuple[int, float]]) -> None:
    try:
        import matplotlib
    except ModuleNotFoundError:
        print("no plot: matplotlib is not installed")
        return
    matplotlib.use("agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
    axes.plot(*zip(*curve, strict=True))
    axes.set(xlabel="photos scored", ylabel="resident memory, MiB", ylim=(0, None))
    figure.savefig(Path(__file__).parent / "results" / "memory.png", dpi=130)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=20_000)
    parser.add_argument("--megapixels", type=int, default=200)
    parser.add_argument("--model", type=Path, help="for the large photo; the built-in model if absent")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = model_or_builtin(arguments.model)
        status, peak = huge(folder, arguments.megapixels, model)
        curve = flat(folder, arguments.photos)
    first = next(memory for done, memory in curve if done >= min(1000, arguments.photos))
    record(
        "memory",
        {
            "photos": arguments.photos,
            "resident_mib_at_photo_1000": first,
            "resident_mib_at_the_end": curve[-1][1],
            "largest_resident_mib_after_photo_1000": max(memory for done, memory in curve if done >= 1000),
            "growth": curve[-1][1] / first - 1,
            "large_photo_megapixels": arguments.megapixels,
            "large_photo_status": status,
            "large_photo_peak_mib": peak,
            "model_of_the_large_photo": model.name,
            "curve": curve,
        },
    )
    plot(curve)


if __name__ == "__main__":
    main()
