"""Static 8-bit quantisation of the convolutions of an exported file, for `int8_lite.py` to measure.

Ranges of activations are taken from calibration photos and written into the file as QuantizeLinear and
DequantizeLinear pairs; ONNX Runtime joins them with the convolution between them into one of integers. Weights are
signed, with a scale per output channel; activations are unsigned, with one scale per tensor.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

SAMPLE = 20_000
"""Values of each tensor that are kept of each photo."""
Ranges = Literal["minmax", "mse"]
Feed = dict[str, np.ndarray]


@dataclass(frozen=True)
class Convolution:
    """A convolution with its ReLU6, if it has one."""

    node: str
    source: str
    """The tensor that it reads."""
    result: str
    """The tensor after its ReLU6."""
    clip: str | None
    weight: str
    bias: str


def convolutions(proto: onnx.ModelProto) -> list[Convolution]:
    """In the order of the graph."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in proto.graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    found = []
    for node in proto.graph.node:
        if node.op_type == "Conv":
            after = readers[node.output[0]]
            clip = after[0] if len(after) == 1 and after[0].op_type == "Clip" else None
            result = clip.output[0] if clip else node.output[0]
            found.append(Convolution(node.name, node.input[0], result, clip and clip.name, *node.input[1:3]))
    return found


def residual_sums(proto: onnx.ModelProto) -> dict[str, str]:
    """Additions of two results of the trunk: node -> the tensor it makes."""
    trunk, sums = {conv.result for conv in convolutions(proto)}, {}
    for node in proto.graph.node:
        if node.op_type == "Add" and set(node.input) <= trunk:
            trunk.add(node.output[0])
            sums[node.name] = node.output[0]
    return sums


@dataclass(frozen=True)
class Calibration:
    """What the activations of a trunk looked like on some photos."""

    extremes: dict[str, tuple[float, float]]
    """Tensor -> smallest and largest value; zero is always between them."""
    samples: dict[str, np.ndarray]
    means: dict[str, np.ndarray]
    """Tensor -> mean of each channel."""

    @classmethod
    def of(cls, proto: onnx.ModelProto, feeds: Iterable[Feed]) -> Calibration:
        """Run photos through a float32 file and look at every tensor that may be quantised."""
        convs = convolutions(proto)
        made_in_trunk = {conv.result for conv in convs} | set(residual_sums(proto).values())
        tensors = sorted(made_in_trunk | {conv.source for conv in convs})
        wide = copy.deepcopy(proto)
        wide.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in tensors)
        session = onnxruntime.InferenceSession(wide.SerializeToString(), providers=["CPUExecutionProvider"])
        rng = np.random.default_rng(0)
        low, high = dict.fromkeys(tensors, 0.0), dict.fromkeys(tensors, 0.0)
        samples: dict[str, list[np.ndarray]] = {name: [] for name in tensors}
        means: dict[str, list[np.ndarray]] = {name: [] for name in tensors}
        for feed in feeds:
            for name, values_NCHW in zip(tensors, session.run(tensors, feed), strict=True):
                low[name] = min(low[name], float(values_NCHW.min()))
                high[name] = max(high[name], float(values_NCHW.max()))
                samples[name].append(values_NCHW.ravel()[rng.integers(0, values_NCHW.size, SAMPLE)])
                means[name].append(values_NCHW.mean(axis=(0, 2, 3)))
        return cls(
            extremes={name: (low[name], high[name]) for name in tensors},
            samples={name: np.concatenate(values) for name, values in samples.items()},
            means={name: np.mean(values, axis=0) for name, values in means.items()},
        )

    def scale(self, tensor: str, ranges: Ranges) -> tuple[np.float32, np.uint8]:
        """Scale and zero point: of the whole range, or of the share of it that rounds a sample with the least error."""
        low, high = self.extremes[tensor]
        shares = [1.0] if ranges == "minmax" else np.linspace(0.3, 1, 36)
        return min((_step(low * share, high * share) for share in shares), key=lambda step: self._error(tensor, *step))

    def _error(self, tensor: str, step: np.float32, zero: np.uint8) -> float:
        values = self.samples[tensor]
        rounded = (np.clip(np.round(values / step) + zero, 0, 255) - zero) * step
        return float(np.square(rounded - values).mean())


def _step(low: float, high: float) -> tuple[np.float32, np.uint8]:
    step = np.float32((high - low) / 255)
    return step, np.uint8(round(-low / float(step)))


