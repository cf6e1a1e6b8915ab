"""`defnet train` and `defnet evaluate`. PyTorch is imported when a command runs, so that --help stays quick."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from defnet_infer.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from rich.progress import Progress


SECONDS_BETWEEN_LINES = 60
"""How often a log file, which cannot show a bar, hears of progress."""


def add_commands(app: typer.Typer) -> None:
    """Mount this package's commands on the `defnet` application."""
    app.command()(train)
    app.command()(evaluate)


def require_extra(command: str, extra: str, *modules: str) -> None:
    """Stop with the install line when an optional part is missing.

    Raises:
        MissingExtraError: Naming the first module that is not installed.
    """
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(command, extra, module)


def train(
    recipe: Annotated[str, typer.Argument(help="Recipe name (paper, lite, smoke) or a .toml file.")] = "paper",
    data: Annotated[Path | None, typer.Option(envvar="DEFNET_DATA", help="Folder that holds the data sets.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Run directory; default runs/RECIPE-TIME.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Change one setting: --set optim.epochs=5. Repeatable.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Train a model from a recipe and measure it on photos it has not seen.

    Writes a run directory with the best and the last checkpoint, a log, and metrics.json. Exit code: 0 done,
    2 wrong arguments, 3 a problem with data or weights.
    """
    require_extra("defnet train", "train", "torch", "open_clip", "lightning_fabric", "scipy")
    from defnet_train.config import load_config
    from defnet_train.loop import train as run

    config = load_config(recipe, settings)
    if data is None:
        raise UsageError("no data folder; pass it with --data FOLDER or set DEFNET_DATA")
    out = out or Path("runs") / time.strftime(f"{config.recipe}-%Y%m%d-%H%M%S")
    with _Display() as display:
        result = run(config, data, out, display, device)
    _print_figures({"validation": result["val"], "test": result["test"]})
    typer.echo(f"best checkpoint: {out / 'best.safetensors'}; export it with: defnet export {out / 'best.safetensors'}")


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint written by `defnet train`.")],
    data: Annotated[Path | None, typer.Option(envvar="DEFNET_DATA", help="Folder that holds the data sets.")] = None,
    session: Annotated[
        int | None, typer.Option(min=1, help="Number of the split; default: the one trained on.")
    ] = None,
    part: Annotated[str, typer.Option(help="train, val, test, or all.")] = "test",
    settings: Annotated[list[str] | None, typer.Option("--set", help="Change a data setting of the run.")] = None,
) -> None:
    """Measure a checkpoint on rated photos: correlations, accuracies, coverage of the intervals."""
    require_extra("defnet evaluate", "train", "torch", "open_clip", "lightning_fabric", "scipy")
    from defnet_train.batches import PhotoViews
    from defnet_train.checkpoint import load_checkpoint
    from defnet_train.config import apply_overrides
    from defnet_train.evaluation import figures, predict
    from defnet_train.loop import load_data

    if data is None:
        raise UsageError("no data folder; pass it with --data FOLDER or set DEFNET_DATA")
    if part not in ("train", "val", "test", "all"):
        raise UsageError(f"--part {part}: choose one of train, val, test, all")
    model, info = load_checkpoint(checkpoint)
    overrides = [*(settings or []), *([f"data.session={session}"] if session is not None else [])]
    run_data = load_data(apply_overrides(info.config, overrides), data)
    parts = ("train", "val", "test") if part == "all" else (part,)
    indices = sorted(index for name in parts for index in run_data.rated(name))
    records = run_data.at(indices)
    source = PhotoViews(run_data.records, model.contract().preprocess)
    with _Display() as display:
        display.stage("scoring", len(indices))
        outputs = predict(model, source, indices, display.advance)
    _print_figures({part: figures(outputs, records)})


class _Display:
    """Rich progress on stderr; the `Listener` of the commands."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self._console = Console(stderr=True)
        self._progress: Progress = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task: Any = None
        self._name, self._total, self._done, self._told = "", 0, 0, 0.0

    def __enter__(self) -> _Display:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def stage(self, name: str, total: int) -> None:
        """See `loop.Listener`."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        self._task = self._progress.add_task(name, total=total)
        self._name, self._total, self._done, self._told = name, total, 0, time.monotonic()
        if not self._console.is_terminal and not name.startswith("epoch"):
            self._console.print(name)

    def advance(self, count: int = 1) -> None:
        """See `loop.Listener`."""
        self._progress.advance(self._task, count)
        self._done += count
        if not self._console.is_terminal and time.monotonic() - self._told > SECONDS_BETWEEN_LINES:
            self._told = time.monotonic()
            self._console.print(f"{self._name}: {self._done} of {self._total}", highlight=False)

    def epoch(self, entry: dict[str, Any]) -> None:
        """See `loop.Listener`."""
        losses = "  ".join(f"{name} {value:.3f}" for name, value in entry["losses"].items())
        self._console.print(
            f"epoch {entry['epoch'] + 1}: {losses}  "
            f"validation SRCC {entry['val_srcc']:.4f}  ({entry['seconds']:.0f} s)",
            highlight=False,
            soft_wrap=True,
        )


def _print_figures(parts: dict[str, dict[str, float]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("", *parts, title="Agreement with people's scores", title_justify="left")
    for key in next(iter(parts.values())):
        table.add_row(key, *(f"{figures[key]:.4g}" if key in figures else "" for figures in parts.values()))
    Console().print(table)
