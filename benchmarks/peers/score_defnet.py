"""defnet on the same folder: `Scorer`, which is `defnet score` without the results file. Speed, scores, memory."""

from __future__ import annotations

import time

import report

from defnet_infer import Scorer


def main() -> None:
    given = report.arguments(__doc__, "model", "photos")
    scorer = Scorer(given.model, device="cpu")
    paths = report.photos_of(given.photos)
    assert not next(scorer.score([paths[0]])).failed
    first = report.since_start()
    begun = time.perf_counter()
    rows = list(scorer.score(paths))
    seconds = time.perf_counter() - begun
    scores = {path.name: row.score for path, row in zip(paths, rows, strict=True)}
    report.write(given.out, scores=scores, seconds=seconds, first=first, threads=scorer.session.calls_at_once)


if __name__ == "__main__":
    main()
