"""Decoding: upright 8-bit RGB from whatever a photo comes in, or one short reason."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from defnet_infer import photos
from defnet_infer.errors import PhotoError
from tests.conftest import picture

UPRIGHT = picture(60, 40, seed=3)


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


# How a camera stores the upright scene for each EXIF orientation, by NumPy and not by Pillow.
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT, 1),
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_exif_orientation_gives_the_same_upright_pixels(form: str, orientation: int) -> None:
    options = {"lossless": True} if form == "WEBP" else {}
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    data = saved(stored, form, exif=exif(orientation), **options)
    assert np.array_equal(photos.decode(data).pixels, UPRIGHT)


def test_an_orientation_that_does_not_exist_is_ignored() -> None:
    data = saved(Image.fromarray(UPRIGHT), "PNG", exif=exif(0))
    assert np.array_equal(photos.decode(data).pixels, UPRIGHT)


def test_a_damaged_exif_block_does_not_cost_the_photo() -> None:
    data = saved(Image.fromarray(UPRIGHT), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert photos.decode(data).pixels.shape == (40, 60, 3)


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_and_not_clipped_to_white(form: str) -> None:
    gray = UPRIGHT[..., 0]
    photo = photos.decode(saved(Image.fromarray(gray.astype(np.uint16) * 257), form))
    assert np.array_equal(photo.pixels, np.repeat(gray[..., None], 3, axis=2))
    assert photo.notes == ("16-bit",)


def test_sixteen_bit_levels_between_two_eight_bit_levels_go_to_the_nearer_one() -> None:
    values = np.array([[0, 128, 129, 385, 386, 65535]], np.uint16)
    assert photos.decode(saved(Image.fromarray(values), "PNG")).pixels[0, :, 0].tolist() == [0, 0, 1, 1, 2, 255]


@pytest.mark.parametrize("channels", [3, 4])
def test_sixteen_bits_in_colour_are_scaled_and_noted_too(channels: int) -> None:
    pixels = np.dstack([UPRIGHT, np.full((40, 60), 255, np.uint8)])[..., :channels]
    lines = np.pad((pixels.astype(np.uint16) * 257).byteswap().view(np.uint8).reshape(40, -1), ((0, 0), (1, 0)))

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60, 40, 16, 2 if channels == 3 else 6, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines.tobytes())) + chunk(b"IEND", b"")
    photo = photos.decode(b"\x89PNG\r\n\x1a\n" + body)
    assert np.array_equal(photo.pixels, UPRIGHT)
    assert photo.notes == ("16-bit",)


def test_float_pixels_from_0_to_1_are_scaled_and_others_refused() -> None:
    ramp = np.linspace(0, 1, 6, dtype=np.float32)[None]
    photo = photos.decode(saved(Image.fromarray(ramp), "TIFF"))
    assert photo.pixels[0, :, 0].tolist() == [0, 51, 102, 153, 204, 255]
    with pytest.raises(PhotoError, match="which value is white"):
        photos.decode(saved(Image.fromarray(ramp * 900), "TIFF"))


def test_32_bit_integers_are_scaled_by_their_depth() -> None:
    ramp = (np.arange(6, dtype=np.int32) * 51 << 23)[None]
    levels = photos.decode(saved(Image.fromarray(ramp), "TIFF")).pixels[0, :, 0].astype(int)
    assert (np.diff(levels) > 20).all()
    assert levels.max() < 256


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(mode: str) -> None:
    image = Image.fromarray(UPRIGHT).convert(mode)
    alpha = np.full((40, 60), 255, np.uint8)
    alpha[:, :30] = 0
    image.putalpha(Image.fromarray(alpha))
    photo = photos.decode(saved(image, "PNG"))
    opaque = np.asarray(Image.fromarray(UPRIGHT).convert(mode).convert("RGB"))
    assert (photo.pixels[:, :30] == 255).all()
    assert np.array_equal(photo.pixels[:, 30:], opaque[:, 30:])
    assert photo.notes == ("transparency over white",)


def test_an_opaque_alpha_channel_changes_nothing_and_is_not_mentioned() -> None:
    photo = photos.decode(saved(Image.fromarray(UPRIGHT).convert("RGBA"), "PNG"))
    assert np.array_equal(photo.pixels, UPRIGHT)
    assert photo.notes == ()


def test_a_transparent_palette_entry_becomes_white() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([10, 20, 30, 200, 0, 0])
    image.putpixel((0, 0), 0)
    photo = photos.decode(saved(image, "PNG", transparency=0))
    assert photo.pixels[0, 0].tolist() == [255, 255, 255]
    assert photo.pixels[4, 4].tolist() == [200, 0, 0]


def test_a_transparent_gray_of_16_bits_becomes_white_and_is_mentioned() -> None:
    ramp = (np.arange(64, dtype=np.uint16) * 1000)[None].repeat(8, axis=0)
    photo = photos.decode(saved(Image.fromarray(ramp), "PNG", transparency=5000))
    assert (photo.pixels[:, 5] == 255).all() and photo.pixels[0, 6, 0] < 30
    assert photo.notes == ("16-bit", "transparency over white")
    elsewhere = photos.decode(saved(Image.fromarray(ramp), "PNG", transparency=5001))
    assert elsewhere.notes == ("16-bit",)


def test_a_deep_heif_photo_says_so() -> None:
    deep = np.stack([np.linspace(0, 65535, 64, dtype=np.uint16)[None].repeat(64, axis=0)] * 3, axis=-1)
    out = io.BytesIO()
    pillow_heif.encode("RGB;16", (64, 64), deep.tobytes(), out)
    assert photos.decode(out.getvalue()).notes == ("10-bit",)
    assert photos.decode(saved(Image.fromarray(UPRIGHT), "HEIF")).notes == ()


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_gray_bilevel_and_palette_photos_equal_their_rgb_form(mode: str) -> None:
    image = Image.fromarray(UPRIGHT).convert(mode)
    photo = photos.decode(saved(image, "PNG"))
    assert np.array_equal(photo.pixels, np.asarray(image.convert("RGB")))


def test_a_cmyk_jpeg_shows_the_colours_of_the_scene_and_not_their_negative() -> None:
    photo = photos.decode(saved(Image.fromarray(UPRIGHT).convert("CMYK"), "JPEG", quality=98))
    assert np.abs(photo.pixels.astype(int) - UPRIGHT).mean() < 6


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(form: str) -> None:
    first, second = Image.new("RGB", (20, 20), (250, 0, 0)), Image.new("RGB", (20, 20), (0, 0, 250))
    photo = photos.decode(saved(first, form, save_all=True, append_images=[second]))
    assert np.abs(photo.pixels.astype(int) - [250, 0, 0]).max() <= 8
    assert photo.notes == ("first frame",)


def test_the_preview_in_a_camera_s_mpo_file_is_not_taken_for_a_frame() -> None:
    image = Image.fromarray(UPRIGHT)
    photo = photos.decode(saved(image, "MPO", save_all=True, append_images=[image.resize((10, 10))], quality=95))
    assert photo.pixels.shape == (40, 60, 3)
    assert photo.notes == ()


@pytest.mark.parametrize("form", ["HEIF", "AVIF"])
def test_phone_formats_are_read(form: str) -> None:
    if form == "HEIF":
        import pillow_heif

        stream = io.BytesIO()
        pillow_heif.from_pillow(Image.fromarray(UPRIGHT)).save(stream, quality=95)
        data = stream.getvalue()
    else:
        data = saved(Image.fromarray(UPRIGHT), "AVIF", quality=95)
    photo = photos.decode(data)
    assert photo.pixels.shape == UPRIGHT.shape
    assert np.abs(photo.pixels.astype(int) - UPRIGHT).mean() < 6


def test_content_decides_and_not_the_suffix(tmp_path: Path) -> None:
    path = tmp_path / "really_png.jpg"
    path.write_bytes(saved(Image.fromarray(UPRIGHT), "PNG"))
    assert np.array_equal(photos.decode(path).pixels, UPRIGHT)


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(PhotoError, match=r"^file is empty$"):
        photos.decode(tmp_path / "empty.jpg")


@pytest.mark.parametrize("keep", [0.5, 0.99])
@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_photo_that_is_cut_off_is_an_error_and_not_a_guess(form: str, keep: float, options: dict[str, bool]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), form, **options)
    with pytest.raises(PhotoError, match=r"truncated|broken"):
        photos.decode(data[: int(len(data) * keep)])


@pytest.mark.parametrize(
    "data", [b"\xff\xd8\xff", b"plain text\n" * 9, bytes(1024), b"%PDF-1.7", b"%!PS-Adobe-3.0 EPSF"]
)
def test_what_is_no_photo_gives_one_short_line(data: bytes) -> None:
    with pytest.raises(PhotoError) as caught:
        photos.decode(data)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 160


def test_a_missing_file_and_a_folder_are_errors_of_that_photo(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="No such file"):
        photos.decode(tmp_path / "gone.jpg")
    with pytest.raises(PhotoError, match="folder"):
        photos.decode(tmp_path)


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body)) + b"\0\0\0\0IDAT"


def test_a_bomb_is_refused_from_its_header_with_the_limit_named() -> None:
    with pytest.raises(PhotoError, match="100000 x 100000 is more than the limit of 250000000 pixels"):
        photos.decode(png_header(100_000, 100_000))


def test_the_pixel_limit_is_exact_and_adjustable() -> None:
    data = saved(Image.fromarray(UPRIGHT), "PNG")
    assert photos.decode(data, max_pixels=2400).pixels.shape == (40, 60, 3)
    with pytest.raises(PhotoError, match="60 x 40"):
        photos.decode(data, max_pixels=2399)


def test_pillow_s_own_limit_neither_warns_nor_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert photos.decode(saved(Image.fromarray(UPRIGHT), "PNG")).pixels.shape == (40, 60, 3)


def test_damage_in_a_tiff_reaches_neither_the_terminal_nor_the_warnings(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(saved(Image.fromarray(UPRIGHT), "TIFF", compression="tiff_lzw"))
    data[200:400] = b"\xff" * 200
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with contextlib.suppress(PhotoError):
            photos.decode(bytes(data))
    assert capfd.readouterr() == ("", "")
    assert seen == []


def test_many_threads_decode_the_same_pixels() -> None:
    data = saved(Image.fromarray(picture(300, 200)), "JPEG")
    expected = photos.decode(data).pixels
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(photos.decode, [data] * 40))
    assert all(np.array_equal(photo.pixels, expected) for photo in results)
