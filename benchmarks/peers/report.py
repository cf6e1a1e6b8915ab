"""What a measured program reports about itself, as JSON for the one that started it."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any


def arguments(description: str | None, *names: str) -> argparse.Namespace:
    """Parse `--out` and these places, all paths."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the report")
    for name in names:
        parser.add_argument(name, type=Path)
    return parser.parse_args()


def since_start() -> float:
    """Seconds since the benchmark started this process: its imports are in it."""
    return time.time() - float(os.environ["PEERS_STARTED"])


def peak_mib() -> float:
    """The most memory that this process has had resident."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def photos_of(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.jpg"))


def write(out: Path, **figures: Any) -> None:
    """Write the report, with the peak memory up to now."""
    out.write_text(json.dumps({**figures, "peak_mib": peak_mib()}))
