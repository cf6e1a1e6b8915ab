"""Trunk features of every view, computed once: training a frozen trunk then takes minutes on a laptop.

Features are kept in a folder when one is named, under a key made of the trunk's weights, the preprocessing rule, the
files' names, sizes and times, and the versions of this package and of what decodes and resizes: a file that was made of
or with others is never picked up.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict
from pathlib import Path

import PIL
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import defnet_infer
from defnet_infer.contract import Preprocess
from defnet_train.batches import FeatureViews, PhotoViews, ViewSource
from defnet_train.distortions import DISTORTION_KINDS
from defnet_train.encoder import Encoder
from defnet_train.model import Defnet
from defnet_train.records import ImageRecord
from defnet_train.run_data import RunData
from defnet_train.safe_write import replacing, writing
from defnet_train.textures import FLOOR

PHOTOS_PER_BATCH = 4
VIEWS_PER_CALL = 4
"""More views at once are slower on a CPU: their activations leave its caches. Four take half the time of sixteen."""
FEW_WINDOWS = (1, 5, 9, 13)
"""Of the fifteen scoring windows, those that stand for a synthetic copy: spread over the photo."""
EVERY_OTHER = [*range(0, Preprocess().crop_count, 2), -1]
"""Views of a resized photo that are computed: every other window, and the overview."""
TWICE = [*(position // 2 for position in range(Preprocess().crop_count)), -1]
"""Which of those stands for each of the fifteen windows and the overview."""


def trunk_features(
    encoder: Encoder,
    records: Sequence[ImageRecord],
    rule: Preprocess,
    cache: Path | None,
    progress: Callable[[int], None],
    *,
    scales: Sequence[float] = (),
    stages: int = 0,
) -> list[Tensor]:
    """Features of the scoring views of every photo.

    Args:
        encoder: Its trunk is used as it is, on the device it is on.
        records: The photos.
        rule: Preprocessing rule.
        cache: Folder to keep the features in, or None.
        progress: Called with the number of photos done since the last call.
        scales: Factors by which rated photos are also resized.
        stages: Stages of a multi-level trunk after which to stop; 0: go to its end.

    Returns:
        Per photo (M, V, F) on the CPU. A rated photo has its fifteen scoring windows and the overview, upright,
        mirrored, and upright at every scale: (2 + scales, 16, F); at a scale every other window stands for the next
        one too. A synthetic copy, of which there are many, has four of the windows and the overview, upright:
        (1, 5, F). float32; what a trunk that was stopped gives is large and kept in half precision.

    Raises:
        DatasetError: If a photo cannot be decoded.
        StorageError: If the features cannot be kept.
    """

    def compute() -> list[Tensor]:
        source = PhotoViews(records, rule)
        features: list[Tensor] = []
        for start in range(0, len(records), PHOTOS_PER_BATCH):
            some = range(start, min(start + PHOTOS_PER_BATCH, len(records)))
            by_photo = _pictures(source, some, scales)
            pictures = [picture for photo in by_photo for picture in photo]
            flat = torch.cat(pictures).to(encoder.pixel_scale.device)
            with torch.inference_mode():
                parts = []
                for few in flat.split(VIEWS_PER_CALL):
                    found = encoder.begin_trunk(few, stages).half() if stages else encoder.trunk_features(few).float()
                    parts.append(found.cpu())
            by_picture = iter(torch.cat(parts).split([len(picture) for picture in pictures]))
            for photo in by_photo:
                whole = [next(by_picture) for _ in photo]
                features.append(torch.stack([*whole[:2], *(views[TWICE] for views in whole[2:])]))
            progress(len(some))
        return features

    # A run that is resumed has trained its last stages: what the first ones gave is still right.
    later = {id(parameter) for parameter in encoder.last_stages(stages)} if stages else set()
    later_names = {name for name, parameter in encoder.trunk.named_parameters() if id(parameter) in later}
    return _kept(cache, _key(encoder, records, rule, scales, stages, later_names), compute, len(records), progress)


def finished_features(
    encoder: Encoder,
    records: Sequence[ImageRecord],
    rule: Preprocess,
    cache: Path | None,
    begun: Sequence[Tensor],
    *,
    scales: Sequence[float] = (),
    stages: int = 0,
) -> list[Tensor]:
    """Features at the trunk's end, float32, from those of `trunk_features` with the same arguments."""

    def compute() -> list[Tensor]:
        with torch.inference_mode():
            device = encoder.pixel_scale.device
            return [encoder.finish_trunk(some.to(device), stages).cpu() for some in begun]

    return _kept(
        cache, "finished-" + _key(encoder, records, rule, scales, stages), compute, len(records), lambda _: None
    )


def fit_feature_norm(model: Defnet, source: ViewSource, data: RunData) -> None:
    """Standardise cached features by those of the rated training photos.

    Beside strong noise, in whose deviations a synthetic copy would measure, photos all look the same.
    """
    if isinstance(source, FeatureViews):
        model.encoder.fit_feature_norm(torch.cat([source.features[i].flatten(0, 1) for i in data.rated("train")]))


def _pictures(source: PhotoViews, indices: Sequence[int], scales: Sequence[float]) -> list[list[Tensor]]:
    """The views of each photo whose features are kept, (V, H, W, 3) each: upright, mirrored, and at every scale."""

    def views(some: Sequence[int], scale: float = 1.0) -> Tensor:
        crops, overview = source.fixed(some, scale)  # Decodes, distorts and cuts several photos at once.
        return torch.cat([crops, overview.unsqueeze(1)], dim=1)

    rated = [index for index in indices if not source.records[index].series]
    pictures = {
        index: [upright, upright.flip(-2)] if index in rated else [upright[[*FEW_WINDOWS, -1]]]
        for index, upright in zip(indices, views(indices), strict=True)
    }
    for scale in scales if rated else ():
        for index, resized in zip(rated, views(rated, scale), strict=True):
            pictures[index].append(resized[EVERY_OTHER])
    return list(pictures.values())


def _kept(
    cache: Path | None, key: str, compute: Callable[[], list[Tensor]], count: int, progress: Callable[[int], None]
) -> list[Tensor]:
    path = cache / f"features-{key}.safetensors" if cache else None
    if path and path.is_file():
        progress(count)
        stored = load_file(path)
        return [stored[str(index)] for index in range(count)]
    features = compute()
    if path:
        with writing(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, shared=True) as partial:
            save_file({str(index): value.contiguous() for index, value in enumerate(features)}, partial)
    return features


def _key(
    encoder: Encoder,
    records: Sequence[ImageRecord],
    rule: Preprocess,
    scales: Sequence[float],
    stages: int,
    without: Collection[str] = (),
) -> str:
    made_by = [defnet_infer.__version__, PIL.__version__, FEW_WINDOWS, EVERY_OTHER, FLOOR]
    digest = hashlib.sha256(json.dumps([encoder.name, asdict(rule), list(scales), stages, made_by]).encode())
    for name, value in sorted(encoder.trunk.state_dict().items()):
        if name in without:
            continue
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    for record in records:
        status = record.path.stat()
        strength = DISTORTION_KINDS[record.kind].strengths if record.kind else ""
        line = (record.path.name, status.st_size, status.st_mtime_ns, record.kind, record.level, strength)
        digest.update(f"{line}\n".encode())
    return digest.hexdigest()[:16]