def rounded_weights(weight: np.ndarray, bits: int, smallest: np.ndarray | float = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weights of a convolution as integers, and the scale of every output channel, which is at least `smallest`."""
    top = 2 ** (bits - 1) - 1
    # A channel that is zero needs a scale too.
    scale = np.maximum(np.maximum(np.abs(weight).reshape(len(weight), -1).max(axis=1) / top, smallest), 1e-9)
    scale = scale.astype(np.float32)
    return np.clip(np.round(weight / scale[:, None, None, None]), -top, top).astype(np.int8), scale


def weights_only(proto: onnx.ModelProto, bits: int) -> onnx.ModelProto:
    """The float32 file with rounded weights: what rounding them costs, apart from activations."""
    proto = copy.deepcopy(proto)
    tensors = {tensor.name: tensor for tensor in proto.graph.initializer}
    for conv in convolutions(proto):
        integers, scale = rounded_weights(numpy_helper.to_array(tensors[conv.weight]), bits)
        values = integers * scale[:, None, None, None]
        tensors[conv.weight].CopyFrom(numpy_helper.from_array(values.astype(np.float32), conv.weight))
    return proto


def quantised(
    proto: onnx.ModelProto,
    calibration: Calibration,
    chosen: Iterable[Convolution],
    *,
    ranges: Ranges,
    integer_sums: bool,
    correct_bias: bool,
) -> onnx.ModelProto:
    """Compute some convolutions in 8 bits.

    Args:
        proto: A float32 file; left as it is.
        calibration: Of the same file.
        chosen: The convolutions.
        ranges: How scales are taken from the calibration.
        integer_sums: Also add residuals in 8 bits; else the sums are float32 and rounded where they are read.
        correct_bias: Take the mean of what rounded weights add to each channel off its bias.
    """
    proto = copy.deepcopy(proto)
    graph, chosen = proto.graph, list(chosen)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    by_node = {conv.node: conv for conv in chosen}
    rounded = {conv.result for conv in chosen}
    if integer_sums:
        rounded |= {made for node, made in residual_sums(proto).items() if _reads(graph, node) & rounded}
    scales = {name: calibration.scale(name, ranges) for name in rounded | {conv.source for conv in chosen}}
    without_clip = {conv.clip for conv in chosen}
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if node.name in without_clip:
            continue  # The range of the result lies within 0 and 6.
        conv = by_node.get(node.name)
        if conv is not None:
            weight, bias = (numpy_helper.to_array(tensors[name]) for name in (conv.weight, conv.bias))
            step = float(scales[conv.source][0])
            integers, scale = rounded_weights(weight, 8, np.abs(bias) / step / 2**30)
            if correct_bias:
                lost = (weight - integers * scale[:, None, None, None]).sum(axis=(2, 3))
                bias = bias + (lost * _means_of_inputs(calibration.means[conv.source], weight)).sum(axis=1)
            bias_step = (scale * step).astype(np.float32)
            # Under the node's name: parts of the views share weights of first stages, not scales of what they read.
            own = [f"{conv.node}.weight", f"{conv.node}.bias"]
            nodes += _dequantised(graph, own[0], integers, scale)
            nodes += _dequantised(graph, own[1], np.round(bias / bias_step).astype(np.int32), bias_step)
            node.input[1:3] = [f"{name}_float" for name in own]
            node.output[0] = conv.result
        for position, name in enumerate(node.input):
            if name in rounded or (conv is not None and name == conv.source):
                node.input[position] = f"{name}_float"
        nodes.append(node)
        for name in node.output:
            if name in scales:
                nodes += _rounding(graph, name, *scales[name])
    del graph.node[:]
    graph.node.extend(nodes)
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:], graph.value_info[:]
    graph.initializer.extend(kept)
    onnx.checker.check_model(proto)
    return proto


def _reads(graph: onnx.GraphProto, name: str) -> set[str]:
    return set(next(node for node in graph.node if node.name == name).input)


def _means_of_inputs(mean_C: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Mean of what each (output, input) weight multiplies; a depthwise weight reads the channel of its output."""
    return mean_C[:, None] if weight.shape[1] == 1 else mean_C[None, :]


def _dequantised(
    graph: onnx.GraphProto, name: str, integers: np.ndarray, scale: np.ndarray
) -> Iterator[onnx.NodeProto]:
    for suffix, values in (("integers", integers), ("scale", scale), ("zero", np.zeros(len(scale), integers.dtype))):
        graph.initializer.append(numpy_helper.from_array(values, f"{name}_{suffix}"))
    inputs = [f"{name}_{suffix}" for suffix in ("integers", "scale", "zero")]
    yield helper.make_node("DequantizeLinear", inputs, [f"{name}_float"], axis=0)


def _rounding(graph: onnx.GraphProto, name: str, step: np.float32, zero: np.uint8) -> Iterator[onnx.NodeProto]:
    for suffix, value in (("step", step), ("zero", zero)):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{name}_{suffix}"))
    parameters = [f"{name}_step", f"{name}_zero"]
    yield helper.make_node("QuantizeLinear", [name, *parameters], [f"{name}_integers"])
    yield helper.make_node("DequantizeLinear", [f"{name}_integers", *parameters], [f"{name}_float"])
