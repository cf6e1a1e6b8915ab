"""An imported checkpoint scores photos as the program that it belongs to does; recomputed here without defnet."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

from defnet_infer import views
from defnet_infer.cli import app
from defnet_infer.errors import CheckpointError, UsageError
from defnet_train.checkpoint import load_checkpoint
from defnet_train.foreign.importing import check_target, import_checkpoint
from defnet_train.foreign.layout import find, require_vit_b_32
from defnet_train.foreign.reading import read
from tests.conftest import picture
from tests.infer.test_presets import strided_windows

QUALITIES = ("bad", "poor", "fair", "good", "perfect")


def random_clip(name: str = "ViT-B-32-quickgelu") -> torch.nn.Module:
    """Random towers, scaled so that prompts and photos differ."""
    torch.manual_seed(7)
    level = logging.getLogger().level
    logging.getLogger().setLevel(logging.ERROR)
    model = open_clip.create_model(name, pretrained=None).eval()
    logging.getLogger().setLevel(level)
    with torch.no_grad():
        model.token_embedding.weight.mul_(30)
        model.visual.conv1.weight.mul_(10)
        model.logit_scale.fill_(np.log(100.0))
    return model


def pyiqa_score(model: torch.nn.Module, pixels: np.ndarray) -> float:
    """As pyiqa is described: windows 32 apart, every (n // 15)-th, mean of logits, softmax, expected level."""
    sentences = [f"a photo with {quality} quality" for quality in QUALITIES]
    mean, deviation = (
        torch.tensor(v) for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    crops = torch.from_numpy(strided_windows(pixels, 32, 15).copy()).float() / 255
    with torch.inference_mode():
        text = model.encode_text(open_clip.get_tokenizer("ViT-B-32")(sentences))
        image = model.encode_image(((crops - mean) / deviation).permute(0, 3, 1, 2))
        cosine = (image / image.norm(dim=1, keepdim=True)) @ (text / text.norm(dim=1, keepdim=True)).T
        probabilities = (model.logit_scale.exp() * cosine).mean(dim=0).softmax(dim=0)
    return float(probabilities @ torch.arange(1.0, 6.0))


@pytest.mark.slow
def test_an_imported_checkpoint_scores_as_pyiqa_does(tmp_path: Path) -> None:
    clip = random_clip()
    path = tmp_path / "liqe_koniq.pt"
    torch.save({"params": {f"clip_model.{name}": value for name, value in clip.state_dict().items()}}, path)
    result = CliRunner().invoke(app, ["import", str(path)])
    assert result.exit_code == 0, result.exception
    for words in (
        "pyiqa's liqe",
        "5, worded as in the preset pyiqa",
        "logit_mean",
        "quickgelu",
        "preprocessing   pyiqa",
    ):
        assert words in result.output
    model, info = load_checkpoint(tmp_path / "liqe_koniq.defnet.safetensors")
    contract = model.contract()
    assert (contract.tasks, contract.uncertainty, contract.encoder) == (("quality",), False, "ViT-B-32-quickgelu")
    provenance = info.record["imported"]
    assert (provenance["kind"], provenance["file"], provenance["prompts"]) == ("pyiqa-koniq", "liqe_koniq.pt", 5)
    assert str(tmp_path) not in json.dumps(provenance), "a file that travels names no folder of this machine"
    found = []
    # The third has nine windows and the last four: each counts once.
    for seed, size in enumerate([(512, 384), (800, 600), (288, 288), (260, 270)]):
        pixels = picture(*size, seed)
        crops = torch.from_numpy(views.make(pixels, contract.preprocess).crops[None])
        with torch.inference_mode():
            score = model.score_views(crops, None, model.text_matrix())["score"].item()
        assert score == pytest.approx(pyiqa_score(clip, pixels), abs=1e-4)
        found.append(score)
    assert abs(found[0] - found[1]) > 1e-3, "scores that are all alike would prove nothing"


@pytest.mark.slow
def test_the_activation_decides_and_can_be_said(tmp_path: Path) -> None:
    clip = random_clip("ViT-B-32")
    path = tmp_path / "open_clip_pytorch_model.bin"
    torch.save({name: value.half() for name, value in clip.state_dict().items()}, path)
    plain = import_checkpoint(path)
    quick = import_checkpoint(path, tmp_path / "quick.safetensors", activation="quickgelu", preprocess="defnet")
    assert (plain.config.model.tower, quick.config.model.tower) == ("ViT-B-32-gelu", "ViT-B-32-quickgelu")
    assert plain.kind == quick.kind == "open-clip"
    assert (plain.config.model.preprocess, quick.config.model.preprocess) == ("liqe", "defnet")
    pixels = torch.from_numpy(picture(224, 224)[None].copy())
    images = []
    for out in (plain.out, quick.out):
        encoder = load_checkpoint(out)[0].encoder
        with torch.inference_mode():
            images.append(encoder.project(encoder.trunk_features(pixels)))
    expected = unit(rounded(clip), images_of(pixels))
    assert torch.allclose(images[0], expected, atol=1e-5)
    assert not torch.allclose(images[1], expected, atol=1e-3)


def rounded(clip: torch.nn.Module) -> torch.nn.Module:
    clip.load_state_dict({name: value.half().float() for name, value in clip.state_dict().items()})
    return clip


def images_of(pixels: Tensor) -> Tensor:
    mean, deviation = (
        torch.tensor(v) for v in ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
    )
    return ((pixels.float() / 255 - mean) / deviation).permute(0, 3, 1, 2)


def unit(clip: torch.nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        features = clip.encode_image(images)
    return features / features.norm(dim=-1, keepdim=True)


def test_targets_that_cannot_be_written_are_named_before_the_work(tmp_path: Path) -> None:
    source, taken = tmp_path / "liqe.pt", tmp_path / "taken.safetensors"
    source.touch()
    taken.touch()
    for out, message in (
        (tmp_path / "a.onnx", "is called NAME.safetensors"),
        (taken, "taken.safetensors exists; replace it with --overwrite"),
        (tmp_path / "absent" / "a.safetensors", "does not exist; make it with"),
    ):
        with pytest.raises(UsageError, match=message):
            check_target(out, source, overwrite=False)
    with pytest.raises(UsageError, match="is the file that is imported"):
        check_target(taken, taken, overwrite=True)


def test_a_refused_file_leaves_nothing_behind(tmp_path: Path) -> None:
    torch.save({"visual.conv1.weight": torch.zeros(768, 3, 32, 32)}, tmp_path / "liqe.pt")
    with pytest.raises(CheckpointError, match="lacks"):
        contents = find(tmp_path / "liqe.pt", read(tmp_path / "liqe.pt"))
        require_vit_b_32(tmp_path / "liqe.pt", contents, {"visual.proj": torch.zeros(768, 512)})
    assert [path.name for path in tmp_path.iterdir()] == ["liqe.pt"]
