"""Kill a run with SIGKILL at random moments, resume it every time, and compare the end with an unbroken run.

    python benchmarks/kill_resume.py [--photos 2000] [--kills 50] [--format csv]

Writes benchmarks/results/kill_resume.json. Exit code 0 if the two results files are equal, byte for byte.
"""

from __future__ import annotations

import argparse
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scoring_material import CLI, ROOT, make_copies, make_jpegs, record, tiny_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--format", choices=["csv", "jsonl", "parquet"], default="csv")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random.seed(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        model = tiny_model(folder)
        make_copies(folder / "photos", make_jpegs(folder / "originals", 20, 500, 500), arguments.photos)
        for number in range(0, arguments.photos, 97):
            (folder / "photos" / f"{number:06}.jpg").write_bytes(b"")  # Failed rows must survive a kill as well.
        command = [*CLI, "score", str(folder / "photos"), "--model", str(model), "--quiet"]
        whole, out = (folder / f"{name}.{arguments.format}" for name in ("whole", "killed"))
        start = time.perf_counter()
        subprocess.run([*command, "--out", str(whole)], check=False, cwd=ROOT)
        unbroken_seconds = time.perf_counter() - start
        log = out if arguments.format != "parquet" else out.with_name(out.name + ".rows.jsonl")
        # Moments are set by how much is written, so that kills spread over the whole run and not over the start-up.
        total = whole.stat().st_size if arguments.format != "parquet" else arguments.photos * 300
        moments = sorted(random.uniform(0, total) for _ in range(arguments.kills))
        kills, early = 0, 0
        for moment in moments:
            with subprocess.Popen([*command, "--out", str(out), "--resume"], cwd=ROOT) as process:
                while process.poll() is None and (log.stat().st_size if log.exists() else 0) < moment:
                    time.sleep(0.001)
                # Up to 20 ms later: between two rows, inside a row, inside the journal.
                time.sleep(random.random() * 0.02)
                process.send_signal(signal.SIGKILL)
                killed = process.wait() == -signal.SIGKILL
            kills += killed
            early += not killed
        start = time.perf_counter()
        code = subprocess.run([*command, "--out", str(out), "--resume"], check=False, cwd=ROOT).returncode
        equal = out.read_bytes() == whole.read_bytes()
        record(
            "kill_resume",
            {
                "photos": arguments.photos,
                "format": arguments.format,
                "kills": kills,
                "runs_that_ended_before_their_kill": early,
                "exit_code_of_the_last_resume": code,
                "unbroken_seconds": unbroken_seconds,
                "last_resume_seconds": time.perf_counter() - start,
                "equal": equal,
            },
        )
    sys.exit(0 if equal else 1)


if __name__ == "__main__":
    main()
