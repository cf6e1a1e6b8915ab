"""A scoring graph to an ONNX model in memory, in one of three precisions, without metadata."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import numpy as np
import onnx
import torch

from defnet_export.graph import ScoringGraph
from defnet_export.precision import Precision
from defnet_export.towers import deployed

OPSET = 18
TRACE_BATCH = 3  # a batch of 1 is baked in as a constant by exporters; a prime shows up in no other axis
FIRST_DTYPES = {"uint8": onnx.TensorProto.UINT8, "float32": onnx.TensorProto.FLOAT}


def lower(graph: ScoringGraph, precision: Precision = "float32") -> onnx.ModelProto:
    """Write a scoring graph as ONNX: opset 18, standard operators, names and shapes of the contract.

    Args:
        graph: In eval mode; left as it is.
        precision: Of the image tower.
    """
    proto = _to_onnx(deployed(graph, torch.float16 if precision == "float16" else torch.float32))
    if precision == "int8":
        from defnet_export.int8 import quantised

        return quantised(proto)
    return proto


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
            dynamic_shapes=tuple({0: batch} for _ in contract.inputs),
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
