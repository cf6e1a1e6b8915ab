"""Trunk features of every view, computed once: training a frozen trunk then takes minutes on a laptop.

Features are kept in a folder when one is named, under a key made of the trunk's weights, the preprocessing rule
and the files' names, sizes and times, so a stale file can never be picked up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from defnet_infer.contract import Preprocess
from defnet_train.batches import PhotoViews
from defnet_train.distortions import DISTORTION_KINDS
from defnet_train.encoder import Encoder
from defnet_train.records import ImageRecord
from defnet_train.safe_write import replacing, writing

PHOTOS_PER_BATCH = 4
VIEWS_PER_CALL = 16
"""More views at once are slower on a CPU: their activations leave its caches."""
FEW_WINDOWS = (1, 5, 9, 13)
"""Of the fifteen scoring windows, those that stand for a synthetic copy: spread over the photo."""


def trunk_features(
    encoder: Encoder,
    records: Sequence[ImageRecord],
    rule: Preprocess,
    cache: Path | None,
    progress: Callable[[int], None],
) -> list[Tensor]:
    """Features of the scoring views of every photo.

    Args:
        encoder: Its trunk is used as it is, on the device it is on.
        records: The photos.
        rule: Preprocessing rule.
        cache: Folder to keep the features in, or None.
        progress: Called with the number of photos done since the last call.

    Returns:
        Per photo (M, V, F) float32 on the CPU. A rated photo has its fifteen scoring windows and the overview,
        upright and mirrored: (2, 16, F). A synthetic copy, of which there are many, has four of the windows and
        the overview, upright: (1, 5, F).

    Raises:
        PhotoError: If a photo cannot be decoded.
        StorageError: If the features cannot be kept.
    """
    path = cache / f"features-{_key(encoder, records, rule)}.safetensors" if cache else None
    if path and path.is_file():
        progress(len(records))
        stored = load_file(path)
        return [stored[str(index)] for index in range(len(records))]
    source = PhotoViews(records, rule)
    features: list[Tensor] = []
    for start in range(0, len(records), PHOTOS_PER_BATCH):
        some = range(start, min(start + PHOTOS_PER_BATCH, len(records)))
        crops, overview = source.fixed(some)
        pictures = []
        for index, photo in zip(some, torch.cat([crops, overview.unsqueeze(1)], dim=1), strict=True):
            synthetic = records[index].series
            pictures.append(photo[[*FEW_WINDOWS, -1]][None] if synthetic else torch.stack([photo, photo.flip(-2)]))
        flat = torch.cat([p.flatten(0, 1) for p in pictures]).to(encoder.pixel_scale.device)
        with torch.inference_mode():
            computed = torch.cat([encoder.trunk_features(few).float().cpu() for few in flat.split(VIEWS_PER_CALL)])
        shapes = [p.shape[:2] for p in pictures]
        for part, shape in zip(computed.split([m * v for m, v in shapes]), shapes, strict=True):
            features.append(part.unflatten(0, shape))
        progress(len(pictures))
    if path:
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            save_file({str(index): value.contiguous() for index, value in enumerate(features)}, partial)
    return features


def _key(encoder: Encoder, records: Sequence[ImageRecord], rule: Preprocess) -> str:
    digest = hashlib.sha256(json.dumps([encoder.name, asdict(rule)]).encode())
    for name, value in sorted(encoder.trunk.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    for record in records:
        status = record.path.stat()
        strength = DISTORTION_KINDS[record.kind].strengths if record.kind else ""
        line = (record.path.name, status.st_size, status.st_mtime_ns, record.kind, record.level, strength)
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()[:16]
