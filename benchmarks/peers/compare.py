"""One LIQE checkpoint in pyiqa and in defnet, on the same photos: differences, speed, memory. Any Python 3.11 runs it.

    python benchmarks/peers/compare.py [--work FOLDER] [--photos FOLDER] [--rounds 5] [--quick]

Makes a virtual environment of its own in FOLDER (about 7 GB), a LIQE checkpoint with random weights there, imports and
exports it with defnet, and measures. Every figure is a median of fresh processes, taken in turns, all held to the same
cores. Writes benchmarks/results/peers.json, peers.md beside it, and docs/figures/peers.png and .svg. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from environment import HERE, ROOT, Environment, ProgramError, hold_to
from table import Tool, markdown, targets

Size = tuple[int, int]
Score = Callable[[Path], dict[str, Any]]

RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "figures"
BUILTIN = ROOT / "defnet_infer" / "models" / "defnet-lite.onnx"
SIZES: tuple[Size, ...] = ((512, 384), (1024, 768), (4000, 3000))
COUNTS, QUICK_COUNTS = (48, 48, 4), (8, 6, 2)
"""Photos of each size; the large ones cost pyiqa 8 GB and seconds each. Of 16 photos the first and the last, when not
all cores have work, cost the fastest tool an eighth of its speed."""
BATCH = 6
OTHERS = {"piq BRISQUE": SIZES, "piq CLIP-IQA": SIZES[:2], "torchmetrics CLIP-IQA": SIZES[:2]}
"""CLIP-IQA scales nothing down: at 12 megapixels its attention pooling takes more memory than most machines have."""
OTHERS_ROUNDS = 1


@dataclass(frozen=True)
class Files:
    """What is scored, and with what, in a folder of their own."""

    folder: Path

    @property
    def checkpoint(self) -> Path:
        return self.folder / "liqe_mix.pt"

    @property
    def imported(self) -> Path:
        return self.folder / "liqe.safetensors"

    @property
    def float32(self) -> Path:
        return self.folder / "liqe.onnx"

    @property
    def int8(self) -> Path:
        return self.folder / "liqe.int8.onnx"

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    def of_size(self, size: Size) -> Path:
        return self.photos / named(size)


def named(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def prepare(environment: Environment, files: Files, counts: tuple[int, ...], originals: Path | None) -> None:
    """Make photos and pyiqa's checkpoint; the caller removed those of another run."""
    say("photos")
    wanted = json.dumps([(*size, count) for size, count in zip(SIZES, counts, strict=True)])
    environment.measure("pictures.py", files.photos, wanted, *([originals] if originals else []))
    batch = files.photos / "batch"
    batch.mkdir()
    for path in sorted(files.of_size(SIZES[0]).iterdir())[:BATCH]:
        shutil.copy(path, batch)
    say("a LIQE checkpoint with random weights, in pyiqa's format")
    environment.measure("random_liqe.py", files.checkpoint, files.of_size(SIZES[0]))


def convert(environment: Environment, files: Files) -> dict[str, float]:
    """`defnet import` and `defnet export`; seconds and MiB."""

    def defnet(*arguments: str | Path) -> float:
        return environment.command("-m", "defnet_infer.cli", *arguments)

    # Not the generated pictures: these weights were made so that scores of these photos spread.
    proven_on = ("--photos", files.of_size(SIZES[0]))
    say("defnet import, defnet export")
    seconds = {
        "import_seconds": defnet("import", files.checkpoint, "--out", files.imported),
        "export_float32_seconds": defnet("export", files.imported, *proven_on, "--out", files.float32),
        "export_int8_seconds": defnet("export", files.imported, *proven_on, "--int8", "--out", files.int8),
    }
    written = {"pyiqa_checkpoint": files.checkpoint, "float32_file": files.float32, "int8_file": files.int8}
    return seconds | {f"{name}_mib": path.stat().st_size / 2**20 for name, path in written.items()}


def rounds_of(
    count: int, tools: dict[str, Score], files: Files, sizes: tuple[Size, ...] = SIZES
) -> list[dict[str, Any]]:
    """All tools in turns, `count` times; an entry for each process."""
    measured = []
    for number in range(1, count + 1):
        for size in sizes:
            for name, score in tools.items():
                found = score(files.of_size(size))
                rate = len(found["scores"]) / found["seconds"]
                measured.append(
                    {"tool": name, "size": named(size), "round": number, "photos_per_second": rate, **found}
                )
                say(f"round {number} of {count}, {named(size)}, {name}: {rate:.2f} photos/s")
    return measured


