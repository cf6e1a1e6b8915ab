"""The page in a real browser: headless Chromium of the system, driven by Playwright. Skipped where there is none.

apt-get install chromium && pip install playwright
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from defnet_infer.report.compare import compare, write_comparison
from defnet_infer.report.make import write_report
from defnet_infer.results import COLUMNS, DETAILED_COLUMNS, Row
from defnet_infer.results_file import ResultsFile
from tests.report.conftest import WriteResults, scored_row

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")

PRESSED = '[data-bar^="distortion-"][aria-pressed="true"]'
HOSTILE = [
    "<script>document.title='owned'</script>.jpg",
    "<img src=x onerror=\"document.title='owned'\">.jpg",
    "'\"><svg onload=document.title='owned'>.jpg",
    "two\nlines.jpg",
    os.fsdecode(b"caf\xe9.jpg"),
    "</script><script>document.title='owned'</script>",
    "javascript:document.title='owned'//.jpg",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[playwright.Browser]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def show(browser: playwright.Browser) -> Iterator[Callable[[Path], playwright.Page]]:
    """Open a page file; an error in a script, or a request to anywhere but a file, fails the test."""
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": 1200, "height": 800})

    def show(path: Path) -> playwright.Page:
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request", lambda request: None if request.url.startswith(("file:", "data:")) else wrong.append(request.url)
        )
        page.goto(path.as_uri())
        page.wait_for_selector("#sheet .card, #nothing:not([hidden])")
        page.wait_for_selector(".chart")  # drawn in the frame after the photos, as after every change
        return page

    yield show
    context.close()
    assert not wrong


@pytest.fixture
def report(write_results: WriteResults, folder_of_photos: list[Path], tmp_path: Path) -> Path:
    rows = [scored_row(str(path), k, score=round(1 + k / 4, 4)) for k, path in enumerate(folder_of_photos)]
    broken = Row(path=str(tmp_path / "left" / "broken.jpg"), error="file is truncated")
    return write_report(write_results([*rows, broken]), tmp_path / "page.html").path


def names(page: playwright.Page) -> list[str]:
    """Names on the cards in view, in the order of the sheet."""
    cards = page.locator("#sheet .card").all()
    places = [(int(card.get_attribute("aria-posinset")), card.locator(".name").inner_text()) for card in cards]
    return [name for _, name in sorted(places)]


def test_photos_are_shown_worst_first_with_their_pictures(show, report: Path) -> None:
    page = show(report)
    assert names(page)[0] == "photo00.png"
    assert page.locator("#found").inner_text() == "13 of 13 photos"
    assert names(page)[-1] == "broken.jpg", "what has no score comes last"
    assert page.locator(".card img").first.evaluate("image => image.decode().then(() => image.naturalWidth)") == 240
    page.get_by_role("button", name="Best", exact=True).click()
    assert names(page)[0] == "photo11.png"
    page.get_by_role("button", name="Least certain").click()
    assert page.locator("#sort").input_value() == "uncertain"


def test_filters_narrow_the_photos_and_say_how_many_are_left(show, report: Path) -> None:
    page = show(report)
    page.fill("#search", "PHOTO1")
    assert names(page) == ["photo10.png", "photo11.png"]
    page.click("#clear")
    page.fill("#low", "1.5")
    page.fill("#high", "2")
    assert names(page) == ["photo02.png", "photo03.png", "photo04.png"]
    page.click("#clear")
    page.select_option("#status", "failed")
    assert names(page) == ["broken.jpg"]
    assert "file is truncated" in page.locator(".card").inner_text()
    page.click("#clear")
    page.select_option("#folder", index=1)
    assert page.locator("#found").inner_text() == "7 of 13 photos"
    page.fill("#search", "nothing is called so")
    assert page.locator("#nothing").is_visible()


def test_a_bar_of_the_chart_filters_and_releases(show, report: Path) -> None:
    page = show(report)
    bar = page.locator('[data-bar^="distortion-"]').first
    count = bar.locator(".count").inner_text()
    bar.click()
    assert page.locator("#found").inner_text() == f"{count} of 13 photos"
    page.wait_for_selector(PRESSED)
    assert page.locator(PRESSED).count() == 1
    page.locator(PRESSED).click()
    assert page.locator("#found").inner_text() == "13 of 13 photos"
    page.wait_for_selector(PRESSED, state="detached")


def test_a_bar_pressed_twice_before_it_is_drawn_again_releases(show, report: Path) -> None:
    page = show(report)
    page.locator('[data-bar^="distortion-"]').first.evaluate("bar => { bar.click(); bar.click(); }")
    assert page.locator("#found").inner_text() == "13 of 13 photos"


def test_a_photo_opens_large_with_its_crops_and_probabilities(show, report: Path) -> None:
    page = show(report)
    page.get_by_role("button", name="photo03.png: score").click()
    dialog = page.locator("dialog")
    assert dialog.is_visible()
    row = scored_row("", 3, score=1.75)
    text = dialog.inner_text()
    assert "photo03.png" in text and "1.75" in text
    assert f"{round(100 * row.quality_probs[0])} %" in text
    chips = dialog.locator(".chip").all()
    assert [chip.inner_text() for chip in chips] == [f"{score:.1f}" for score in row.crop_scores]
    assert len({chip.evaluate("chip => chip.style.background") for chip in chips}) > 5, "coloured by their own score"
    image = dialog.locator("figure img")
    assert image.evaluate("image => image.decode().then(() => [image.naturalWidth, image.naturalHeight])") == [400, 300]
    dialog.get_by_role("button", name="Outline crops").click()
    assert dialog.locator(".chip").count() == 0


def test_a_photo_that_loses_its_star_leaves_the_starred_ones(show, report: Path) -> None:
    page = show(report)
    for name in ("photo00", "photo01", "photo02"):
        page.get_by_role("button", name=f"{name}.png: score").focus()
        page.keyboard.press("s")
    page.locator("#status").select_option("starred")
    page.get_by_role("button", name="photo02.png: score").click()
    page.keyboard.press("s")
    assert page.locator("#found").inner_text() == "2 of 13 photos"
    assert "photo01.png" in page.locator("#detail-path").inner_text(), "the last one that is left"
    page.keyboard.press("s")
    page.keyboard.press("s")
    assert page.locator("#found").inner_text() == "0 of 13 photos"
    assert not page.locator("dialog").is_visible(), "none is left to show"


def test_the_keyboard_moves_opens_stars_and_searches(show, report: Path) -> None:
    page = show(report)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert "photo02.png" in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("s")
    assert page.locator('.star[aria-pressed="true"]').count() == 1
    assert "photo02.png" in page.evaluate("document.activeElement.getAttribute('aria-label')"), "the focus stays"
    page.keyboard.press("Enter")
    assert "photo02.png" in page.locator("#detail-path").inner_text()
    page.keyboard.press("ArrowRight")
    assert "photo03.png" in page.locator("#detail-path").inner_text()
    page.keyboard.press("s")
    page.keyboard.press("Escape")
    assert not page.locator("dialog").is_visible()
    # A browser tells of the closing in a task of its own, and only then does the page give the focus back.
    focused = ""
    for _ in range(100):
        focused = page.evaluate("document.activeElement.getAttribute('aria-label')") or ""
        if "photo03.png" in focused:
            break
        page.wait_for_timeout(50)
    assert "photo03.png" in focused
    page.keyboard.press("ArrowDown")
    assert "photo03.png" not in page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("/")
    page.keyboard.type("left/s")
    assert page.locator("#search").input_value() == "left/s", "s is a letter while typing"
    page.click("#clear")
    page.select_option("#status", "starred")
    assert names(page) == ["photo02.png", "photo03.png"]


def test_starred_paths_are_copied_one_a_line(show, report: Path, folder_of_photos: list[Path]) -> None:
    page = show(report)
    page.evaluate(
        "Object.defineProperty(navigator, 'clipboard', {value: {writeText: async (t) => { window.copied = t; }}})"
    )
    for name in ("photo01.png", "photo00.png"):
        page.get_by_role("button", name=f"Star {name}").click()
    page.get_by_role("button", name="Copy 2 starred paths").click()
    assert page.evaluate("window.copied") == "\n".join(str(path) for path in folder_of_photos[:2])


def test_the_table_has_the_same_rows(show, report: Path) -> None:
    page = show(report)
    page.set_viewport_size({"width": 1200, "height": 1600})
    page.get_by_role("button", name="Table view").click()
    assert page.locator("#sheet").is_hidden()
    rows = page.locator("#table [role=row]").all()
    assert len(rows) == 14
    assert "photo00.png" in rows[1].inner_text() and "1.00" in rows[1].inner_text()
    assert "file is truncated" in rows[13].inner_text()
    page.locator("#table .open", has_text="photo05.png").click()
    assert "photo05.png" in page.locator("#detail-path").inner_text()


def test_hostile_names_are_shown_as_text_and_never_run(show, write_results: WriteResults, tmp_path: Path) -> None:
    rows = [scored_row(name, k, status=f"ok: {name}") for k, name in enumerate(HOSTILE)]
    rows += [Row(path=f"failed {name}", error=name) for name in HOSTILE]
    page = show(write_report(write_results(rows), tmp_path / "page.html").path)
    title = page.title()
    for button in range(page.locator(".card .open").count()):
        page.locator(".card .open").nth(button).click()
        page.wait_for_timeout(20)
        page.locator("#close").click()
    page.get_by_role("button", name="Table view").click()
    page.wait_for_timeout(100)
    assert page.title() == title != "owned"
    text = page.locator("#table").inner_text()
    assert HOSTILE[0] in text and HOSTILE[1] in text
    assert r"caf\xe9.jpg" in text


def test_the_pages_policy_stops_a_script_that_gets_in_all_the_same(show, report: Path) -> None:
    text = report.read_text().replace("</body>", "<script>document.title='owned'</script></body>")
    report.write_text(text)
    assert show(report).title() != "owned"


def test_photos_that_moved_since_are_shown_without_a_picture(show, report: Path, folder_of_photos: list[Path]) -> None:
    for photo in folder_of_photos:
        photo.unlink()
    page = show(report)
    page.locator(".card .open").first.click()
    page.locator("dialog img[src^='data:']").first.wait_for(state="attached")
    assert "score" in page.locator("dialog").inner_text()


def test_a_file_without_uncertainty_or_classes_has_neither_charts_nor_filters_for_them(show, tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_text("path,score\na.jpg,2.5\nb.jpg,3\n")
    page = show(write_report(tmp_path / "few.csv", tmp_path / "page.html").path)
    assert names(page) == ["a.jpg", "b.jpg"]
    assert page.get_by_role("button", name="Least certain").count() == 0
    assert page.locator("#distortion").is_hidden()
    assert page.locator(".chart").count() == 1
    page.locator(".card .open").first.click()
    assert "2.50" in page.locator("dialog").inner_text()


def test_of_ten_thousand_photos_only_those_in_view_exist(show, tmp_path: Path) -> None:
    with ResultsFile(tmp_path / "many.csv", columns=COLUMNS) as file:
        for k in range(10_000):
            file.write(scored_row(f"folder{k % 40}/IMG_{k:05}.JPG", k))
    page = show(write_report(tmp_path / "many.csv", tmp_path / "page.html", thumbnails="none").path)
    opened = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
    # Half a second on an idle machine (benchmarks/report_page.py measures it); this one runs other tests too.
    assert opened < 20_000, f"{opened:.0f} ms"
    assert page.locator(".card").count() < 80
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
    page.locator(".card[aria-posinset='10000']").wait_for(state="attached")
    assert page.locator(".card").count() < 80
    page.fill("#search", "IMG_04321")
    assert names(page) == ["IMG_04321.JPG"]
    page.click("#clear")
    page.get_by_role("button", name="Table view").click()
    assert page.locator("#table [role=row]").count() < 120


def test_a_comparison_shows_what_moved_most_first(show, write_results: WriteResults, tmp_path: Path) -> None:
    before = write_results([scored_row(f"{k}.jpg", k, score=3.0) for k in range(5)], "a.csv", DETAILED_COLUMNS)
    now = write_results([scored_row(f"{k}.jpg", k, score=3.0 - k * 0.25) for k in range(5)], "b.csv", DETAILED_COLUMNS)
    page = show(write_comparison(compare(before, now), tmp_path / "diff.html").path)
    assert names(page)[0] == "4.jpg"
    assert "−1.00 from 3.00" in page.locator(".card").first.inner_text()
    assert page.get_by_label("Now against before").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
def test_text_is_readable_and_nothing_is_wider_than_the_window(browser, report: Path, scheme: str, width: int) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    page.goto(report.as_uri())
    page.wait_for_selector(".card img")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    style = page.evaluate(
        "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(document.documentElement))"
    )
    ink, ground = (sum(int(part) for part in re.findall(r"\d+", color)[:3]) / 3 for color in style)
    assert abs(ink - ground) > 150
    assert (ground > 128) == (scheme == "light")
    page.close()
