"""Can the small convolutional tower be computed in 8 bits? Statically quantised in several ways, against float32.

    python benchmarks/int8_lite.py [MODEL.onnx] PHOTOS [--count 100] [--calibrate 24] [--turns 9]

For a float32 file of `mobilenetv2_100`, the built-in model if none is given. Every way is calibrated on some photos of
the folder, scores others, and is held against the bounds that `defnet export --int8` would hold it to. Speed is that of
16 views a call, as ratios to float32 within one turn, since other programs may run too. Rows whose weights alone are
rounded run in float32 and have no speed. Writes benchmarks/results/int8_<model>.json.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from scoring_material import model_or_builtin, record
from static_int8 import Calibration, Convolution, Feed, convolutions, quantised, weights_only

from defnet_infer import parity, photos, views
from defnet_infer.artifact import Artifact
from defnet_infer.contract import Preprocess
from defnet_infer.inputs import find

PHOTOS_TIMED = 2


def stage(conv: Convolution) -> int:
    """Of MobileNet: -1 for its first convolution, 0 to 6 for its stages, 7 for the last convolution."""
    if found := re.search(r"\.blocks\.(\d+)\.", conv.weight):
        return int(found[1])
    return 7 if "conv_head" in conv.weight else -1


def ways(proto: onnx.ModelProto, calibration: Calibration) -> dict[str, onnx.ModelProto]:
    """What is tried, from all in 8 bits to little."""
    convs = convolutions(proto)

    def made(first: int, *, ranges: str = "mse", sums: bool = True, bias: bool = True) -> onnx.ModelProto:
        chosen = [conv for conv in convs if stage(conv) >= first]
        return quantised(proto, calibration, chosen, ranges=ranges, integer_sums=sums, correct_bias=bias)

    return {
        "weights alone, 8 bits": weights_only(proto, 8),
        "weights alone, 7 bits": weights_only(proto, 7),
        "all, whole ranges": made(-1, ranges="minmax", bias=False),
        "all": made(-1),
        "from stage 1, whole ranges": made(1, ranges="minmax", bias=False),
        "from stage 1, biases as they are": made(1, bias=False),
        "from stage 1": made(1),
        "from stage 1, sums in float32": made(1, sums=False),
        "from stage 2": made(2),
        "from stage 3": made(3),
        "from stage 4": made(4),
    }


def session(proto: onnx.ModelProto, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Threads that wait in a loop take the processor from other programs, and from each other's timing.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def feed_of(name: str, rule: Preprocess) -> Feed:
    made = views.make(photos.decode(name).image, rule)
    return {"crops": made.crops[None], "overview": made.overview[None]}


def score(runtime: onnxruntime.InferenceSession, feeds: list[Feed]) -> dict[str, np.ndarray]:
    names = list(parity.COMPARED)
    rows = [runtime.run(names, feed) for feed in feeds]
    return {name: np.concatenate(values) for name, values in zip(names, zip(*rows, strict=True), strict=True)}


def speedups(
    exact: onnxruntime.InferenceSession, tried: dict[str, onnxruntime.InferenceSession], feeds: list[Feed], turns: int
) -> dict[str, list[float]]:
    """Way -> its speed relative to float32 in each turn; the float32 call stands right before each of the others."""
    ratios: dict[str, list[float]] = {name: [] for name in tried}
    for turn in range(turns + 1):
        for name, runtime in tried.items():
            seconds = []
            for one in (exact, runtime):
                begin = time.perf_counter()
                score(one, feeds)
                seconds.append(time.perf_counter() - begin)
            if turn:  # The first turn warms up.
                ratios[name].append(seconds[0] / seconds[1])
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--calibrate", type=int, default=24)
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    path = model_or_builtin(arguments.model)
    rule = Artifact.open(path).contract.preprocess
    names = find([arguments.photos]).names
    chosen = names[:: max(1, len(names) // arguments.count)][: arguments.count]
    others = sorted(set(names) - set(chosen))
    others = others[:: max(1, len(others) // arguments.calibrate)][: arguments.calibrate]
    proto = onnx.load(path)
    calibration = Calibration.of(proto, (feed_of(name, rule) for name in others))
    feeds = [feed_of(name, rule) for name in chosen]
    expected = score(session(proto, 1), feeds)
    sessions: dict[str, onnxruntime.InferenceSession] = {}
    rows: dict[str, dict[str, Any]] = {}
    for name, changed in ways(proto, calibration).items():
        verdict = parity.compare(
            expected, score(session(changed, 1), feeds), chosen, precision="int8", between=("float32", name)
        )
        figures = {check.what: check.value for check in verdict.checks}
        rows[name] = {
            "bytes": changed.ByteSize(),
            **figures,
            "fails": [c.what for c in verdict.checks if c.state == "fails"],
        }
        print(name, verdict.failures() or "within the bounds", flush=True)
        if not name.startswith("weights alone"):
            sessions[name] = session(changed, arguments.threads)
    for name, ratios in speedups(
        session(proto, arguments.threads), sessions, feeds[:PHOTOS_TIMED], arguments.turns
    ).items():
        rows[name]["speedup"], rows[name]["speedup_turns"] = statistics.median(ratios), ratios
    figures = {"model": path.name, "photos": len(chosen), "calibrated_on": len(others), "threads": arguments.threads}
    record(f"int8_{path.stem}", figures | {"onnxruntime": onnxruntime.__version__, "ways": rows})


if __name__ == "__main__":
    main()
