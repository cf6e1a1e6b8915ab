"""Where in a foreign checkpoint CLIP's tensors are, whose they are, and whether they are those of ViT-B/32."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from defnet_infer.errors import CheckpointError
from defnet_train.foreign.kinds import PLAIN_NAMES, QUICK_NAMES, Activation, KindName

PATCHES = "visual.conv1.weight"
"""First tensor of every image tower of CLIP; what stands before it in a file stands before all."""
SIZES_OF_OPENAI = frozenset({"input_resolution", "context_length", "vocab_size"})
"""Numbers beside the weights in the archives that OpenAI ships."""
NOT_WEIGHTS = SIZES_OF_OPENAI | {"attn_mask", "default_mean", "default_std", "text_features", "joint_texts"}
"""Follow from the weights or from the program, and are made anew."""
PROMPTS_UNTOLD = "which do not tell 495 prompts from 5"
_PYIQA_PREFIX = "clip_model."
_VITS = {(768, 32, 12): "ViT-B/32", (768, 16, 12): "ViT-B/16", (1024, 14, 24): "ViT-L/14", (1280, 14, 32): "ViT-H/14"}
_RESNETS = {(3, 4, 6, 3): "RN50", (3, 4, 23, 3): "RN101", (4, 6, 10, 6): "RN50x4", (6, 8, 18, 8): "RN50x16"}
_ONLY = "LIQE, pyiqa's LIQE and DEFNet are all ViT-B/32, and so is what defnet imports; give a checkpoint of that"


@dataclass(frozen=True, kw_only=True)
class Found:
    """CLIP's tensors in a checkpoint."""

    tensors: dict[str, Tensor]
    """By CLIP's own names."""
    trail: tuple[str, ...] = ()
    """Keys that lead to them from the file's outermost container."""
    prefix: str = ""
    """What stood before every name."""
    beside: Mapping[str, Any] = field(default_factory=dict)
    """What else is in the outermost container."""
    numbers: frozenset[str] = frozenset()
    """Entries that are no weights."""

    @property
    def dtypes(self) -> str:
        """Their number types, such as ``float16, float32``."""
        return ", ".join(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in self.tensors.values()}))


def find(path: Path, contents: Any) -> Found:
    """CLIP's tensors in what a file holds.

    Raises:
        CheckpointError: If there are none.
    """
    trail, state = _state(contents)
    if state is None:
        raise CheckpointError(
            f"{path} holds a {type(contents).__name__} without weights by name; save them with: "
            "torch.save(model.state_dict(), 'weights.pt')"
        )
    if any("vision_model.embeddings" in name for name in state):
        raise CheckpointError(
            f"{path} holds CLIP in the layout of the transformers package; fetch the same weights for open_clip "
            "(open_clip_model.safetensors) and import those"
        )
    first = next((name for name in state if name.endswith(PATCHES)), None)
    if first is None:
        names = ", ".join(list(state)[:3])
        raise CheckpointError(f"{path} holds {len(state)} tensors ({names}, ...) but no CLIP image tower; {_ONLY}")
    prefix = first.removesuffix(PATCHES)
    own = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    others = {name: value for name, value in state.items() if not name.startswith(prefix)}
    numbers = {name for name in (*own, *others) if name in NOT_WEIGHTS or name.endswith(".attn_mask")}
    # Entries outside the prefix keep their names, so that whoever checks the tensors sees them as too many.
    tensors = {name: value for name, value in (others | own).items() if name not in numbers}
    beside = contents if trail else {}
    return Found(tensors=tensors, trail=trail, prefix=prefix, beside=beside, numbers=frozenset(numbers))


def kind_of(path: Path, found: Found) -> tuple[KindName, str]:
    """Whose checkpoint it is, and what told it."""
    name = path.name.lower()
    if found.prefix.endswith(_PYIQA_PREFIX):
        names = "pyiqa's names of tensors"
        if "mix" in name:
            return "pyiqa-mix", f"{names}, and mix in the file's name"
        if "koniq" in name:
            return "pyiqa-koniq", f"{names}, and koniq in the file's name"
        return "pyiqa-mix", f"{names}, {PROMPTS_UNTOLD}"
    results = found.beside.get("all_results")
    if isinstance(results, Mapping):
        if any("quality_plcc" in part for part in results.values() if isinstance(part, Mapping)):
            return "defnet", "the figures that DEFNet's training code saves beside the weights"
        return "liqe", "the figures that LIQE's training code saves beside the weights"
    if found.numbers & SIZES_OF_OPENAI:
        return "clip", "the sizes that OpenAI keeps beside the weights"
    if found.trail == ("state_dict",) and "epoch" in found.beside:
        return "open-clip", "the layout of open_clip's training checkpoints"
    # From here on CLIP's own names without anything beside them: all four kinds may look like that.
    for part, kind in (("defnet", "defnet"), ("liqe", "liqe"), ("open_clip", "open-clip"), ("laion", "open-clip")):
        if part in name:
            return kind, f"CLIP's names of tensors, and {part} in the file's name"  # type: ignore[return-value]
    if path.suffix == ".safetensors":
        return "open-clip", "CLIP's names of tensors, in a safetensors file"
    if re.search(r"vit-b-?32|clip", name):
        return "clip", "CLIP's names of tensors, and the file's name"
    return "liqe", "CLIP's names of tensors; plain CLIP has the same, and is read alike"


