"""Does the exported file say what PyTorch says? Measured before the file is kept, written into its metadata.

Two questions. `certify_views`: is every output tensor the same on generated views, as far as the precision allows?
`certify_photos`: are scores, labels and uncertainty of photos the same from their files on, within the bounds of the
file's precision (`defnet_infer/parity.py`)? The reference is PyTorch in float32 whatever the file's precision.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import torch

from defnet_export.generated_views import PHOTOS, generated_views
from defnet_export.graph import ScoringGraph
from defnet_infer import checking, reference_photos
from defnet_infer.checking import Advance, Scored, Way
from defnet_infer.parity import Precision
from defnet_infer.saved_reference import SavedReference, views_sha256
from defnet_infer.sessions.onnxruntime import OnnxRuntimeSession, whole_batches
from defnet_infer.torch_reference import TorchReference
from defnet_infer.verdict import Verdict

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
_LOOSER = {
    # Largest differences that go with the bounds on real photos: score mean 0.003, p99 0.01, max 0.03; labels, 99.5 %.
    "float16": {
        "score": 0.03,
        "fused_score": 0.03,
        "crop_score": 0.1,
        "interval": 0.1,
        "probability": 0.03,
        "nig": 0.05,
    },
    # Score mean 0.02 on real photos.
    "int8": {"score": 0.1, "fused_score": 0.1, "crop_score": 0.5, "interval": 0.5, "probability": 0.2, "nig": 0.25},
}
_LIKE = {"quality": "probability", "scene": "probability", "distortion": "probability"}
_LIKE |= {"aleatoric": "nig", "epistemic": "nig"}


def bounds_of(precision: Precision) -> dict[str, tuple[str, float]]:
    """Output -> kind of difference and largest value, for a file of this precision against float32 PyTorch.

    Of all outputs that a model can have.
    """
    if precision == "float32":
        return BOUNDS
    largest = _LOOSER[precision]
    return {name: (kind, largest[_LIKE.get(name, name)]) for name, (kind, _) in BOUNDS.items()}


@dataclass(frozen=True)
class Certificate:
    """Largest difference of every output, against its bound."""

    differences: dict[str, float]
    photos: int
    reference: str
    candidate: str
    bounds: dict[str, tuple[str, float]] = field(default_factory=lambda: dict(BOUNDS))

    @property
    def passed(self) -> bool:
        """Whether every output is inside its bound; NaN is not."""
        return all(self.differences[name] <= bound for name, (_, bound) in self.bounds.items())

    def failures(self) -> str:
        """The outputs outside their bounds, for a message."""
        return "; ".join(
            f"{name} by {self.differences[name]:.2g} (bound {bound:.2g} {kind})"
            for name, (kind, bound) in self.bounds.items()
            if not self.differences[name] <= bound
        )

    def to_dict(self) -> dict[str, Any]:
        """What goes into the metadata."""
        return {
            "reference": self.reference,
            "candidate": self.candidate,
            "photos": self.photos,
            "bounds": {name: {"kind": kind, "max": bound} for name, (kind, bound) in self.bounds.items()},
            "max_difference": {name: float(f"{value:.3g}") for name, value in self.differences.items()},
        }


def certify_views(graph: ScoringGraph, path: Path, precision: Precision = "float32") -> Certificate:
    """Score the same views through PyTorch and through an ONNX file with ONNX Runtime on the CPU.

    Args:
        graph: The module the file was made from.
        path: The file.
        precision: What it was exported in; chooses the bounds.
    """
    contract = graph.model.contract()
    crops, overview = generated_views(PHOTOS, contract.preprocess.crop_count, contract.preprocess.crop_size)
    made = {"crops": crops, "overview": overview}
    given = {spec.name: made[spec.name] for spec in contract.inputs}
    with torch.inference_mode():
        expected = graph(*map(torch.from_numpy, given.values()))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    actual = session.run(graph.output_names, given)
    differences = {
        name: _difference(a, e.numpy(), BOUNDS[name][0])
        for name, a, e in zip(graph.output_names, actual, expected, strict=True)
    }
    return Certificate(
        differences,
        PHOTOS,
        reference=f"PyTorch {torch.__version__} float32 CPU",
        candidate=f"ONNX Runtime {onnxruntime.__version__} {precision} CPU",
        bounds={name: bound for name, bound in bounds_of(precision).items() if name in differences},
    )


def certify_photos(
    reference: TorchReference,
    path: Path,
    *,
    precision: Precision,
    photos: Path | None = None,
    count: int | None = None,
    advance: Advance = checking.silent,
) -> tuple[Verdict, SavedReference]:
    """Score photos from their files through PyTorch and through an ONNX file with ONNX Runtime on the CPU.

    Args:
        reference: The model that the file was made from.
        path: The file; it needs no metadata yet.
        precision: Whose bounds to hold.
        photos: A folder; generated photo files if absent.
        count: Photos at most; None takes the default of either kind.
        advance: For a progress display.

    Returns:
        The verdict, and PyTorch's outputs for generated pictures, to be saved in the file.

    Raises:
        UsageError: If the folder is missing or holds no photo that can be read.
    """
    rule = reference.contract.preprocess
    right = Way(name=reference.name, run=reference.run)
    session = OnnxRuntimeSession(path, device="cpu")
    name = f"{precision} file with ONNX Runtime {onnxruntime.__version__}"
    with checking.temporary_folder() as scratch:
        verdict, scored = checking.compare(
            checking.photos_to_certify(photos, count, Path(scratch)),
            rule,
            right,
            Way.of(session, name),
            precision=precision,
            whole_batches=whole_batches(path),
            advance=advance,
        )
        session.close()
        if photos is not None:
            generated = checking.generated_photos(Path(scratch), reference_photos.COUNT)
            lossless = [source for source in generated if source.name.endswith(".png")]
            scored = checking.score(lossless, rule, (right,))
    return verdict, _saved(reference, scored)


def _saved(reference: TorchReference, scored: Scored) -> SavedReference:
    """The outputs of the lossless pictures among those scored: their pixels are the same on every machine."""
    rows = [row for row, name in enumerate(scored.names) if name.endswith(".png")]
    indices = tuple(reference_photos.index_of(scored.names[row]) for row in rows)
    return SavedReference(
        made_by=reference.name,
        indices=indices,
        pixels_sha256=reference_photos.sha256([reference_photos.make(index) for index in indices]),
        views_sha256=views_sha256(indices, reference.contract.preprocess),
        outputs={name: values[rows] for name, values in scored.outputs[0].items()},
    )


def _difference(actual: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], kind: str) -> float:
    difference = np.abs(actual - expected)
    if kind == "relative":
        difference = difference / np.abs(expected)
    return float(difference.max())
