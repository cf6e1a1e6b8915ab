"""The figures as a Markdown page, and held against what was aimed at. Standard library alone; measures nothing."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

MIDDLE, LARGE = "1024x768", "4000x3000"


class Tool(StrEnum):
    """The four ways in which the same photos are scored; the names in results, table and plot."""

    PYIQA = "pyiqa LIQE"
    FLOAT32 = "defnet, LIQE imported"
    INT8 = "defnet, LIQE imported, --int8"
    BUILTIN = "defnet, built-in model"


def median(figures: dict[str, Any], tool: str, size: str, key: str) -> float | None:
    """Over the rounds; None if the tool was not run on that size."""
    values = [run[key] for run in figures["runs"] if (run["tool"], run["size"]) == (tool, size)]
    return statistics.median(values) if values else None


def times_pyiqa(figures: dict[str, Any], tool: str, size: str, key: str) -> float | None:
    """A tool's median over that of pyiqa."""
    value, base = (median(figures, one, size, key) for one in (tool, Tool.PYIQA))
    return value / base if value is not None and base else None


def largest(figures: dict[str, Any], key: str) -> float:
    """Of all photos of all sizes."""
    return max(photo[key] for photos in figures["agreement"].values() for photo in photos)


def targets(figures: dict[str, Any]) -> list[dict[str, Any]]:
    """What was aimed at, what came, and whether that is enough."""
    rate = "photos_per_second"
    checks = [
        ("largest score difference, all photos", largest(figures, "score_difference"), "<=", 1e-4),
        ("largest probability difference, all photos", largest(figures, "probability_difference"), "<=", 1e-5),
        (f"times pyiqa's speed, {MIDDLE}, float32", times_pyiqa(figures, Tool.FLOAT32, MIDDLE, rate), ">=", 1.5),
        (f"times pyiqa's speed, {MIDDLE}, --int8", times_pyiqa(figures, Tool.INT8, MIDDLE, rate), ">=", 3.0),
        (f"times pyiqa's speed, {MIDDLE}, built-in model", times_pyiqa(figures, Tool.BUILTIN, MIDDLE, rate), ">=", 8.0),
        (f"share of pyiqa's memory, {LARGE}", times_pyiqa(figures, Tool.FLOAT32, LARGE, "peak_mib"), "<=", 0.2),
    ]
    return [
        {
            "what": what,
            "measured": value,
            "wanted": f"{relation} {bound:g}",
            "met": value <= bound if relation == "<=" else value >= bound,
        }
        for what, value, relation, bound in checks
        if value is not None
    ]


def batch_shift(scores: dict[str, Any], key: str = "together") -> float:
    """How far a score moves from that of its photo alone; `repeated` holds the first photo several times."""
    alone = [scores["alone"][0]] * len(scores["repeated"]) if key == "repeated" else scores["alone"]
    return max(abs(one - other) for one, other in zip(alone, scores[key], strict=True))


