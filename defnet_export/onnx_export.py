"""A checkpoint to one self-contained ONNX file of schema 1, checked before it is kept.

Nothing is written under the final name before the certificate holds, and nothing is left if it does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import torch

import defnet_infer
from defnet_export.certificate import Certificate, certify_photos, certify_views
from defnet_export.graph import ScoringGraph
from defnet_export.lowering import OPSET, lower
from defnet_export.stages import Stages
from defnet_infer.checking import chosen_photos
from defnet_infer.errors import CheckpointError, GateError, StorageError
from defnet_infer.out_file import require_free
from defnet_infer.parity import Precision
from defnet_infer.saved_reference import KEY as REFERENCE_KEY
from defnet_infer.saved_reference import SavedReference
from defnet_infer.taxonomy import CLASSES
from defnet_infer.torch_reference import TorchReference
from defnet_infer.verdict import Verdict
from defnet_train.checkpoint import CheckpointInfo, load_checkpoint, why_unfinished
from defnet_train.config import ModelConfig
from defnet_train.safe_write import replacing
from defnet_train.trained_on import TrainedOn


@dataclass(frozen=True)
class ExportReport:
    """What was written."""

    path: Path
    bytes: int
    opset: int
    nodes: int
    certificate: Certificate
    """Of every output tensor."""
    verdict: Verdict
    """Of photos, from their files on."""


def export_onnx(
    checkpoint: Path,
    out: Path,
    *,
    precision: Precision = "float32",
    photos: Path | None = None,
    count: int | None = None,
    overwrite: bool = False,
    stages: Stages | None = None,
) -> ExportReport:
    """Write the ONNX file of a checkpoint and hold it against PyTorch.

    Args:
        checkpoint: Written by `defnet train`.
        out: The file to write.
        precision: Of the image tower.
        photos: A folder of photos to hold it on; generated ones if absent.
        count: Photos at most; None takes the default.
        overwrite: Replace an existing file.
        stages: Told what is being done.

    Raises:
        UsageError: If `out` exists or its folder does not, there are no photos in `photos`, or int8 is asked for a
            convolutional tower.
        CheckpointError: If the checkpoint cannot be used, or its run was not finished.
        GateError: If the file's outputs differ from PyTorch's by more than the bounds. No file is left.
        StorageError: If the disk is full or the folder cannot be written. No file is left.
    """
    stages = stages or Stages(quiet=True)
    require_free(out, "", overwrite=overwrite)
    if photos is not None:
        chosen_photos(photos, 1)  # A wrong folder is named now, not after a minute of work.
    with stages.stage("read the checkpoint and encode its prompts") as stage:
        model, info = load_checkpoint(checkpoint)
        refuse_ablation(checkpoint, model.config)
        if info.unfinished:
            raise CheckpointError(why_unfinished(checkpoint))
        graph = ScoringGraph(model).eval()
        stage.say(f"{model.config.tower}, PyTorch {torch.__version__}")
    with stages.stage("translate to ONNX") as stage:
        proto = lower(graph, precision)
        stage.say(f"opset {OPSET}, {len(proto.graph.node)} nodes, ONNX {onnx.__version__}")
    partial = out.with_name(out.name + ".partial")
    try:
        onnx.save(proto, partial)
        with stages.stage("compare every output with PyTorch") as stage:
            certificate = certify_views(graph, partial, precision)
            if not certificate.passed:
                raise GateError(f"{checkpoint}: the exported file disagrees with PyTorch: {certificate.failures()}")
            stage.say(f"score within {certificate.differences['score']:.1e}")
        with stages.stage("score photos in both") as stage:
            reference = TorchReference(model, info.sha256)
            verdict, saved = certify_photos(
                reference, partial, precision=precision, photos=photos, count=count, advance=stage.advance
            )
            if not verdict.passed:
                raise GateError(f"{checkpoint}: the exported file disagrees with PyTorch: {verdict.failures()}")
            stage.say(verdict.summary())
        with stages.stage("write and verify the file") as stage:
            _describe(proto, graph, info, certificate, verdict, saved)
            onnx.checker.check_model(proto, full_check=True)
            with replacing(out) as proved:
                onnx.save(proto, proved)
            stage.say(f"{out.stat().st_size / 1e6:.1f} MB")
    except OSError as error:
        raise StorageError(f"cannot write {out}: {error.strerror or error}; no file was written") from error
    finally:
        partial.unlink(missing_ok=True)
    return ExportReport(out, out.stat().st_size, OPSET, len(proto.graph.node), certificate, verdict)


def refuse_ablation(checkpoint: Path, config: ModelConfig) -> None:
    """A file whose variances mean nothing must not leave the house; without any it may, and its contract says so.

    Raises:
        CheckpointError: If the model cannot keep the promise.
    """
    if config.head.kind == "tied":
        raise CheckpointError(
            f"{checkpoint} has the head 'tied', whose variances mean nothing, and an exported file answers with "
            "variances; measure it with defnet evaluate, or train with --set model.head.kind=linear"
        )


def _describe(
    proto: onnx.ModelProto,
    graph: ScoringGraph,
    info: CheckpointInfo,
    certificate: Certificate,
    verdict: Verdict,
    saved: SavedReference,
) -> None:
    """Metadata that makes the file explain itself; `defnet info` prints it."""
    contract = graph.model.contract()
    record = info.record
    imported = record.get("imported")
    trained_on = {"recipe": info.config.recipe} | TrainedOn.of_checkpoint(info).to_metadata()
    metadata = {
        "defnet.schema": str(contract.schema),
        "defnet.version": defnet_infer.__version__,
        "defnet.contract": contract.to_json(),
        "defnet.labels": json.dumps(CLASSES),
        "defnet.prompt_preset": contract.prompt_preset,
        "defnet.precision": verdict.precision,
        "defnet.checkpoint_sha256": info.sha256,
        "defnet.text_embeddings_sha256": graph.text_sha256,
        "defnet.training_data": json.dumps(trained_on),
        # What was imported stays under the licence that it came with, which its file does not tell.
        "defnet.license": "other" if imported else "Apache-2.0",
        "defnet.measured": json.dumps({part: record.get(part, {}) for part in ("val", "test")}),
        "defnet.reference_scores": json.dumps(record.get("reference_scores")),
        "defnet.parity": json.dumps(certificate.to_dict() | {"verdict": verdict.to_json()}),
        REFERENCE_KEY: saved.to_json(),
        # Well-known keys that other runtimes read.
        "Image.BitmapPixelFormat": "Rgb8",
        "Image.ColorSpaceGamma": "SRGB",
        "Image.NominalPixelRange": "NominalRange_0_255",
    }
    if imported:
        metadata["defnet.imported"] = json.dumps(imported)
    if contract.uncertainty:
        metadata["defnet.calibration"] = json.dumps(
            {
                **fitted_on(record),
                "coverage_validation": record.get("val", {}).get("coverage"),
                "coverage_test": record.get("test", {}).get("coverage"),
                **record.get("calibrated", {}),  # what `defnet calibrate` stored: also when, and on which photos
                "factor": round(float(graph.model.calibration), 6),
            }
        )
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, metadata)
    # The exporter notes source lines of the machine it ran on at every node.
    for part in [*proto.graph.node, *proto.graph.initializer, *proto.graph.input, *proto.graph.output]:
        del part.metadata_props[:]
        part.doc_string = ""
    proto.graph.name = "defnet"
    proto.producer_name, proto.producer_version = "defnet", defnet_infer.__version__
    what = "with uncertainty (DEFNet)" if contract.uncertainty else "(LIQE's kind, without uncertainty)"
    proto.doc_string = f"Blind image quality {what}. Read metadata defnet.contract first."


def fitted_on(record: Mapping[str, Any]) -> dict[str, float]:
    """On how many photos the interval was fitted, and, where they were those of all folds, its coverage there."""
    if "calibration_photos" not in record:
        return {}  # Of a run before that was noted.
    fitted = {"photos": record["calibration_photos"]}
    if "out_of_fold" in record:
        fitted["coverage_out_of_fold"] = record["out_of_fold"]["coverage"]
    return fitted
