"""`defnet check`: against another file and against what is saved in the file, without PyTorch."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from defnet_infer import reference_photos, saved_reference
from defnet_infer.checking import Way, chosen_photos, score, without_folders
from defnet_infer.cli import main
from defnet_infer.contract import Contract
from defnet_infer.saved_reference import KEY, SavedReference
from defnet_infer.sessions.onnxruntime import OnnxRuntimeSession
from tests.conftest import MakePhoto, tiny_metadata, write_tiny_model

INDICES = (0, 1, 4)
RULE = Contract(encoder="means", prompt_preset="paper").preprocess
CHECKPOINT = {"defnet.checkpoint_sha256": "a" * 64, "defnet.precision": "float32"}


def defnet(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.fixture(scope="module")
def reference(tiny_model: Path) -> SavedReference:
    """What the tiny model says about three pictures."""
    pictures = [reference_photos.make(index) for index in INDICES]
    session = OnnxRuntimeSession(tiny_model, device="cpu")
    way = Way(name="tiny", run=session.run)
    sources = [saved_reference.Source(str(k), picture) for k, picture in enumerate(pictures)]
    return SavedReference(
        made_by="a test",
        indices=INDICES,
        pixels_sha256=reference_photos.sha256(pictures),
        views_sha256=saved_reference.views_sha256(INDICES, RULE),
        outputs=score(sources, RULE, (way,)).outputs[0],
    )


@pytest.fixture
def photos(make_photo: MakePhoto, tmp_path: Path) -> Path:
    for k in range(4):
        make_photo(f"photos/{k}.png", 240, 230, seed=k)
    return tmp_path / "photos"


@pytest.fixture
def write(tmp_path: Path, reference: SavedReference) -> Callable[..., Path]:
    """Write a tiny model with a saved reference, changed as wanted."""

    def make(name: str, changes: dict[str, Callable[[np.ndarray], np.ndarray]] | None = None, **metadata: str) -> Path:
        own = tiny_metadata() | CHECKPOINT | {KEY: reference.to_json()} | metadata
        path = write_tiny_model(tmp_path / name, {key: value for key, value in own.items() if value})
        if changes:
            proto = onnx.load(path)
            for tensor in proto.graph.initializer:
                if tensor.name in changes:
                    value = changes[tensor.name](numpy_helper.to_array(tensor).copy())
                    tensor.CopyFrom(numpy_helper.from_array(np.asarray(value, np.float32), tensor.name))
            onnx.save(proto, path)
        return path

    return make


def test_a_file_agrees_with_what_is_saved_in_it_and_the_report_says_all(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    file = write("good.onnx")
    assert defnet("check", file, "--device", "cpu", "--out", report) == 0
    printed = capsys.readouterr()
    for figure in ("max difference", "p99", "mean", "SRCC", "same label", "relative error", "coverage", "batch"):
        assert figure in printed.out
    assert f"{file}: 11 bounds of float32 hold, 3 photos" in printed.err
    body = json.loads(report.read_text())
    assert body["passed"] is True and body["photos"] == 3
    assert body["worst_photo"].startswith("generated ")
    assert next(c["value"] for c in body["checks"] if c["what"] == "alone, in a batch, in another order: max") < 1e-5


@pytest.mark.parametrize(
    ("tensor", "change", "failed"),
    [
        ("position", lambda w: w * (1 + 1e-3), "score: max difference"),
        ("distortion_weight", lambda w: w[:, ::-1], "distortion: same label"),
        ("small", lambda w: w * 1.03, "aleatoric: relative error, p99 3 %"),
        ("half", lambda w: w * 1.05, "interval width: relative error, p99 5 %"),
    ],
)
def test_a_nudged_weight_or_another_order_of_labels_fails_with_exit_4(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str], tensor: str, change: object, failed: str
) -> None:
    assert defnet("check", write("bad.onnx", {tensor: change}), "--device", "cpu") == 4
    printed = capsys.readouterr()
    assert "fails" in printed.out
    assert printed.err.count("\n") == 1
    assert failed in printed.err and "worst photo generated" in printed.err


def test_two_files_of_one_model_are_compared_on_the_photos_given(
    write: Callable[..., Path], photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    one, two = write("one.onnx"), write("two.onnx", {"position": lambda w: w * 1.01})
    assert defnet("check", one, "--against", one, "--photos", photos, "--device", "cpu") == 0
    assert "1 photos could not be read and are left out" in capsys.readouterr().err
    assert defnet("check", two, "--against", one, "--photos", photos, "--device", "cpu", "-q") == 4
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "score: max difference" in printed.err and ".png" in printed.err


def test_against_a_half_precision_file_its_bounds_are_held(write: Callable[..., Path], photos: Path) -> None:
    half = write("half.onnx", {"position": lambda w: w * 1.0005}, **{"defnet.precision": "float16"})
    full = write("full.onnx")
    for pair in ((half, full), (full, half)):
        assert defnet("check", pair[0], "--against", pair[1], "--photos", photos, "--device", "cpu", "-q") == 0


def test_files_that_were_never_meant_to_agree_are_refused(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    file = write("file.onnx")
    other = write("other.onnx", **{"defnet.checkpoint_sha256": "b" * 64})
    assert defnet("check", file, "--against", other) == 2
    assert f"{other} is another model" in capsys.readouterr().err
    contract = json.loads(tiny_metadata()["defnet.contract"])
    contract["preprocess"]["stride"] = 48
    strided = write("strided.onnx", **{"defnet.contract": json.dumps(contract)})
    assert defnet("check", file, "--against", strided) == 2
    assert "prepare photos differently (stride 32 and 48)" in capsys.readouterr().err


def test_mistakes_get_one_line_that_says_what_to_type(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, empty = write("file.onnx"), tmp_path / "empty"
    empty.mkdir()
    bare = write("bare.onnx", **{KEY: ""})
    later = write("later.onnx", **{KEY: json.dumps({"pictures": 99})})
    forged = write("forged.onnx", **{KEY: json.dumps(json.loads(_reference_text(file)) | {"pixels_sha256": "0"})})
    unknown = write("unknown.onnx", **{"defnet.precision": "int3"})
    for code, arguments, said in (
        (2, (file, "--photos", empty), "add --checkpoint FILE or --against FILE"),
        (2, (file, "--against", file, "--checkpoint", file), "give one"),
        (2, (file, "--against", file, "--photos", empty), "is an empty folder; name a folder that holds photos"),
        (2, (file, "--against", file, "--photos", empty / "no"), "no does not exist; name a folder that holds photos"),
        (2, (file, "--out", empty), "is a folder; name a file in it"),
        (2, (file, "--out", tmp_path / "nowhere" / "r.json"), "mkdir -p"),
        (3, (file, "--checkpoint", tmp_path / "no.safetensors"), "not found"),
        (3, (bare,), "has no reference outputs saved in it; give --checkpoint or --against"),
        (3, (later,), "of pictures of version 99"),
        (3, (forged,), "are not those that the reference outputs are of"),
        (3, (unknown,), "known are float32, float16, int8"),
    ):
        assert defnet("check", *arguments) == code, said
        printed = capsys.readouterr().err
        assert said in printed and printed.count("\n") == 1


def test_a_report_replaces_nothing_that_is_not_a_report(
    write: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, report = write("file.onnx"), tmp_path / "report.json"
    model = file.read_bytes()
    assert defnet("check", file, "--out", report, "-q") == 0
    for out, options, said in (
        (report, (), "exists; replace it with --overwrite"),
        (file, ("--overwrite",), "is what this command reads"),
        (tmp_path / "a file" / "r.json", (), "mkdir -p '"),
    ):
        assert defnet("check", file, "--out", out, *options) == 2
        assert said in capsys.readouterr().err
    assert file.read_bytes() == model
    assert defnet("check", file, "--out", report, "--overwrite", "-q") == 0


def _reference_text(file: Path) -> str:
    return next(entry.value for entry in onnx.load(file).metadata_props if entry.key == KEY)


def test_another_resize_on_this_machine_is_noted(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str], reference: SavedReference
) -> None:
    text = json.dumps(json.loads(reference.to_json()) | {"views_sha256": "0"})
    assert defnet("check", write("file.onnx", **{KEY: text}), "--device", "cpu") == 0
    assert "resizing gives other pixels here" in capsys.readouterr().err


def test_a_large_folder_is_sampled_from_end_to_end(make_photo: MakePhoto, tmp_path: Path) -> None:
    for k in range(10):
        make_photo(f"many/{k}.png", 8, 8)
    assert [Path(source.name).stem for source in chosen_photos(tmp_path / "many", 4)] == ["0", "3", "6", "9"]
    assert len(chosen_photos(tmp_path / "many", 9)) == 9, "as many as asked for, if there are"
    assert [Path(source.name).stem for source in chosen_photos(tmp_path / "many", 1)] == ["0"]
    assert len(chosen_photos(tmp_path / "many", 10)) == len(chosen_photos(tmp_path / "many")) == 10


def test_names_in_a_certificate_begin_at_the_folder_and_tell_nothing_of_the_machine(
    make_photo: MakePhoto, tmp_path: Path
) -> None:
    make_photo("many/inside/a.png", 8, 8)
    make_photo("many/b.png", 8, 8)
    photos = without_folders(chosen_photos(tmp_path / "many"), tmp_path / "many")
    assert [source.name for source in photos] == ["many/b.png", "many/inside/a.png"]
    assert [Path(str(source.content)) for source in photos] == [tmp_path / source.name for source in photos]


def test_a_file_behind_an_address_is_checked_like_one_on_the_disk(
    write: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    snapshot = tmp_path / "cache" / "models--owner--tiny" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    shutil.copyfile(write("file.onnx"), snapshot / "model.onnx")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    address = f"hf://owner/tiny@{'0' * 40}"
    assert defnet("check", address, "--device", "cpu") == 0
    assert capsys.readouterr().err == f"{address}: 11 bounds of float32 hold, 3 photos\n"
    assert defnet("check", tmp_path / "file.onnx", "--against", address, "--device", "cpu", "-q") == 0


def test_info_of_a_file_whose_reference_is_of_another_version_tells_the_rest(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    for text, said in (('{"pictures": 0}', "of version 0"), ('{"pictures": 1}', "cannot be read"), ("{", "cannot be")):
        assert defnet("info", write("file.onnx", **{KEY: text})) == 0
        printed = capsys.readouterr().out
        assert said in printed and "training_data" in printed


def test_info_shows_that_a_reference_is_there(
    write: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    assert defnet("info", write("file.onnx")) == 0
    assert "a test on 3 generated pictures; compare with: defnet check" in capsys.readouterr().out
