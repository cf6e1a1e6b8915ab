"""`defnet tables` and `defnet gmad`: reports made from files that runs and evaluations left."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from defnet_infer.errors import UsageError
from defnet_train.extras import require_extra


def add_commands(app: typer.Typer) -> None:
    """Mount these commands on the `defnet` application."""
    app.command()(tables)
    app.command()(gmad)


def tables(
    runs: Annotated[Path, typer.Argument(help="Folder with run directories and evaluations, at any depth.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the tables.")],
) -> None:
    """Write the paper's Tables 1 to 5, 7 and 8, its own row beside ours, as Markdown and CSV.

    Reads config.json and metrics.json of finished runs, and evaluation.json of `defnet evaluate --out`. Exit code:
    0 written, 2 wrong arguments, 3 nothing to make tables of.
    """
    require_extra("defnet tables", "train", "torch", "open_clip", "scipy")
    from defnet_train.checkpoint import load_checkpoint
    from defnet_train.paper_tables import paper_tables
    from defnet_train.parameter_counts import parameter_counts
    from defnet_train.run_results import Result, read_results
    from defnet_train.safe_write import make_folder, refuse_unwritable, writing

    refuse_unwritable(out)
    results, unfinished = read_results(runs)

    def count(result: Result) -> dict[str, int]:
        assert result.checkpoint is not None
        return parameter_counts(load_checkpoint(result.checkpoint)[0])

    made = paper_tables(results, count)
    make_folder(out)
    with writing(out):
        for table in made:
            (out / f"{table.name}.md").write_text(table.markdown(), encoding="utf-8")
            (out / f"{table.name}.csv").write_text(table.csv(), encoding="utf-8")
    left_out = f"; {unfinished} unfinished left out" if unfinished else ""
    typer.echo(f"{out}: {len(made)} tables of {len(results)} models{left_out}", err=True)


def gmad(
    first: Annotated[Path, typer.Argument(help="Scores of one model: CSV or JSON Lines with path and score.")],
    second: Annotated[Path, typer.Argument(help="Scores of the other, of the same photos.")],
    photos: Annotated[Path, typer.Option(help="Folder of the photos.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for gmad.png, gmad.svg and gmad.csv.")],
    window: Annotated[
        float, typer.Option(min=0, max=1, help="Share of all photos that counts as equal for the defender.")
    ] = 0.05,
) -> None:
    """Find photos that one model calls equal and the other most different, and show them.

    Three levels of quality, each model as defender and as attacker. Higher scores must mean better. Exit code: 0
    found, 2 wrong arguments, 3 the files do not fit the photos.
    """
    require_extra("defnet gmad", "train", "matplotlib")
    from defnet_train.gmad import pairs
    from defnet_train.gmad_files import refuse_to_replace, write_pairs
    from defnet_train.plots.gmad import gmad_figure
    from defnet_train.safe_write import make_folder, refuse_unwritable, writing
    from defnet_train.score_files import read_scores

    refuse_unwritable(out)
    if first.resolve() == second.resolve():
        raise UsageError(f"{first} is given twice; a competition needs scores of two models")
    refuse_to_replace(out, first, second)
    names = (first.stem, second.stem) if first.stem != second.stem else (str(first), str(second))
    scores = [read_scores(path, photos) for path in (first, second)]
    found = pairs((names[0], scores[0]), (names[1], scores[1]), window=window)
    figure = gmad_figure(found, photos)
    make_folder(out)
    with writing(out):
        write_pairs(out, found, figure)
    typer.echo(f"{out}: {len(found)} pairs of {len(set(scores[0]) & set(scores[1]))} photos", err=True)
