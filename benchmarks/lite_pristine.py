"""More undistorted photos for the recipe of the built-in model: landscapes from a Debian package, as PNG files.

    apt-get download endless-sky-high-dpi && dpkg-deb -x endless-sky-high-dpi_*.deb unpacked
    python benchmarks/lite_pristine.py unpacked FOLDER/pristine

The game Endless Sky shows a landscape for every planet; its high-DPI pictures are photos of 1440 x 720. Those that its
copyright file puts into the public domain are taken (it names morguefile, Unsplash, NASA and USGS as their sources),
less those that show space or were recoloured. They are reduced to three quarters, which takes away what JPEG left in
them. The shipped model was trained with the 162 of version 0.9.8.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from PIL import Image

LANDSCAPES = "usr/share/games/endless-sky/plugins/endless-sky-high-dpi/images/land"
SIZE = (1080, 540)
OTHER_LICENCE = re.compile(r"-(sfiera|striker|harro|iridium|spfld)$|^(bwerner|myrabella|dmottl|mfield)\d|^lava5$")
UNNATURAL = re.compile(r"^(earthrise|nasa8|nasa9|space\d|loc\d|hills[34]|sky9|valley7|water6)$")


def main(unpacked: Path, out: Path) -> None:
    """Write the photos and say how many there are."""
    sources = sorted((unpacked / LANDSCAPES).glob("*@2x.jpg"))
    if not sources:
        sys.exit(f"no landscapes in {unpacked / LANDSCAPES}; unpack the package there: dpkg-deb -x PACKAGE {unpacked}")
    out.mkdir(parents=True, exist_ok=True)
    count = 0
    for source in sources:
        name = source.name.removesuffix("@2x.jpg")
        if OTHER_LICENCE.search(name) or UNNATURAL.search(name):
            continue
        with Image.open(source) as photo:
            photo.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS).save(out / f"land_{name}.png")
        count += 1
    print(f"{count} photos in {out}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python benchmarks/lite_pristine.py UNPACKED_PACKAGE FOLDER/pristine")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
