"""How long does a person wait? `defnet --help`, one photo from a cold start, and photos per second.

    python benchmarks/score_speed.py [--photos FOLDER] [--count 200]

Without a folder it scores generated 500 x 500 JPEGs. Prints a table and writes benchmarks/results/score_speed.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

RESULTS = Path(__file__).parent / "results" / "score_speed.json"


def generate(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((500, 500), Image.Resampling.BICUBIC).save(
            folder / f"{number:05}.jpg", quality=90
        )


def seconds(*command: str, repeats: int = 1) -> float:
    """Shortest of several runs: the first pays for a cold disk, which is another question."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--count", type=int, default=200)
    arguments = parser.parse_args()
    # The one of this environment, whatever the search path says.
    defnet = shutil.which("defnet", path=str(Path(sys.executable).parent))
    assert defnet, "install defnet into this environment first: pip install ."
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "photos"
        folder.mkdir()
        if arguments.photos:
            chosen = sorted(p for p in arguments.photos.iterdir() if p.is_file())[: arguments.count]
            for path in chosen:
                shutil.copy(path, folder)
        else:
            generate(folder, arguments.count)
        first = sorted(folder.iterdir())[0]
        out = Path(scratch) / "results.csv"
        figures = {
            "help_seconds": seconds(defnet, "--help", repeats=5),
            "one_photo_seconds": seconds(defnet, "score", str(first), repeats=3),
            "folder_seconds": seconds(defnet, "score", str(folder), "--out", str(out)),
        }
        with out.open(newline="") as file:
            rows = list(csv.DictReader(file))
        figures |= {
            "photos": len(rows),
            "failed": sum(row["error"] != "" for row in rows),
            "photos_per_second": len(rows) / figures["folder_seconds"],
            "cores": os.cpu_count(),
            "processor": platform.processor() or platform.machine(),
            "source": "folder" if arguments.photos else "generated 500 x 500 JPEG",
        }
    for name, value in figures.items():
        print(f"{name:20} {value:.3f}" if isinstance(value, float) else f"{name:20} {value}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