def markdown(figures: dict[str, Any]) -> str:
    """The page."""
    versions = ", ".join(f"{name} {version}" for name, version in figures["versions"].items())
    rounds = max(run["round"] for run in figures["runs"])
    once = "One round of fresh processes: speeds may be off by a fifth."
    taken = once if rounds == 1 else "Medians of fresh processes, in turns."
    command = f"python benchmarks/peers/compare.py --rounds {rounds}"
    parts = [
        "# The same LIQE weights in pyiqa and in defnet",
        f"`{command}` on {figures['cores']} cores of {figures['processor']}, "
        f"{figures['photos']} photos. {taken} {versions}.",
        "## Aimed at",
        _table(
            ("", "wanted", "measured", ""),
            (
                (t["what"], t["wanted"], f"{t['measured']:.3g}", "yes" if t["met"] else "**no**")
                for t in figures["targets"]
            ),
        ),
        "## Agreement",
        "float32 against pyiqa, every photo from its file. The random weights are fitted so that scores differ: "
        "without a spread, agreement would prove nothing.",
        _table(
            (
                "photos",
                "number",
                "pyiqa's scores",
                "deviation",
                "score difference, mean",
                "largest",
                "probability difference",
            ),
            (_agreement(size, photos) for size, photos in figures["agreement"].items()),
        ),
        _int8_line(figures),
        "## Photos per second",
        "Decoding included. In brackets, times pyiqa's.",
        _by_size(figures, "photos_per_second", "{:.2f}"),
        "## Peak memory, MiB",
        "Of the process, its model and runtime included.",
        _by_size(figures, "peak_mib", "{:.0f}"),
        "## From start to the first score, seconds",
        "Imports, loading, and one photo. pyiqa's CLIP file is not read here, which spares it time.",
        _by_size(figures, "first", "{:.1f}"),
        "## Does a photo's score depend on its neighbours?",
        _table(
            ("", "batch of different photos", "one photo repeated"),
            _batch_rows(figures["batches"]),
        ),
        "## Conversion",
        _table(("", ""), ((name.replace("_", " "), f"{value:.1f}") for name, value in figures["conversion"].items())),
    ]
    if figures["skipped"]:
        parts += ["## Left out", *(f"- {name}: {reason}" for name, reason in figures["skipped"].items())]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _agreement(size: str, photos: list[dict[str, float]]) -> list[str]:
    scores = [photo["pyiqa"] for photo in photos]
    differences = [photo["score_difference"] for photo in photos]
    probability = max(photo["probability_difference"] for photo in photos)
    return [
        size.replace("x", " x "),
        str(len(photos)),
        f"{min(scores):.2f} to {max(scores):.2f}",
        f"{statistics.pstdev(scores):.2f}",
        f"{statistics.fmean(differences):.1e}",
        f"{max(differences):.1e}",
        f"{probability:.1e}",
    ]


def _int8_line(figures: dict[str, Any]) -> str:
    """Differences of the results' rounded scores, over the photos of all sizes."""
    parts = []
    for tool in (Tool.FLOAT32, Tool.INT8):
        differences = [
            abs(run["scores"][name] - score)
            for run in figures["runs"]
            if run["tool"] == tool and run["round"] == 1
            for name, score in _scores(figures, Tool.PYIQA, run["size"]).items()
        ]
        if differences:
            parts.append(f"{tool}: mean {statistics.fmean(differences):.1e}, largest {max(differences):.1e}")
    return f"As written to results, with four digits: {'; '.join(parts)}." if parts else ""


def _scores(figures: dict[str, Any], tool: str, size: str) -> dict[str, float]:
    found = [run["scores"] for run in figures["runs"] if (run["tool"], run["size"], run["round"]) == (tool, size, 1)]
    return found[0] if found else {}


def _by_size(figures: dict[str, Any], key: str, form: str) -> str:
    sizes = list(figures["agreement"])
    tools = list(dict.fromkeys(run["tool"] for run in figures["runs"]))
    return _table(
        ("", *(size.replace("x", " x ") for size in sizes)),
        ((tool, *(_cell(figures, tool, size, key, form) for size in sizes)) for tool in tools),
    )


def _cell(figures: dict[str, Any], tool: str, size: str, key: str, form: str) -> str:
    value, ratio = median(figures, tool, size, key), times_pyiqa(figures, tool, size, key)
    if value is None or ratio is None:
        return "not run"
    return form.format(value) if tool == Tool.PYIQA else f"{form.format(value)} ({ratio:.2g})"


def _batch_rows(batches: dict[str, Any]) -> list[list[str]]:
    def row(name: str, scores: dict[str, Any], together: str = "together") -> list[str]:
        repeated = f"{batch_shift(scores, 'repeated'):.1e}" if together == "together" else ""
        return [name, f"{batch_shift(scores, together):.1e}", repeated]

    return [
        row(f"pyiqa {batches['old_pyiqa']['version']}, of its issue 178", batches["old_pyiqa"]),
        row(f"pyiqa {batches['pyiqa']['version']}", batches["pyiqa"]),
        row("defnet", batches["defnet"]),
        row("defnet, in reverse order", batches["defnet"], "reversed"),
        row("defnet, one call of the exported graph", batches["defnet"], "one_call"),
    ]
