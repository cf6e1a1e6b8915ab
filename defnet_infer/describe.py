"""What an exported file is, for `defnet info`: its metadata, and the contract it keeps."""

from __future__ import annotations

import json
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from defnet_infer.artifact import Artifact
from defnet_infer.errors import ArtifactError
from defnet_infer.saved_reference import KEY as REFERENCE_KEY
from defnet_infer.saved_reference import SavedReference
from defnet_infer.verdict import Verdict

PARITY_KEY = "defnet.parity"
ENGINE_KEY = "defnet.engine"


def as_json(artifact: Artifact) -> dict[str, object]:
    """Everything about a file, JSON-able; metadata values that are JSON themselves are given as JSON, not as text."""
    return {
        "file": str(artifact.path),
        "sha256": artifact.sha256,
        "size": artifact.size,
        "fingerprint": artifact.contract.fingerprint,
        "metadata": {key: _parsed(value) for key, value in sorted(artifact.metadata.items())},
    }


def _parsed(value: str) -> object:
    """Metadata that only looks like JSON is text."""
    try:
        return json.loads(value) if value.startswith(("{", "[")) else value
    except ValueError:
        return value


def _object(text: str) -> dict[str, Any]:
    found = _parsed(text)
    return found if isinstance(found, dict) else {}


def _certificate(artifact: Artifact) -> dict[str, object]:
    """What was proved at export, as far as it can be said in a line each; `verdicts` has the whole."""
    rows: dict[str, object] = {}
    for key, found in zip(("parity", "parity of the engine"), _verdicts(artifact), strict=True):
        if found is not None:
            rows[key] = f"{found.summary()}; the table is below"
    if PARITY_KEY in artifact.metadata:
        parity = _object(artifact.metadata[PARITY_KEY])
        rows["parity of tensors"] = f"{parity.get('candidate')} against {parity.get('reference')}, " + ", ".join(
            f"{name} {value:.1g}" for name, value in parity.get("max_difference", {}).items()
        )
    if REFERENCE_KEY in artifact.metadata:
        try:
            saved = SavedReference.of(artifact)
            about = f"{saved.made_by} on {len(saved.indices)} generated pictures; compare with: defnet check"
        except ArtifactError as error:  # A file of another version has much to tell besides.
            about = str(error)
        rows["reference"] = about
    return rows


def verdicts(artifact: Artifact) -> list[Verdict]:
    """The certificates of photos: that of export against PyTorch, and an engine's against its ONNX file.

    Raises:
        ArtifactError: If one cannot be read.
    """
    return [found for found in _verdicts(artifact) if found is not None]


def _verdicts(artifact: Artifact) -> tuple[Verdict | None, Verdict | None]:
    engine = _object(artifact.metadata.get(ENGINE_KEY, "{}")).get("parity", {})
    exported = _object(artifact.metadata.get(PARITY_KEY, "{}"))
    first, second = (body.get("verdict") for body in (exported, engine))
    return first and Verdict.from_json(first), second and Verdict.from_json(second)


def as_table(artifact: Artifact) -> Table:
    """The same for a person, one line a fact."""
    title = escape(f"{artifact.name}, {artifact.size / 1e6:.1f} MB")
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows: dict[str, object] = {"sha256": artifact.sha256, "contract fingerprint": artifact.contract.fingerprint}
    rows |= {
        key.removeprefix("defnet."): _parsed(value)
        for key, value in sorted(artifact.metadata.items())
        if key not in ("defnet.contract", PARITY_KEY, REFERENCE_KEY, ENGINE_KEY)
    }
    engine = _object(artifact.metadata.get(ENGINE_KEY, "{}"))
    rows |= {f"engine {key}": value for key, value in engine.items() if key != "parity"}
    rows |= _certificate(artifact)
    contract = json.loads(artifact.contract.to_json())
    for side, specs in (("inputs", artifact.inputs), ("outputs", artifact.outputs)):
        del contract[side]
        rows[side] = "\n".join(f"{spec.name} {spec.dtype} {json.dumps(spec.shape)}" for spec in specs)
    rows |= contract.pop("preprocess") | contract
    for key, value in rows.items():
        # Text, not str: a shape such as [5] would be read as markup.
        table.add_row(Text(key), Text(value if isinstance(value, str) else json.dumps(value)))
    return table
