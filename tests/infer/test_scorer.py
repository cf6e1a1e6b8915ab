"""The Python form: paths, URLs, bytes, arrays and images, alone or many, give the rows of the files they are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
from PIL import Image, ImageSequence

from defnet_infer import Row, Scorer
from defnet_infer.errors import SessionError, UsageError
from tests.conftest import MakePhoto, picture


@pytest.fixture
def scorer(tiny_model: Path) -> Iterator[Scorer]:
    with Scorer(tiny_model, device="cpu") as scorer:
        yield scorer


def unnamed(rows: Iterator[Row]) -> list[Row]:
    return [replace(row, path="") for row in rows]


def test_a_photo_has_the_same_row_in_whatever_form_it_comes(scorer: Scorer, make_photo: MakePhoto) -> None:
    path = make_photo("a.png", seed=4)
    pixels = picture(320, 260, seed=4)
    fsspec.filesystem("memory").pipe_file("/a.png", path.read_bytes())
    with Image.open(path) as image:
        forms = [path, str(path), path.read_bytes(), pixels, Image.fromarray(pixels), image, "memory://a.png"]
        alone = [unnamed(scorer.score(form)) for form in forms]
        together = unnamed(scorer.score(forms))
    assert alone == [alone[0]] * len(forms)
    assert together == alone[0] * len(forms)
    assert not alone[0][0].failed
    fsspec.filesystem("memory").rm("/a.png")


def test_many_come_in_the_order_given_each_as_often_as_given(scorer: Scorer, make_photo: MakePhoto) -> None:
    a, b = make_photo("a.jpg", seed=1), make_photo("b.jpg", seed=2)
    rows = list(scorer.score([b, a, b, "gone.jpg", a.parent]))
    assert [row.path for row in rows] == [str(b), str(a), str(b), "gone.jpg", str(a), str(b)]
    assert [row.failed for row in rows] == [False, False, False, True, False, False]
    assert rows[0] == rows[2]


def test_what_has_no_path_is_called_after_its_place(scorer: Scorer, make_photo: MakePhoto) -> None:
    path = make_photo("a.png")
    pixels = picture(320, 260)
    given = [pixels, path, Image.fromarray(pixels), path.read_bytes(), b"no photo"]
    rows = list(scorer.score(given))
    assert [row.path for row in rows] == ["array 0", str(path), "image 2", "bytes 3", "bytes 4"]
    assert [row.failed for row in rows] == [False, False, False, False, True]


def test_arrays_may_be_gray_transparent_or_stacked(scorer: Scorer) -> None:
    rgb = picture(300, 250)
    gray = rgb[..., 0]
    opaque = np.dstack([rgb, np.full((250, 300), 255, np.uint8)])
    (of_gray,), (of_three,) = unnamed(scorer.score(gray)), unnamed(scorer.score(np.dstack([gray] * 3)))
    assert of_gray == of_three
    assert unnamed(scorer.score(opaque)) == unnamed(scorer.score(rgb))
    clear = opaque.copy()
    clear[..., 3] = 0
    assert next(scorer.score(clear)).status == "ok: transparency over white"
    stack = np.stack([rgb, rgb[::-1]])
    assert [row.path for row in scorer.score(stack)] == ["array 0", "array 1"]
    # A view that is not contiguous, as slicing makes it, is the photo it shows.
    assert unnamed(scorer.score(stack)) == unnamed(scorer.score(rgb)) + unnamed(scorer.score(rgb[::-1].copy()))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((30, 30, 3), np.float32), "is an array of float32; pixels are uint8"),
        (np.zeros((30, 30, 2), np.uint8), "is an array of 30 x 30 x 2"),
        (np.zeros((0, 30, 3), np.uint8), "is an array of 0 x 30 x 3"),
        (np.zeros(9, np.uint8), "is an array of 9;"),
        (np.zeros((), np.uint8), "is an array of no axes"),
    ],
)
def test_an_array_that_is_no_photo_is_a_row_that_says_why(scorer: Scorer, array: np.ndarray, words: str) -> None:
    (row,) = scorer.score(array)
    assert row.failed
    assert row.error.startswith(words)


def test_images_and_arrays_are_not_changed(scorer: Scorer) -> None:
    pixels = picture(300, 250)
    image = Image.fromarray(pixels).convert("P")
    image.getexif()[0x0112] = 6
    before = image.tobytes(), image.size, image.mode
    rows = list(scorer.score([image, pixels]))
    assert (image.tobytes(), image.size, image.mode) == before
    assert (rows[0].width, rows[0].height) == (250, 300)
    assert np.array_equal(pixels, picture(300, 250))


def test_pictures_are_taken_as_they_are_when_they_are_reached(scorer: Scorer, tmp_path: Path) -> None:
    pages = [Image.fromarray(picture(300, 250, seed=k)) for k in range(5)]
    alone = unnamed(scorer.score(pages))
    assert len({row.score for row in alone}) == 5
    pages[0].save(tmp_path / "pages.tif", save_all=True, append_images=pages[1:])

    def one_buffer() -> Iterator[np.ndarray]:
        buffer = np.empty((250, 300, 3), np.uint8)
        for page in pages:
            buffer[:] = np.asarray(page)
            yield buffer

    def one_picture() -> Iterator[Image.Image]:
        canvas = Image.new("RGB", (300, 250))
        for page in pages:
            canvas.paste(page)
            yield canvas

    def closed_at_once() -> Iterator[Image.Image]:
        for k, page in enumerate(pages):
            page.save(tmp_path / f"{k}.png")
            with Image.open(tmp_path / f"{k}.png") as opened:
                yield opened

    with Image.open(tmp_path / "pages.tif") as frames:
        assert [row.score for row in scorer.score(ImageSequence.Iterator(frames))] == [row.score for row in alone]
    for supply in (one_buffer, one_picture, closed_at_once):
        assert unnamed(scorer.score(supply())) == alone, supply.__name__
    with Image.open(tmp_path / "0.png") as lazy:
        assert unnamed(scorer.score([lazy] * 4)) == [alone[0]] * 4


def test_a_picture_that_cannot_be_read_is_a_row(scorer: Scorer, make_photo: MakePhoto) -> None:
    path = make_photo("cut.png")
    path.write_bytes(path.read_bytes()[:-2000])
    with Image.open(path) as cut:
        broken, whole = scorer.score([cut, picture(300, 250)])
    assert (broken.path, broken.error) == ("image 0", "file is truncated")
    assert not whole.failed


def test_images_obey_the_pixel_limit(tiny_model: Path) -> None:
    with Scorer(tiny_model, device="cpu", max_pixels=100) as scorer:
        assert [row.failed for row in scorer.score([picture(10, 10), picture(10, 11)])] == [False, True]


def test_an_endless_supply_is_taken_as_fast_as_it_is_scored(scorer: Scorer) -> None:
    taken = itertools.count()
    rows = scorer.score(picture(230, 230, seed=next(taken)) for _ in itertools.repeat(None))
    for _ in range(5):
        next(rows)
    rows.close()
    assert next(taken) < 40


def test_one_path_is_what_the_command_makes_of_it(scorer: Scorer, make_photo: MakePhoto) -> None:
    folder = make_photo("in/b.jpg").parent
    make_photo("in/a.jpg")
    assert [row.path for row in scorer.score(folder)] == [str(folder / "a.jpg"), str(folder / "b.jpg")]
    assert [row.path for row in scorer.score(f"{folder}/b*")] == [str(folder / "b.jpg")]
    with pytest.raises(UsageError):
        scorer.score("nowhere")


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ({"device": "cuda:0"}, "device 'cuda:0': choose one of auto, cpu, cuda"),
        ({"engine": "x"}, "engine 'x': choose one of"),
        ({"threads": -1}, "threads = -1 must be at least 0"),
        ({"workers": 0}, "workers = 0 must be at least 1"),
        ({"batch_size": -3}, "batch_size = -3"),
        ({"max_pixels": 0}, "max_pixels = 0"),
        ({"decode_timeout": float("nan")}, "decode_timeout = nan must be at least 0"),
    ],
)
def test_an_argument_that_means_nothing_is_refused_at_once(
    tiny_model: Path, argument: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        Scorer(tiny_model, **argument)


def test_after_closing_a_scorer_says_that_it_is_closed(scorer: Scorer) -> None:
    scorer.close()
    with pytest.raises(SessionError, match="has been closed; make a new Scorer"):
        list(scorer.score(picture(230, 230)))


def test_any_bytes_are_a_photo_and_an_opened_file_is_none(scorer: Scorer, make_photo: MakePhoto) -> None:
    data = make_photo("a.png").read_bytes()
    whole = [unnamed(scorer.score(form)) for form in (data, bytearray(data), memoryview(data), [bytearray(data)])]
    assert whole == [whole[0]] * 4 and not whole[0][0].failed
    with make_photo("b.png").open("rb") as file, pytest.raises(TypeError, match=r"its bytes with file\.read\(\)"):
        scorer.score(file)  # type: ignore[arg-type]
    for nothing in (5, None):
        with pytest.raises(TypeError, match="is no photo; give paths"):
            scorer.score(nothing)  # type: ignore[arg-type]


def test_a_picture_without_pixels_is_a_row(scorer: Scorer) -> None:
    rows = list(scorer.score([picture(230, 230), Image.new("RGB", (0, 5)), picture(230, 230)]))
    assert [row.error for row in rows] == ["", "0 x 5 has no pixels", ""]


def test_a_bad_item_does_not_lose_the_rows_before_it(scorer: Scorer) -> None:
    rows = scorer.score([picture(230, 230), picture(240, 230), 7])  # type: ignore[list-item]
    assert [row.path for row in itertools.islice(rows, 2)] == ["array 0", "array 1"]
    with pytest.raises(TypeError, match="item 2 is a int"):
        next(rows)


def test_what_can_be_no_photo_is_an_error_of_the_caller(scorer: Scorer) -> None:
    with pytest.raises(TypeError, match="item 1 is a int; give paths"):
        list(scorer.score([picture(230, 230), 7]))  # type: ignore[list-item]
