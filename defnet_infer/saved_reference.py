"""PyTorch's outputs for generated pictures, saved inside an exported file, so that any machine can check the file.

Only the outputs are saved, some kilobytes. The pictures are made again, bit for bit (`reference_photos`), and their
SHA-256 proves it. They are handed over as pixels: decoders differ between machines, arithmetic on integers does not.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from defnet_infer import reference_photos, views
from defnet_infer.artifact import Artifact
from defnet_infer.contract import Preprocess
from defnet_infer.errors import ArtifactError
from defnet_infer.parity import COMPARED
from defnet_infer.sessions import Outputs
from defnet_infer.sources import Source

KEY = "defnet.reference"


@dataclass(frozen=True, kw_only=True)
class SavedReference:
    """What PyTorch says about generated pictures."""

    made_by: str
    indices: tuple[int, ...]
    """Which pictures."""
    pixels_sha256: str
    views_sha256: str
    """Of crops and overviews: tells whether another machine's resizing differs."""
    outputs: Outputs

    def to_json(self) -> str:
        """Metadata text. Eight digits: float32 has no more to tell."""
        return json.dumps(
            {
                "pictures": reference_photos.VERSION,
                "made_by": self.made_by,
                "indices": self.indices,
                "pixels_sha256": self.pixels_sha256,
                "views_sha256": self.views_sha256,
                "outputs": {name: _digits(values.tolist()) for name, values in self.outputs.items()},
            },
            separators=(",", ":"),
        )

    @classmethod
    def of(cls, artifact: Artifact) -> SavedReference:
        """Read it from a file.

        Raises:
            ArtifactError: If the file has none, or it is of pictures that this version does not make.
        """
        text = artifact.metadata.get(KEY)
        again = "export it again with this version: defnet export CHECKPOINT"
        if text is None:
            raise ArtifactError(
                f"{artifact.path} has no reference outputs saved in it; give --checkpoint or --against, or {again}"
            )
        try:
            body = json.loads(text)
            if body["pictures"] != reference_photos.VERSION:
                raise ArtifactError(
                    f"{artifact.path}: its reference outputs are of pictures of version {body['pictures']}, this "
                    f"defnet makes version {reference_photos.VERSION}; {again}"
                )
            return cls(
                made_by=body["made_by"],
                indices=tuple(body["indices"]),
                pixels_sha256=body["pixels_sha256"],
                views_sha256=body["views_sha256"],
                outputs={
                    name: np.array(body["outputs"][name], np.float32)
                    for name in COMPARED
                    if name in {spec.name for spec in artifact.contract.outputs}
                },
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"{artifact.path}: its reference outputs cannot be read ({error!r}); {again}"
            ) from error

    def sources(self) -> list[Source]:
        """The pictures, made again.

        Raises:
            ArtifactError: If they are not those of the reference.
        """
        pictures = [reference_photos.make(index) for index in self.indices]
        if reference_photos.sha256(pictures) != self.pixels_sha256:
            raise ArtifactError(
                "the generated pictures are not those that the reference outputs are of: this defnet or the file was "
                "changed; export it again: defnet export CHECKPOINT"
            )
        return [Source(f"generated {i}", picture) for i, picture in zip(self.indices, pictures, strict=True)]


def views_sha256(indices: tuple[int, ...], rule: Preprocess) -> str:
    """Digest of what this machine makes of the pictures."""
    digest = hashlib.sha256()
    for index in indices:
        made = views.make(reference_photos.make(index), rule)
        digest.update(made.crops.tobytes() + made.overview.tobytes())
    return digest.hexdigest()


def _digits(value: Any) -> Any:
    return [_digits(part) for part in value] if isinstance(value, list) else float(f"{value:.8g}")
