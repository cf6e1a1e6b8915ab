"""An exported file to one that takes a raw photo: `NAME.onnx` to `NAME.e2e.onnx`, checked before it is kept.

The new file is the old one, node for node, behind the nodes of `view_graph`. Nothing of PyTorch is needed, and any
exported file of schema 1 will do, whatever its precision. Input ``image`` uint8 (height, width, 3), RGB, upright;
outputs as in the contract, with a batch of 1.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import PIL
from PIL import Image

from defnet_export.view_graph import view_graph
from defnet_infer import views
from defnet_infer.artifact import Artifact
from defnet_infer.contract import END_TO_END, KIND_KEY, Contract, Preprocess
from defnet_infer.errors import GateError, StorageError, UsageError
from defnet_infer.out_file import require_free
from defnet_infer.sessions.onnxruntime import OnnxRuntimeSession, quiet_options
from defnet_train.safe_write import replacing

SCORE_BOUNDS = {"float32": 2e-3, "float16": 2e-3, "int8": 0.02}
"""Largest difference of a score from that of the Python pipeline, on the 1 to 5 scale, by precision.

The generated photos are harder than real ones: at 1100 x 800 every fortieth pixel is a level off, because ONNX Runtime
computes positions in float32, and their noise and hard edges make scores of textures move.

int8 rounds activations to 255 steps of the range they happen to have, so where a pixel differs by a level its scores
may differ as much as int8 differs from float32.
"""
PHOTO_SIZES = ((640, 480), (480, 720), (100, 80), (288, 288), (300, 1500), (1100, 800), (1800, 1350))
"""Width and height of the photos of the gate: plain, upright, enlarged, few windows, a strip, shrunk twice."""


@dataclass(frozen=True)
class EndToEndReport:
    """What was written, and how far every output is from that of the Python pipeline at most."""

    path: Path
    bytes: int
    nodes: int
    score_bound: float
    differences: dict[str, float]


def to_end_to_end(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Put the views of a photo in front of a scoring graph.

    Args:
        proto: An exported file; it is not changed.

    Returns:
        The same nodes behind those of `view_graph`, with the same metadata and ``defnet.kind`` in addition.

    Raises:
        UsageError: If the overview is made in a way that the graph does not know.
    """
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    contract = Contract.from_json(metadata["defnet.contract"])
    mode = contract.preprocess.overview_mode
    if mode not in ("squash", "none"):
        raise UsageError(
            f"an end-to-end file squashes the overview, and this model was trained with overview_mode = {mode}; embed "
            "the plain file, whose contract says how its views are made"
        )
    opset = next(entry.version for entry in proto.opset_import if entry.domain == "")
    photo_views = view_graph(contract.preprocess, opset).graph
    merged = onnx.ModelProto()
    merged.CopyFrom(proto)
    graph = merged.graph
    del graph.input[:], graph.node[:]
    graph.input.extend(photo_views.input)
    graph.node.extend([*photo_views.node, *proto.graph.node])
    graph.initializer.extend(photo_views.initializer)
    for output in graph.output:
        output.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.helper.set_model_props(merged, metadata | {KIND_KEY: END_TO_END})
    return merged


def write_end_to_end(exported: Path, out: Path, *, overwrite: bool = False) -> EndToEndReport:
    """Write the end-to-end form of an exported file and hold it against the Python pipeline.

    Args:
        exported: Written by `defnet export`, any precision.
        out: The file to write.
        overwrite: Replace an existing file.

    Raises:
        UsageError: If `out` exists, its folder does not, or `exported` is end-to-end already.
        ArtifactError: If `exported` is not one of our files.
        GateError: If a score differs from the Python pipeline's by more than its bound. No file is left.
        StorageError: If the disk is full or the folder cannot be written. No file is left.
    """
    require_free(out, "", overwrite=overwrite, reads=(exported,))
    artifact = Artifact.open(exported)
    if artifact.end_to_end:
        raise UsageError(f"{exported} takes whole photos already; give the file it was made from")
    merged = to_end_to_end(onnx.load(exported))
    partial = out.with_name(out.name + ".partial")
    try:
        onnx.save(merged, partial)
        bound = SCORE_BOUNDS[artifact.metadata.get("defnet.precision", "float32")]
        differences = _differences(exported, partial, artifact.contract.preprocess)
        if not differences["score"] <= bound:
            raise GateError(
                f"{exported}: the score of its end-to-end form is {differences['score']:.2g} away from the Python "
                f"pipeline's (bound {bound:g}); no end-to-end file was written"
            )
        onnx.helper.set_model_props(merged, _described(artifact, bound, differences))
        onnx.checker.check_model(merged, full_check=True)
        with replacing(out) as proved:
            onnx.save(merged, proved)
    except OSError as error:
        raise StorageError(f"cannot write {out}: {error.strerror or error}; no file was written") from error
    finally:
        partial.unlink(missing_ok=True)
    return EndToEndReport(out, out.stat().st_size, len(merged.graph.node), bound, differences)


def _described(artifact: Artifact, bound: float, differences: dict[str, float]) -> dict[str, str]:
    """The metadata of the scoring file, and what was measured here."""
    measured = {
        "source_sha256": artifact.sha256,
        "reference": f"Pillow {PIL.__version__}, ONNX Runtime {onnxruntime.__version__} CPU",
        "photo_sizes": PHOTO_SIZES,
        "score_bound": bound,
        "max_difference": {name: float(f"{value:.3g}") for name, value in differences.items()},
    }
    return artifact.metadata | {KIND_KEY: END_TO_END, "defnet.end_to_end": json.dumps(measured)}


def _differences(exported: Path, end_to_end: Path, rule: Preprocess) -> dict[str, float]:
    """Largest absolute difference of every output over generated photos of all sizes of the gate."""
    reference = OnnxRuntimeSession(exported, device="cpu", threads=1)
    candidate = onnxruntime.InferenceSession(str(end_to_end), quiet_options(), providers=["CPUExecutionProvider"])
    names = [output.name for output in candidate.get_outputs()]
    largest = dict.fromkeys(names, 0.0)
    for width, height in PHOTO_SIZES:
        photo_HWC = generated_photo(width, height)
        made = views.make(photo_HWC, rule)
        expected = reference.run(made.crops[None], made.overview[None])
        for name, value in zip(names, candidate.run(names, {"image": photo_HWC}), strict=True):
            # np.maximum, unlike max, keeps NaN.
            largest[name] = float(np.maximum(largest[name], np.abs(value - expected[name]).max()))
    return largest


def generated_photo(width: int, height: int) -> npt.NDArray[np.uint8]:
    """Smooth colours with hard edges, texture and sensor noise, (height, width, 3), the same for the same size.

    All frequencies are in it, so that a wrong filter or a shifted window moves the score.
    """
    rng = np.random.default_rng([width, height])
    coarse = Image.fromarray(rng.integers(30, 226, (6, 6, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC), np.float32)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    angle, period = rng.uniform(0, np.pi), rng.uniform(5, 40)
    stripes = np.sign(np.sin((x * np.cos(angle) + y * np.sin(angle)) * 2 * np.pi / period))
    noise = rng.normal(0, 6, smooth.shape)
    return (smooth + 25 * stripes[..., None] + noise).clip(0, 255).astype(np.uint8)