def compare(environment: Environment, files: Files, rounds: int) -> dict[str, Any]:
    """All measurements, once files are there."""
    measure = environment.measure
    say("scores and probabilities")
    agreement = {}
    for size in SIZES:
        found = measure("probabilities.py", files.checkpoint, files.float32, files.of_size(size))
        agreement[named(size)] = found["photos"]
    say("batches")
    batch = files.photos / "batch"
    batches = {
        "pyiqa": measure("batch_pyiqa.py", files.checkpoint, batch),
        "old_pyiqa": measure("batch_pyiqa.py", files.checkpoint, batch, path=environment.old_pyiqa),
        "defnet": measure("batch_defnet.py", files.float32, batch),
    }
    tools: dict[str, Score] = {
        Tool.PYIQA: lambda folder: measure("score_pyiqa.py", files.checkpoint, folder),
        Tool.FLOAT32: lambda folder: measure("score_defnet.py", files.float32, folder),
        Tool.INT8: lambda folder: measure("score_defnet.py", files.int8, folder),
        Tool.BUILTIN: lambda folder: measure("score_defnet.py", BUILTIN, folder),
    }
    runs = rounds_of(rounds, tools, files)
    others, skipped = others_of(environment, files, min(rounds, OTHERS_ROUNDS))
    return {"agreement": agreement, "batches": batches, "runs": runs + others, "skipped": skipped}


def others_of(environment: Environment, files: Files, rounds: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Other metrics; one that does not work is left out, with the reason."""
    measured, skipped = [], {}
    for name, sizes in OTHERS.items():
        tool = {name: lambda folder, name=name: environment.measure("score_others.py", name, folder)}
        try:
            measured += rounds_of(rounds, tool, files, sizes)
        except ProgramError as error:
            skipped[name] = str(error)
            say(f"{name} is left out: {error}")
    return measured, skipped


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def measured(environment: Environment, counts: tuple[int, ...], rounds: int, originals: Path | None) -> dict[str, Any]:
    """The whole benchmark; what goes into peers.json."""
    begun, load = time.perf_counter(), os.getloadavg()[0]
    environment.make()
    files = Files(environment.run)
    shutil.rmtree(files.folder, ignore_errors=True)
    files.folder.mkdir()
    prepare(environment, files, counts, originals)
    figures = {
        "cores": len(environment.cores),
        "processor": processor(),
        "load_before": load,
        "photos": "given" if originals else "generated",
        "versions": environment.versions(),
        "conversion": convert(environment, files),
        **compare(environment, files, rounds),
    }
    return figures | {"minutes": (time.perf_counter() - begun) / 60, "targets": targets(figures)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    work = Path(tempfile.gettempdir()) / "defnet-peers"
    parser.add_argument("--work", type=Path, default=work, help="kept for the next run")
    parser.add_argument("--photos", type=Path, help="photos to cut to the three sizes; generated ones if absent")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cores", type=int, help="cores for every program; all if absent")
    parser.add_argument("--quick", action="store_true", help="few photos, one round; results go to --work")
    arguments = parser.parse_args()
    work = arguments.work.resolve()
    environment = Environment(work, hold_to(arguments.cores))
    originals = arguments.photos.resolve() if arguments.photos else None
    counts, rounds = (QUICK_COUNTS, 1) if arguments.quick else (COUNTS, arguments.rounds)
    results, drawings = (work, work) if arguments.quick else (RESULTS, FIGURES)
    try:
        figures = measured(environment, counts, rounds, originals)
        (results / "peers.json").write_text(json.dumps(figures, indent=1) + "\n")
        (results / "peers.md").write_text(markdown(figures))
        environment.command(HERE / "plot.py", results / "peers.json", drawings)
    except ProgramError as error:
        (work / "failed.log").write_text(error.output)
        sys.exit(f"{error}; all it said: {work / 'failed.log'}")
    print(markdown(figures))


if __name__ == "__main__":
    main()
