"""Whose checkpoint is it, and is it whole? Told from names and shapes, before any model is built."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from defnet_infer.errors import CheckpointError
from defnet_train.foreign.layout import activation_of, find, kind_of, refuse_other_towers, require_vit_b_32
from defnet_train.foreign.reading import read
from tests.train.foreign.clip_shapes import light, resnet_50, vit_shapes

Tensors = dict[str, Tensor]
CLIP = light(vit_shapes())


def prefixed(prefix: str, tensors: Tensors = CLIP) -> Tensors:
    return {prefix + name: value for name, value in tensors.items()}


def liqe_run(**all_results: Any) -> dict[str, Any]:
    """What LIQE's and DEFNet's training code saves; correlations in it are NumPy scalars."""
    figures = {"quality": {"live": np.float64(0.97)}, "scene": {"live": 0.9}, **all_results}
    return {
        "epoch": 3,
        "model_state_dict": CLIP,
        "optimizer_state_dict": {"state": {0: 1}},
        "all_results": {"val": figures},
    }


OPENAI = CLIP | {
    "input_resolution": torch.tensor(224),
    "context_length": torch.tensor(77),
    "vocab_size": torch.tensor(49408),
}


@pytest.mark.parametrize(
    ("name", "content", "kind", "activation"),
    [
        ("LIQE.pt", CLIP, "liqe", "quickgelu"),
        ("quality_best_ckpt.pt", liqe_run(), "liqe", "quickgelu"),
        ("quality_best_ckpt.pt", liqe_run(quality_plcc={"live": np.float64(0.96)}), "defnet", "quickgelu"),
        ("DEFNet.pt", CLIP, "defnet", "quickgelu"),
        ("liqe_mix.pt", {"params": prefixed("clip_model.")}, "pyiqa-mix", "quickgelu"),
        ("liqe_koniq.pt", {"params": prefixed("clip_model.")}, "pyiqa-koniq", "quickgelu"),
        ("other.pth", {"params": prefixed("module.clip_model.")}, "pyiqa-mix", "quickgelu"),
        ("ViT-B-32.pt", CLIP, "clip", "quickgelu"),
        ("weights.pt", OPENAI, "clip", "quickgelu"),
        ("epoch_32.pt", {"epoch": 32, "name": "a", "state_dict": prefixed("module.")}, "open-clip", "quickgelu"),
        ("open_clip_pytorch_model.bin", CLIP, "open-clip", "gelu"),
        ("vit_b_32-laion2b_e16.pt", CLIP, "open-clip", "gelu"),
        ("vit_b_32-quickgelu-laion400m_e32.pt", CLIP, "open-clip", "quickgelu"),
        ("anything.pt", CLIP, "liqe", "quickgelu"),
    ],
)  # fmt: skip
def test_the_kind_is_told(tmp_path: Path, name: str, content: Any, kind: str, activation: str) -> None:
    path = tmp_path / name
    torch.save(content, path)
    found = find(path, read(path))
    assert kind_of(path, found)[0] == kind
    assert activation_of(path, found, kind)[0] == activation  # type: ignore[arg-type]
    refuse_other_towers(path, found)
    whole = require_vit_b_32(path, found, CLIP)
    assert whole.keys() == CLIP.keys()
    assert all(value.dtype == torch.float32 for value in whole.values())


def test_a_safetensors_file_is_open_clips(tmp_path: Path) -> None:
    path = tmp_path / "open_clip_model.safetensors"
    small = {name: torch.zeros(2) for name in CLIP}
    save_file(small, path)
    found = find(path, read(path))
    assert kind_of(path, found)[0] == "open-clip"
    assert activation_of(path, found, "open-clip")[0] == "gelu"
    assert activation_of(tmp_path / "own.safetensors", found, "open-clip")[0] == "quickgelu"


def test_pyiqas_tensors_do_not_tell_how_many_prompts_there_are(tmp_path: Path) -> None:
    path = tmp_path / "mine.pt"
    kind, told_by = kind_of(path, find(path, {"params": prefixed("clip_model.")}))
    assert kind == "pyiqa-mix"
    assert "do not tell 495 prompts from 5" in told_by


def test_the_shapes_of_these_tests_are_those_of_open_clip() -> None:
    with torch.device("meta"):
        model = open_clip.CLIP(
            **{k: v for k, v in open_clip.get_model_config("ViT-B-32").items() if k.endswith(("dim", "cfg"))}
        )
    assert {name: tuple(value.shape) for name, value in model.state_dict().items()} == vit_shapes()


def without(name: str) -> Tensors:
    return {key: value for key, value in CLIP.items() if key != name}


REFUSED: list[tuple[str, Callable[[], Any], str]] = [
    ("RN50", lambda: light(resnet_50()), "holds CLIP RN50; .*ViT-B/32"),
    ("ViT-L/14", lambda: light(vit_shapes(width=1024, patch=14, layers=24, embedding=768, text=768)), "CLIP ViT-L/14"),
    ("ViT-B/16", lambda: light(vit_shapes(patch=16)), "CLIP ViT-B/16"),
    ("another size", lambda: light(vit_shapes(pixels=256)), "views of 256 pixels, not of 224"),
    ("missing", lambda: without("visual.proj"), "lacks visual.proj; save the whole model"),
    ("no text tower", lambda: {k: v for k, v in CLIP.items() if "visual" in k}, "lacks .* and 147 more"),
    ("extra", lambda: CLIP | {"head.weight": torch.zeros(3)}, "has what ViT-B/32 has not: head.weight"),
    ("extra beside", lambda: prefixed("clip_model.") | {"head.weight": torch.zeros(3)}, "has not: head.weight"),
    ("shape", lambda: CLIP | {"text_projection": torch.zeros(512, 256)}, "text_projection is 512 x 256, not 512 x 512"),
    ("NaN", lambda: CLIP | {"visual.proj": torch.full((768, 512), float("nan"))}, "visual.proj holds what"),
    ("integers", lambda: CLIP | {"visual.proj": torch.zeros(768, 512, dtype=torch.int8)}, "visual.proj holds int8"),
    ("transformers", lambda: {"vision_model.embeddings.class_embedding": torch.zeros(3), "a.weight": torch.zeros(3)},
     "layout of the transformers package"),
    ("no CLIP", lambda: {"layer.weight": torch.zeros(3)}, "no CLIP image tower"),
    ("no tensors", lambda: {"epoch": 3}, "without weights by name"),
    ("a tensor", lambda: torch.zeros(3), "without weights by name"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_is_not_a_whole_vit_b_32_is_refused_in_one_line(
    tmp_path: Path, content: Callable[[], Any], message: str
) -> None:
    path = tmp_path / "weights.pt"
    torch.save(content(), path)
    with pytest.raises(CheckpointError, match=message) as caught:
        found = find(path, read(path))
        refuse_other_towers(path, found)
        require_vit_b_32(path, found, CLIP)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
