"""Does the exported file say what PyTorch says? Held on views that exercise it, written into the file.

This version holds the tensors, float32, on generated views; the full certificate from photo bytes widens it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from defnet_export.graph import ScoringGraph

PHOTOS = 6
BOUNDS = {
    "score": ("absolute", 1e-4),
    "fused_score": ("absolute", 1e-4),
    "crop_score": ("absolute", 1e-4),
    "interval": ("absolute", 1e-3),
    "quality": ("absolute", 1e-5),
    "scene": ("absolute", 1e-5),
    "distortion": ("absolute", 1e-5),
    "nig": ("relative", 1e-3),
    "aleatoric": ("relative", 1e-3),
    "epistemic": ("relative", 1e-3),
}


@dataclass(frozen=True)
class Certificate:
    """Largest difference of every output, against its bound."""

    differences: dict[str, float]
    photos: int
    reference: str
    candidate: str

    @property
    def passed(self) -> bool:
        """Whether every output is inside its bound; NaN is not."""
        return all(self.differences[name] <= bound for name, (_, bound) in BOUNDS.items())

    def failures(self) -> str:
        """The outputs outside their bounds, for a message."""
        return "; ".join(
            f"{name} by {self.differences[name]:.2g} (bound {bound:.2g} {kind})"
            for name, (kind, bound) in BOUNDS.items()
            if not self.differences[name] <= bound
        )

    def to_dict(self) -> dict[str, Any]:
        """What goes into the metadata."""
        return {
            "reference": self.reference,
            "candidate": self.candidate,
            "photos": self.photos,
            "bounds": {name: {"kind": kind, "max": bound} for name, (kind, bound) in BOUNDS.items()},
            "max_difference": {name: float(f"{value:.3g}") for name, value in self.differences.items()},
        }


def generated_views(count: int, crops: int, side: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Views of photo-like pictures: smooth shapes with edges, texture, noise and exposure that vary.

    Plain noise would be far from what a model sees and hardly move its outputs.

    Returns:
        Crops (count, crops, side, side, 3) and overviews (count, side, side, 3), uint8.
    """
    rng = np.random.default_rng(20250701)
    y, x = np.mgrid[0:side, 0:side] / side

    def picture() -> npt.NDArray[np.uint8]:
        waves = sum(
            rng.uniform(0.2, 1.0) * np.sin(2 * np.pi * (rng.uniform(-f, f) * x + rng.uniform(-f, f) * y + rng.random()))
            for f in (1, 3, 9, 30)
        )
        edge = np.where(rng.uniform(-1, 1) * x + rng.uniform(-1, 1) * y > rng.uniform(-0.5, 0.5), 1.0, -1.0)
        base = 128 + rng.uniform(10, 60) * (waves + edge)
        color = base[..., None] * rng.uniform(0.5, 1.3, 3) + rng.normal(0, rng.uniform(0, 25), (side, side, 3))
        return np.clip(color, 0, 255).astype(np.uint8)

    views = np.stack([[picture() for _ in range(crops + 1)] for _ in range(count)])
    return views[:, :-1], views[:, -1]


def certify_views(graph: ScoringGraph, path: Path) -> Certificate:
    """Score the same views through PyTorch and through an ONNX file with ONNX Runtime on the CPU.

    Args:
        graph: The module the file was made from.
        path: The file.
    """
    contract = graph.model.contract()
    crops, overview = generated_views(PHOTOS, contract.preprocess.crop_count, contract.preprocess.crop_size)
    with torch.inference_mode():
        expected = graph(torch.from_numpy(crops), torch.from_numpy(overview))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    actual = session.run(graph.output_names, {"crops": crops, "overview": overview})
    differences = {
        name: _difference(a, e.numpy(), BOUNDS[name][0])
        for name, a, e in zip(graph.output_names, actual, expected, strict=True)
    }
    return Certificate(
        differences,
        PHOTOS,
        reference=f"PyTorch {torch.__version__} float32 CPU",
        candidate=f"ONNX Runtime {onnxruntime.__version__} CPU",
    )


def _difference(actual: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], kind: str) -> float:
    difference = np.abs(actual - expected)
    if kind == "relative":
        difference = difference / np.abs(expected)
    return float(difference.max())
