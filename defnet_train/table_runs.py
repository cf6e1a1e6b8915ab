"""All runs behind one table of the paper: every row in every session, into one folder, taking up where it stopped.

    defnet train table4 --data FOLDER --base lite --sessions 1-3 --set model.trunk_weights=FILE

A folder of the table holds one run directory per row and session, named `ROW.session-N`. A finished run is not trained
again; one that was stopped is gone on with.
"""

from __future__ import annotations

import re
import shlex
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from defnet_infer.errors import UsageError
from defnet_train.config import TrainConfig
from defnet_train.listener import Listener
from defnet_train.loop import train
from defnet_train.readers import data_folder
from defnet_train.recipe_file import load_config
from defnet_train.run_directory import RunDirectory, differences
from defnet_train.variants import table_variants


@dataclass(frozen=True, kw_only=True)
class PlannedRun:
    """One run of a table."""

    config: TrainConfig
    out: Path

    @property
    def begun(self) -> bool:
        """Whether it goes on with what is there."""
        return RunDirectory(self.out).exists

    @property
    def finished(self) -> bool:
        """Whether it has been trained and measured."""
        return RunDirectory(self.out).finished


def plan_table(
    table: str,
    folder: Path,
    *,
    base: str = "",
    sessions: Sequence[int] = (1,),
    overrides: Sequence[str] = (),
    root: Path | None = None,
) -> list[PlannedRun]:
    """The runs of a table, session by session: a table that is stopped early has whole columns.

    Args:
        table: Its name, as in `variants.table_names`.
        folder: Where the run directories are or will be.
        base: Recipe to use instead of the table's own.
        sessions: Numbers of the splits.
        overrides: ``table.key=value`` changes to every run.
        root: Folder of the data sets, or a CSV file to use instead of them.

    Raises:
        UsageError: If the table, the recipe or a setting is not known, there is no such data, or the folder holds a run
            of that name with another configuration.
        CheckpointError: If what a run there says about itself is damaged.
    """
    runs = []
    for session in sessions:
        for variant in table_variants(table, base):
            config = load_config(variant.name, [*overrides, f"data.session={session}"], base)
            if root is not None:
                config, _ = data_folder(config, root, overrides)
            run = PlannedRun(config=config, out=folder / f"{variant.name}.session-{session}")
            _refuse_another(run)
            runs.append(run)
    return runs


def train_table(
    runs: Sequence[PlannedRun],
    root: Path,
    listener: Listener,
    device: str = "auto",
    stop: threading.Event | None = None,
) -> dict[str, Any]:
    """Train what is not finished, going on with a run that was stopped.

    Args:
        runs: From `plan_table`.
        root: Folder of the data sets, or a CSV file.
        listener: Told about progress; every run begins with a stage of its own name.
        device: As in `loop.train`.
        stop: As in `loop.train`.

    Returns:
        Name of a run directory -> what its metrics.json holds.
    """
    results = {}
    for number, run in enumerate(runs, start=1):
        if run.finished:
            results[run.out.name] = RunDirectory(run.out).metrics()
            continue
        listener.stage(f"{run.out.name} ({number} of {len(runs)})", 0)
        config, folder = data_folder(run.config, root)
        results[run.out.name] = train(config, folder, run.out, listener, device, resume=run.begun, stop=stop)
    return results


def read_sessions(text: str) -> list[int]:
    """``1-10`` or ``1,4,7`` to numbers, in order and without repetition.

    Raises:
        UsageError: If it is neither.
    """
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise UsageError(f"--sessions {text}: write numbers as 1-10 or 1,4,7")
    numbers: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    if not numbers or min(numbers) < 1:
        raise UsageError(f"--sessions {text}: sessions count from 1, upwards")
    return sorted(numbers)


def _refuse_another(run: PlannedRun) -> None:
    there = RunDirectory(run.out)
    if there.exists and (different := differences(there.stored()["config"], run.config)):
        raise UsageError(
            f"{run.out} holds a run with other settings ({'; '.join(different)}); choose another folder with --out, "
            f"or remove it: rm -r {shlex.quote(str(run.out))}"
        )
