"""The three precisions of an exported file.

float32   what PyTorch computes.
float16   for GPUs: the image tower's products and convolutions are half, typed in the graph, as strongly typed TensorRT
          networks need it; `towers.py` says what stays float32.
int8      for CPUs: float32, with the tower's products quantised while they run; `int8.py` says which.

Inputs are uint8 and outputs float32 in all of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

from defnet_infer.parity import Precision

PRECISIONS: tuple[Precision, ...] = get_args(Precision)
_SUFFIX = {"float32": ".onnx", "float16": ".fp16.onnx", "int8": ".int8.onnx"}


def default_path(checkpoint: Path, precision: Precision) -> Path:
    """Where `defnet export` writes a checkpoint: beside it, with the precision in its name."""
    return checkpoint.with_suffix(_SUFFIX[precision])
