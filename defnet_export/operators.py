"""Which operators an exported file uses, of which opset and types, and whether TensorRT's ONNX parser takes them.

Facts are from the operator list of onnx-tensorrt for TensorRT 11.1, whose rows are those of 10.16. Entries marked
`assumed` were not in the part of that list that could be read; they are in the lists of earlier releases.
int8 files are for CPUs: DynamicQuantizeLinear and MatMulInteger are in no such list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import onnx

FLOAT = frozenset({"FLOAT", "FLOAT16"})
NUMBER = FLOAT | {"INT64"}


@dataclass(frozen=True)
class Use:
    """One way in which a graph uses an operator."""

    operator: str
    opset: int
    """Version of the operator's definition that the model's opset means."""
    types: tuple[str, ...]
    """Element types of its data inputs, without repeats, sorted; shapes, axes and indices are not data."""


@dataclass(frozen=True)
class Support:
    """What TensorRT's parser takes."""

    types: frozenset[str]
    """Element types of data inputs; they must all be equal in a strongly typed network, but for Where's condition."""
    note: str = ""


TENSORRT = {
    "Add": Support(NUMBER),
    "Cast": Support(NUMBER | {"UINT8"}, "the only reader that an 8-bit input may have"),
    "Clip": Support(FLOAT, "bounds are initializers"),
    "Concat": Support(NUMBER),
    "Conv": Support(FLOAT),
    "Div": Support(NUMBER),
    "Erf": Support(FLOAT),
    "Gather": Support(NUMBER),
    "Gemm": Support(FLOAT, "rank 2, alpha and beta 1"),
    "Greater": Support(NUMBER, "assumed"),
    "LayerNormalization": Support(FLOAT, "scale and bias of the input's type; float32 here"),
    "Log": Support(FLOAT),
    "MatMul": Support(FLOAT),
    "Mul": Support(NUMBER),
    "Pad": Support(NUMBER),
    "Pow": Support(NUMBER, "exponent of the base's type"),
    "Reciprocal": Support(FLOAT),
    "ReduceMean": Support(NUMBER, "axes are an initializer"),
    "ReduceSum": Support(NUMBER, "axes are an initializer"),
    "Relu": Support(FLOAT),
    "Reshape": Support(NUMBER),
    "Sigmoid": Support(FLOAT),
    "Slice": Support(NUMBER),
    "Softmax": Support(FLOAT, "one axis, from opset 13"),
    "Softplus": Support(FLOAT),
    "Split": Support(NUMBER),
    "Sqrt": Support(FLOAT),
    "Squeeze": Support(NUMBER, "axes are constant"),
    "Sub": Support(NUMBER),
    "Transpose": Support(NUMBER),
    "Unsqueeze": Support(NUMBER, "axes are constant"),
    "Where": Support(NUMBER | {"BOOL"}),
}

_DATA_INPUTS = {
    "Gather": 1, "Pad": 1, "ReduceMean": 1, "ReduceSum": 1, "Reshape": 1, "Slice": 1, "Split": 1, "Squeeze": 1,
    "Unsqueeze": 1,
}  # fmt: skip
"""How many inputs are data, of the operators whose others are shapes, axes, indices or counts."""


def uses(proto: onnx.ModelProto) -> set[Use]:
    """Every operator of a model, with the opset and types it is used with.

    Raises:
        onnx.shape_inference.InferenceError: If types do not fit, as in a product of half and float.
    """
    inferred = onnx.shape_inference.infer_shapes(proto, check_type=True, strict_mode=True).graph
    types = {value.name: value.type.tensor_type.elem_type for value in [*inferred.value_info, *inferred.input]}
    types |= {value.name: value.type.tensor_type.elem_type for value in inferred.output}
    types |= {tensor.name: tensor.data_type for tensor in inferred.initializer}
    version = {entry.domain: entry.version for entry in proto.opset_import}
    found = set()
    for node in proto.graph.node:
        data = [name for name in node.input[: _DATA_INPUTS.get(node.op_type)] if name]
        names = tuple(sorted({onnx.TensorProto.DataType.Name(types[name]) for name in data}))
        schema = onnx.defs.get_schema(node.op_type, version[node.domain], node.domain)
        found.add(Use(node.op_type, schema.since_version, names))
    return found


def unsupported(proto: onnx.ModelProto) -> Iterator[str]:
    """A sentence for every use that TensorRT's parser is not known to take, or would refuse in strong typing."""
    for use in sorted(uses(proto), key=lambda one: (one.operator, one.types)):
        support = TENSORRT.get(use.operator)
        if support is None:
            yield f"{use.operator} (opset {use.opset}) is not in the table"
        elif not support.types.issuperset(use.types):
            yield f"{use.operator} takes no {', '.join(sorted(set(use.types) - support.types))}"
        elif len(set(use.types) - {"BOOL"}) > 1:
            yield f"{use.operator} mixes {' and '.join(use.types)}"
