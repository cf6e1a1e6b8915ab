"""Joining shards: the bytes of one unsharded run, or one line that says why not."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pytest

from defnet_infer import journal, run_record
from defnet_infer.cli import main
from defnet_infer.errors import UsageError
from defnet_infer.merge import merge
from tests.conftest import MakePhoto


def defnet(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def folder(make_photo: MakePhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos with names that are hard to sort, a broken one, and a tar archive between them; the current folder."""
    for k, name in enumerate(("=b.jpg", "-c.jpg", "a.jpg", "a,b.jpg", 'q"q.jpg', "é.jpg", "line\nbreak.jpg")):
        make_photo(f"photos/{name}", seed=k)
    for k in range(8):
        make_photo(f"photos/{k}.jpg", seed=20 + k)
    strange = os.fsdecode(b"caf\xe9.jpg")
    make_photo("photos/x.jpg").rename(tmp_path / "photos" / strange)
    (tmp_path / "photos" / "empty.jpg").touch()
    with tarfile.open(tmp_path / "photos" / "b.tar", "w") as archive:
        for name in ("z.jpg", "y.jpg"):
            data = make_photo(f"{name}").read_bytes()
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    monkeypatch.chdir(tmp_path / "photos")
    return tmp_path


def score(folder: Path, model: Path, out: str, *options: object) -> Path:
    names = sorted(path.name for path in Path().iterdir())
    listing = folder / "listing"
    listing.write_bytes(b"\0".join(map(os.fsencode, names)))
    defnet("score", "--files-from", listing, "--model", model, "-o", folder / out, "-q", *options)
    return folder / out


@pytest.mark.parametrize(("suffix", "count"), [("csv", 1), ("csv", 3), ("csv", 40), ("jsonl", 3), ("parquet", 3)])
def test_merged_shards_are_the_bytes_of_one_run(folder: Path, tiny_model: Path, suffix: str, count: int) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    whole = score(folder, tiny_model, f"whole.{suffix}")
    parts = [score(folder, tiny_model, f"{k}.{suffix}", "--shard", f"{k}/{count}") for k in range(1, count + 1)]
    if count == 40:
        assert any(not part.exists() for part in parts)
    out = folder / f"out.{suffix}"
    assert defnet("merge", out, *parts[::-1]) == 0
    assert out.read_bytes() == whole.read_bytes()
    record, of_whole = (json.loads(run_record.path_beside(path).read_text()) for path in (out, whole))
    for key in ("model", "contract", "options", "counts", "shard", "finished", "device"):
        assert record[key] == of_whole[key]
    assert {part["shard"] for part in record["parts"]} == {f"{k}/{count}" for k in range(1, count + 1)}
    assert len(list(folder.glob("*.part*"))) == 0


def test_shards_may_be_typed_with_zeros_in_front(folder: Path, tiny_model: Path) -> None:
    whole = score(folder, tiny_model, "whole.csv")
    parts = [score(folder, tiny_model, f"{k}.csv", "--shard", f"{k:02}/2") for k in (1, 2)]
    merge(folder / "out.csv", parts)
    assert (folder / "out.csv").read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_part_that_holds_no_photo_any_more_replaces_its_old_rows_by_nothing(
    folder: Path, tiny_model: Path, suffix: str
) -> None:
    pytest.importorskip("pyarrow")
    out = score(folder, tiny_model, f"r.{suffix}")
    assert out.exists()
    empty = next(
        k for k in range(1, 1000) if not score(folder, tiny_model, f"{k}.{suffix}", "--shard", f"{k}/999").exists()
    )
    if suffix == "parquet":  # Left by a run that was killed.
        (folder / "r.parquet.rows.jsonl").write_text('{"path": "a.jpg"}\n')
    score(folder, tiny_model, out.name, "--shard", f"{empty}/999", "--overwrite")
    assert [path.name for path in folder.glob("r.*")] == [f"r.{suffix}.run.json"]
    assert json.loads(run_record.path_beside(out).read_text())["counts"]["photos"] == 0


@pytest.fixture
def parts(folder: Path, tiny_model: Path) -> list[Path]:
    return [score(folder, tiny_model, f"{k}.csv", "--shard", f"{k}/2") for k in (1, 2)]


def refusal(out: Path, parts: list[Path]) -> str:
    before = {path: path.read_bytes() for path in out.parent.glob("*.csv")}
    with pytest.raises(UsageError) as caught:
        merge(out, parts)
    assert {path: path.read_bytes() for path in out.parent.glob("*.csv")} == before
    return str(caught.value)


