"""What the page holds, checked without a browser: data, thumbnails, links, and what must not run."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from PIL import Image

from defnet_infer import run_record, views
from defnet_infer.cli import main
from defnet_infer.contract import Preprocess
from defnet_infer.errors import UsageError
from defnet_infer.report.command import make_report
from defnet_infer.report.make import rule_of, write_report
from defnet_infer.report.payload import of_rows
from defnet_infer.results import COLUMNS, Row
from tests.report.conftest import WriteResults, scored_row


def data_of(page: Path) -> tuple[dict, list[str]]:
    """The two data elements of a page."""
    text = page.read_text()
    found = [re.search(rf'id="{name}">(.*?)</script>', text, re.S) for name in ("payload", "thumbnails")]
    return tuple(json.loads(match[1]) for match in found if match)


@pytest.fixture
def results(write_results: WriteResults, folder_of_photos: list[Path]) -> Path:
    rows = [scored_row(str(path), k) for k, path in enumerate(folder_of_photos)]
    return write_results([*rows, Row(path="broken.jpg", error="file is truncated")])


def test_numbers_in_the_page_are_those_of_the_rows(results: Path, tmp_path: Path) -> None:
    report = write_report(results, tmp_path / "page.html", thumbnails="none")
    columns = data_of(report.path)[0]["columns"]
    row = scored_row("", 4)
    assert columns["score"][4] == row.score
    assert columns["deviation"][4] == pytest.approx(math.sqrt(row.aleatoric + row.epistemic), abs=1e-4)
    assert columns["cropScores"][4] == list(row.crop_scores)
    assert columns["score"][-1] is None
    assert (report.photos, report.failed, report.absent) == (13, 1, 1)


def test_crops_are_outlined_where_scoring_cut_them(results: Path, tmp_path: Path) -> None:
    write_report(results, tmp_path / "page.html", thumbnails="none")
    boxes = data_of(tmp_path / "page.html")[0]["crops"]["400x300"]
    expected = views.crop_positions(400, 300, Preprocess())
    assert [(round(x * 400), round(y * 300)) for x, y, _, _ in boxes] == expected
    assert {(round(w * 400), round(h * 300)) for _, _, w, h in boxes} == {(224, 224)}


def test_thumbnails_are_small_upright_and_in_order(write_results: WriteResults, make_photo, tmp_path: Path) -> None:
    turned = make_photo("turned.jpg", 800, 400, exif=_turned_exif())
    flat = make_photo("flat.png", 5000, 3)
    path = write_results([scored_row(str(turned), 1), scored_row("gone.jpg", 2), scored_row(str(flat), 3)])
    report = write_report(path, tmp_path / "page.html")
    pictures = data_of(report.path)[1]
    sizes = [picture_size(picture) if picture else None for picture in pictures]
    assert sizes == [(120, 240), None, (240, 1)]
    assert report.absent == 1


def _turned_exif() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


def picture_size(address: str) -> tuple[int, int]:
    with Image.open(io.BytesIO(base64.b64decode(address.removeprefix("data:image/webp;base64,")))) as image:
        return image.size


def test_thumbnails_can_lie_beside_the_page(results: Path, tmp_path: Path) -> None:
    write_report(results, tmp_path / "a page.html", thumbnails="folder")
    pictures = data_of(tmp_path / "a page.html")[1]
    assert pictures[0] == "./a%20page_thumbnails/0.webp"
    assert pictures[-1] == ""
    for picture in pictures[:-1]:
        assert (tmp_path / os.fsdecode(unquote_to_bytes(picture))).is_file()


def test_a_folder_for_thumbnails_that_is_there_is_not_emptied(results: Path, tmp_path: Path) -> None:
    own = tmp_path / "page_thumbnails"
    own.mkdir()
    for name in ("notes.txt", "999.webp", "999.webp.bak"):
        (own / name).write_text("mine")
    out = tmp_path / "page.html"
    with pytest.raises(UsageError, match=r"page_thumbnails exists; replace its thumbnails with --overwrite, or"):
        write_report(results, out, thumbnails="folder")
    assert len(list(own.iterdir())) == 3 and not out.exists()
    write_report(results, out)  # Without the folder the page has nothing to do with it.
    write_report(results, out, thumbnails="folder", overwrite=True)
    assert {"notes.txt", "999.webp.bak", "0.webp"} <= {path.name for path in own.iterdir()}
    assert not (own / "999.webp").exists(), "of a page before, as far as its name tells"
    (tmp_path / "other_thumbnails").write_text("a file")
    with pytest.raises(UsageError, match="is in the way"):
        write_report(results, tmp_path / "other.html", thumbnails="folder", overwrite=True)


@pytest.mark.parametrize(
    "record",
    [
        {"model": 3, "versions": "x", "counts": [], "finished": []},
        {"preprocess": "x"},
        {"preprocess": {**asdict(Preprocess()), "stride": 0}},
        {"preprocess": {**asdict(Preprocess()), "stride": "x"}},
    ],
)
def test_a_record_edited_by_hand_tells_less_and_stops_nothing(
    results: Path, tmp_path: Path, record: dict[str, Any]
) -> None:
    run_record.path_beside(results).write_text(json.dumps(record))
    write_report(results, tmp_path / "page.html", thumbnails="none")
    assert rule_of(record) is None
    assert data_of(tmp_path / "page.html")[0]["about"] == []


@pytest.mark.parametrize(
    "name", [b"plain.png", b"a b#c?d%20.png", b"caf\xe9.png", b"javascript:alert(1).png", b"'\"<&>.png"]
)
def test_a_link_leads_to_the_photo_whatever_its_name(write_results, make_photo, tmp_path: Path, name: bytes) -> None:
    photo = tmp_path / os.fsdecode(name)
    make_photo("one.png").rename(photo)
    report = write_report(write_results([scored_row(str(photo), 1)]), tmp_path / "page.html", thumbnails="none")
    link = data_of(report.path)[0]["columns"]["link"][0]
    assert link.startswith("./")
    assert (tmp_path / os.fsdecode(unquote_to_bytes(link))).samefile(photo)


def test_nothing_in_a_row_can_leave_its_data_element(write_results: WriteResults, tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script><!--<img src=x onerror=alert(1)>&amp;"
    rows = [scored_row(hostile, 1, status=f"ok: {hostile}"), Row(path="x", error=hostile)]
    text = write_report(write_results(rows), tmp_path / "page.html").path.read_text()
    assert "<img" not in text
    assert "alert(1)" in text
    assert text.count("<script>") == 3, "d3, Plot and our own; nothing else"
    assert data_of(tmp_path / "page.html")[0]["columns"]["path"][0] == hostile


def test_the_page_fetches_nothing(results: Path, tmp_path: Path) -> None:
    text = write_report(results, tmp_path / "page.html").path.read_text()
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy and "default-src 'none'" in policy[1]
    assert "http" not in policy[1] and "unsafe-eval" not in policy[1]
    assert "unsafe-inline" not in policy[1].split("script-src")[1]
    body = re.sub(r"<script.*?</script>", "", text, flags=re.S)
    assert not re.search(r"https?://", body)


def test_columns_that_a_file_lacks_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("path,score\na.jpg,2.5\nb.jpg,3\n")
    write_report(tmp_path / "few.csv", tmp_path / "page.html")
    payload, _ = data_of(tmp_path / "page.html")
    assert payload["columns"]["score"] == [2.5, 3.0]
    assert "deviation" not in payload["columns"]
    assert "distortion" not in payload["columns"]
    assert payload["crops"] == {}


def test_photos_are_found_from_the_root_that_is_given(write_results, make_photo, tmp_path: Path) -> None:
    make_photo("library/a.png")
    path = write_results([scored_row("a.png", 1)])
    assert write_report(path, tmp_path / "one.html").absent == 1
    assert write_report(path, tmp_path / "two.html", root=tmp_path / "library").absent == 0
    with pytest.raises(UsageError, match="is not a folder"):
        write_report(path, tmp_path / "three.html", root=tmp_path / "nowhere")


def test_photos_in_archives_and_behind_urls_are_not_looked_for_with_root(
    write_results, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = ("photos/b.tar::a.jpg", "b.TAR::c/d.jpg", "https://host/a.jpg", "zip://a.png::/shelf.zip")
    path = write_results([scored_row(name, k) for k, name in enumerate(names)])
    make_report(path, tmp_path / "one.html", "embed", None, overwrite=False, quiet=False)
    assert capfd.readouterr().err.endswith(" MB; 4 in archives or behind URLs have no picture\n")
    path = write_results([scored_row(name, k) for k, name in enumerate((*names, "gone.jpg"))])
    make_report(path, tmp_path / "two.html", "embed", None, overwrite=False, quiet=False)
    assert "; 1 are not where the results say, see --root; 4 in archives" in capfd.readouterr().err


def test_an_existing_page_is_replaced_only_on_request(results: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("mine")
    with pytest.raises(UsageError, match="--overwrite"):
        write_report(results, page)
    assert page.read_text() == "mine"
    write_report(results, page, overwrite=True, thumbnails="none")
    assert page.stat().st_size > 100_000


def test_ten_thousand_rows_without_thumbnails_stay_under_five_megabytes(
    write_results: WriteResults, tmp_path: Path
) -> None:
    rows = [scored_row(f"a/folder/with/a/usual/length/IMG_{k:05}.JPG", k) for k in range(10_000)]
    report = write_report(write_results(rows, columns=COLUMNS), tmp_path / "page.html", thumbnails="none")
    assert report.bytes < 5_000_000


def test_the_commands_score_report_and_say_one_line(make_photo, tiny_model: Path, tmp_path: Path) -> None:
    make_photo("photos/a.png")
    command = [sys.executable, "-m", "defnet_infer.cli"]
    score = [*command, "score", "photos", "--model", tiny_model, "-o", "r.csv", "--report", "r.html"]
    done = subprocess.run(score, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "r.html: 1 photo, " in done.stderr
    payload, pictures = data_of(tmp_path / "r.html")
    assert len(payload["columns"]["cropScores"][0]) == 15
    assert len(payload["columns"]["qualityProbs"][0]) == 5
    assert pictures[0]
    again = subprocess.run([*command, "report", "r.csv"], cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 2
    assert again.stderr == "defnet: r.html exists; replace it with --overwrite, or name another file\n"


@pytest.mark.parametrize("option", ["--resume", "--retry-failed"])
def test_going_on_with_a_run_replaces_its_page_and_nobody_elses(
    make_photo, tiny_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], option: str
) -> None:
    page, out = tmp_path / "r.html", tmp_path / "r.csv"
    command = ["score", make_photo("photos/a.png").parent, "--model", tiny_model, "-q", "-o", out, "--report", page]

    def score(*options: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in (*command, *options)])
        return int(ended.value.code or 0)

    page.write_text("mine")
    assert score(option) == 2
    assert capfd.readouterr().err.startswith(f"defnet: {page} exists and is no page that defnet made; name another")
    assert page.read_text() == "mine"
    assert not out.exists(), "refused before scoring"
    assert score("--overwrite") == 0
    make_photo("photos/b.png")
    assert score(option) == 0
    assert len(data_of(page)[1]) == 2


def test_reasons_that_differ_in_a_number_count_as_one_and_names_keep_theirs() -> None:
    def failed(error: str) -> Row:
        return scored_row("a.jpg", 1, status="error", error=error, score=None)

    rows = [failed(f"{side} x 9 is more than the limit") for side in (4, 5, 5)]
    rows += [failed("damaged JPEG2000 header"), failed("decoder error -9"), failed("decoder error -9")]
    assert of_rows(rows, [None] * len(rows), Path(), None)["failures"] == [
        ["# x # is more than the limit", 3],
        ["decoder error -9", 2],
        ["damaged JPEG2000 header", 1],
    ]
