"""The virtual environment that everything is measured in, and how its programs are run: same cores, one at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# pyiqa reads the CLIP package, which asks setuptools for a module that 81 dropped.
PACKAGES = ("pyiqa", "setuptools<81", "piq", "torchmetrics", "transformers", "-e", f"{ROOT}[export]")
OLD_PYIQA = "0.1.11"
"""The last one that its issue 178 is about."""
SHOWN = ("pyiqa", "torch", "onnxruntime-gpu", "onnxruntime", "pillow", "numpy", "piq", "torchmetrics")
"""Packages whose versions stand beside the figures."""


class Environment:
    """A virtual environment in a folder of its own; the packages of the Python that made it stay as they are.

    Args:
        folder: Made if it does not exist, used again if it does; several gigabytes.
        cores: What every program run here is held to.

    Attributes:
        run: The folder for what one run of the benchmark makes.
    """

    def __init__(self, folder: Path, cores: list[int]) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.cores = cores
        self.python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
        self.old_pyiqa = folder / f"pyiqa-{OLD_PYIQA}"

    def make(self) -> None:
        """Install what is not installed yet; stops the program with one line if that fails."""
        wanted = json.dumps([PACKAGES, OLD_PYIQA])
        stamp = self.folder / "installed.json"
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        print(f"installing into {self.folder}: several gigabytes, minutes", file=sys.stderr)
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder / "install.log"
        install = [self.python, "-m", "pip", "install"]
        with log.open("w") as file:
            for command in (
                [sys.executable, "-m", "venv", self.folder / "venv"],
                [*install, *PACKAGES],
                [*install, "--no-deps", "--target", self.old_pyiqa, "--upgrade", f"pyiqa=={OLD_PYIQA}"],
            ):
                if subprocess.run(command, stdout=file, stderr=file, check=False).returncode:
                    sys.exit(f"installing failed; {log} says why")
        stamp.write_text(wanted)

    def versions(self) -> dict[str, str]:
        """Of the packages that the figures depend on."""
        code = (
            "import json, sys\nfrom importlib.metadata import PackageNotFoundError, version\nfound = {}\n"
            "for name in sys.argv[1:]:\n    try: found[name] = version(name)\n    except PackageNotFoundError: pass\n"
            "print(json.dumps(found))"
        )
        done = subprocess.run([self.python, "-c", code, *SHOWN], check=True, capture_output=True, text=True)
        return json.loads(done.stdout)

    def command(self, *arguments: str | Path, path: Path | None = None) -> float:
        """Run a Python program or module to its end; seconds it took. Its output appears only if it fails.

        Args:
            arguments: What follows `python`.
            path: A folder whose packages come before those of the environment.
        """
        variables = os.environ | {
            "PYTHONPATH": os.pathsep.join(str(p) for p in (path, ROOT, ROOT / "benchmarks") if p),
            # Torch takes this many; ONNX Runtime and our threads count the cores that they may use.
            "OMP_NUM_THREADS": str(len(self.cores)),
            # Beside the checkpoint: pyiqa keeps features of the prompts here, under a name that does not tell whose.
            "TORCH_HOME": str(self.run / "torch-home"),
            "HF_HUB_OFFLINE": "1",
            "PEERS_STARTED": repr(time.time()),
        }
        begun = time.perf_counter()
        done = subprocess.run(
            [self.python, *arguments],
            env=variables,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds = time.perf_counter() - begun
        if done.returncode:
            raise ProgramError(Path(str(arguments[0])).name, done.returncode, done.stdout)
        return seconds

    def measure(self, program: str, *arguments: str | Path, path: Path | None = None) -> dict[str, Any]:
        """Run a program of this folder; what it reported (`report.write`)."""
        with tempfile.TemporaryDirectory() as scratch:
            out = Path(scratch) / "report.json"
            self.command(HERE / program, "--out", out, *arguments, path=path)
            return json.loads(out.read_text())


class ProgramError(Exception):
    """A program of the benchmark failed; its last line says why."""

    def __init__(self, program: str, code: int, output: str) -> None:
        lines = output.strip().splitlines() or ["it said nothing"]
        self.output = output
        super().__init__(f"{program} ended with {code}: {lines[-1]}")


def hold_to(count: int | None) -> list[int]:
    """Hold this process, and so all that it starts, to some cores; all that it may use if None."""
    if not hasattr(os, "sched_setaffinity"):
        sys.exit("this benchmark holds programs to some cores and reads their memory from /proc: run it on Linux")
    allowed = sorted(os.sched_getaffinity(0))
    if count is not None and not 1 <= count <= len(allowed):
        sys.exit(f"--cores {count}: this machine gives 1 to {len(allowed)}")
    cores = allowed[:count]
    os.sched_setaffinity(0, cores)
    return cores
