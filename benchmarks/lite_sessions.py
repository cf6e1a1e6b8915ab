"""The built-in model's recipe over sessions: median, mean and deviation of every figure of the test parts.

    for s in $(seq 10); do defnet train lite --data FOLDER ... --set data.session=$s --out runs/lite-$s; done
    python benchmarks/lite_sessions.py runs/lite-*

Reads the metrics.json of finished runs and writes benchmarks/results/lite_sessions.json and .md. It refuses runs that
differ in anything but their session.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"
ROWS = {
    "srcc": "SRCC of the score",
    "fused_srcc": "SRCC of the fused score",
    "krcc": "KRCC",
    "plcc": "PLCC after the logistic",
    "rmse": "RMSE (1 to 5 scale)",
    "scene_accuracy": "scene accuracy",
    "distortion_accuracy": "distortion accuracy",
    "coverage": "coverage of the 95 % interval",
    "width": "mean width of the interval",
    "error_rank": "rank correlation of error and deviation",
    "out_of_fold_error_rank": "the same, of models without a fold on the photos of it",
    "level_order": "score against level, mean of kinds",
    "level_order_worst": "the same, worst kind",
    "original_on_top": "copies below their original",
    "strong_distortion_accuracy": "distortion named, levels 4 and 5",
}


def settings_of(run: Path) -> tuple[int, dict[str, Any]]:
    """The session of a run, and its configuration without it and without paths of this machine."""
    config = json.loads((run / "config.json").read_text())["config"]
    data, model = dict(config["data"]), dict(config["model"])
    session = int(data.pop("session", 1))
    for table, names in ((data, ("labels", "cache", "csv", "csv_root")), (model, ("trunk_weights",))):
        for name in names:
            table.pop(name, None)
    return session, {**config, "data": data, "model": model}


def main(folders: list[str]) -> None:
    """Collect, write and print."""
    found: dict[int, dict[str, float]] = {}
    first: dict[str, Any] | None = None
    for folder in map(Path, folders):
        if not (folder / "metrics.json").is_file():
            sys.exit(f"{folder} holds no finished run; go on with it: defnet train --resume {folder}")
        session, settings = settings_of(folder)
        first = first or settings
        if settings != first:
            sys.exit(f"{folder} was trained with other settings than {folders[0]}; compare their config.json")
        metrics = json.loads((folder / "metrics.json").read_text())
        out_of_fold = metrics.get("out_of_fold", {}).get("error_rank", float("nan"))
        found[session] = metrics["test"] | {"out_of_fold_error_rank": out_of_fold}
    if not found:
        sys.exit("no run given; python benchmarks/lite_sessions.py runs/lite-*")
    sessions = sorted(found)
    lines = [
        f"Test figures of {len(sessions)} sessions ({', '.join(map(str, sessions))}), each 186 photos of 929.",
        "",
        "| | median | mean | deviation | lowest | highest |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    summary = {}
    for name, words in ROWS.items():
        values = np.array([found[session][name] for session in sessions])
        deviation = values.std(ddof=1) if len(values) > 1 else float("nan")
        summary[name] = {
            "median": float(np.median(values)),
            "mean": float(values.mean()),
            "deviation": float(deviation),
        }
        figures = (np.median(values), values.mean(), deviation, values.min(), values.max())
        lines.append(f"| {words} | " + " | ".join(f"{figure:.3f}" for figure in figures) + " |")
    text = "\n".join(lines) + "\n"
    (RESULTS / "lite_sessions.md").write_text(text)
    by_session = {str(session): {name: found[session][name] for name in ROWS} for session in sessions}
    (RESULTS / "lite_sessions.json").write_text(
        json.dumps({"summary": summary, "sessions": by_session}, indent=1) + "\n"
    )
    print(text)


if __name__ == "__main__":
    main(sys.argv[1:])
