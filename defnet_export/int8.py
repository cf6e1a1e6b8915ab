"""Dynamic 8-bit quantisation of an exported float32 model, for CPUs, by ONNX Runtime's own tool.

Weights are 8-bit integers per output channel; activations are quantised while the model runs (DynamicQuantizeLinear),
over all views of a call, so scores depend a little on which photos share it. `defnet score` calls once per photo.

Only wide products of a vision transformer's blocks are quantised. Where a model states variances, the two of each MLP:
those of attention stay float32, because with them variances would be off by 2 to 3 %, the bound or more
(docs/precisions.md). Where it states none, as imported LIQE, also those before and after attention: half as fast again,
and scores use half of their bound. Convolutions stay float32, and a file of MobileNet is refused. As ConvInteger its
convolutions were slower than in float32 (about half the speed) and its scores useless. Quantised statically they are
faster and scores agree, but variances do not (docs/precisions.md).
TensorRT reads none of these operators; it wants float32 or float16.
"""

from __future__ import annotations

import logging
import re
import tempfile
from pathlib import Path

import onnx

from defnet_infer.errors import UsageError

_BLOCK = r"model\.encoder\.clip\.visual\.blocks\.\d+\."
MLP_WEIGHTS = re.compile(_BLOCK + r"(widen|narrow)\.weight")
"""Names of the weights that are quantised in every vision transformer; `towers.PlainVit` gives them."""
ALL_WEIGHTS = re.compile(_BLOCK + r"(widen|narrow|attention\.(qkv|query|key_value|out))\.weight")
"""The same for models that state no variances."""


def quantised(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Quantise the products of a vision transformer's MLPs, and those of attention if no output is a variance.

    Weights are signed, which is twice as fast as unsigned ones, and use 7 of their 8 bits: with all 8, processors
    without VNNI instructions saturate the 16-bit sums of two products, and scores would depend on the machine.

    Args:
        proto: A float32 model from `lowering`; may be changed.

    Raises:
        UsageError: If the model has no such product.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic

    states_variances = any(output.name == "epistemic" for output in proto.graph.output)
    chosen = MLP_WEIGHTS if states_variances else ALL_WEIGHTS
    products = [
        node.name
        for node in proto.graph.node
        if node.op_type == "MatMul" and any(chosen.fullmatch(name) for name in node.input)
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
