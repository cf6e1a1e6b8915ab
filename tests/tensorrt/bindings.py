"""TensorRT's real Python bindings without TensorRT: three stand-in libraries whose functions return null.

`pip install tensorrt_cu13_bindings` brings the bindings alone, a few megabytes. They are linked to libraries of some
gigabytes, of which they need nine functions to be there when they are imported. With stand-ins for those the classes,
their signatures, loggers and progress monitors are real; a builder or a runtime cannot be made, just as on a machine
whose driver does not work.

More versions: install each into a folder of its own, `pip install --no-deps --target FOLDER
tensorrt_cu13_bindings==10.16.1.11`, and name the folders in DEFNET_TENSORRT_BINDINGS, separated as in PATH.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARIES = ("nvinfer", "nvinfer_plugin", "nvonnxparser")
FUNCTIONS = (
    *("createInferBuilder_INTERNAL", "createInferRefitter_INTERNAL", "createInferRuntime_INTERNAL"),
    *("createNvOnnxParserRefitter_INTERNAL", "createNvOnnxParser_INTERNAL", "getBuilderPluginRegistry"),
    *("getNvOnnxParserVersion", "getPluginRegistry", "initLibNvInferPlugins"),
)


@dataclass(frozen=True)
class Bindings:
    """One installed version."""

    folder: Path
    """Holds the package `tensorrt_bindings`."""

    @property
    def version(self) -> str:
        text = (self.folder / "tensorrt_bindings" / "__init__.py").read_text(encoding="utf-8")
        match = re.search(r'^__version__ = "([\d.a-z]+)"', text, re.MULTILINE)
        assert match is not None
        return match[1]

    def run(self, arguments: list[str], scratch: Path) -> subprocess.CompletedProcess[str]:
        """Run Python where `import tensorrt` gives these bindings over stand-in libraries.

        Args:
            arguments: Of the interpreter.
            scratch: An empty folder, or the one of an earlier run of the same version.
        """
        self._make_libraries(scratch)
        # The bindings are a package of another name than the module they stand for.
        alias = "import sys, tensorrt_bindings\nsys.modules[__name__] = tensorrt_bindings\n"
        (scratch / "tensorrt.py").write_text(alias)
        path = os.pathsep.join(map(str, (scratch, self.folder, ROOT)))
        environment = {**os.environ, "PYTHONPATH": path, "LD_LIBRARY_PATH": str(scratch)}
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, cwd=ROOT, env=environment, check=False
        )

    def _make_libraries(self, scratch: Path) -> None:
        major = self.version.split(".")[0]
        source = scratch / "standin.c"
        source.write_text("".join(f"void *{name}(void) {{ return 0; }}\n" for name in FUNCTIONS))
        for library in LIBRARIES:
            name = f"lib{library}.so.{major}"
            if not (scratch / name).exists():
                command = ["cc", "-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(scratch / name), str(source)]
                subprocess.run(command, check=True, capture_output=True)


def installed() -> list[Bindings]:
    """Every version at hand; none where they cannot be used."""
    if sys.platform != "linux" or shutil.which("cc") is None:
        return []
    folders = [Path(name) for name in os.environ.get("DEFNET_TENSORRT_BINDINGS", "").split(os.pathsep) if name]
    spec = importlib.util.find_spec("tensorrt_bindings")
    if spec is not None and spec.origin is not None:
        folders.append(Path(spec.origin).parents[1])
    return [Bindings(folder) for folder in folders]


WHY_NONE = "needs Linux, a C compiler and: pip install --no-deps tensorrt_cu13_bindings"
