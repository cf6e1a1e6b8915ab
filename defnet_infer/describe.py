"""What an exported file is, for `defnet info`: its metadata, and the contract it keeps."""

from __future__ import annotations

import json

from rich.table import Table
from rich.text import Text

from defnet_infer.artifact import Artifact


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
    return json.loads(value) if value.startswith(("{", "[")) else value


def as_table(artifact: Artifact) -> Table:
    """The same for a person, one line a fact."""
    table = Table(title=f"{artifact.path.name}, {artifact.size / 1e6:.1f} MB", title_justify="left", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    rows: dict[str, object] = {"sha256": artifact.sha256, "contract fingerprint": artifact.contract.fingerprint}
    rows |= {
        key.removeprefix("defnet."): _parsed(value)
        for key, value in sorted(artifact.metadata.items())
        if key != "defnet.contract"
    }
    contract = json.loads(artifact.contract.to_json())
    tensors = {side: contract.pop(side) for side in ("inputs", "outputs")}
    for side, specs in tensors.items():
        rows[side] = "\n".join(f"{spec['name']} {spec['dtype']} {spec['shape']}" for spec in specs)
    rows |= contract.pop("preprocess") | contract
    for key, value in rows.items():
        # Text, not str: a shape such as [5] would be read as markup.
        table.add_row(Text(key), Text(value if isinstance(value, str) else json.dumps(value)))
    return table
