"""Score a folder of files that break readers, in one run, and hold every row against the folder's manifest.

    python benchmarks/messy.py FOLDER

FOLDER holds manifest.tsv with columns category, file and expected (OK, FAIL, EITHER, LIMIT); files lie in
FOLDER/category/file. Every file must have one row; OK files a score, FAIL files an error, the others either; and
every scored photo must have the very row that it gets alone. A tar archive is not in the run: its members are photos.
Writes benchmarks/results/messy.json.
"""

from __future__ import annotations

import argparse
import csv
from collections import Counter
from pathlib import Path

from scoring_material import record


def main() -> None:
    from defnet_infer import Scorer

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    with (folder / "manifest.tsv").open(newline="", encoding="utf-8") as file:
        listed = {
            str(folder / row["category"] / row["file"]): row["expected"] for row in csv.DictReader(file, delimiter="\t")
        }
    archives = [path for path in listed if path.endswith(".tar")]
    expected = {path: kind for path, kind in listed.items() if path not in archives}
    with Scorer(device="cpu") as scorer:
        members = {path: [row.status for row in scorer.score([path])] for path in archives}
        rows = {row.path: row for row in scorer.score(list(expected))}
        assert list(rows) == list(expected), "one row per file, in order"
        outcomes = Counter((expected[path], "error" if row.failed else "score") for path, row in rows.items())
        wrong = [
            path
            for path, row in rows.items()
            if (expected[path] == "OK" and row.failed) or (expected[path] == "FAIL" and not row.failed)
        ]
        good = [path for path, row in rows.items() if not row.failed]
        other_alone = [path for path in good if next(iter(scorer.score([path]))) != rows[path]]
    figures = {
        "files": len(listed),
        "archives": {Path(path).name: f"{listed[path]} -> {statuses}" for path, statuses in members.items()},
        "outcomes": {f"{kind} -> {what}": count for (kind, what), count in sorted(outcomes.items())},
        "against_the_manifest": [Path(path).name for path in wrong],
        "other_row_alone": [Path(path).name for path in other_alone],
        "scored": len(good),
        "reasons": Counter(row.error.split(":")[0][:60] for row in rows.values() if row.failed).most_common(12),
    }
    record("messy", figures)


if __name__ == "__main__":
    main()
