"""pyiqa's LIQE on a folder, as its users call it: the metric with the path of a photo. Speed, scores, memory."""

from __future__ import annotations

import time

import report
import torch
from liqe_metric import metric_of


def main() -> None:
    given = report.arguments(__doc__, "checkpoint", "photos")
    metric = metric_of(given.checkpoint)
    paths = report.photos_of(given.photos)
    metric(str(paths[0])).item()
    first = report.since_start()
    begun = time.perf_counter()
    scores = {path.name: metric(str(path)).item() for path in paths}
    seconds = time.perf_counter() - begun
    report.write(given.out, scores=scores, seconds=seconds, first=first, threads=torch.get_num_threads())


if __name__ == "__main__":
    main()
