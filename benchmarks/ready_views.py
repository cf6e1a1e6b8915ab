"""How much of the model's speed is left when photos come from files? Photos a second, from files and from ready views.

    python benchmarks/ready_views.py [--count 48] [--rounds 12] [--model FILE]

Ready views are cut before the clock starts; the runtime then gets them with as many calls at once as scoring uses, so
that nothing is compared but reading, decoding, cutting and making rows. The machine's speed drifts, so both are
measured in every round, in random order, and what counts is the median of the rounds' ratios. 500 x 500 JPEGs, CPU.
Writes benchmarks/results/ready_views.json.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median

from score_speed import generate
from scoring_material import record

from defnet_infer import Scorer, photos, views


def rate(work: Callable[[], int]) -> float:
    start = time.perf_counter()
    done = work()
    return done / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--model")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, Scorer(arguments.model, device="cpu") as scorer:
        generate(Path(scratch), arguments.count)
        files = sorted(Path(scratch).iterdir())
        rule, session = scorer.artifact.contract.preprocess, scorer.session
        ready = [views.make(photos.decode(file).image, rule) for file in files]

        def from_views() -> int:
            with ThreadPoolExecutor(session.calls_at_once) as pool:
                return len(list(pool.map(lambda one: session.run(one.crops[None], one.overview[None]), ready)))

        def from_files() -> int:
            return sum(not row.error for row in scorer.score(files))

        works = {"ready_views": from_views, "files": from_files}
        for work in works.values():
            work()  # The first calls allocate.
        rounds = [
            {name: rate(works[name]) for name in random.sample(list(works), len(works))}
            for _ in range(arguments.rounds)
        ]
    figures = {
        "model": scorer.artifact.path.name,
        "photos": arguments.count,
        "rounds": arguments.rounds,
        **{f"{name}_per_second": median(one[name] for one in rounds) for name in works},
        "files_of_ready_views": median(one["files"] / one["ready_views"] for one in rounds),
    }
    record("ready_views", figures)


if __name__ == "__main__":
    main()
