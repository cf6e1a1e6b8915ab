"""Dynamic 8-bit quantisation of an exported float32 model, for CPUs, by ONNX Runtime's own tool.

Weights are 8-bit integers per output channel; activations are quantised while the model runs (DynamicQuantizeLinear),
over all views of a call, so scores depend a little on which photos share it. `defnet score` calls once per photo.

Only the wide products of a vision transformer's blocks are quantised, the two of each MLP: two thirds of the time, and
8-bit products are faster. Those of attention stay float32: with them a file is faster still, but names another
distortion for one photo in ten, and variances are off by 3 % (docs/precisions.md). Convolutions stay float32, and a
file of MobileNet is refused. As ConvInteger its convolutions were slower than in float32 (about half the speed) and
its scores useless. Quantised statically they are faster and scores agree, but variances do not (docs/precisions.md).
TensorRT reads none of these operators; it wants float32 or float16.
"""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path

import onnx

from defnet_infer.errors import UsageError

QUANTISED_WEIGHTS = re.compile(r"model\.encoder\.clip\.visual\.blocks\.\d+\.(widen|narrow)\.weight")
"""Names of the weights; `towers.PlainVit` gives them."""


def quantised(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Quantise the products of a vision transformer's MLPs.

    Weights are signed, which is twice as fast as unsigned ones, and use 7 of their 8 bits: with all 8, processors
    without VNNI instructions saturate the 16-bit sums of two products, and scores would depend on the machine.

    Args:
        proto: A float32 model from `lowering`; may be changed.

    Raises:
        UsageError: If the model has no such product.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    products = [
        node.name
        for node in proto.graph.node
        if node.op_type == "MatMul" and any(QUANTISED_WEIGHTS.fullmatch(name) for name in node.input)
    ]
    if not products:
        raise UsageError(
            "--int8 is for ViT towers; others would misstate their uncertainty: export with --fp32 or --fp16"
        )
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)  # It advises steps that this graph has been through.
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.onnx"
            quantize_dynamic(
                proto,
                path,
                op_types_to_quantize=["MatMul"],
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                nodes_to_quantize=products,
            )
            return onnx.load(path)
    finally:
        logger.setLevel(level)
