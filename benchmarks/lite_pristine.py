"""More undistorted photos for the recipe of the built-in model, out of two Debian packages, as PNG files.

    apt-get download endless-sky-high-dpi gcompris-qt-data
    for package in *.deb; do dpkg-deb -x $package unpacked; done
    python benchmarks/lite_pristine.py unpacked FOLDER/pristine

The game Endless Sky shows a landscape for every planet; its high-DPI pictures are photos of 1440 x 720. Those that its
copyright file puts into the public domain are taken (it names morguefile, Unsplash, NASA and USGS as their sources),
less those that show space or were recoloured. They are reduced to three quarters, which takes away what JPEG left in
them.

GCompris shows children animals and buildings, photos 1024 or 1920 pixels wide. The README files in its resources name
the author and source of each. Of those that are CC0 or in the public domain, the ones without visible distortion are
taken, known by their bytes, and reduced to 614 or 960 pixels.

The shipped model was trained with the 162 of endless-sky-high-dpi 0.9.8 and the 44 of gcompris-qt-data 3.1.
"""

from __future__ import annotations

import hashlib
import io
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

LANDSCAPES = "usr/share/games/endless-sky/plugins/endless-sky-high-dpi/images/land"
SIZE = (1080, 540)
OTHER_LICENCE = re.compile(r"-(sfiera|striker|harro|iridium|spfld)$|^(bwerner|myrabella|dmottl|mfield)\d|^lava5$")
UNNATURAL = re.compile(r"^(earthrise|nasa8|nasa9|space\d|loc\d|hills[34]|sky9|valley7|water6)$")

RESOURCES = "usr/share/gcompris-qt/rcc"
CHOSEN = {
    "822be2d0": "crab", "c39106ed": "giraffe", "b637658d": "kingfisher", "1c8a4014": "pika", "ec755f7b": "red_panda",
    "30a07d3c": "chicken", "db359136": "cow", "5e9d9544": "dog", "87879a96": "horse", "4f3d27d1": "pig",
    "3bac61d5": "sheep", "11f3b2c5": "bison", "f3ececf0": "chameleon", "840cf54b": "crocodile", "fc36683c": "dragon",
    "68014ed7": "giraffes", "780aceaa": "hedgehog", "22704727": "jaguar", "683964b6": "kangaroo", "77b243c2": "koala",
    "4fccf91d": "lemur", "2252a671": "moose", "62d80a80": "arles", "a96693bf": "chambord", "4e414fc3": "chenonceau",
    "b9de4b33": "carcassonne", "cf115ede": "eiffel", "fded6367": "palais_des_papes", "b9e560a9": "pont_du_gard",
    "e9642c03": "rocamadour", "b552994f": "berlin", "15ec5fcb": "neuschwanstein", "91be8dd1": "schwerin",
    "dd181836": "trier", "c90cdcbf": "worms", "4edb7eed": "hawa_mahal", "a84a26be": "mysore", "dea912cb": "qutub_minar",
    "42c8376f": "fort_sumter", "d9fec7d6": "mount_rushmore", "0d38a0c2": "colosseum", "546e2483": "great_wall",
    "e04e163c": "machu_picchu", "cc782ccd": "petra",
}  # fmt: skip
"""Start of the SHA-256 of a WebP file in GCompris's resources, and what it shows."""
WEBP = re.compile(rb"RIFF(.{4})WEBP", re.DOTALL)


def landscapes(unpacked: Path) -> Iterator[tuple[str, Image.Image]]:
    """Name and reduced photo of every landscape that is taken."""
    for source in sorted((unpacked / LANDSCAPES).glob("*@2x.jpg")):
        name = source.name.removesuffix("@2x.jpg")
        if not (OTHER_LICENCE.search(name) or UNNATURAL.search(name)):
            with Image.open(source) as photo:
                yield f"land_{name}", photo.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS)


def animals_and_buildings(unpacked: Path) -> Iterator[tuple[str, Image.Image]]:
    """Name and reduced photo of every animal and building that is taken.

    Qt's resource files hold pictures as they are: each begins with a RIFF header of type WEBP, which tells its length.
    """
    for resource in sorted((unpacked / RESOURCES).glob("*.rcc")):
        content = resource.read_bytes()
        for header in WEBP.finditer(content):
            picture = content[header.start() : header.start() + 8 + int.from_bytes(header[1], "little")]
            name = CHOSEN.get(hashlib.sha256(picture).hexdigest()[:8])
            if name:
                with Image.open(io.BytesIO(picture)) as photo:
                    factor = 0.5 if photo.width == 1920 else 0.6
                    size = (round(photo.width * factor), round(photo.height * factor))
                    yield f"gcompris_{name}", photo.convert("RGB").resize(size, Image.Resampling.LANCZOS)


def main(unpacked: Path, out: Path) -> None:
    """Write the photos and say how many there are."""
    found = {}
    for package, photos in (("endless-sky-high-dpi", landscapes), ("gcompris-qt-data", animals_and_buildings)):
        found[package] = dict(photos(unpacked))
        if not found[package]:
            sys.exit(f"no photos of {package} in {unpacked}; unpack the package there: dpkg-deb -x PACKAGE {unpacked}")
    if missing := {f"gcompris_{name}" for name in CHOSEN.values()} - set(found["gcompris-qt-data"]):
        sys.exit(f"{', '.join(sorted(missing))}: not in this version of gcompris-qt-data; take 3.1")
    out.mkdir(parents=True, exist_ok=True)
    for package, photos_of in found.items():
        for name, photo in photos_of.items():
            photo.save(out / f"{name}.png")
        print(f"{len(photos_of)} photos of {package} in {out}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python benchmarks/lite_pristine.py UNPACKED_PACKAGES FOLDER/pristine")
    main(Path(sys.argv[1]), Path(sys.argv[2]))
