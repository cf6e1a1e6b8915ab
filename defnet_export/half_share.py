"""How much of a built engine really is half precision, from what TensorRT's engine inspector says.

An engine that was asked for in half and built in single precision runs without a word, at a quarter of the speed. So
the share is measured and held: of all floating-point elements that the engine's layers read and write, those in half.
What happens inside one fused layer is not shown and not counted. Residual stream, layer norms and everything after
the encoder stay float32 by design, so the share is well below 1.

The inspector's JSON: ``Layers``, each with ``Inputs`` and ``Outputs``, lists of tensors with ``Dimensions`` and a type.
The type stands under ``Format/Datatype`` up to TensorRT 10, alone or in a phrase such as ``Row major linear FP16
format``; from 11 on it is a field of its own, whose spelling inside layers NVIDIA does not document. What is not
understood is an error here and never a share.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from defnet_infer.errors import GateError

HALF_SHARE_MIN = 0.3
"""An engine asked for in half must reach this. Chosen, not measured: one built in float32 has 0."""

_TYPE_KEYS = ("Datatype", "DataType", "Format/Datatype")
_HALF = {"half", "fp16", "float16"}
_OTHER_FLOATS = {"float", "fp32", "float32", "bf16", "bfloat16", "fp8", "fp4", "float8", "tf32"}
_NO_FLOATS = {"int8", "int4", "int32", "int64", "uint8", "bool"}


@dataclass(frozen=True)
class HalfShare:
    """What the inspector showed."""

    half: int
    """Elements read or written in half."""
    floating: int
    """Elements read or written in any floating-point type."""
    layers: int

    @property
    def share(self) -> float:
        """Of 1."""
        return self.half / self.floating


def measure(inspector_json: str) -> HalfShare:
    """The share of half precision in an engine.

    Args:
        inspector_json: From the engine inspector, of an engine built with detailed profiling verbosity, with an
            execution context whose input shapes are set.

    Raises:
        GateError: If the share cannot be determined: no layers, no tensors, an unknown type, an open dimension.
    """
    try:
        layers = json.loads(inspector_json)["Layers"]
    except (ValueError, KeyError, TypeError) as error:
        raise _undetermined("its text has no list of layers") from error
    half = floating = 0
    for layer, tensor in _tensors(layers):
        kind = _kind(layer, tensor)
        if kind == "other":
            continue
        elements = _elements(layer, tensor)
        floating += elements
        half += elements if kind == "half" else 0
    if not floating:
        raise _undetermined("its layers name no floating-point tensor")
    return HalfShare(half, floating, len(layers))


def hold(found: HalfShare) -> None:
    """Refuse an engine that was to be half and is not.

    Raises:
        GateError: If the share is below `HALF_SHARE_MIN`.
    """
    if found.share < HALF_SHARE_MIN:
        raise GateError(
            f"the engine is not half precision: {found.share:.1%} of what its {found.layers} layers read and write is, "
            f"at least {HALF_SHARE_MIN:.0%} must be; is the model the --fp16 one? See: defnet info MODEL.onnx"
        )


def _tensors(layers: object) -> Iterator[tuple[str, dict[str, object]]]:
    """Every tensor that a layer reads or writes, with the layer's name."""
    if not isinstance(layers, list):
        raise _undetermined("its layers are no list")
    for layer in layers:
        # Without detailed verbosity a layer is its bare name.
        if not isinstance(layer, dict) or not isinstance(layer.get("Inputs"), list):
            raise _undetermined("its layers are names without tensors (was the engine built with detailed verbosity?)")
        name = str(layer.get("Name", "?"))
        for side in ("Inputs", "Outputs"):
            for tensor in layer.get(side, ()):
                if not isinstance(tensor, dict):
                    raise _undetermined(f"layer {name} has {side.lower()} without a type")
                yield name, tensor


def _kind(layer: str, tensor: dict[str, object]) -> str:
    """``half``, ``float`` or ``other``."""
    text = next((str(tensor[key]) for key in _TYPE_KEYS if key in tensor), None)
    if text is None:
        raise _undetermined(f"a tensor of layer {layer} has none of {', '.join(_TYPE_KEYS)}, but {sorted(tensor)}")
    words = set(re.findall(r"[a-z]+\d*", text.lower()))
    found = {
        kind for kind, names in (("half", _HALF), ("float", _OTHER_FLOATS), ("other", _NO_FLOATS)) if words & names
    }
    if len(found) != 1:
        raise _undetermined(f"a tensor of layer {layer} has the type {text!r}")
    return found.pop()


def _elements(layer: str, tensor: dict[str, object]) -> int:
    sizes = tensor.get("Dimensions")
    if not isinstance(sizes, list) or not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise _undetermined(f"a tensor of layer {layer} has the size {sizes!r}")
    return math.prod(sizes)


def _undetermined(why: str) -> GateError:
    return GateError(
        f"the engine's share of half precision cannot be determined from TensorRT's inspector: {why}. "
        "Look at the text itself: add --inspect FILE"
    )
