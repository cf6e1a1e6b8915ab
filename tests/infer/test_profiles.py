"""Colour management: what a profile changes, against the published matrices, and what it must leave alone."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from defnet_infer import Scorer, photos
from tests.conftest import picture

# Display P3 and sRGB share white point and curve; columns are the XYZ (D50) of red, green, blue in their ICC profiles.
P3_XYZ = np.array([[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]])
SRGB_XYZ = np.array([[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]])
WHITE_D50 = (0.9642, 1.0, 0.8249)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def fixed(*values: float) -> bytes:
    return b"".join(struct.pack(">i", round(value * 65536)) for value in values)


def profile(space: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A version-2 ICC profile of the given tags, by the specification and not by a library."""
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78), **tags}
    tags[b"wtpt"] = b"XYZ " + bytes(4) + fixed(*WHITE_D50)
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    size = 128 + len(table) + len(body)
    header = struct.pack(">I", size) + b"lcms" + b"\x02\x10\0\0" + b"mntr" + space + b"XYZ " + bytes(12) + b"acsp"
    header += bytes(28) + fixed(*WHITE_D50)
    return header.ljust(128, b"\0") + table + body


def curve(function: object) -> bytes:
    values = (function(np.linspace(0, 1, 1024)) * 65535).round().astype(">u2")  # type: ignore[operator]
    return b"curv" + bytes(4) + struct.pack(">I", 1024) + values.tobytes()


def linear(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encoded(values: np.ndarray) -> np.ndarray:
    values = values.clip(0, 1)
    return np.where(values <= 0.0031308, values * 12.92, 1.055 * values ** (1 / 2.4) - 0.055)


def rgb_profile(matrix: np.ndarray) -> bytes:
    tags = {name: b"XYZ " + bytes(4) + fixed(*matrix[:, k]) for k, name in enumerate((b"rXYZ", b"gXYZ", b"bXYZ"))}
    return profile(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve(linear)))


P3 = rgb_profile(P3_XYZ)
SCENE = picture(60, 40, seed=5)


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def p3_to_srgb(pixels: np.ndarray) -> np.ndarray:
    matrix = np.linalg.inv(SRGB_XYZ) @ P3_XYZ
    return encoded(linear(pixels / 255) @ matrix.T) * 255


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_display_p3_becomes_srgb_as_the_published_matrices_say(form: str) -> None:
    photo = photos.decode(saved(Image.fromarray(SCENE), form, icc_profile=P3), color_managed=True)
    assert np.abs(photo.pixels - p3_to_srgb(SCENE)).max() < 2
    assert np.abs(photo.pixels.astype(int) - SCENE).max() > 10
    assert photo.notes == ("colour profile applied",)


def test_a_profile_counts_only_when_asked_for() -> None:
    photo = photos.decode(saved(Image.fromarray(SCENE), icc_profile=P3))
    assert np.array_equal(photo.pixels, SCENE)
    assert photo.notes == ()


@pytest.mark.parametrize("icc", [None, SRGB, rgb_profile(SRGB_XYZ)])
def test_srgb_however_it_is_written_changes_no_pixel(icc: bytes | None) -> None:
    photo = photos.decode(saved(Image.fromarray(SCENE), icc_profile=icc), color_managed=True)
    assert np.array_equal(photo.pixels, SCENE)
    assert photo.notes == ()


@pytest.mark.parametrize("icc", [b"nonsense", P3[:200], P3[:16] + b"LAB " + P3[20:]])
def test_a_damaged_profile_is_ignored_with_a_note(icc: bytes) -> None:
    photo = photos.decode(saved(Image.fromarray(SCENE), "TIFF", icc_profile=icc), color_managed=True)
    assert np.array_equal(photo.pixels, SCENE)
    assert photo.notes == ("colour profile ignored",)


def test_a_profile_for_ink_does_not_fit_a_photo_in_rgb() -> None:
    ink = P3[:16] + b"CMYK" + P3[20:]
    photo = photos.decode(saved(Image.fromarray(SCENE), "TIFF", icc_profile=ink), color_managed=True)
    assert np.array_equal(photo.pixels, SCENE)
    assert photo.notes == ("colour profile ignored",)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_a_gray_profile_is_applied_to_gray_photos(mode: str) -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 4, axis=0)
    icc = profile(b"GRAY", {b"kTRC": curve(lambda x: x**1.8)})
    data = saved(Image.fromarray(ramp).convert(mode), "PNG", icc_profile=icc)
    photo = photos.decode(data, color_managed=True)
    assert np.abs(photo.pixels[..., 1] - encoded((ramp / 255) ** 1.8) * 255).max() < 2
    assert np.array_equal(photo.pixels[..., 0], photo.pixels[..., 2])


def test_transparency_stays_white_and_orientation_upright() -> None:
    image = Image.fromarray(SCENE).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 30, 40))
    exif = Image.Exif()
    exif[0x0112] = 3
    photo = photos.decode(saved(image, icc_profile=P3, exif=exif), color_managed=True)
    assert (photo.pixels[:, 30:] == 255).all()
    assert np.abs(photo.pixels[:, :30] - p3_to_srgb(SCENE)[::-1, ::-1][:, :30]).max() < 2
    assert photo.notes == ("transparency over white", "colour profile applied")


def test_the_option_reaches_the_score_and_is_part_of_what_makes_a_row(tiny_model: Path) -> None:
    data = saved(Image.fromarray(picture(300, 300, seed=5)), icc_profile=P3)
    rows = []
    for managed in (False, True):
        with Scorer(tiny_model, device="cpu", color_managed=managed) as scorer:
            rows += list(scorer.score(data))
            assert scorer.rule_options["color_managed"] is managed
    assert rows[0].score != rows[1].score
    assert rows[1].status == "ok: colour profile applied"
