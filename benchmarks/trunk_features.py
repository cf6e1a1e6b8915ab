"""Milliseconds a view that features of the small tower's frozen trunk take, with freed memory kept and given back.

    python benchmarks/trunk_features.py [--photos 24]

On generated photos of 500 x 500. Each way has a process of its own, and a first round that is not counted. Writes
benchmarks/results/trunk_features.json.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from scoring_material import make_jpegs, record

from defnet_train.config import ModelConfig
from defnet_train.features import trunk_features
from defnet_train.heap import keep_freed_memory
from defnet_train.model import Defnet
from defnet_train.records import ImageRecord

VIEWS = 32
"""Of a rated photo: fifteen windows and the overview, upright and mirrored."""


def milliseconds(photos: int) -> float:
    """A view, in the second of two rounds."""
    torch.manual_seed(0)
    model = Defnet(ModelConfig(tower="mobilenetv2_100", weights="random"))
    with tempfile.TemporaryDirectory() as folder:
        paths = make_jpegs(Path(folder), photos, 500, 500)
        about = {"dataset": "clive", "mos": 1.0, "target": 1.0, "labels": None}
        records = [ImageRecord(path=path, group=path.name, **about) for path in paths]
        for _ in range(2):
            started = time.perf_counter()
            trunk_features(model.encoder, records, model.contract().preprocess, None, lambda _: None)
            seconds = time.perf_counter() - started
    return 1000 * seconds / (photos * VIEWS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--way", choices=["kept", "given back"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way:
        if arguments.way == "kept" and not keep_freed_memory():
            sys.exit("the C library is not glibc; nothing to compare")
        print(milliseconds(arguments.photos))
        return
    found = {}
    for way in ("given back", "kept"):
        command = [sys.executable, __file__, "--photos", str(arguments.photos), "--way", way]
        found[way] = float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        print(f"freed memory {way}: {found[way]:.1f} ms a view")
    record("trunk_features", {"milliseconds_a_view": found, "photos": arguments.photos})


if __name__ == "__main__":
    main()