def change_record(part: Path, **values: object) -> None:
    beside = run_record.path_beside(part)
    beside.write_text(json.dumps(json.loads(beside.read_text()) | values))


def test_a_shard_that_is_missing_is_named(folder: Path, parts: list[Path]) -> None:
    assert "shard 2/2 is missing" in refusal(folder / "out.csv", parts[:1])


def test_the_same_part_twice_is_refused(folder: Path, parts: list[Path]) -> None:
    assert "more than once" in refusal(folder / "out.csv", [parts[0], *parts])
    for file in (parts[0], run_record.path_beside(parts[0])):
        shutil.copy(file, file.with_name(file.name.replace("1.csv", "copy.csv")))
    assert "is both in" in refusal(folder / "out.csv", [folder / "copy.csv", *parts])


def test_parts_of_different_models_or_options_or_splits_are_refused(folder: Path, parts: list[Path]) -> None:
    out = folder / "out.csv"
    record = json.loads(run_record.path_beside(parts[0]).read_text())
    change_record(parts[0], model={"file": "other name", "sha256": record["model"]["sha256"]})
    merge(folder / "fine.csv", parts)
    for key, value in (
        ("model", {"file": "tiny.onnx", "sha256": "0" * 64}),
        ("contract", "0" * 64),
        ("options", record["options"] | {"color_managed": True}),
    ):
        change_record(parts[0], **{key: value})
        assert f"were made with another {key}" in refusal(out, parts)
        change_record(parts[0], **{key: record[key]})
    change_record(parts[0], shard="1/3")
    assert "different splits: 1/3, 2/2" in refusal(out, parts)


def test_parts_that_are_not_whole_are_refused(folder: Path, parts: list[Path]) -> None:
    out = folder / "out.csv"
    lines = parts[0].read_bytes().splitlines(keepends=True)
    parts[0].write_bytes(b"".join(lines[:-1]))
    assert "rows and its record says" in refusal(out, parts)
    parts[0].write_bytes(lines[0] + b"".join(lines[:0:-1]))
    assert "out of order" in refusal(out, parts)
    parts[0].write_bytes(b"path,score\na.jpg,3\n")
    assert "has other columns" in refusal(out, parts)
    change_record(parts[0], finished=False)
    assert "finish it first" in refusal(out, parts)
    run_record.path_beside(parts[0]).unlink()
    journal.path_beside(parts[0]).unlink()
    assert "there is no 1.csv.run.json beside it" in refusal(out, parts)
    parts[0].unlink()
    assert "does not exist" in refusal(out, parts)


@pytest.mark.parametrize(
    "left", [("k.csv", "k.csv.resume"), ("k.parquet.rows.jsonl", "k.parquet.resume"), ("k.parquet.rows.jsonl",)]
)
def test_a_part_of_a_killed_run_is_to_be_finished_first(tmp_path: Path, left: tuple[str, ...]) -> None:
    for name in left:
        (tmp_path / name).touch()
    part = tmp_path / left[0].removesuffix(".rows.jsonl")
    with pytest.raises(UsageError, match=r"k\.\w+ is of an interrupted run; finish it first, .* --resume$"):
        merge(tmp_path / f"all{part.suffix}", [part])


def test_an_output_that_exists_is_a_part_or_of_another_format_is_refused(folder: Path, parts: list[Path]) -> None:
    out = folder / "out.csv"
    out.write_text("old")
    assert "--overwrite" in refusal(out, parts)
    merge(out, parts, overwrite=True)
    with pytest.raises(UsageError, match="both a part and the result"):
        merge(parts[0], parts, overwrite=True)
    assert "different formats" in refusal(folder / "out.jsonl", parts)


def test_an_output_in_a_folder_that_is_not_there_is_named_as_it_was_typed(folder: Path, parts: list[Path]) -> None:
    with pytest.raises(UsageError, match=r"^no folder/all\.csv: the folder no folder .*mkdir -p 'no folder'"):
        merge(Path("no folder/all.csv"), parts)


def test_parts_that_were_not_shards_are_joined_too(folder: Path, tiny_model: Path) -> None:
    parts = []
    for k, pattern in enumerate(("[0-3].jpg", "[4-7].jpg")):
        parts.append(folder / f"{k}.csv")
        defnet("score", pattern, "--model", tiny_model, "-o", parts[-1], "-q")
    whole = folder / "whole.csv"
    defnet("score", "[0-7].jpg", "--model", tiny_model, "-o", whole, "-q")
    shutil.copy(parts[0], folder / "kept.csv")
    merge(folder / "out.csv", parts[::-1])
    assert (folder / "out.csv").read_bytes() == whole.read_bytes()
