"""An exported file on rated photos, run by the session that `defnet score` runs it with.

The one module of training that may import scoring and, through it, ONNX Runtime: a file is to be judged by what
users get from it, not by the checkpoint it was made of. Declared in pyproject.toml; loaded only for such a file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from defnet_infer.artifact import Artifact
from defnet_infer.contract import Preprocess
from defnet_infer.sessions import Session
from defnet_infer.sessions.choice import Device, open_session
from defnet_train.batches import ViewSource
from defnet_train.evaluation import PHOTOS_PER_BATCH, Outputs
from defnet_train.trained_on import TrainedOn


@dataclass(frozen=True)
class ExportedModel:
    """A loaded exported file."""

    session: Session
    sha256: str
    preprocess: Preprocess
    trained_on: TrainedOn

    @classmethod
    def open(cls, path: Path, device: Device) -> ExportedModel:
        """Load an exported file.

        Raises:
            ArtifactError: If it is not one of ours, or takes whole photos.
            SessionError: If the device cannot be used.
        """
        artifact = Artifact.open(path)
        artifact.require_views()
        about = artifact.metadata.get("defnet.training_data", "{}")
        trained_on = TrainedOn.of_metadata(json.loads(about) if about.startswith("{") else {})
        return cls(open_session(path, device=device), artifact.sha256, artifact.contract.preprocess, trained_on)

    def predict(self, source: ViewSource, indices: Sequence[int], progress: Callable[[int], None]) -> Outputs:
        """As `evaluation.predict`, with the exported file."""
        chunks = []
        size = min(PHOTOS_PER_BATCH, self.session.photos_per_call)
        for start in range(0, len(indices), size):
            some = indices[start : start + size]
            crops, overview = source.fixed(some)
            chunks.append(self.session.run(crops.numpy(), overview.numpy()))
            progress(len(some))
        return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
