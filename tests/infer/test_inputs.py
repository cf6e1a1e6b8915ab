"""What is scored: patterns, lists, shards and URLs become the same sorted photos as files and folders."""

from __future__ import annotations

import itertools
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from defnet_infer import inputs, name_lists, photos
from defnet_infer.errors import MissingExtraError, PhotoError, UsageError
from defnet_infer.inputs import order_key
from defnet_infer.shards import Shard
from tests.conftest import MakePhoto


@pytest.fixture
def tree(make_photo: MakePhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos in three levels, with a hidden one and a text between them; also the current folder."""
    for name in ("a.jpg", "b.png", "sub/c.jpg", "sub/deep/d.jpg", ".hidden/e.jpg", "sub/[1].jpg"):
        make_photo(name)
    (tmp_path / "sub" / "notes.txt").write_text("words")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def find(*paths: str | Path, listed: list[str] | None = None, shard: str = "") -> list[str]:
    return inputs.find(paths, listed=listed or [], shard=Shard.parse(shard) if shard else None).names


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["a.jpg"]),
        ("?.*", ["a.jpg", "b.png"]),
        ("**/*.jpg", ["a.jpg", "sub/[1].jpg", "sub/c.jpg", "sub/deep/d.jpg"]),
        ("sub/**/d.jpg", ["sub/deep/d.jpg"]),
        ("**/deep/*", ["sub/deep/d.jpg"]),
        ("s*/[cd].jpg", ["sub/c.jpg"]),
        ("sub/*.txt", ["sub/notes.txt"]),
        ("sub/[[]1].jpg", ["sub/[1].jpg"]),
        ("d*/**", None),
        ("s*", ["sub/[1].jpg", "sub/c.jpg", "sub/deep/d.jpg"]),
        (".hid*/*", [".hidden/e.jpg"]),
    ],
)
def test_a_pattern_is_expanded_where_the_shell_did_not(tree: Path, pattern: str, expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(UsageError, match="matches nothing"):
            find(pattern)
    else:
        assert find(pattern) == expected
        assert find(tree / pattern) == [str(tree / name) for name in expected]


def test_two_stars_at_the_end_mean_the_folder(tree: Path) -> None:
    assert find("sub/**") == find("sub")


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tree: Path) -> None:
    (tree / "sub" / "1.jpg").touch()
    assert find("sub/[1].jpg") == ["sub/[1].jpg"]


def test_two_stars_meet_a_folder_once_even_where_links_lead_in_circles(tree: Path) -> None:
    (tree / "sub" / "loop").symlink_to(tree)
    assert find("**/d.jpg") == ["sub/deep/d.jpg"]


def test_a_list_is_a_line_each_or_nul_separated_as_its_bytes_say(tmp_path: Path) -> None:
    file = tmp_path / "list"
    file.write_bytes(b"\xef\xbb\xbfb.jpg\r\n\n a.jpg\nlast")
    assert list(name_lists.read(str(file))) == ["b.jpg", " a.jpg", "last"]
    file.write_bytes(b"line\nbreak.jpg\0caf\xe9.jpg\r\0")
    assert [os.fsencode(name) for name in name_lists.read(str(file))] == [b"line\nbreak.jpg", b"caf\xe9.jpg\r"]
    file.write_bytes(b"line\nbreak.jpg")
    assert list(name_lists.read(str(file), nul=True)) == ["line\nbreak.jpg"]
    with pytest.raises(UsageError, match=r"--files-from .* cannot be read"):
        name_lists.read(str(tmp_path / "gone"))


def test_a_photo_of_a_folder_that_a_list_names_too_is_one_row(tree: Path) -> None:
    alone = find("sub")
    assert len(alone) > 0 and find("sub", listed=[alone[0], str(tree / alone[0])]) == alone


def test_every_name_of_a_list_is_a_row_even_if_nothing_is_there(tree: Path) -> None:
    (tree / "empty").mkdir()
    listed = ["sub/notes.txt", "gone.jpg", "empty", "*.jpg", "sub/deep", "a.jpg", "./a.jpg"]
    assert find("b.png", listed=listed) == [
        *("*.jpg", "a.jpg", "b.png", "empty", "gone.jpg", "sub/deep/d.jpg", "sub/notes.txt")
    ]
    with pytest.raises(PhotoError, match="is a folder without photos"):
        photos.decode("empty")


def test_shards_share_out_every_photo_once_wherever_the_folder_lies(make_photo: MakePhoto, tmp_path: Path) -> None:
    for k in range(40):
        (tmp_path / f"here/{k % 3}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"here/{k % 3}/{k}.jpg").touch()
    parts = [find(tmp_path / "here", shard=f"{k}/3") for k in (1, 2, 3)]
    assert sorted(itertools.chain(*parts), key=os.fsencode) == find(tmp_path / "here")
    assert min(map(len, parts)) > 5
    (tmp_path / "here").rename(tmp_path / "there")
    for k, part in enumerate(parts, start=1):
        moved = find(tmp_path / "there", shard=f"{k}/3")
        assert [name.replace("/there/", "/here/") for name in moved] == part


def test_a_photo_reached_from_two_folders_is_in_one_shard_only(make_photo: MakePhoto, tmp_path: Path) -> None:
    for k in range(20):
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / f"in/{k}.jpg").touch()
    every = [find(tmp_path, tmp_path / "in", shard=f"{k}/4") for k in (1, 2, 3, 4)]
    assert sorted(itertools.chain(*every)) == sorted(find(tmp_path))


def test_the_split_is_the_same_today_as_when_it_was_written_down() -> None:
    # `printf sub/a.jpg | sha256sum` begins with 3d2cde3d8f808146; that modulo 7 is 1.
    assert [k for k in range(1, 8) if Shard(k, 7).holds("sub/a.jpg")] == [2]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "1/3/5", "-1/3"])
def test_a_shard_that_does_not_exist_is_wrong_usage(text: str) -> None:
    with pytest.raises(UsageError, match="from 1/8 to 8/8"):
        Shard.parse(text)


def test_rows_are_in_the_order_in_which_merging_can_sort_them_again(tree: Path) -> None:
    for name in ("=1.jpg", "é.jpg", os.fsdecode(b"\xe9.jpg"), "-x.jpg"):
        (tree / name).touch()
    found = find(*(path.name for path in tree.iterdir() if path.suffix == ".jpg"))
    assert found == ["-x.jpg", "=1.jpg", "a.jpg", "é.jpg", os.fsdecode(b"\xe9.jpg")]
    assert found == sorted(found, key=order_key)
    # What a CSV file shows is sorted the same.
    shown = [("./" + name if name[0] in "-=" else name) for name in found]
    assert shown == sorted(shown, key=order_key)


@pytest.fixture
def memory(make_photo: MakePhoto) -> Iterator[fsspec.AbstractFileSystem]:
    """Objects in fsspec's memory: photos, one without a suffix, a text, a hidden one."""
    system = fsspec.filesystem("memory")
    data = make_photo("a.jpg").read_bytes()
    for name in ("/shelf/b.jpg", "/shelf/sub/a.jpg", "/shelf/no_suffix", "/shelf/.hidden.jpg"):
        system.pipe_file(name, data)
    system.pipe_file("/shelf/notes.txt", b"words")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def test_a_url_is_searched_like_a_folder(memory: fsspec.AbstractFileSystem) -> None:
    found = inputs.find(["memory://shelf"])
    assert found.names == ["memory:///shelf/b.jpg", "memory:///shelf/no_suffix", "memory:///shelf/sub/a.jpg"]
    for source in found:
        assert photos.decode(source.content).pixels.shape == (260, 320, 3)


def test_a_url_may_be_an_object_a_pattern_or_nothing(memory: fsspec.AbstractFileSystem) -> None:
    assert find("memory://shelf/notes.txt", "memory:///shelf/notes.txt") == ["memory:///shelf/notes.txt"]
    assert find("memory://shelf/**/*.jpg", "memory://shelf/n*") == [
        *("memory:///shelf/b.jpg", "memory:///shelf/no_suffix"),
        *("memory:///shelf/notes.txt", "memory:///shelf/sub/a.jpg"),
    ]
    assert find("memory://shelf/.h*") == ["memory:///shelf/.hidden.jpg"]
    for url, words in (
        ("memory://shelf/gone.jpg", "does not exist"),
        ("memory://shelf/*.gif", "matches nothing"),
        ("nonsense://a", "cannot be opened: Protocol not known"),
    ):
        with pytest.raises(UsageError, match=words):
            find(url)


def test_a_server_that_does_not_answer_is_not_an_object_that_is_missing(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def info(path: str, **options: object) -> None:
        raise FileNotFoundError(path) from ConnectionRefusedError(111, "Connect call failed")  # As over HTTP.

    monkeypatch.setattr(memory, "info", info)
    with pytest.raises(UsageError, match=r"gone\.jpg cannot be read: Connect call failed; check the address"):
        find("memory://shelf/gone.jpg")


def test_an_object_that_vanishes_or_is_listed_in_vain_is_a_row(memory: fsspec.AbstractFileSystem) -> None:
    found = inputs.find(["memory://shelf/b.jpg"], listed=["memory://shelf/gone.jpg"])
    memory.rm("/shelf/b.jpg")
    for source in found:
        with pytest.raises(PhotoError, match="cannot be opened: No such file"):
            photos.decode(source.content)


def test_urls_are_shared_out_like_paths(memory: fsspec.AbstractFileSystem, tmp_path: Path) -> None:
    for k in range(12):
        memory.pipe_file(f"/many/{k}.jpg", b"")
        (tmp_path / "many").mkdir(exist_ok=True)
        (tmp_path / f"many/{k}.jpg").touch()
    remote = find("memory://many", shard="1/2")
    assert [Path(name).name for name in remote] == [Path(name).name for name in find(tmp_path / "many", shard="1/2")]
    assert 0 < len(remote) < 12


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("zip://*.jpg::{zip}", ["zip://a.jpg::{zip}"]),
        ("zip://sub::file://{zip}", ["zip://sub/c.jpg::file://{zip}"]),
        ("zip::file://{zip}", ["zip://a.jpg::file://{zip}", "zip://sub/c.jpg::file://{zip}"]),
        ("simplecache::zip://a.jpg::{zip}", ["zip://a.jpg::{zip}"]),
        ("zip://**/c.jpg::memory://two.zip", ["zip://sub/c.jpg::memory://two.zip"]),
        ("simplecache::memory://shelf/*.jpg", ["memory:///shelf/b.jpg"]),
    ],
)
def test_a_chained_url_gives_names_that_can_be_opened(
    memory: fsspec.AbstractFileSystem, tree: Path, typed: str, expected: list[str]
) -> None:
    with zipfile.ZipFile(tree / "two.zip", "w") as archive:
        for name in ("a.jpg", "sub/c.jpg"):
            archive.write(tree / name, name)
    memory.pipe_file("/two.zip", (tree / "two.zip").read_bytes())
    found = inputs.find([typed.format(zip=tree / "two.zip")])
    assert found.names == [name.format(zip=tree / "two.zip") for name in expected]
    for source in found:
        assert photos.decode(source.content).pixels.shape == (260, 320, 3)


def test_a_file_url_is_the_path(tree: Path) -> None:
    assert find(f"file://{tree}/sub") == find(tree / "sub")


def test_without_fsspec_a_url_says_what_to_install_and_paths_need_it_not(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A None entry makes `import fsspec` raise ImportError even where it is installed.
    monkeypatch.setitem(sys.modules, "fsspec", None)
    assert set(find("a.jpg", f"file://{tree}/b.png")) == {"a.jpg", str(tree / "b.png")}
    with pytest.raises(MissingExtraError, match=r"needs fsspec; install it with: pip install 'defnet\[remote\]'"):
        find("memory://shelf")
    with pytest.raises(MissingExtraError):
        photos.decode(next(iter(inputs.find([], listed=["memory://shelf/a.jpg"]))).content)
