"""What produced a results file: model, rule, versions, device, counts, seconds.

The record stands beside the results as ``results.csv.run.json``. Two results files are comparable when model
and contract fingerprint agree; the rest says where a small difference may come from.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import features

from defnet_infer.artifact import Artifact
from defnet_infer.errors import DefnetError

_PACKAGES = ("defnet", "numpy", "pillow", "pillow-heif", "onnxruntime", "onnxruntime-gpu", "tensorrt", "pyarrow")


def describe(
    artifact: Artifact,
    device: str,
    *,
    options: dict[str, object],
    scored: int,
    failed: int,
    kept: int,
    resumed: int,
    seconds: float,
    finished: bool,
) -> dict[str, Any]:
    """The record of one run, ready for JSON.

    Args:
        artifact: The model.
        device: What ran it.
        options: Those that can change a row.
        scored: Photos with a score, those of earlier runs included.
        failed: Photos without, likewise.
        kept: Of both, how many are of earlier runs.
        resumed: How often earlier runs were gone on with, this time included.
        seconds: Of this run alone.
        finished: False if it was interrupted.
    """
    return {
        "model": {"file": artifact.name, "sha256": artifact.sha256},
        "contract": artifact.contract.fingerprint,
        "preprocess": asdict(artifact.contract.preprocess),
        "reference": json.loads(artifact.metadata.get("defnet.reference_scores", "null")),
        "versions": {"python": platform.python_version(), **_versions()},
        "device": device,
        "options": options,
        "decoder": {
            "libjpeg_turbo": features.version_feature("libjpeg_turbo"),
            **{name: features.version_codec(name) for name in ("jpg_2000", "zlib", "libtiff")},
            **{name: features.version_module(name) for name in ("webp", "avif")},
        },
        "counts": {"photos": scored + failed, "scored": scored, "failed": failed, "of_earlier_runs": kept},
        "resumed": resumed,
        "finished": finished,
        "seconds": round(seconds, 3),
    }


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # One of the two ONNX Runtimes; defnet run from a checkout.
            continue
    return found


def read(results: Path) -> dict[str, Any]:
    """The record beside a results file; empty where there is none, or it is not a record."""
    try:
        record = json.loads(path_beside(results).read_bytes())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def path_beside(results: Path) -> Path:
    """``results.csv`` -> ``results.csv.run.json``."""
    return results.with_name(results.name + ".run.json")


def remove(results: Path) -> None:
    """Remove the record of an earlier run, which would describe rows that are about to be replaced."""
    path_beside(results).unlink(missing_ok=True)


def write(results: Path, record: dict[str, Any]) -> None:
    """Write the record beside its results, in one step: there is never half a record.

    Raises:
        DefnetError: If the disk is full or gone.
    """
    target = path_beside(results)
    draft = target.with_name(target.name + ".part")
    try:
        draft.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        os.replace(draft, target)
    except OSError as error:
        raise DefnetError(f"cannot write {target}: {error.strerror}; the results are complete") from error
