"""hf:// addresses: read, fetched from a cache in the Hub's own layout without a network, and refused in one line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from defnet_infer import hub
from defnet_infer.artifact import Artifact
from defnet_infer.errors import ArtifactError, DefnetError, MissingExtraError, UsageError
from defnet_infer.hub import Address

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def cache(tmp_path: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds owner/tiny: main and v1 point to one commit with two files. No network may be used."""
    constants = pytest.importorskip("huggingface_hub.constants")
    home = tmp_path / "cache"
    repository = home / "models--owner--tiny"
    blob = repository / "blobs" / hashlib.sha256(tiny_model.read_bytes()).hexdigest()
    blob.parent.mkdir(parents=True)
    shutil.copyfile(tiny_model, blob)
    snapshot = repository / "snapshots" / COMMIT
    (snapshot / "small").mkdir(parents=True)
    (snapshot / "model.onnx").symlink_to(Path("../../blobs") / blob.name)
    (snapshot / "small" / "other.onnx").symlink_to(Path("../../../blobs") / blob.name)
    (repository / "refs").mkdir()
    for name in ("main", "v1"):
        (repository / "refs" / name).write_text(COMMIT)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return home


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("hf://owner/name", Address(repository="owner/name")),
        ("hf://owner/name@v1.2", Address(repository="owner/name", revision="v1.2")),
        ("hf://o/n/defnet.int8.onnx", Address(repository="o/n", file="defnet.int8.onnx")),
        ("hf://o/n@main/a/b.onnx", Address(repository="o/n", revision="main", file="a/b.onnx")),
    ],
)
def test_an_address_names_repository_revision_and_file(text: str, address: Address) -> None:
    assert Address.parse(text) == address
    assert Address.parse(str(address)) == address


@pytest.mark.parametrize("text", ["hf://", "hf://owner", "hf://owner/", "hf://a/b@", "hf://a b/c", "hf://a/b c"])
def test_what_is_no_address_is_told_the_form(text: str) -> None:
    with pytest.raises(UsageError, match="write it as hf://owner/name"):
        Address.parse(text)


def test_only_text_with_the_scheme_is_an_address(tmp_path: Path) -> None:
    assert hub.is_address("hf://owner/name")
    assert not hub.is_address("models/hf.onnx")
    assert not hub.is_address(tmp_path / "hf:")
    assert not hub.is_address(None)


@pytest.mark.parametrize(
    "text", ["hf://owner/tiny", "hf://owner/tiny@v1", f"hf://owner/tiny@{COMMIT}/small/other.onnx"]
)
def test_a_cached_file_opens_without_a_network_under_its_address(cache: Path, tiny_model: Path, text: str) -> None:
    artifact = Artifact.open(text)
    assert artifact.name == text
    assert artifact.path.is_relative_to(cache)
    assert artifact.sha256 == hashlib.sha256(tiny_model.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("hf://owner/tiny/gone.onnx", ArtifactError, "not on this machine"),
        ("hf://owner/tiny@v2", ArtifactError, "not on this machine"),
        ("hf://nobody/nothing", ArtifactError, "not on this machine"),
        ("hf://-owner-/tiny", UsageError, "cannot start or end"),
    ],
)
def test_what_cannot_be_had_is_one_line(cache: Path, text: str, kind: type[DefnetError], says: str) -> None:
    with pytest.raises(kind, match=says) as caught:
        Artifact.open(text)
    assert "\n" not in str(caught.value)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("RepositoryNotFoundError", "there is no repository owner/tiny"),
        ("GatedRepoError", "approved users only"),
        ("RevisionNotFoundError", "has no revision v9"),
        ("RemoteEntryNotFoundError", "has no file model.onnx"),
        ("HfHubHTTPError", "cannot be downloaded: the server is tired"),
    ],
)
def test_every_answer_of_the_hub_says_what_to_do(monkeypatch: pytest.MonkeyPatch, answer: str, says: str) -> None:
    huggingface_hub = pytest.importorskip("huggingface_hub")
    kind = getattr(pytest.importorskip("huggingface_hub.errors"), answer)
    # The answers of a server that is not there: made without their constructors, which want an HTTP response.
    error = kind.__new__(kind)
    Exception.__init__(error, "the server is tired\nand says more")
    monkeypatch.setattr(kind, "__str__", lambda self: "the server is tired\nand says more")

    def refuse(*_: object, **__: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(ArtifactError, match=says) as caught:
        hub.fetch("hf://owner/tiny@v9")
    assert "\n" not in str(caught.value)


def test_without_the_extra_the_line_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"defnet\[hub\]"):
        hub.fetch("hf://owner/tiny")


def test_the_command_scores_with_an_address_and_records_it(cache, make_photo, tmp_path) -> None:
    photo = make_photo("photo.png")
    out = tmp_path / "results.csv"
    done = subprocess.run(
        [sys.executable, "-m", "defnet_infer.cli", "score", photo, "--model", "hf://owner/tiny", "--out", out],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr
    model = json.loads((tmp_path / "results.csv.run.json").read_text())["model"]
    assert model["file"] == "hf://owner/tiny"
    assert len(out.read_text().splitlines()) == 2
