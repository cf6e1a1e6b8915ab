"""How long the report page of many photos takes, how heavy it is, and how fast it opens.

    python benchmarks/report_page.py                  # 1,000 photos of 12 megapixels; Chromium, if there is one
    python benchmarks/report_page.py --photos 100

Photos are made here: JPEGs of 4000 x 3000 with camera-like noise, a few different ones and copies of them. Writes
benchmarks/results/report_page.json.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from scoring_material import make_copies, make_jpegs, record

from defnet_infer.report.make import write_report
from defnet_infer.results import COLUMNS, DETAILED_COLUMNS, Row
from defnet_infer.results_file import ResultsFile
from defnet_infer.taxonomy import DISTORTIONS, QUALITIES, SCENES

DIFFERENT = 8


def write_rows(path: Path, names: list[str], columns: tuple[str, ...]) -> Path:
    rng = np.random.default_rng(0)
    with ResultsFile(path, overwrite=True, columns=columns) as file:
        for name in names:
            score = round(float(rng.uniform(1, 5)), 4)
            file.write(
                Row(
                    path=name,
                    score=score,
                    interval_low=round(score - 1, 4),
                    interval_high=round(score + 1, 4),
                    aleatoric=0.123456,
                    epistemic=0.098765,
                    fused_score=score,
                    quality=str(rng.choice(QUALITIES)),
                    scene=str(rng.choice(SCENES)),
                    scene_prob=0.4321,
                    distortion=str(rng.choice(DISTORTIONS)),
                    distortion_prob=0.5678,
                    width=4000,
                    height=3000,
                    status="ok",
                    quality_probs=tuple(rng.dirichlet(np.ones(5)).round(4).tolist()),
                    crop_scores=tuple(rng.uniform(1, 5, 15).round(4).tolist()),
                )
            )
    return path


def opening_ms(page: Path) -> float | None:
    """Until the page has loaded and the first cards are there, in headless Chromium; None without one."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        tab = browser.new_page()
        tab.goto(page.as_uri())
        tab.wait_for_selector(".card")
        loaded = tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        browser.close()
    return round(float(loaded), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=1000)
    count = parser.parse_args().photos
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_copies(folder / "photos", make_jpegs(folder / "originals", DIFFERENT, 4000, 3000), count)
        names = sorted(str(path) for path in (folder / "photos").iterdir())
        results = write_rows(folder / "results.csv", names, DETAILED_COLUMNS)
        start = time.perf_counter()
        embedded = write_report(results, folder / "embedded.html")
        seconds = time.perf_counter() - start
        many = [f"photos/2024/holiday/IMG_{k:05}.jpg" for k in range(10_000)]
        rows = write_rows(folder / "many.csv", many, COLUMNS)
        plain = write_report(rows, folder / "plain.html", thumbnails="none")
        record(
            "report_page",
            {
                "photos": count,
                "megapixels": 12,
                "seconds_with_embedded_thumbnails": round(seconds, 1),
                "megabytes_with_embedded_thumbnails": round(embedded.bytes / 1e6, 2),
                "opens_in_ms": opening_ms(embedded.path),
                "rows_without_thumbnails": len(many),
                "megabytes_without_thumbnails": round(plain.bytes / 1e6, 2),
                "opens_in_ms_without_thumbnails": opening_ms(plain.path),
            },
        )


if __name__ == "__main__":
    main()
