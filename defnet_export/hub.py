"""An exported file as a Hugging Face repository, ready to upload: `defnet export MODEL --hub-dir DIR`.

    DIR/model.onnx       the file; `defnet score --model hf://owner/name` takes it
    DIR/README.md        the model card: front matter that the Hub indexes, and figures measured by the run
    DIR/contract.json    the contract, for programs that want to read it without the file

Everything comes from the file's own metadata. Upload with: hf upload owner/name DIR
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from defnet_infer import describe
from defnet_infer.artifact import Artifact
from defnet_infer.contract import Contract
from defnet_infer.errors import StorageError, UsageError
from defnet_infer.hub import DEFAULT_FILE

_FILES = (DEFAULT_FILE, "README.md", "contract.json")
_METRICS = {
    "srcc": "SRCC",
    "plcc": "PLCC after the logistic",
    "coverage": "coverage of the 95 % interval",
}
"""Of the test figures, those that are comparable between models."""


def write_hub_folder(artifact: Artifact, folder: Path, *, name: str = "defnet", overwrite: bool = False) -> Path:
    """Write model, card and contract.

    Args:
        artifact: The exported file; an ONNX file.
        folder: Made if absent. Files of other names in it stay.
        name: What the card calls the model.
        overwrite: Replace files of an earlier export.

    Returns:
        The folder.

    Raises:
        UsageError: As `check_target`, or if the exported file is an engine, which runs on one kind of GPU only.
        ArtifactError: If it takes whole photos, which `defnet score` does not score with.
        StorageError: If the disk is full or the folder cannot be written.
    """
    check_target(folder, overwrite=overwrite)
    artifact.require_views()
    if artifact.path.suffix != ".onnx":
        raise UsageError(f"{artifact.path} runs on one kind of machine only; share the .onnx file it was built from")
    model, card, contract = (folder / file for file in _FILES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (model.exists() and model.samefile(artifact.path)):
            shutil.copyfile(artifact.path, model)
        card.write_text(_card(artifact, name), encoding="utf-8")
        contract.write_text(json.dumps(json.loads(artifact.contract.to_json()), indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}") from error
    return folder


def check_target(folder: Path, *, overwrite: bool) -> None:
    """Refuse a folder that cannot be written, before the work.

    Raises:
        UsageError: If it is a file, or holds files of an earlier export.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file; --hub-dir wants a folder")
    existing = [folder / file for file in _FILES if (folder / file).exists()]
    if existing and not overwrite:
        raise UsageError(f"{existing[0]} exists; add --overwrite or choose another --hub-dir")


def _card(artifact: Artifact, name: str) -> str:
    metadata = artifact.metadata
    measured = json.loads(metadata.get("defnet.measured", "{}"))
    data = json.loads(metadata.get("defnet.training_data", "{}"))
    sections = [
        f"---\n{_front_matter(measured, data, artifact, name).to_yaml()}\n---",
        f"# {name}",
        _what(artifact.contract),
        "## Use it",
        "```\npip install 'defnet[hub]'\ndefnet score ./photos --model hf://OWNER/NAME --out results.csv\n```",
        f"Or embed `{DEFAULT_FILE}` in a program of your own: `contract.json`, which is also inside the file, holds "
        "the whole preprocessing rule and all tensors.",
        "## What it is",
        _table(
            {
                "image tower": artifact.contract.encoder,
                "prompts": artifact.contract.prompt_preset,
                "precision": metadata.get("defnet.precision", ""),
                "size": f"{artifact.size / 1e6:.1f} MB",
                "SHA-256": artifact.sha256,
                "contract fingerprint": artifact.contract.fingerprint,
                "recipe": data.get("recipe", ""),
                "training data": ", ".join(f"{key}: {count} photos" for key, count in data.get("photos", {}).items()),
            }
        ),
        "## Measured",
        _measured(measured) or "The file carries no measured figures.",
        "## Agreement with PyTorch",
        _parity(artifact) or "The file carries no certificate.",
    ]
    return "\n\n".join(sections) + "\n"


def _what(contract: Contract) -> str:
    """What the model tells, in one sentence."""
    classes = [task for task in contract.tasks if task != "quality"]
    parts = [
        "a score from 1 (bad) to 5 (perfect) for any photo",
        *(["a calibrated 95 % interval, aleatoric and epistemic variance"] if contract.uncertainty else []),
        *([f"the most likely {' and '.join(classes)}"] if classes else []),
    ]
    kind = "with uncertainty (DEFNet)" if contract.uncertainty else "without uncertainty"
    told = ", ".join(parts[:-1]) + (", and " if len(parts) > 1 else "") + parts[-1]
    return f"Blind image quality {kind}: {told}."


def _front_matter(measured: dict[str, Any], data: dict[str, Any], artifact: Artifact, name: str) -> ModelCardData:
    test = measured.get("test", {})
    # The Hub wants data sets by name; of several pooled ones the figure belongs to none.
    rated = [key for key in data.get("photos", {}) if key != "synthetic"]
    results = [
        EvalResult(
            task_type="image-quality-assessment",
            dataset_type=rated[0],
            dataset_name=rated[0],
            dataset_split="test",
            metric_type=key,
            metric_name=label,
            metric_value=round(test[key], 4),
        )
        for key, label in _METRICS.items()
        if len(rated) == 1 and key in test
    ]
    return ModelCardData(
        license=artifact.metadata.get("defnet.license", "other").lower(),
        library_name="defnet",
        pipeline_tag="image-classification",
        tags=[
            "image-quality-assessment",
            "no-reference",
            *(["uncertainty"] if artifact.contract.uncertainty else []),
            "onnx",
        ],
        metrics=[key for key in _METRICS if key in test] or None,
        eval_results=results or None,
        model_name=name,
    )


def _measured(measured: dict[str, Any]) -> str:
    val, test = measured.get("val", {}), measured.get("test", {})
    numbers = {
        key: (val.get(key), test.get(key))
        for key in {**val, **test}
        if isinstance(val.get(key, test.get(key)), (int, float))
    }
    if not numbers:
        return ""
    rows = [f"| {key} | {_figure(pair[0])} | {_figure(pair[1])} |" for key, pair in numbers.items()]
    return "\n".join(["| | validation | test |", "| --- | --- | --- |", *rows])


def _parity(artifact: Artifact) -> str:
    """The figures that export held against bounds."""
    verdicts = describe.verdicts(artifact)
    if not verdicts:
        return ""
    verdict = verdicts[0]
    rows = [
        f"| {check.what} | {check.shown(check.value)} | {check.relation} | {check.state} |"
        for check in verdict.checks
        if check.bound is not None
    ]
    return "\n\n".join(
        [
            f"{verdict.candidate} against {verdict.reference}, {verdict.photos} photos from their files on. Check it "
            "on any machine: `defnet check hf://OWNER/NAME`",
            "\n".join(["| | measured | bound | |", "| --- | --- | --- | --- |", *rows]),
        ]
    )


def _table(facts: dict[str, str]) -> str:
    return "\n".join(["| | |", "| --- | --- |", *(f"| {key} | {value} |" for key, value in facts.items() if value)])


def _figure(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, (int, float)) else ""
