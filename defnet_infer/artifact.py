"""Open an exported file: check that it is ours, and read what it says about itself.

Only ONNX Runtime is needed, no ONNX library: an exported file carries everything in its metadata. A TensorRT engine
carries nothing; its sidecar does.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

from defnet_infer import hub, other_files
from defnet_infer.contract import END_TO_END, IMAGE, KIND_KEY, SCHEMA_VERSION, Contract, TensorSpec
from defnet_infer.engine_file import SUFFIX, build_command, read_record, sidecar_path
from defnet_infer.errors import ArtifactError
from defnet_infer.taxonomy import CLASSES

BUILTIN_NAME = "defnet-lite"
_EXPORT_AGAIN = "export it again with this version: defnet export CHECKPOINT"
_EXTERNAL_DATA = b"\x0a\x08location\x12"
"""Key "location" of TensorProto.external_data in onnx.proto, as it stands in the file."""
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Artifact:
    """A verified exported file."""

    path: Path
    name: str
    """The file's name, or the address it was fetched from."""
    sha256: str
    """Hex digest of the whole file."""
    size: int
    """Bytes."""
    contract: Contract
    metadata: dict[str, str]
    """Every metadata entry as written; ours begin with ``defnet.``. A TensorRT engine has those of the ONNX file that
    it was built from, and its own sidecar as ``defnet.engine``."""

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Artifact:
        """Read and verify an exported file.

        Args:
            path: The file, or an ``hf://owner/name`` address, which is fetched first.

        Raises:
            UsageError, MissingExtraError: If an address has the wrong form, or `huggingface_hub` is missing.
            ArtifactError: If it is missing, is not ONNX, is not ours, is of another schema, keeps weights in
                other files, or its tensors are not those of its contract; or, of a TensorRT engine, if its sidecar
                is missing or belongs to another engine.
        """
        name = str(path) if hub.is_address(path) else Path(path).name
        path = hub.fetch(str(path)) if hub.is_address(path) else Path(path)
        if path.suffix == SUFFIX:
            return cls._open_plan(path)
        sha256, size, external = _scan(path)
        if external:
            raise ArtifactError(
                f"{path} keeps weights in other files (ONNX external data); a defnet model is one file: {_EXPORT_AGAIN}"
            )
        metadata, tensors = _read_model(path)
        contract = _verify(path, metadata)
        artifact = cls(path=path, name=name, sha256=sha256, size=size, contract=contract, metadata=metadata)
        promised = {spec.name for spec in (*artifact.inputs, *artifact.outputs)}
        if tensors != promised:
            differing = ", ".join(sorted(tensors ^ promised))
            raise ArtifactError(f"{path}: graph and contract disagree about {differing}; {_EXPORT_AGAIN}")
        return artifact

    @property
    def end_to_end(self) -> bool:
        """Whether it takes a raw photo and makes its views itself."""
        return self.metadata.get(KIND_KEY) == END_TO_END

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Input tensors in graph order."""
        return (IMAGE,) if self.end_to_end else self.contract.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Output tensors in graph order."""
        if not self.end_to_end:
            return self.contract.outputs
        return tuple(replace(spec, shape=(1, *spec.shape[1:])) for spec in self.contract.outputs)

    def require_views(self) -> None:
        """Make sure that the file takes crops and overview.

        Raises:
            ArtifactError: If it is an end-to-end file.
        """
        if self.end_to_end:
            source = self.path.with_name(self.path.name.replace(".e2e.onnx", ".onnx"))
            there = f": {source}" if source != self.path and source.exists() else ", or none for the built-in model"
            raise ArtifactError(
                f"{self.path} takes whole photos, for programs that make no crops of their own; defnet makes them, so "
                f"give the file it was made from{there}"
            )

    @classmethod
    def _open_plan(cls, path: Path) -> Artifact:
        """A TensorRT engine through its sidecar; whether it runs on this machine is for its session to say."""
        record = read_record(path)
        sha256, size, _ = _scan(path)
        if sha256 != record.plan_sha256:
            raise ArtifactError(
                f"{path} is not the engine that {sidecar_path(path).name} describes; build again: "
                f"{build_command(record.model_file)}"
            )
        contract = _verify(path, record.metadata)
        own = json.loads(record.to_json())
        del own["metadata"], own["defnet_engine"]
        metadata = record.metadata | {"defnet.engine": json.dumps(own)}
        return cls(path=path, name=path.name, sha256=sha256, size=size, contract=contract, metadata=metadata)


