"""The Hugging Face folder: a card the Hub can index, made of the file's own facts, and loadable again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

huggingface_hub = pytest.importorskip("huggingface_hub")

from defnet_export.hub import write_hub_folder  # noqa: E402
from defnet_infer.artifact import Artifact, builtin_model_path  # noqa: E402
from defnet_infer.contract import Contract  # noqa: E402
from defnet_infer.errors import UsageError  # noqa: E402
from defnet_infer.hub import DEFAULT_FILE  # noqa: E402
from defnet_infer.verdict import Check, Verdict  # noqa: E402
from tests.conftest import tiny_metadata, write_tiny_model  # noqa: E402


@pytest.fixture(scope="module")
def artifact() -> Artifact:
    return Artifact.open(builtin_model_path())


def test_the_card_carries_the_measured_figures_where_the_hub_looks(artifact: Artifact, tmp_path: Path) -> None:
    card = huggingface_hub.ModelCard.load(write_hub_folder(artifact, tmp_path, name="my-model") / "README.md")
    test = json.loads(artifact.metadata["defnet.measured"])["test"]
    assert card.data.license == artifact.metadata["defnet.license"].lower()
    assert card.data.model_name == "my-model"
    figures = {result.metric_type: result.metric_value for result in card.data.eval_results}
    assert figures["srcc"] == pytest.approx(test["srcc"], abs=1e-4)
    assert set(figures) == {"srcc", "plcc", "coverage"}
    assert artifact.sha256 in card.text


def test_model_and_contract_can_be_read_again(artifact: Artifact, tmp_path: Path) -> None:
    folder = write_hub_folder(artifact, tmp_path / "new")
    assert Artifact.open(folder / DEFAULT_FILE).sha256 == artifact.sha256
    assert Contract.from_json((folder / "contract.json").read_text()) == artifact.contract


def test_a_file_without_figures_says_so_and_claims_none(tmp_path: Path) -> None:
    path = write_tiny_model(tmp_path / "tiny.onnx", tiny_metadata() | {"defnet.training_data": "{}"})
    card = huggingface_hub.ModelCard.load(write_hub_folder(Artifact.open(path), tmp_path / "new") / "README.md")
    assert card.data.eval_results is None
    assert "no measured figures" in card.text


def test_the_card_shows_the_certificate_of_photos_with_its_bounds(tmp_path: Path) -> None:
    check = Check(what="score: max difference", value=2e-6, bound=1e-4)
    verdict = Verdict(
        reference="PyTorch", candidate="float32 file", precision="float32", photos=3, checks=(check,),
        worst_photo="a.png", worst_difference=2e-6,
    )  # fmt: skip
    parity = json.dumps({"verdict": verdict.to_json()})
    path = write_tiny_model(tmp_path / "tiny.onnx", tiny_metadata() | {"defnet.training_data": "{}"})
    certified = write_tiny_model(
        tmp_path / "certified.onnx", tiny_metadata() | {"defnet.training_data": "{}", "defnet.parity": parity}
    )
    card = (write_hub_folder(Artifact.open(certified), tmp_path / "new") / "README.md").read_text()
    assert "float32 file against PyTorch, 3 photos" in card
    assert "| score: max difference | 2e-06 | at most 0.0001 | holds |" in card
    without = (write_hub_folder(Artifact.open(path), tmp_path / "bare") / "README.md").read_text()
    assert "carries no certificate" in without


def test_files_of_an_earlier_export_are_replaced_only_on_request(artifact: Artifact, tmp_path: Path) -> None:
    (tmp_path / "LICENSE").write_text("mine")
    write_hub_folder(artifact, tmp_path)
    with pytest.raises(UsageError, match="--overwrite"):
        write_hub_folder(artifact, tmp_path)
    write_hub_folder(artifact, tmp_path, overwrite=True)
    assert (tmp_path / "LICENSE").read_text() == "mine"
    # Of the folder's own model card and contract are made anew.
    (tmp_path / "README.md").write_text("old")
    write_hub_folder(Artifact.open(tmp_path / "model.onnx"), tmp_path, overwrite=True)
    assert (tmp_path / "model.onnx").read_bytes() == artifact.path.read_bytes()
    assert (tmp_path / "README.md").read_text() != "old"
