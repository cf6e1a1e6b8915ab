"""An exported file as a model of NVIDIA's Triton Inference Server: `defnet export MODEL --triton DIR`.

A model repository holds one folder per model:
    DIR/defnet/config.pbtxt      tensors, batching, warm-up, what the file says about itself
    DIR/defnet/quality.txt       class names in the order of the outputs; also scene.txt, distortion.txt
    DIR/defnet/1/model.onnx      or model.plan, a TensorRT engine

Everything in it follows from the file's contract. Serve it with: tritonserver --model-repository=DIR
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from defnet_infer.artifact import Artifact
from defnet_infer.contract import TensorSpec
from defnet_infer.engine_file import SUFFIX, read_record
from defnet_infer.errors import StorageError, UsageError
from defnet_infer.taxonomy import CLASSES

BATCH = 8
"""Photos in a batch that Triton makes of single requests: 128 views."""
QUEUE_MICROSECONDS = 2000
"""How long a request waits for others to share its batch. One photo takes several milliseconds on a large GPU."""
_WRITTEN_BY = "# Written by `defnet export --triton`."
_PLATFORMS = {".onnx": "onnxruntime_onnx", ".plan": "tensorrt_plan"}
_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}


def write_repository(
    artifact: Artifact, root: Path, *, name: str = "defnet", batch: int = BATCH, overwrite: bool = False
) -> Path:
    """Add an exported file to a model repository; other models there stay as they are.

    Args:
        artifact: The exported file; its suffix decides the platform.
        root: The repository; made if absent.
        name: Of the model, and its folder.
        batch: The largest batch; of an engine at most that of its profile.
        overwrite: Replace a model of this name.

    Returns:
        The model's folder.

    Raises:
        UsageError: As `check_target`, or if the file is neither ONNX nor an engine.
        ArtifactError: If it takes whole photos: they have no common size, so Triton could not batch them.
        StorageError: If the disk is full or the repository cannot be written.
    """
    check_target(root, name, overwrite=overwrite)
    artifact.require_views()
    platform = _PLATFORMS.get(artifact.path.suffix)
    if platform is None:
        raise UsageError(f"{artifact.path}: a Triton model is an .onnx file or a .plan engine")
    folder, batch = root / name, min(batch, _largest_batch(artifact))
    # Built aside and moved, so that a server which polls the repository never loads half a model.
    partial = root / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        (partial / "1").mkdir(parents=True)
        shutil.copyfile(artifact.path, partial / "1" / f"model{artifact.path.suffix}")
        for task in artifact.contract.tasks:
            (partial / f"{task}.txt").write_text("\n".join(CLASSES[task]) + "\n", encoding="utf-8")
        (partial / "config.pbtxt").write_text(_config(artifact, name, platform, batch), encoding="utf-8")
        _put(partial, folder)
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def check_target(root: Path, name: str, *, overwrite: bool) -> None:
    """Refuse a model that cannot be written, before the work.

    Raises:
        UsageError: If the name is no folder name, the model exists, or the repository is a file.
    """
    if not name or name.startswith(".") or set(name) & set("/\\"):
        raise UsageError(f"a Triton model cannot be called {name!r}; its name is the name of a folder")
    if root.exists() and not root.is_dir():
        raise UsageError(f"{root} is a file; a Triton model repository is a folder")
    folder = root / name
    if folder.exists() and not overwrite:
        raise UsageError(f"{folder} exists; add --overwrite or choose another name with --name")
    if folder.exists() and not _is_ours(folder):
        raise UsageError(f"{folder} is no model that defnet wrote, so it is not replaced; choose another --name")


def _is_ours(folder: Path) -> bool:
    try:
        return (folder / "config.pbtxt").read_text(encoding="utf-8").startswith(_WRITTEN_BY)
    except (OSError, UnicodeDecodeError):
        return False


def _put(partial: Path, folder: Path) -> None:
    """Move what was built to its place. What else an earlier model's folder holds stays, such as other versions."""
    if not folder.exists():
        partial.rename(folder)
        return
    for built in partial.iterdir():
        place = folder / built.name
        if place.is_dir() and not place.is_symlink():
            shutil.rmtree(place)
        os.replace(built, place)


def _largest_batch(artifact: Artifact) -> int:
    """What the file takes: Triton refuses to load an engine whose configuration asks for more than its profile."""
    if artifact.path.suffix != SUFFIX:
        return sys.maxsize
    return read_record(artifact.path).batch.largest


def _config(artifact: Artifact, name: str, platform: str, batch: int) -> str:
    """Protocol-buffer text of `inference.ModelConfig`."""
    contract = artifact.contract
    about = {
        "defnet.sha256": artifact.sha256,
        "defnet.contract_fingerprint": contract.fingerprint,
        "defnet.precision": artifact.metadata.get("defnet.precision", ""),
        "defnet.contract": contract.to_json(),
    }
    lines = [
        f"{_WRITTEN_BY} The batch axis is Triton's and stands in no dims.",
        f"name: {_text(name)}",
        f"platform: {_text(platform)}",
        f"max_batch_size: {batch}",
        *(line for spec in contract.inputs for line in _tensor("input", spec)),
        *(line for spec in contract.outputs for line in _tensor("output", spec)),
        # Single requests meet in one batch. No preferred sizes: the graph is as fast per photo at any of them.
        f"dynamic_batching {{ max_queue_delay_microseconds: {QUEUE_MICROSECONDS} }}",
        # No instance_group: Triton puts one instance on every GPU it has, or one on the CPU.
        *_warm_up(contract.inputs, batch),
        *(
            f"parameters {{ key: {_text(key)} value {{ string_value: {_text(value)} }} }}"
            for key, value in about.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def _tensor(side: str, spec: TensorSpec) -> list[str]:
    dims = spec.shape[1:]
    lines = [f"{side} {{", f"  name: {_text(spec.name)}", f"  data_type: {_TYPES[spec.dtype]}"]
    if dims:
        lines.append(f"  dims: {_numbers(dims)}")
    else:
        # One number a photo. Triton knows no empty dims, so requests see [1] and the model nothing.
        lines += ["  dims: [ 1 ]", "  reshape { shape: [ ] }"]
    if spec.name in CLASSES:
        lines.append(f"  label_filename: {_text(spec.name + '.txt')}")
    return [*lines, "}"]


def _warm_up(inputs: Iterable[TensorSpec], batch: int) -> list[str]:
    """One photo and a full batch before the first request, which would else pay for kernels and memory."""
    lines = []
    for size in sorted({1, batch}):
        lines += ["model_warmup {", f"  name: {_text(f'{size} photos')}", f"  batch_size: {size}"]
        for spec in inputs:
            value = f"data_type: {_TYPES[spec.dtype]} dims: {_numbers(spec.shape[1:])} random_data: true"
            lines.append(f"  inputs {{ key: {_text(spec.name)} value {{ {value} }} }}")
        lines.append("}")
    return lines


def _numbers(dims: Iterable[int | str]) -> str:
    return f"[ {', '.join(str(size) for size in dims)} ]"


def _text(value: str) -> str:
    """A protocol-buffer string literal: for ASCII, JSON's escapes are among its own."""
    return json.dumps(value)