def activation_of(path: Path, found: Found, kind: KindName) -> tuple[Activation, str]:
    """Which activation the weights were trained with, and what told it. The tensors are the same for both."""
    if kind != "open-clip":
        return "quickgelu", "OpenAI's CLIP and all that is made of it"
    name = f"{path.parent.name} {path.name} {found.beside.get('name', '')}".lower()
    for activation, parts in (("quickgelu", QUICK_NAMES), ("gelu", PLAIN_NAMES)):
        for part in parts:
            if part in name:
                return activation, f"{part} in its name"  # type: ignore[return-value]
    return "quickgelu", "nothing in the file tells; add --activation gelu if open_clip calls the model plain ViT-B-32"


def require_vit_b_32(path: Path, found: Found, expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors as float32, once they are known to be all there, of the right shape, and numbers.

    Args:
        path: For messages.
        found: What the file holds.
        expected: Name -> tensor of the tower.

    Raises:
        CheckpointError: Naming what is wrong.
    """
    tensors = found.tensors
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    wrong = [
        f"{name} is {_shape(tensors[name])}, not {_shape(value)}"
        for name, value in expected.items()
        if name in tensors and tensors[name].shape != value.shape
    ]
    for problem, names, remedy in (
        ("lacks", missing, "save the whole model's state_dict, both towers, or fetch the file again"),
        ("has what ViT-B/32 has not:", extra, _ONLY),
        ("has other shapes:", wrong, _ONLY),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise CheckpointError(
                f"{path} is not a whole CLIP ViT-B/32: it {problem} {', '.join(names[:3])}{more}; {remedy}"
            )
    return {name: _numbers(path, name, tensors[name]) for name in expected}


def _numbers(path: Path, name: str, tensor: Tensor) -> Tensor:
    """A tensor as float32.

    Raises:
        CheckpointError: If it is of integers, or holds infinity or what is no number.
    """
    if not tensor.is_floating_point():
        raise CheckpointError(f"{path}: {name} holds {str(tensor.dtype)[6:]}, not weights; save the model unquantised")
    values = tensor.float()
    # A sum shows at once that all is well; where it overflows, every value is looked at.
    if not torch.isfinite(values.sum()) and not torch.isfinite(values).all():
        raise CheckpointError(
            f"{path}: {name} holds what is no number; its training broke down, so take an earlier checkpoint"
        )
    return values


def refuse_other_towers(path: Path, found: Found) -> None:
    """Say which CLIP it is where it is not ViT-B/32.

    Raises:
        CheckpointError: Naming the architecture.
    """
    names = found.tensors
    if "visual.layer1.0.conv1.weight" in names:
        depths = tuple(
            len({name.split(".")[2] for name in names if name.startswith(f"visual.layer{stage}.")})
            for stage in range(1, 5)
        )
        raise CheckpointError(f"{path} holds CLIP {_RESNETS.get(depths, 'with a ResNet')}; {_ONLY}")
    width, _, _, patch = names[PATCHES].shape if names[PATCHES].dim() == 4 else (0, 0, 0, 0)
    layers = len({name.split(".")[3] for name in names if name.startswith("visual.transformer.resblocks.")})
    if (width, patch) != (768, 32):
        known = _VITS.get((width, patch, layers), f"with an image tower of width {width} and patches of {patch}")
        raise CheckpointError(f"{path} holds CLIP {known}; {_ONLY}")
    positions = names.get("visual.positional_embedding")
    if positions is not None and positions.dim() == 2 and positions.shape[0] != 50:
        side = round((positions.shape[0] - 1) ** 0.5) * patch
        raise CheckpointError(f"{path} holds CLIP ViT-B/32 for views of {side} pixels, not of 224; {_ONLY}")


def _state(contents: Any, depth: int = 0) -> tuple[tuple[str, ...], dict[str, Tensor] | None]:
    """The first container of named tensors, outermost first, and the keys that lead to it."""
    if not isinstance(contents, Mapping) or depth > 3:
        return (), None
    tensors = {name: value for name, value in contents.items() if isinstance(name, str) and isinstance(value, Tensor)}
    if any(name.endswith((".weight", PATCHES)) for name in tensors):
        return (), tensors
    for key, value in contents.items():
        trail, state = _state(value, depth + 1)
        if state is not None:
            return (str(key), *trail), state
    return (), None


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a single number"
