"""Photos in tar archives: which members count, what a damaged archive costs, and that memory stays flat."""

from __future__ import annotations

import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import fsspec
import numpy as np
import pytest

from defnet_infer import inputs, photos
from defnet_infer.archives import streamed_photos
from defnet_infer.errors import PhotoError, UsageError
from defnet_infer.sources import Source
from tests.conftest import MakePhoto


def add(archive: tarfile.TarFile, name: str, data: bytes = b"", **attributes: object) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in attributes.items():
        setattr(member, key, value)
    archive.addfile(member, io.BytesIO(data))


@pytest.fixture
def shard(make_photo: MakePhoto, tmp_path: Path) -> Path:
    """A WebDataset shard: three photos of different seeds among texts, a link, a folder and hidden members."""
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        add(archive, "b/", type=tarfile.DIRTYPE)
        for k, name in enumerate(("b/2.jpg", "1.jpg", "no_suffix")):
            add(archive, name, make_photo(f"{k}.jpg", seed=k).read_bytes(), mtime=k + 1)
            add(archive, f"{name}.json", b"{}")
        add(archive, "._1.jpg", b"from macOS")
        add(archive, "empty.jpg")
        add(archive, "link.jpg", type=tarfile.SYMTYPE, linkname="1.jpg")
        add(archive, "BM.txt", b"BM is no bitmap, however long the text behind it may be")
    return tmp_path / "shard.tar"


NAMES = ["b/2.jpg", "1.jpg", "no_suffix", "empty.jpg", "link.jpg"]


def names(archive: Path, sources: list[Source]) -> list[str]:
    return [source.name.removeprefix(f"{archive}::") for source in sources]


def reason(source: Source) -> str:
    with pytest.raises(PhotoError) as caught:
        photos.decode(source.content)
    return str(caught.value)


def test_an_archive_without_photos_is_a_row_that_says_so(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "notes.tar", "w") as archive:
        add(archive, "notes.txt", b"nothing to see")
    (source,) = inputs.find([tmp_path / "notes.tar"])
    assert source.name == str(tmp_path / "notes.tar")
    assert reason(source) == "is an archive without photos"


def test_members_that_are_photos_come_in_the_order_of_the_archive_and_nothing_is_unpacked(
    shard: Path, tmp_path: Path
) -> None:
    before = set(tmp_path.rglob("*"))
    found = inputs.find([shard])
    sources = list(found)
    assert found.total is None
    assert names(shard, sources) == NAMES
    for k, source in enumerate(sources[:3]):
        assert np.array_equal(photos.decode(source.content).pixels, photos.decode(tmp_path / f"{k}.jpg").pixels)
        assert source.stamp() == ((tmp_path / f"{k}.jpg").stat().st_size, (k + 1) * 10**9)
    assert reason(sources[3]) == "file is empty"
    assert reason(sources[4]) == "is a link to 1.jpg inside the archive"
    assert set(tmp_path.rglob("*")) == before


def test_a_remote_archive_gives_what_the_local_one_gives(shard: Path) -> None:
    fsspec.filesystem("memory").pipe_file("/shard.tar", shard.read_bytes())
    remote = list(inputs.find(["memory://shard.tar"]))
    assert [source.name for source in remote] == [f"memory:///shard.tar::{name}" for name in NAMES]
    for mine, other in zip(inputs.find([shard]), remote[:3], strict=False):
        assert np.array_equal(photos.decode(mine.content).pixels, photos.decode(other.content).pixels)
    fsspec.filesystem("memory").rm("/shard.tar")


@pytest.mark.parametrize("stream", [False, True])
def test_an_archive_that_is_cut_off_anywhere_says_so_and_keeps_what_is_before(shard: Path, stream: bool) -> None:
    data = shard.read_bytes()
    with tarfile.open(shard) as archive:
        second = archive.getmember("1.jpg")
    cuts = {
        "inside a photo": second.offset_data + second.size // 2,
        "between two members": second.offset,
        "inside a header": second.offset + 100,
    }
    for where, cut in cuts.items():
        shard.write_bytes(data[:cut])
        whole = streamed_photos(str(shard), lambda: shard.open("rb")) if stream else inputs.find([shard])
        first, *others, last = whole
        assert photos.decode(first.content).pixels.shape == (260, 320, 3)
        assert last.name == str(shard), where
        assert "cut off or damaged after" in reason(last)
        assert [reason(other) for other in others] == ["file is truncated: the archive ends inside it"] * (
            where == "inside a photo"
        )


