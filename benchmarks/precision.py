"""Precisions of one checkpoint side by side: do float16 and int8 say what float32 says, and what do they gain.

    python benchmarks/precision.py CHECKPOINT PHOTOS [--count 100] [--turns 5]

Exports the precisions that its tower has, and scores the same photos with each through ONNX Runtime on the CPU: size,
differences from float32 (score, labels, uncertainty, share of intervals that hold the float32 score), photos per second
in turns, how far a score moves in a batch or in another order, and the operators beside TensorRT's. ONNX Runtime
computes half operators in float32 where the processor has no half arithmetic, so float16 is also run in PyTorch, which
rounds every result. Writes benchmarks/results/precision_<checkpoint>.json.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from scipy.stats import spearmanr
from scoring_material import record

BATCH = 4
Outputs = dict[str, np.ndarray]


class File:
    """An exported file, scored the way `defnet score` does: one photo a call."""

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]

    def call(self, crops: np.ndarray, overview: np.ndarray) -> Outputs:
        return dict(zip(self.names, self.session.run(self.names, {"crops": crops, "overview": overview}), strict=True))

    def score(self, crops: np.ndarray, overview: np.ndarray) -> Outputs:
        rows = [self.call(crops[k : k + 1], overview[k : k + 1]) for k in range(len(crops))]
        return {name: np.concatenate([row[name] for row in rows]) for name in self.names}


def compared(actual: Outputs, exact: Outputs) -> dict[str, float]:
    """Differences of one file's outputs from the float32 file's."""
    error = np.abs(actual["score"] - exact["score"])
    same = [np.mean(actual[n].argmax(1) == exact[n].argmax(1)) for n in ("quality", "scene", "distortion")]
    relative = [np.abs(actual[n] / exact[n] - 1) for n in ("aleatoric", "epistemic")]

    def coverage(outputs: Outputs) -> float:
        low, high = outputs["interval"].T
        return float(np.mean((low <= exact["score"]) & (exact["score"] <= high)))

    return {
        "score_mean": float(error.mean()),
        "score_p99": float(np.quantile(error, 0.99)),
        "score_max": float(error.max()),
        "srcc": float(spearmanr(actual["score"], exact["score"]).statistic),
        "labels_agree": float(min(same)),
        "uncertainty_relative_p99": float(np.quantile(relative, 0.99)),
        "coverage_change": abs(coverage(actual) - coverage(exact)),
        "nan": float(sum(np.isnan(value).sum() for value in actual.values())),
    }


def batch_shift(file: File, crops: np.ndarray, overview: np.ndarray, alone: Outputs) -> float:
    """How far a score moves when its photo shares a call with others, or with the same ones in another order."""
    order = np.random.default_rng(0).permutation(BATCH)
    together = file.call(crops[:BATCH], overview[:BATCH])["score"]
    shuffled = file.call(crops[:BATCH][order], overview[:BATCH][order])["score"]
    expected = alone["score"][:BATCH]
    return float(max(np.abs(together - expected).max(), np.abs(shuffled - expected[order]).max()))


def main() -> None:
    from defnet_export.graph import ScoringGraph
    from defnet_export.lowering import lower
    from defnet_export.operators import unsupported, uses
    from defnet_export.precision import PRECISIONS
    from defnet_export.towers import deployed
    from defnet_infer import photos, views
    from defnet_infer.errors import UsageError
    from defnet_infer.inputs import find
    from defnet_train.checkpoint import load_checkpoint

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument(
        "--rounded", type=int, default=16, help="photos through PyTorch in float16, which is slow; 0 for none"
    )
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", help="of the results; the checkpoint's if absent")
    arguments = parser.parse_args()
    start = time.perf_counter()
    model, _ = load_checkpoint(arguments.checkpoint)
    graph = ScoringGraph(model).eval()
    names = find([arguments.photos]).names
    chosen = names[:: max(1, len(names) // arguments.count)][: arguments.count]
    figures: dict[str, Any] = {"tower": model.config.tower, "photos": len(chosen), "threads": arguments.threads}
    files: dict[str, File] = {}
    with tempfile.TemporaryDirectory() as folder:
        for precision in PRECISIONS:
            try:
                proto = lower(graph, precision)
            except UsageError as refused:
                figures[f"{precision}_refused"] = str(refused)
                continue
            path = Path(folder) / f"{precision}.onnx"
            onnx.save(proto, path)
            if precision == "float32":
                figures["float32_export_seconds"] = time.perf_counter() - start
                figures["float32_export_peak_gb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            figures[f"{precision}_bytes"] = path.stat().st_size
            if precision != "int8":
                table = sorted(f"{use.operator}-{use.opset} {'/'.join(use.types)}" for use in uses(proto))
                figures[f"{precision}_operators"] = table
                figures[f"{precision}_operators_unknown_to_tensorrt"] = list(unsupported(proto))
            del proto
            files[precision] = File(path, arguments.threads)
    made = [views.make(photos.decode(name).image, model.contract().preprocess) for name in chosen]
    crops, overview = np.stack([one.crops for one in made]), np.stack([one.overview for one in made])
    outputs = {precision: file.score(crops, overview) for precision, file in files.items()}
    exact = outputs["float32"]
    figures["float32_score_std"] = float(exact["score"].std())
    if few := min(arguments.rounded, len(chosen)):
        half = deployed(graph, torch.float16)
        with torch.inference_mode():
            rounded = [
                half(torch.from_numpy(crops[k : k + 1]), torch.from_numpy(overview[k : k + 1])) for k in range(few)
            ]
        figures["float16_pytorch_photos"] = few
        outputs["float16_pytorch"] = {
            name: np.concatenate([row[k].numpy() for row in rounded]) for k, name in enumerate(graph.output_names)
        }
    for name, values in outputs.items():
        if name != "float32":
            same = {key: value[: len(values["score"])] for key, value in exact.items()}
            figures |= {f"{name}_{key}": value for key, value in compared(values, same).items()}
            figures |= (
                {f"{name}_bytes_share": figures[f"{name}_bytes"] / figures["float32_bytes"]} if name in files else {}
            )
    for name, file in files.items():
        figures[f"{name}_batch_shift"] = batch_shift(file, crops, overview, outputs[name])
    seconds: dict[str, list[float]] = {name: [] for name in files}
    for turn in range(arguments.turns + 1):
        for name, file in files.items():
            begin = time.perf_counter()
            file.score(crops[:BATCH], overview[:BATCH])
            if turn:  # The first turn warms up.
                seconds[name].append(time.perf_counter() - begin)
    for name, times in seconds.items():
        figures[f"{name}_photos_per_second"] = BATCH / statistics.median(times)
        ratios = [a / b for a, b in zip(seconds["float32"], times, strict=True)]
        figures[f"{name}_speedup"] = statistics.median(ratios)
    record(f"precision_{arguments.name or arguments.checkpoint.stem}", figures)


if __name__ == "__main__":
    main()
