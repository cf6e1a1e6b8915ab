"""An end-to-end file scores a raw photo as the Python pipeline does, and everything in defnet knows what it is."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from defnet_export.end_to_end import SCORE_BOUNDS, generated_photo, to_end_to_end, write_end_to_end
from defnet_infer import Scorer
from defnet_infer.artifact import Artifact
from defnet_infer.cli import main
from defnet_infer.errors import ArtifactError, GateError, UsageError

SCORE_BOUND = SCORE_BOUNDS["float32"]


@pytest.fixture(scope="module")
def merged(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("e2e") / "tiny.e2e.onnx"
    write_end_to_end(tiny_model, out)
    return out


def defnet(*arguments: str) -> int:
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    return int(stopped.value.code or 0)


@pytest.mark.parametrize("size", [(640, 480), (100, 80), (288, 288), (1700, 1300), (200, 900)])
def test_a_photo_scores_as_in_the_python_pipeline(tiny_model: Path, merged: Path, size: tuple[int, int]) -> None:
    photo = generated_photo(*size)
    row = next(iter(Scorer(tiny_model, device="cpu").score(photo)))
    session = onnxruntime.InferenceSession(merged, providers=["CPUExecutionProvider"])
    score, fused, quality = session.run(["score", "fused_score", "quality"], {"image": photo})
    assert (score.shape, quality.shape) == ((1,), (1, 5)), "outputs are the contract's with a batch of 1"
    assert abs(score[0] - row.score) <= SCORE_BOUND
    assert abs(fused[0] - row.fused_score) <= SCORE_BOUND


def test_photos_of_the_gate_are_told_apart(tiny_model: Path) -> None:
    scorer = Scorer(tiny_model, device="cpu")
    scores = [
        row.score for row in scorer.score([generated_photo(w, h) for w, h in ((640, 480), (480, 640), (641, 480))])
    ]
    assert np.ptp(scores) > 10 * SCORE_BOUND


def test_the_scoring_nodes_weights_and_metadata_are_those_of_the_plain_file(tiny_model: Path) -> None:
    plain = onnx.load(tiny_model)
    before = plain.SerializeToString()
    made = to_end_to_end(plain)
    assert plain.SerializeToString() == before
    assert list(made.graph.node)[-len(plain.graph.node) :] == list(plain.graph.node)
    assert list(made.graph.initializer)[: len(plain.graph.initializer)] == list(plain.graph.initializer)
    kept = {entry.key: entry.value for entry in plain.metadata_props}
    assert {entry.key: entry.value for entry in made.metadata_props} == kept | {"defnet.kind": "end_to_end"}
    (image,) = made.graph.input
    assert [dim.dim_param or dim.dim_value for dim in image.type.tensor_type.shape.dim] == ["height", "width", 3]


def test_the_file_says_what_it_was_made_from_and_how_close_it_is(tiny_model: Path, merged: Path) -> None:
    artifact = Artifact.open(merged)
    assert artifact.end_to_end and not Artifact.open(tiny_model).end_to_end
    assert [spec.name for spec in artifact.inputs] == ["image"]
    assert artifact.contract == Artifact.open(tiny_model).contract
    measured = json.loads(artifact.metadata["defnet.end_to_end"])
    assert measured["source_sha256"] == Artifact.open(tiny_model).sha256
    assert 0 < measured["max_difference"]["score"] <= measured["score_bound"] == SCORE_BOUND


def test_a_file_that_scores_otherwise_is_not_left_behind(tiny_model: Path, tmp_path: Path) -> None:
    broken = onnx.load(tiny_model)
    for initializer in broken.graph.initializer:
        if initializer.name == "position":
            initializer.CopyFrom(numpy_helper.from_array(np.full((15, 1), np.nan, np.float32), "position"))
    onnx.save(broken, tmp_path / "broken.onnx")
    with pytest.raises(GateError, match=r"broken\.onnx: the score of its end-to-end form is nan away") as caught:
        write_end_to_end(tmp_path / "broken.onnx", tmp_path / "broken.e2e.onnx")
    assert caught.value.exit_code == 4
    assert [path.name for path in tmp_path.iterdir()] == ["broken.onnx"]


def test_mistakes_are_named_before_any_work(tiny_model: Path, merged: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="replace it with --overwrite"):
        write_end_to_end(tiny_model, merged)
    with pytest.raises(UsageError, match="mkdir -p"):
        write_end_to_end(tiny_model, tmp_path / "nowhere" / "x.e2e.onnx")
    with pytest.raises(UsageError, match="takes whole photos already"):
        write_end_to_end(merged, tmp_path / "twice.onnx")


def test_the_file_that_is_read_is_never_replaced(tiny_model: Path, tmp_path: Path, capsys) -> None:
    source = Path(shutil.copy(tiny_model, tmp_path / "own.onnx"))
    assert defnet("export", str(source), "--end-to-end", "--out", str(source), "--overwrite") == 2
    assert "own.onnx is what this command reads; name another file" in capsys.readouterr().err
    with pytest.raises(UsageError, match="is what this command reads"):
        write_end_to_end(source, source, overwrite=True)
    assert source.read_bytes() == tiny_model.read_bytes()


def test_scoring_with_an_end_to_end_file_says_which_file_to_give(
    merged: Path, tiny_model: Path, make_photo, tmp_path: Path, capsys
) -> None:
    copy, source = Path(shutil.copy(merged, tmp_path / "own.e2e.onnx")), tmp_path / "own.onnx"
    command = ("score", str(make_photo("a.png")), "--model", str(copy))
    assert defnet(*command) == 3
    assert capsys.readouterr().err.strip().endswith("give the file it was made from, or none for the built-in model")
    shutil.copy(tiny_model, source)
    assert defnet(*command) == 3
    assert capsys.readouterr().err.strip().endswith(f"give the file it was made from: {source}")
    with pytest.raises(ArtifactError, match="takes whole photos"):
        Scorer(merged)


def test_whatever_wants_views_refuses_an_end_to_end_file_in_one_line(
    merged: Path, tiny_model: Path, tmp_path: Path, capsys
) -> None:
    for arguments in (
        ("check", merged),
        ("check", tiny_model, "--against", merged),
        ("export", merged, "--triton", tmp_path / "repository"),
        ("export", merged, "--hub-dir", tmp_path / "upload"),
    ):
        assert defnet(*map(str, arguments)) == 3, arguments
        printed = capsys.readouterr().err
        assert "takes whole photos" in printed and printed.count("\n") == 1
    assert not list(tmp_path.iterdir()), "nothing is begun"


def test_what_an_exported_file_cannot_become_is_refused_with_what_to_type(
    tiny_model: Path, tmp_path: Path, capsys
) -> None:
    (tmp_path / "repository" / "defnet").mkdir(parents=True)
    for arguments, said in (
        ((tiny_model, "--fp16", "--end-to-end"), "keeps its precision"),
        ((tiny_model, "--end-to-end", "--count", 3), "hold an exported file against another with: defnet check"),
        ((tiny_model, "--end-to-end", "--max-batch", 4), "add --tensorrt"),
        ((tiny_model, "--end-to-end", "--out", tmp_path), "is called NAME.onnx"),
        ((tiny_model, "--end-to-end", "--out", tmp_path / "x.plan"), "is called NAME.onnx"),
        ((tiny_model, "--end-to-end", "--triton", tmp_path / "repository"), "choose another name"),
        ((tmp_path / "x.plan", "--end-to-end"), "give the .onnx file it was built from"),
    ):
        assert defnet("export", *map(str, arguments)) == 2, arguments
        printed = capsys.readouterr().err
        assert said in printed and printed.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["repository"]
    assert not tiny_model.with_name("tiny.e2e.onnx").exists(), "all places are looked at before the first file"


def test_a_place_that_cannot_be_written_is_one_line(tiny_model: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(onnx, "save", full)
    assert defnet("export", str(tiny_model), "--end-to-end", "--out", str(tmp_path / "x.onnx")) == 3
    assert "No space left on device; no file was written" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_info_names_the_photo_as_its_input(merged: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    main_code = defnet("info", str(merged))
    printed = capsys.readouterr().out
    assert main_code == 0
    assert 'image uint8 ["height", "width", 3]' in printed
    assert "crops uint8" not in printed


def test_export_makes_one_of_a_file_that_was_exported_before(tiny_model: Path, tmp_path: Path, capsys) -> None:
    source = tmp_path / "mine.onnx"
    source.write_bytes(tiny_model.read_bytes())
    assert defnet("export", str(source)) == 2
    assert "--end-to-end" in capsys.readouterr().err
    assert defnet("export", str(source), "--end-to-end") == 0
    assert "agrees with the Python pipeline" in capsys.readouterr().err
    assert Artifact.open(tmp_path / "mine.e2e.onnx").end_to_end


def test_the_built_in_model_goes_into_the_current_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert defnet("export", "defnet-lite", "--end-to-end") == 0
    assert Artifact.open("defnet-lite.e2e.onnx").end_to_end


@pytest.mark.slow
def test_a_checkpoint_becomes_both_files(tmp_path: Path) -> None:
    from defnet_train.checkpoint import save_checkpoint
    from defnet_train.config import ModelConfig, TrainConfig
    from tests.train.conftest import TINY
    from tests.train.conftest import tiny_model as tiny_tower

    checkpoint, out = tmp_path / "best.safetensors", tmp_path / "model.onnx"
    merged = tmp_path / "model.e2e.onnx"
    save_checkpoint(
        checkpoint, tiny_tower(), TrainConfig(model=ModelConfig(tower=TINY, weights="random")), {"calibration": 1.0}
    )
    merged.write_text("in the way")
    assert defnet("export", str(checkpoint), "--out", str(out), "--end-to-end") == 2
    assert not out.exists(), "that takes minutes for a large model, so both names are looked at first"
    merged.unlink()
    assert defnet("export", str(checkpoint), "--out", str(out), "--end-to-end") == 0
    assert not Artifact.open(out).end_to_end
    assert Artifact.open(merged).end_to_end
