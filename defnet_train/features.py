"""Trunk features of every view, computed once: training a frozen trunk then takes minutes on a laptop.

Features are kept in a folder when one is named, under a key made of the trunk's weights, the preprocessing rule
and the files' names, sizes and times, so a stale file can never be picked up.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from defnet_infer.contract import Preprocess
from defnet_train.batches import PhotoViews
from defnet_train.encoder import Encoder
from defnet_train.readers import ImageRecord

PHOTOS_PER_BATCH = 4


def trunk_features(
    encoder: Encoder,
    records: Sequence[ImageRecord],
    rule: Preprocess,
    cache: Path | None,
    progress: Callable[[int], None],
) -> Tensor:
    """Features of the scoring views of every photo, upright and mirrored.

    Args:
        encoder: Its trunk is used as it is, on the device it is on.
        records: The photos.
        rule: Preprocessing rule.
        cache: Folder to keep the features in, or None.
        progress: Called with the number of photos done since the last call.

    Returns:
        (N, 2, 16, F) float32 on the CPU: photo, mirrored, view (the overview last).

    Raises:
        PhotoError: If a photo cannot be decoded.
    """
    path = cache / f"features-{_key(encoder, records, rule)}.safetensors" if cache else None
    if path and path.is_file():
        progress(len(records))
        return load_file(path)["features"]
    source = PhotoViews(records, rule)
    chunks = []
    for start in range(0, len(records), PHOTOS_PER_BATCH):
        crops, overview = source.fixed(range(start, min(start + PHOTOS_PER_BATCH, len(records))))
        upright = torch.cat([crops, overview.unsqueeze(1)], dim=1)
        both = torch.stack([upright, upright.flip(-2)], dim=1).to(encoder.pixel_scale.device)
        with torch.inference_mode():
            chunks.append(encoder.trunk_features(both).float().cpu())
        progress(len(both))
    features = torch.cat(chunks)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        save_file({"features": features}, partial)
        os.replace(partial, path)
    return features


def _key(encoder: Encoder, records: Sequence[ImageRecord], rule: Preprocess) -> str:
    digest = hashlib.sha256(json.dumps([encoder.name, asdict(rule)]).encode())
    for name, value in sorted(encoder.trunk.state_dict().items()):
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    for record in records:
        status = record.path.stat()
        digest.update(f"{record.path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16]