def test_a_damaged_header_in_the_middle_does_not_end_the_archive_in_silence(shard: Path) -> None:
    data = bytearray(shard.read_bytes())
    with tarfile.open(shard) as archive:
        start = archive.getmember("1.jpg").offset
    data[start + 148 : start + 156] = b"99999999"  # The checksum.
    shard.write_bytes(data)
    *_, last = inputs.find([shard])
    assert "damaged after b/2.jpg.json; photos behind it are lost" in reason(last)


def test_a_member_that_claims_more_bytes_than_there_are_is_refused_before_they_are_reserved(tmp_path: Path) -> None:
    member = tarfile.TarInfo("huge.jpg")
    member.size = 2**60
    (tmp_path / "x.tar").write_bytes(member.tobuf() + bytes(2048))
    assert reason(next(iter(inputs.find([tmp_path / "x.tar"])))) == "file is truncated: the archive ends inside it"


def test_what_only_is_called_tar_is_one_row(make_photo: MakePhoto, tmp_path: Path) -> None:
    photo = make_photo("photo.png").rename(tmp_path / "photo.tar")
    (tmp_path / "text.tar").write_text("words " * 200)
    (tmp_path / "empty.tar").touch()
    (tmp_path / "gz.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    sources = {Path(source.name).name: source for source in inputs.find([str(tmp_path / "*.tar")], listed=["no.tar"])}
    assert photos.decode(sources[photo.name].content).pixels.shape == (260, 320, 3)
    assert reason(sources["text.tar"]).startswith("is not a tar archive")
    assert reason(sources["empty.tar"]).startswith("is not a tar archive")
    assert reason(sources["gz.tar"]).startswith("is a compressed archive")
    assert "No such file" in reason(sources["no.tar"])


def test_archives_inside_folders_are_named_not_opened(shard: Path, tmp_path: Path) -> None:
    (tmp_path / "only").mkdir()
    shard = shard.rename(tmp_path / "only" / "shard.tar")
    with pytest.raises(
        UsageError, match=r"holds tar archives but no photos; name them: defnet score '.*/only/\*\.tar'"
    ):
        inputs.find([tmp_path / "only"])
    assert inputs.find([str(tmp_path / "only" / "*.tar")]).names == [str(shard)]


def test_the_members_of_an_archive_stay_together_in_order_and_in_one_shard(shard: Path, make_photo: MakePhoto) -> None:
    beside = [make_photo("shard.t.jpg"), make_photo("shard.tar.jpg")]
    found = [source.name for source in inputs.find([shard, *beside])]
    assert found == [str(beside[0]), *(f"{shard}::{name}" for name in NAMES), str(beside[1])]
    assert found == sorted(found, key=inputs.order_key)
    parts = [list(inputs.find([shard], shard=inputs.Shard(k, 2))) for k in (1, 2)]
    assert sorted(map(len, parts)) == [0, len(NAMES)]


@pytest.mark.skipif(os.name == "nt", reason="file names are bytes only on POSIX")
def test_a_member_may_have_any_name(tmp_path: Path) -> None:
    strange = os.fsdecode(b"caf\xe9\nbreak.jpg")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add(archive, strange)
        add(archive, "deep/" * 60 + "a.jpg")
    assert names(tmp_path / "x.tar", list(inputs.find([tmp_path / "x.tar"]))) == [strange, "deep/" * 60 + "a.jpg"]


def test_memory_does_not_grow_with_the_number_of_members(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for k in range(4000):
            add(archive, f"{k}.jpg", b"x")
    sources = iter(inputs.find([tmp_path / "x.tar"]))
    for _ in range(100):
        next(sources)
    tracemalloc.start()
    count = sum(1 for _ in sources)
    grown = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert count == 3900
    assert grown < 200_000
