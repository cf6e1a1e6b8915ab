"""Finding photos: which files count, in which order, and what is said when there are none."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from defnet_infer import inputs, photos
from defnet_infer.errors import PhotoError, UsageError
from defnet_infer.photo_search import looks_like_photo
from tests.conftest import MakePhoto


def find(paths: Iterable[str | Path]) -> list[str]:
    return inputs.find(paths).names


def names(paths: list[str], root: Path) -> list[str]:
    return [os.path.relpath(path, root) for path in paths]


def test_a_folder_is_searched_to_the_bottom_in_the_order_of_bytes(make_photo: MakePhoto, tmp_path: Path) -> None:
    for name in ("b.jpg", "a/z.png", "a/Ä.jpg", "B.jpg", "a/deep/er/x.webp"):
        make_photo(name)
    assert names(find([tmp_path]), tmp_path) == ["B.jpg", "a/deep/er/x.webp", "a/z.png", "a/Ä.jpg", "b.jpg"]


def test_the_order_of_the_arguments_does_not_matter(make_photo: MakePhoto) -> None:
    paths = [make_photo(f"{name}.jpg") for name in "cab"]
    assert find(paths) == find(paths[::-1]) == sorted(map(str, paths))


def test_a_photo_given_twice_is_scored_once(
    make_photo: MakePhoto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = make_photo("a.jpg")
    monkeypatch.chdir(tmp_path)
    assert len(find([photo, tmp_path, "a.jpg", "./a.jpg", "."])) == 1


def test_content_or_suffix_makes_a_photo_and_nothing_else_does(make_photo: MakePhoto, tmp_path: Path) -> None:
    make_photo("photo.png").rename(tmp_path / "no_suffix")
    (tmp_path / "empty.JPG").touch()
    (tmp_path / "results.csv").write_text("path,score\n")
    (tmp_path / "BMW notes.txt").write_text("BMW is not a bitmap header, however long the text")
    (tmp_path / ".hidden.jpg").touch()
    (tmp_path / ".cache").mkdir()
    make_photo(".cache/thumb.jpg")
    assert names(find([tmp_path]), tmp_path) == ["empty.JPG", "no_suffix"]


def test_a_file_that_is_named_is_kept_whatever_it_holds(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not a photo")
    assert find([text]) == [str(text)]


def test_links_that_lead_in_circles_end(make_photo: MakePhoto, tmp_path: Path) -> None:
    make_photo("real/a.jpg")
    (tmp_path / "real" / "loop").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "real")
    assert names(find([tmp_path]), tmp_path) == ["real/a.jpg"]


def test_a_linked_folder_outside_is_followed_and_a_broken_link_is_not_lost(
    make_photo: MakePhoto, tmp_path: Path
) -> None:
    make_photo("outside/a.jpg")
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path / "outside")
    (inside / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert names(find([inside]), inside) == ["gone.jpg", "link/a.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX links")
def test_a_link_that_leads_nowhere_in_any_way_is_no_end_of_the_search(make_photo: MakePhoto, tmp_path: Path) -> None:
    make_photo("good.jpg")
    (tmp_path / "a.jpg").symlink_to("b")
    (tmp_path / "b").symlink_to("a.jpg")
    (tmp_path / "long.jpg").symlink_to("x" * 300)
    (tmp_path / "long").symlink_to("x" * 300)
    assert names(find([tmp_path]), tmp_path) == ["a.jpg", "good.jpg", "long.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX path lengths")
def test_a_folder_that_cannot_be_listed_is_a_row_and_hides_nothing_else(make_photo: MakePhoto, tmp_path: Path) -> None:
    make_photo("a.jpg")
    # Deeper than a path may be long: not even root can list the last of these by its path.
    segment = "d" * 250
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(17):
        os.mkdir(segment, dir_fd=folder)
        inner = os.open(segment, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inner
    os.close(folder)
    photo, unlistable = find([tmp_path])
    assert Path(photo).name == "a.jpg"
    assert len(unlistable) > 4000
    with pytest.raises(PhotoError, match="cannot be opened: File name too long"):
        photos.decode(unlistable)


def test_two_names_of_one_file_are_two_photos_and_one_name_reached_twice_is_one(
    make_photo: MakePhoto, tmp_path: Path
) -> None:
    photo = make_photo("in/a.jpg")
    os.link(photo, photo.with_name("hard.jpg"))
    photo.with_name("soft.jpg").symlink_to(photo)
    assert names(find([tmp_path / "in", photo, tmp_path]), tmp_path / "in") == ["a.jpg", "hard.jpg", "soft.jpg"]


def test_a_name_with_a_line_break_is_found(make_photo: MakePhoto, tmp_path: Path) -> None:
    make_photo("line\nbreak.jpg")
    assert names(find([tmp_path]), tmp_path) == ["line\nbreak.jpg"]


@pytest.mark.skipif(os.name == "nt", reason="file names are bytes only on POSIX")
def test_a_name_that_is_not_utf8_is_found(make_photo: MakePhoto, tmp_path: Path) -> None:
    photo = make_photo("a.jpg")
    strange = os.fsencode(tmp_path) + b"/caf\xe9.jpg"
    photo.rename(os.fsdecode(strange))
    assert [os.fsencode(path) for path in find([tmp_path])] == [strange]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere does not exist; .*defnet score"):
        find([tmp_path / "nowhere"])


def test_an_empty_folder_and_one_without_photos_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is an empty folder"):
        find([tmp_path])
    (tmp_path / "notes.txt").write_text("words")
    with pytest.raises(UsageError, match="is a folder without photos"):
        find([tmp_path])


@pytest.mark.parametrize(
    ("head", "photo"),
    [
        (b"\xff\xd8\xff\xe0", True),
        (b"RIFF\0\0\0\0WEBPVP8 ", True),
        (b"RIFF\0\0\0\0WAVEfmt ", False),
        (b"\0\0\0\x18ftypheic\0\0\0\0", True),
        (b"\0\0\0\x18ftypmp42\0\0\0\0", False),
        (b"BM" + bytes(12) + (40).to_bytes(4, "little"), True),
        (b"", False),
    ],
)
def test_the_first_bytes_tell_photos_from_their_cousins(head: bytes, photo: bool) -> None:
    assert looks_like_photo(head) is photo
