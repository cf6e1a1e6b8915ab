"""What does --fast-decode gain on 12-megapixel JPEGs, and how far do scores drift? Target: 1.4 times as fast.

    python benchmarks/fast_decode.py [--model FILE] [--count 24] [--photos FOLDER]

Photos per second from file to row, exact against fast, in turns; drift of the score of each photo. Also how much of
the cores' time the exact run uses: near 1 means that decoding and the model overlap. Writes
benchmarks/results/fast_decode_<model>.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from scoring_material import make_jpegs, model_or_builtin, record


def main() -> None:
    from defnet_infer import Scorer
    from defnet_infer.machine import cores

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="the built-in model if absent")
    parser.add_argument("--photos", type=Path, help="a folder of large JPEGs; generated ones if absent")
    parser.add_argument("--count", type=int, default=24)
    parser.add_argument("--turns", type=int, default=3)
    arguments = parser.parse_args()
    model = model_or_builtin(arguments.model)
    with (
        tempfile.TemporaryDirectory() as scratch,
        Scorer(model, device="cpu") as exact,
        Scorer(model, device="cpu", fast_decode=True) as fast,
    ):
        if arguments.photos:
            paths = sorted(path for path in arguments.photos.iterdir() if path.is_file())[: arguments.count]
        else:
            paths = make_jpegs(Path(scratch), arguments.count, 4000, 3000)
        seconds: dict[str, list[float]] = {"exact": [], "fast": []}
        busy, scores = [], {}
        for turn in range(arguments.turns + 1):
            for name, scorer in (("exact", exact), ("fast", fast)):
                start, processor = time.perf_counter(), time.process_time()
                rows = list(scorer.score(paths))
                elapsed = time.perf_counter() - start
                scores[name] = np.array([np.nan if row.score is None else row.score for row in rows])
                if turn:  # The first turn warms up.
                    seconds[name].append(elapsed)
                    if name == "exact":
                        busy.append((time.process_time() - processor) / elapsed / cores())
    drift = np.abs(scores["exact"] - scores["fast"])
    record(
        f"fast_decode_{model.stem}",
        {
            "model": model.name,
            "photos": len(paths),
            "source": "folder" if arguments.photos else "generated 4000 x 3000 JPEG",
            "exact_photos_per_second": len(paths) / statistics.median(seconds["exact"]),
            "fast_photos_per_second": len(paths) / statistics.median(seconds["fast"]),
            "speedup": statistics.median(a / b for a, b in zip(seconds["exact"], seconds["fast"], strict=True)),
            "share_of_the_cores_used": statistics.median(busy),
            "mean_drift": float(np.nanmean(drift)),
            "largest_drift": float(np.nanmax(drift)),
        },
    )


if __name__ == "__main__":
    main()
