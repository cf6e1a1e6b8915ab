"""The photos that the built-in model's recipe distorts beside CQ100: which are taken, and what becomes of them."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import lite_pristine


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    """Both packages, with nine landscapes and three pictures of animals."""
    folder = tmp_path / lite_pristine.LANDSCAPES
    folder.mkdir(parents=True)
    names = ["beach1", "mountain17-harro", "bwerner0", "lava5", "lava6", "space3", "station3", "hills3", "nasa8"]
    for shade, name in enumerate(names):
        Image.new("RGB", (1440, 720), (20 * shade, 90, 120)).save(folder / f"{name}@2x.jpg", quality=95)
    resources = tmp_path / lite_pristine.RESOURCES
    resources.mkdir(parents=True)
    (resources / "animals.rcc").write_bytes(
        b"qres RIFF\x00" + webp(1024, 10) + b"README" + webp(1920, 200) + webp(9, 0)
    )
    return tmp_path


def webp(width: int, red: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (width, 680), (red, 90, 120)).save(stream, "WEBP", quality=90)
    return stream.getvalue()


def choose(monkeypatch: pytest.MonkeyPatch, **pictures: bytes) -> None:
    chosen = {hashlib.sha256(content).hexdigest()[:8]: name for name, content in pictures.items()}
    monkeypatch.setattr(lite_pristine, "CHOSEN", chosen)


def test_natural_photos_in_the_public_domain_are_taken_and_reduced(
    unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    choose(monkeypatch, newt=webp(1024, 10), owl=webp(1920, 200))
    out = tmp_path / "pristine"
    lite_pristine.main(unpacked, out)
    assert capsys.readouterr().out == (
        f"3 photos of endless-sky-high-dpi in {out}\n2 photos of gcompris-qt-data in {out}\n"
    )
    found = {}
    for path in out.iterdir():
        with Image.open(path) as photo:
            found[path.name] = (photo.size, np.asarray(photo).mean((0, 1)))
    assert {name: size for name, (size, _) in found.items()} == {
        "land_beach1.png": (1080, 540),
        "land_lava6.png": (1080, 540),
        "land_station3.png": (1080, 540),
        "gcompris_newt.png": (614, 408),
        "gcompris_owl.png": (960, 340),
    }
    np.testing.assert_allclose(found["land_lava6.png"][1], [80, 90, 120], atol=2)
    np.testing.assert_allclose(found["gcompris_owl.png"][1], [200, 90, 120], atol=3)


def test_every_chosen_picture_has_a_name_of_its_own() -> None:
    names = list(lite_pristine.CHOSEN.values())
    assert len(set(names)) == len(names) == 44


def test_a_folder_without_a_package_is_told_how_to_unpack_it(
    unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "pristine"
    with pytest.raises(SystemExit, match=r"no photos of endless-sky-high-dpi .*dpkg-deb -x"):
        lite_pristine.main(tmp_path / "nothing", out)
    choose(monkeypatch, absent=webp(10, 10))
    with pytest.raises(SystemExit, match=r"no photos of gcompris-qt-data .*dpkg-deb -x"):
        lite_pristine.main(unpacked, out)
    assert not out.exists()


def test_another_version_of_the_package_is_told(
    unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    choose(monkeypatch, newt=webp(1024, 10), absent=webp(10, 10))
    with pytest.raises(SystemExit, match="gcompris_absent: not in this version of gcompris-qt-data"):
        lite_pristine.main(unpacked, tmp_path / "pristine")
    assert not (tmp_path / "pristine").exists()