def builtin_model_path() -> Path:
    """The model that comes with the package.

    Raises:
        ArtifactError: If this install came without it.
    """
    return _packaged(f"{BUILTIN_NAME}.onnx", "give a model with --model FILE")


def builtin_card_path() -> Path:
    """The model card of the built-in model, Markdown.

    Raises:
        ArtifactError: If this install came without it.
    """
    return _packaged(f"{BUILTIN_NAME}.md", "print the metadata instead with: defnet info")


def _packaged(name: str, instead: str) -> Path:
    path = Path(str(importlib.resources.files("defnet_infer") / "models" / name))
    if not path.is_file():
        raise ArtifactError(f"this install has no built-in {name}; {instead}")
    return path


def _scan(path: Path) -> tuple[str, int, bool]:
    """SHA-256, size, and whether a tensor refers to another file.

    The reference is looked for as bytes, before a runtime opens the file, because ONNX Runtime would follow it.
    """
    digest, size, external, tail = hashlib.sha256(), 0, False, b""
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
                external = external or _EXTERNAL_DATA in tail + chunk
                tail = chunk[-16:]
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path}: there is no such model file; check its name, or leave it out for the built-in model"
        ) from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
    return digest.hexdigest(), size, external


def _read_model(path: Path) -> tuple[dict[str, str], set[str]]:
    """Metadata, and the names of all inputs and outputs."""
    import onnxruntime

    from defnet_infer.sessions.onnxruntime import quiet_options

    options = quiet_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions share no base class of their own.
        reason = str(error).strip().split("\n", 1)[0]
        if what := other_files.advice(path):
            raise ArtifactError(what) from error
        if type(error).__name__ == "InvalidProtobuf" or "No graph was found" in reason:
            raise ArtifactError(f"{path} is not an ONNX model; make one with: defnet export CHECKPOINT") from error
        raise ArtifactError(f"{path}: ONNX Runtime {onnxruntime.__version__} cannot load it: {reason}") from error
    tensors = {tensor.name for tensor in (*session.get_inputs(), *session.get_outputs())}
    return dict(session.get_modelmeta().custom_metadata_map), tensors


def _verify(path: Path, metadata: dict[str, str]) -> Contract:
    """The contract, once the metadata is known to be ours, of this schema and whole."""
    schema = metadata.get("defnet.schema")
    if schema is None:
        raise ArtifactError(f"{path} is an ONNX model but not one of defnet's; make one with: defnet export CHECKPOINT")
    if schema != str(SCHEMA_VERSION):
        raise ArtifactError(f"{path} has schema {schema}, this defnet reads schema {SCHEMA_VERSION}; {_EXPORT_AGAIN}")
    missing = [key for key in ("defnet.contract", "defnet.labels") if key not in metadata]
    if missing:
        raise ArtifactError(f"{path} lacks the metadata {' and '.join(missing)}; {_EXPORT_AGAIN}")
    contract = Contract.from_json(metadata["defnet.contract"])
    _check_labels(path, metadata["defnet.labels"])
    return contract


def _check_labels(path: Path, text: str) -> None:
    try:
        labels = {task: tuple(names) for task, names in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ArtifactError(f"{path}: the label lists cannot be read; {_EXPORT_AGAIN}") from error
    if labels != CLASSES:
        raise ArtifactError(f"{path} was trained with other labels than this defnet knows; {_EXPORT_AGAIN}")
