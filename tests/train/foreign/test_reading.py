"""Foreign files are read without running anything in them; what cannot be read is named in one line."""

from __future__ import annotations

import ast
import os
import pickle
import shlex
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from defnet_infer.cli import app
from defnet_infer.errors import ArtifactError, CheckpointError, DefnetError
from defnet_train.checkpoint import load_checkpoint
from defnet_train.foreign.reading import read
from tests.train.foreign.clip_shapes import light, vit_shapes


class RunsCode:
    """Pickled, it makes a folder when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def cut(path: Path, share: float) -> None:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])


def torch_file(path: Path) -> None:
    torch.save({"a.weight": torch.ones(1000)}, path)


def old_torch_file(path: Path) -> None:
    torch.save({"a.weight": torch.ones(1000)}, path, _use_new_zipfile_serialization=False)


def cut_torch(path: Path) -> None:
    torch_file(path)
    cut(path, 0.6)


def cut_old(path: Path) -> None:
    old_torch_file(path)
    cut(path, 0.6)


def cut_safetensors(path: Path) -> None:
    save_file({"a.weight": torch.ones(1000)}, path)
    cut(path, 0.6)


def torchscript(path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))


def damaged(path: Path) -> None:
    torch_file(path)
    path.write_bytes(path.read_bytes().replace(b"_rebuild_tensor_v2", b"_rebuild_tensor_v9"))


REFUSED: list[tuple[str, Callable[[Path], object], str]] = [
    (
        "code.pt",
        lambda path: torch.save({"a": RunsCode(path.with_name("ran"))}, path),
        r"program code \((posix|nt).mkdir\)",
    ),
    (
        "code.pkl",
        lambda path: path.write_bytes(pickle.dumps(RunsCode(path.with_name("ran")))),
        "pickle that calls (posix|nt).mkdir",
    ),
    (
        "module.pt",
        lambda path: torch.save(torch.nn.Linear(2, 2), path),
        r"program code \(torch.nn.modules.linear.Linear",
    ),
    ("plain.pkl", lambda path: path.write_bytes(pickle.dumps({"a": 1})), "is a pickle, not written by torch.save"),
    ("script.pt", torchscript, "TorchScript archive, as OpenAI ships CLIP.*torch.jit.load"),
    ("cut.pt", cut_torch, "cut off"),
    ("old.pt", cut_old, "cut off"),
    ("cut.safetensors", cut_safetensors, "cut off"),
    ("damaged.pt", damaged, "program code|damaged"),
    ("empty.pt", lambda path: path.touch(), "is empty"),
    ("page.pt", lambda path: path.write_text("<html>404 not found, sorry</html>"), "no checkpoint that defnet knows"),
    ("absent.pt", lambda path: None, "there is no such file"),
]


@pytest.mark.parametrize(("name", "write", "message"), REFUSED, ids=[case[0] for case in REFUSED])
def test_it_is_refused_in_one_line_and_nothing_runs(
    tmp_path: Path, name: str, write: Callable[[Path], object], message: str
) -> None:
    path = tmp_path / name
    write(path)
    with pytest.raises(CheckpointError, match=message) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    result = CliRunner().invoke(app, ["import", str(path)])
    assert isinstance(result.exception, CheckpointError)
    assert result.exception.exit_code == 3
    assert list(tmp_path.glob("*.defnet.safetensors*")) == []


def test_the_marker_of_these_tests_would_appear(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(RunsCode(tmp_path / "ran")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("write", [torch_file, old_torch_file])
def test_both_formats_of_torch_are_read(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "a.pt")
    assert torch.equal(read(tmp_path / "a.pt")["a.weight"], torch.ones(1000))


def test_numpy_numbers_beside_the_weights_do_no_harm(tmp_path: Path) -> None:
    torch.save({"srcc": np.float64(0.9), "n": np.int64(3), "a.weight": torch.ones(2)}, tmp_path / "a.pt")
    assert read(tmp_path / "a.pt")["srcc"] == 0.9


CLIP = light(vit_shapes())


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("LIQE.pt", CLIP, "tensors of CLIP as LIQE has them"),
        ("liqe_mix.pt", {"params": {f"clip_model.{name}": value for name, value in CLIP.items()}}, "pyiqa's LIQE"),
        ("other.pt", {"a.weight": torch.ones(2)}, "is a PyTorch checkpoint"),
    ],
)
def test_every_command_that_wants_a_model_says_what_was_given_and_what_to_type(
    tmp_path: Path, make_photo: Callable[..., Path], name: str, content: Any, words: str
) -> None:
    path, photo = tmp_path / name, make_photo("a.png")
    torch.save(content, path)
    for arguments in (["score", str(photo), "--model", str(path)], ["info", str(path)], ["check", str(path)]):
        error = CliRunner().invoke(app, arguments).exception
        assert isinstance(error, ArtifactError), arguments
        assert words in str(error)
        assert f"defnet import {path}" in str(error)
    with pytest.raises(CheckpointError, match=f"foreign checkpoint.*defnet import {path}"):
        load_checkpoint(path)


def test_what_a_message_says_to_type_can_be_typed_as_it_stands(tmp_path: Path, checkpoint: Path) -> None:
    path = tmp_path / "it's mine.pt"
    torchscript(path)
    with pytest.raises(CheckpointError) as caught:
        read(path)
    python, _, program = shlex.split(str(caught.value).split("weights alone: ")[1].split(", then: ")[0])
    assert python == "python"
    assert str(path) in [node.value for node in ast.walk(ast.parse(program)) if isinstance(node, ast.Constant)]
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    assert shlex.split(str(caught.value).split("with: ")[1]) == ["defnet", "import", str(path)]
    ours = Path(shutil.copy(checkpoint, tmp_path / "our own.safetensors"))
    with pytest.raises(CheckpointError) as caught:
        read(ours)
    assert shlex.split(str(caught.value).split("with: ")[1]) == ["defnet", "export", str(ours)]


def test_weights_of_a_trunk_are_not_to_be_imported(tmp_path: Path) -> None:
    path = tmp_path / "mobile net.safetensors"
    save_file({"conv_stem.weight": torch.ones(2)}, path)
    error = CliRunner().invoke(app, ["info", str(path)]).exception
    assert isinstance(error, ArtifactError)
    assert (
        f"CLIP is not in it; weights of a trunk are for: defnet train lite --set model.trunk_weights='{path}'"
        in str(error)
    )


def test_a_checkpoint_of_ours_is_to_be_exported(checkpoint: Path) -> None:
    for arguments in (["import", str(checkpoint)], ["info", str(checkpoint)]):
        error = CliRunner().invoke(app, arguments).exception
        assert isinstance(error, DefnetError)
        assert f"defnet export {checkpoint}" in str(error)
