"""The photos that the built-in model's recipe distorts beside CQ100: which are taken, and what becomes of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "lite_pristine.py"
LANDSCAPES = "usr/share/games/endless-sky/plugins/endless-sky-high-dpi/images/land"


def collect(unpacked: Path, out: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, unpacked, out], capture_output=True, text=True, check=False)


def test_natural_landscapes_in_the_public_domain_are_taken_and_reduced(tmp_path: Path) -> None:
    folder = tmp_path / LANDSCAPES
    folder.mkdir(parents=True)
    names = ["beach1", "mountain17-harro", "bwerner0", "lava5", "lava6", "space3", "station3", "hills3", "nasa8"]
    for shade, name in enumerate(names):
        Image.new("RGB", (1440, 720), (20 * shade, 90, 120)).save(folder / f"{name}@2x.jpg", quality=95)
    done = collect(tmp_path, tmp_path / "pristine")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"3 photos in {tmp_path / 'pristine'}\n"
    photos = sorted((tmp_path / "pristine").iterdir())
    assert [photo.name for photo in photos] == ["land_beach1.png", "land_lava6.png", "land_station3.png"]
    with Image.open(photos[1]) as photo:
        assert photo.size == (1080, 540)
        np.testing.assert_allclose(np.asarray(photo).mean((0, 1)), [80, 90, 120], atol=2)


def test_a_folder_without_the_package_is_told_how_to_unpack_it(tmp_path: Path) -> None:
    done = collect(tmp_path, tmp_path / "pristine")
    assert done.returncode == 1
    assert "dpkg-deb -x" in done.stderr
    assert not (tmp_path / "pristine").exists()
