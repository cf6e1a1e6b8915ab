"""The README tells the truth: its paths exist, and every command is in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer

from defnet_infer.cli import app

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
TOP_LEVEL = tuple(p.name for p in ROOT.iterdir() if not p.name.startswith(".") and not p.name.endswith(".egg-info"))


@pytest.fixture(scope="module")
def readme() -> str:
    assert README.is_file(), "the project needs a README.md"
    return README.read_text(encoding="utf-8")


def fences(text: str) -> list[str]:
    """Contents of the fenced code blocks."""
    return re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def tree_paths(block: str) -> list[str]:
    """Paths of an annotated tree: two or more spaces of indent a level, a name, then a comment after spaces."""
    paths: list[str] = []
    folders: list[tuple[int, str]] = []
    for line in block.splitlines():
        match = re.match(r"^([\s│├└─]*)([\w.*-]+/?(?:[\w.*-]+/?)*)(?:\s{2,}.*|\s*#.*)?$", line)
        if not match:
            continue
        indent, name = len(match[1]), match[2]
        while folders and folders[-1][0] >= indent:
            folders.pop()
        path = "".join(folder for _, folder in folders) + name
        paths.append(path)
        if name.endswith("/"):
            folders.append((indent, path if not folders else name))
    return paths


def is_tree(block: str) -> bool:
    return bool(re.search(r"^\s*[│├└─ ]*(?:defnet_infer|defnet_train|defnet_export|tests)/", block, re.MULTILINE))


def exists(path: str) -> bool:
    return any(ROOT.glob(path.rstrip("/"))) if "*" in path else (ROOT / path).exists()


def test_every_path_in_backticks_exists(readme: str) -> None:
    prose = re.sub(r"^```.*?^```", "", readme, flags=re.MULTILINE | re.DOTALL)
    quoted = [q for q in re.findall(r"`([^`\n]+)`", prose) if re.fullmatch(r"[\w.*/-]+", q)]
    paths = [q for q in quoted if q in TOP_LEVEL or q.split("/")[0] in TOP_LEVEL]
    missing = [q for q in paths if not exists(q)]
    assert not missing, missing


def test_every_path_in_the_annotated_tree_exists(readme: str) -> None:
    trees = [block for block in fences(readme) if is_tree(block)]
    assert trees, "the README shows the project as an annotated tree"
    paths = [path for block in trees for path in tree_paths(block)]
    assert len(paths) >= 10
    missing = [path for path in paths if not exists(path)]
    assert not missing, missing


def test_every_package_is_in_the_annotated_tree(readme: str) -> None:
    paths = {path.rstrip("/") for block in fences(readme) if is_tree(block) for path in tree_paths(block)}
    assert {"defnet_infer", "defnet_train", "defnet_export", "tests"} <= paths


def test_every_relative_link_leads_somewhere(readme: str) -> None:
    targets = [t.split("#")[0] for t in re.findall(r"\]\(([^)\s]+)\)", readme) if not re.match(r"\w+:", t)]
    missing = [t for t in targets if t and not (ROOT / t).exists()]
    assert not missing, missing


def commands() -> list[str]:
    group = typer.main.get_command(app)
    return sorted(name for name, command in group.commands.items() if not command.hidden)


@pytest.mark.parametrize("command", commands())
def test_every_command_is_named_in_the_readme_and_has_help(command: str) -> None:
    assert README.is_file(), "the project needs a README.md"
    assert re.search(rf"defnet {re.escape(command)}\b", README.read_text(encoding="utf-8"))
    found = typer.main.get_command(app).commands[command]  # type: ignore[attr-defined]
    assert (found.help or "").strip(), f"defnet {command} has no help text"


def test_there_are_commands_to_look_for() -> None:
    assert {"score", "train"} <= set(commands())


def test_the_tree_reader_understands_a_tree() -> None:
    block = "\n".join(
        ["defnet_infer/   scores", "  views.py  crops", "  models/", "    a.onnx", "tests/", "  train/  x", "README.md"]
    )
    assert tree_paths(block) == [
        "defnet_infer/",
        "defnet_infer/views.py",
        "defnet_infer/models/",
        "defnet_infer/models/a.onnx",
        "tests/",
        "tests/train/",
        "README.md",
    ]
