"""How much of the model's own speed is left when photos come from files? Target: 90 %.

    python benchmarks/end_to_end.py [--model FILE] [--count 120] [--threads 0]

Photos per second of `Scorer` on JPEG files against ONNX Runtime alone on views that are ready in memory, with the
same number of photos at once and one thread each, for 500 x 500 and 1024 x 768. The two are measured in turns, and
the median of the turns counts, since other work on the machine comes and goes. Writes
benchmarks/results/end_to_end_<model>.json.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scoring_material import make_jpegs, model_or_builtin, record

SIZES = ((500, 500), (1024, 768))


def main() -> None:
    from defnet_infer import Scorer, photos, views

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="the built-in model if absent")
    parser.add_argument("--count", type=int, default=120, help="photos of each size and turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    model = model_or_builtin(arguments.model)
    figures: dict[str, object] = {"model": model.name, "photos_a_turn": arguments.count, "turns": arguments.turns}
    with tempfile.TemporaryDirectory() as scratch, Scorer(model, device="cpu", threads=arguments.threads) as scorer:
        session, rule = scorer.session, scorer.artifact.contract.preprocess
        figures["photos_at_once"] = session.calls_at_once
        for width, height in SIZES:
            paths = make_jpegs(Path(scratch) / f"{width}", arguments.count, width, height)
            ready = [views.make(photos.decode(str(path)).image, rule) for path in paths[:16]]
            alone, whole = [], []
            for turn in range(arguments.turns + 1):
                start = time.perf_counter()
                with ThreadPoolExecutor(session.calls_at_once) as pool:
                    calls = [
                        pool.submit(session.run, made.crops[None], made.overview[None])
                        for made in (ready[k % len(ready)] for k in range(arguments.count))
                    ]
                    for call in calls:
                        call.result()
                middle = time.perf_counter()
                rows = list(scorer.score(paths))
                end = time.perf_counter()
                assert len(rows) == arguments.count
                assert not any(row.failed for row in rows)
                if turn:  # The first turn warms up.
                    alone.append(arguments.count / (middle - start))
                    whole.append(arguments.count / (end - middle))
            name = f"{width}x{height}"
            figures[f"{name}_model_alone_photos_per_second"] = statistics.median(alone)
            figures[f"{name}_end_to_end_photos_per_second"] = statistics.median(whole)
            figures[f"{name}_share"] = statistics.median(b / a for a, b in zip(alone, whole, strict=True))
    record(f"end_to_end_{model.stem}", figures)


if __name__ == "__main__":
    main()
