"""A checkpoint to one self-contained float32 ONNX file of schema 1, checked before it is kept."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

import defnet_infer
from defnet_export.certificate import Certificate, certify_views
from defnet_export.graph import ScoringGraph
from defnet_infer.errors import GateError, UsageError
from defnet_infer.taxonomy import DISTORTIONS, QUALITIES, SCENES
from defnet_train.checkpoint import CheckpointInfo, load_checkpoint

OPSET = 18
TRACE_BATCH = 3  # a batch of 1 is baked in as a constant by exporters; a prime shows up in no other axis
FIRST_DTYPES = {"uint8": onnx.TensorProto.UINT8, "float32": onnx.TensorProto.FLOAT}


@dataclass(frozen=True)
class ExportReport:
    """What was written."""

    path: Path
    bytes: int
    opset: int
    nodes: int
    certificate: Certificate


def export_onnx(checkpoint: Path, out: Path, *, overwrite: bool = False) -> ExportReport:
    """Write the ONNX file of a checkpoint and hold it against PyTorch.

    Args:
        checkpoint: Written by `defnet train`.
        out: The file to write.
        overwrite: Replace an existing file.

    Raises:
        UsageError: If `out` exists or its folder does not.
        CheckpointError: If the checkpoint cannot be used.
        GateError: If the file's outputs differ from PyTorch's by more than the float32 bounds. No file is left.
    """
    if out.exists() and not overwrite:
        raise UsageError(f"{out} exists; add --overwrite or choose another --out")
    if not out.parent.is_dir():
        raise UsageError(f"folder {out.parent} does not exist; make it first: mkdir -p {out.parent}")
    model, info = load_checkpoint(checkpoint)
    graph = ScoringGraph(model).eval()
    proto = _to_onnx(graph)
    partial = out.with_name(out.name + ".partial")
    try:
        onnx.save(proto, partial)
        certificate = certify_views(graph, partial)
        if not certificate.passed:
            raise GateError(f"{checkpoint}: the exported file disagrees with PyTorch: {certificate.failures()}")
        _describe(proto, graph, info, certificate)
        onnx.checker.check_model(proto, full_check=True)
        onnx.save(proto, partial)
        os.replace(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    return ExportReport(out, out.stat().st_size, OPSET, len(proto.graph.node), certificate)


def _to_onnx(graph: ScoringGraph) -> onnx.ModelProto:
    contract = graph.model.contract()
    rng = np.random.default_rng(0)
    example = tuple(
        torch.from_numpy(rng.integers(0, 256, (TRACE_BATCH, *spec.shape[1:]), dtype=np.uint8))
        for spec in contract.inputs
    )
    batch = torch.export.Dim("batch", min=1)
    with _quiet():
        program = torch.onnx.export(
            graph,
            example,
            dynamo=True,
            opset_version=OPSET,
            input_names=[spec.name for spec in contract.inputs],
            output_names=[spec.name for spec in contract.outputs],
            dynamic_shapes={"crops": {0: batch}, "overview": {0: batch}},
            external_data=False,
        )
    assert program is not None
    proto = program.model_proto
    for value, spec in zip([*proto.graph.input, *proto.graph.output], contract.inputs + contract.outputs, strict=True):
        assert value.name == spec.name, (value.name, spec.name)
        assert value.type.tensor_type.elem_type == FIRST_DTYPES[spec.dtype], spec.name
        # The exporter names the dynamic axis after an internal symbol, or differently per output.
        del value.type.tensor_type.shape.dim[:]
        for size in spec.shape:
            dim = value.type.tensor_type.shape.dim.add()
            if isinstance(size, str):
                dim.dim_param = size
            else:
                dim.dim_value = size
    # Shapes of inner tensors name the exporter's symbols; readers infer their own.
    del proto.graph.value_info[:]
    return proto


def _describe(proto: onnx.ModelProto, graph: ScoringGraph, info: CheckpointInfo, certificate: Certificate) -> None:
    """Metadata that makes the file explain itself; `defnet info` prints it."""
    contract = graph.model.contract()
    record = info.record
    photos = record.get("photos", {})
    metadata = {
        "defnet.schema": str(contract.schema),
        "defnet.version": defnet_infer.__version__,
        "defnet.contract": contract.to_json(),
        "defnet.labels": json.dumps({"quality": QUALITIES, "scene": SCENES, "distortion": DISTORTIONS}),
        "defnet.prompt_preset": contract.prompt_preset,
        "defnet.precision": "float32",
        "defnet.checkpoint_sha256": info.sha256,
        "defnet.text_embeddings_sha256": graph.text_sha256,
        "defnet.training_data": json.dumps({"recipe": info.config.recipe, "photos": photos}),
        "defnet.license": "Apache-2.0",
        "defnet.calibration": json.dumps(
            {
                "factor": round(float(graph.model.calibration), 6),
                "coverage_validation": record.get("val", {}).get("coverage"),
                "coverage_test": record.get("test", {}).get("coverage"),
            }
        ),
        "defnet.measured": json.dumps({part: record.get(part, {}) for part in ("val", "test")}),
        "defnet.parity": json.dumps(certificate.to_dict()),
        # Well-known keys that other runtimes read.
        "Image.BitmapPixelFormat": "Rgb8",
        "Image.ColorSpaceGamma": "SRGB",
        "Image.NominalPixelRange": "NominalRange_0_255",
    }
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, metadata)
    # The exporter notes source lines of the machine it ran on at every node.
    for part in [*proto.graph.node, *proto.graph.initializer, *proto.graph.input, *proto.graph.output]:
        del part.metadata_props[:]
        part.doc_string = ""
    proto.graph.name = "defnet"
    proto.producer_name, proto.producer_version = "defnet", defnet_infer.__version__
    proto.doc_string = "Blind image quality with uncertainty (DEFNet). Read metadata defnet.contract first."


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its steps and warns about its own internals; none of it is for the user."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
