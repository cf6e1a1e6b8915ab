"""`defnet bench`: a report whose parts add up, on photos it makes itself or on those it is given."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from defnet_infer.bench import STAGES
from defnet_infer.cli import main
from tests.conftest import MakePhoto


def bench(capfd: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *map(str, arguments)])
    return int(ended.value.code or 0), capfd.readouterr().out


def test_without_photos_it_makes_some_and_the_shares_add_up(
    tiny_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code, out = bench(capfd, "--model", tiny_model, "--count", 4, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["photos"] == 4
    assert report["failed"] == 0
    assert sum(report["shares"].values()) == pytest.approx(1)
    assert tuple(report["shares"]) == STAGES
    assert all(milliseconds > 0 for milliseconds in report["milliseconds"].values())
    assert report["limiting_stage"] in STAGES
    assert report["device_crops_per_second"] > 0
    assert report["fast_decode"] is None


def test_large_jpegs_show_what_fast_decoding_would_change(
    tiny_model: Path, make_photo: MakePhoto, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = make_photo("large/a.jpg", 2400, 1800, quality=90).parent
    (folder / "b.jpg").touch()
    code, out = bench(capfd, folder, "--model", tiny_model, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["failed"] == 1
    assert report["fast_decode"]["photos"] == 1
    assert report["fast_decode"]["largest_drift"] < 0.05
    assert "--fast-decode: decodes 1 of the timed photos" in bench(capfd, folder, "--model", tiny_model)[1]


def test_photos_that_cannot_be_read_cannot_be_timed(
    tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.jpg").touch()
    assert bench(capfd, tmp_path / "a.jpg", "--model", tiny_model)[0] == 2


def test_fast_decoding_keeps_the_reported_size_and_is_noted_in_the_row(
    tiny_model: Path, make_photo: MakePhoto, tmp_path: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photo = make_photo("a.jpg", 3201, 1802, exif=exif)
    out = tmp_path / "r.jsonl"
    with pytest.raises(SystemExit):
        main(["score", str(photo), "--model", str(tiny_model), "-o", str(out), "--fast-decode", "-q"])
    row = json.loads(out.read_text())
    assert (row["width"], row["height"]) == (1802, 3201)
    assert row["status"] == "ok: decoded at 1/2"
