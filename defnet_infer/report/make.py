"""From a results file to the page: find the photos, make thumbnails, write the file."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from defnet_infer import run_record
from defnet_infer.archives import archive_of
from defnet_infer.contract import Preprocess
from defnet_infer.errors import DefnetError, UsageError
from defnet_infer.out_file import require_folder
from defnet_infer.report import page, payload
from defnet_infer.report.rows import read_rows
from defnet_infer.report.thumbnails import SUFFIX, make_thumbnails
from defnet_infer.results import Row

Thumbnails = Literal["embed", "folder", "none"]


@dataclass(frozen=True)
class Report:
    """What was written."""

    path: Path
    bytes: int
    photos: int
    failed: int
    absent: int
    """Photos that are not where the results file says, and have no picture in the page."""
    enclosed: int
    """Photos in archives and behind URLs, which have none either."""

    def line(self) -> str:
        """What was made, for a person."""
        return f"{self.path}: {self.photos} photo{'s' * (self.photos != 1)}, {self.bytes / 1e6:.1f} MB"


def check_target(out: Path, *, overwrite: bool, thumbnails: Thumbnails = "embed", remake: bool = False) -> None:
    """Refuse a page that cannot be written, before the work.

    Args:
        out: The page.
        overwrite: Whatever is there may be replaced.
        thumbnails: Where they go.
        remake: A page that a report made earlier may be replaced.

    Raises:
        UsageError: If it exists, or the folder that its thumbnails go to; if it is not .html, or its folder does not
            exist.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{out}: a report is a page; name it .html")
    if remake and out.exists() and not page.is_page(out):
        raise UsageError(f"{out} exists and is no page that defnet made; name another file with --report")
    if out.exists() and not (overwrite or remake):
        raise UsageError(f"{out} exists; replace it with --overwrite, or name another file")
    require_folder(out)
    beside = _folder_beside(out)
    if thumbnails != "folder" or not os.path.lexists(beside):
        return
    if not beside.is_dir():
        raise UsageError(f"{beside} is in the way of the folder for thumbnails; give the page another name with --out")
    if not overwrite:
        raise UsageError(
            f"{beside} exists; replace its thumbnails with --overwrite, or give the page another name with --out"
        )


def write_report(
    results: Path,
    out: Path,
    *,
    thumbnails: Thumbnails = "embed",
    root: Path | None = None,
    overwrite: bool = False,
    begin: Callable[[int], None] = lambda total: None,
    progress: Callable[[], None] = lambda: None,
) -> Report:
    """Make the page of a results file.

    Args:
        results: ``.csv``, ``.jsonl`` or ``.parquet`` of `defnet score`, also edited by hand.
        out: The page.
        thumbnails: Inside the page, in a folder beside it, or none.
        root: Where the photos lie; default: the working folder, then the folder of the results.
        overwrite: Replace an existing page.
        begin: Called with the number of thumbnails to make.
        progress: Called after each.

    Raises:
        UsageError: If the results cannot be read, or the page cannot be written there.
        DefnetError: If the disk is full.
    """
    check_target(out, overwrite=overwrite, thumbnails=thumbnails)
    if root is not None and not root.is_dir():
        raise UsageError(f"--root {root} is not a folder; name the one that the paths in {results} start from")
    rows = read_rows(results)
    record = run_record.read(results)
    files = [locate(row.path, (root,) if root else (Path(), results.parent)) for row in rows]
    body = payload.of_rows(rows, files, out.parent, rule_of(record))
    body |= {"name": results.name, "about": _about(record), "reference": record.get("reference")}
    return write_page(out, f"{results.name}: {len(rows)} photos", body, rows, files, thumbnails, begin, progress)


def write_page(
    out: Path,
    title: str,
    body: dict[str, Any],
    rows: Sequence[Row],
    files: Sequence[Path | None],
    thumbnails: Thumbnails,
    begin: Callable[[int], None],
    progress: Callable[[], None],
) -> Report:
    """Make thumbnails and write the file, in one step: there is never half a page."""
    pictures = ["" for _ in rows]
    partial = out.with_name(out.name + ".part")
    try:
        if thumbnails != "none":
            begin(len(files))
            made = make_thumbnails(files, progress=progress)
            pictures = list(_embedded(made) if thumbnails == "embed" else _beside(made, out))
        text = page.render(title=payload.shown(title), payload=body, thumbnails=pictures)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, out)
    except OSError as error:
        raise DefnetError(f"cannot write {out}: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    lost = [_is_enclosed(row.path) for row, file in zip(rows, files, strict=True) if file is None]
    failed = sum(row.failed for row in rows)
    return Report(out, out.stat().st_size, len(rows), failed, absent=lost.count(False), enclosed=lost.count(True))


def _embedded(made: Iterator[bytes | None]) -> Iterator[str]:
    for picture in made:
        yield f"data:image/webp;base64,{base64.b64encode(picture).decode()}" if picture else ""


def _folder_beside(out: Path) -> Path:
    return out.with_name(out.stem + "_thumbnails")


def _beside(made: Iterator[bytes | None], out: Path) -> Iterator[str]:
    folder = _folder_beside(out)
    folder.mkdir(exist_ok=True)
    # Those of the page before, and nothing else: the folder may be somebody's own.
    for old in folder.iterdir():
        if re.fullmatch(rf"\d+{re.escape(SUFFIX)}", old.name):
            old.unlink()
    for number, picture in enumerate(made):
        if picture:
            (folder / f"{number}{SUFFIX}").write_bytes(picture)
        yield f"./{payload.quoted(folder.name)}/{number}{SUFFIX}" if picture else ""


def locate(path: str, roots: Sequence[Path]) -> Path | None:
    """The photo, if it is a file here; URLs and members of archives are not."""
    if "://" in path:
        return None
    for root in roots:
        candidate = root / path
        try:
            if candidate.is_file():
                return candidate
        except (OSError, ValueError):  # A name that no file can have, typed by hand.
            continue
    return None


def _is_enclosed(path: str) -> bool:
    return "://" in path or archive_of(path) != path


def rule_of(record: dict[str, Any]) -> Preprocess | None:
    """How the run cut its crops, where its record says so."""
    try:
        rule = Preprocess.from_dict(record["preprocess"])
    except (AttributeError, KeyError, TypeError):
        return None
    sizes = (rule.crop_size, rule.crop_count, rule.stride, rule.large_stride, rule.large_side)
    whole = all(type(size) is int and size > 0 for size in sizes) and type(rule.shrink_short_side) is int
    return rule if whole else None


def _about(record: dict[str, Any]) -> list[list[str]]:
    """Facts of the run for the page's foot."""
    model, counts, versions = (_table(record.get(name)) for name in ("model", "counts", "versions"))
    facts = [
        ("model", model.get("file")),
        ("model SHA-256", model.get("sha256")),
        ("device", record.get("device")),
        ("defnet", versions.get("defnet")),
        ("photos", counts.get("photos")),
        ("seconds", record.get("seconds")),
        ("finished", {"True": "yes", "False": "no, the run was interrupted"}.get(str(record.get("finished")))),
    ]
    return [[name, payload.shown(str(value))] for name, value in facts if value not in (None, "")]


def _table(value: Any) -> dict[str, Any]:
    """A record may have been edited by hand: what is no table holds nothing."""
    return value if isinstance(value, dict) else {}
