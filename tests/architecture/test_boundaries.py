"""Who may import whom, in three nets: the import graph, a run without PyTorch, and what the files say."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "defnet_infer" / "models" / "defnet-lite.onnx"
BLOCKED = (
    *("torch", "torchvision", "open_clip", "timm", "lightning_fabric", "safetensors"),
    *("onnx", "onnxscript", "scipy", "tensorrt", "cuda"),
)
# A None entry makes `import torch` raise ImportError even where torch is installed.
BLOCK = f"import sys; sys.modules.update(dict.fromkeys({BLOCKED!r}))\n"


def run_blocked(code: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code, *arguments],
        capture_output=True, text=True, cwd=cwd, env=environment, check=False,
    )  # fmt: skip


def modules(package: str) -> list[str]:
    files = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(f.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for f in files]
    assert names, f"no module found in {package}"
    return names


def test_the_import_contracts_of_pyproject_hold() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    kept = re.search(r"Contracts: (\d+) kept, 0 broken", result.stdout)
    assert kept is not None, result.stdout
    assert int(kept[1]) >= 3, "the contracts themselves must still be there"


def test_blocking_works_at_all() -> None:
    result = run_blocked("import torch")
    assert result.returncode != 0
    assert "ModuleNotFoundError" in result.stderr


@pytest.mark.parametrize("package", ["defnet_infer"])
def test_every_scoring_module_imports_without_torch_and_its_company(package: str) -> None:
    # The modules about TensorRT must import without it too.
    result = run_blocked(f"import importlib\nfor name in {modules(package)!r}: importlib.import_module(name)")
    assert result.returncode == 0, result.stderr


def test_only_the_torch_reference_imports_torch_or_training_and_only_inside_functions() -> None:
    wanted = re.compile(r"^(\s*)(?:import|from) (?:torch|defnet_train)\b", re.MULTILINE)
    found = {}
    for path in (ROOT / "defnet_infer").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        text = re.sub(r"^if TYPE_CHECKING:\n(?:(?: .*)?\n)+", "", text, flags=re.MULTILINE)
        if indents := {len(match[1].replace("\n", "")) for match in wanted.finditer(text)}:
            found[path.name] = min(indents)
    assert list(found) == ["torch_reference.py"]
    assert found["torch_reference.py"] > 0, "inside a function"


def test_one_module_imports_tensorrt_and_cuda_and_only_inside_functions() -> None:
    named = re.compile(r"^(\s*)(?:import|from) (?:tensorrt|cuda)\b", re.MULTILINE)
    found = {
        str(path.relative_to(ROOT)): {len(match[1].strip("\n")) for match in named.finditer(path.read_text("utf-8"))}
        for package in ("defnet_infer", "defnet_train", "defnet_export")
        for path in (ROOT / package).rglob("*.py")
        if named.search(path.read_text("utf-8"))
    }
    assert set(found) == {"defnet_infer/sessions/tensorrt_api.py"}
    assert min(found["defnet_infer/sessions/tensorrt_api.py"]) > 0


def test_scoring_does_not_load_training_behind_ones_back() -> None:
    code = f"import importlib, json\nfor name in {modules('defnet_infer')!r}: importlib.import_module(name)\n"
    code += "print(json.dumps([m for m in sys.modules if m.split('.')[0] in ('defnet_train', 'defnet_export')]))"
    result = run_blocked(code)
    assert result.returncode == 0, result.stderr
    loaded = set(json.loads(result.stdout))
    # Commands of the other packages are mounted from their command files, which import nothing heavy.
    light = {"defnet_train", "defnet_train.cli", "defnet_train.extras", "defnet_export", "defnet_export.cli"}
    light |= {"defnet_export.exported_before", "defnet_export.tensorrt_options"}
    assert {name for name in loaded if not name.endswith("_command")} <= light


def test_a_photo_is_scored_where_torch_is_missing(tmp_path: Path) -> None:
    assert MODEL.is_file(), "the built-in model belongs to the repository; train and export it, then add it"
    assert MODEL.stat().st_size <= 12e6, "every newcomer downloads it"
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    code = "from defnet_infer.cli import main\nsys.argv[0] = 'defnet'\nmain()"
    result = run_blocked(code, "score", str(tmp_path / "photo.png"), "--out", "scores.csv", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    header, row = (tmp_path / "scores.csv").read_text().splitlines()
    values = dict(zip(header.split(","), row.split(","), strict=True))
    assert 1 <= float(values["score"]) <= 5
    assert float(values["interval_low"]) < float(values["fused_score"]) < float(values["interval_high"])


def project_texts() -> dict[Path, str]:
    """Every text file that belongs to the project, by its path below the root."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, cwd=ROOT, check=True,
    ).stdout.splitlines()  # fmt: skip
    texts = {}
    for name in listed:
        path = ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes())[:8192]:
            texts[Path(name)] = content.decode("utf-8")
    assert len(texts) > 30
    return texts


# Written in pieces, so that this file does not find itself.
PRIVATE = re.compile(
    r"(?<![\w.:/<])/(?:" + "home|root|work|opt|mnt|Users|srv|private" + r")/\w"
    r"|[A-Za-z]:\\" + r"\w+\\"
    r"|index[-_]" + r"url|extra-" + r"index|pypi\." + r"org|files\.python" + r"hosted|trusted-" + r"host"
)


def test_no_file_names_an_absolute_path_or_a_package_index() -> None:
    found = [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for path, text in project_texts().items()
        for match in PRIVATE.finditer(text)
    ]
    assert not found, "\n".join(found)


def test_the_search_for_private_paths_finds_one() -> None:
    for text in ("see /" + "home/me", "'/" + "work/x'", "--index" + "-url x", "C:" + "\\data\\x"):
        assert PRIVATE.search(text), text
    for text in ("https://example.org/home/me", "a/work/b", "and/or", "photos/home/x.jpg"):
        assert not PRIVATE.search(text), text
