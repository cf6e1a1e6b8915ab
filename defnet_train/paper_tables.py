"""Tables 1 to 5, 7 and 8 of the paper, from results on disk: the paper's row first, then a row for every variant.

Means are over the sessions found. Which figures Tables 3 and 7 hold is our reading; the others follow from what the
paper says about them. A cell that nobody measured, or that is not known of the paper, is empty.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import product

from defnet_train import paper_results as paper
from defnet_train.run_results import ALL_TASKS, Figures, Result
from defnet_train.table_files import Cell, Mean, Table, mean_of

SUBSETS = ("q", "q+s", "q+d", ALL_TASKS)
PAPER_ROW = "DEFNet, the paper (10 sessions)"
EMPTY = "An empty cell was not measured, or is not known of the paper."


def paper_tables(results: Sequence[Result], count_parameters: Callable[[Result], dict[str, int]]) -> list[Table]:
    """All seven tables.

    Args:
        results: One record per variant and session.
        count_parameters: Parameters by part of a result that has a checkpoint.
    """
    return [
        data_sets(results),
        zero_shot(results),
        class_accuracy(results),
        ablation(results),
        loss_weights(results),
        distortion_types(results),
        cost(results, count_parameters),
    ]


def data_sets(results: Sequence[Result]) -> Table:
    """Table 1: SRCC and PLCC on the held-out part of every data set trained on."""
    columns = ["model"]
    for name in [*paper.DATASETS.values(), "mean"]:
        columns += [f"{name} SRCC", f"{name} PLCC"]
    known = [cell for key in paper.DATASETS for cell in (Mean(paper.SRCC[key]), Mean(paper.PLCC[key]))]
    means = [mean_of([*found.values()]) for found in (paper.SRCC, paper.PLCC)]
    rows: list[tuple[Cell, ...]] = [(PAPER_ROW, *known, *(_bare(mean) for mean in means))]
    for group in _variants(results):
        cells = [
            _over_sessions(group, lambda r, k=key, f=figure: r.trained.get(k, {}).get(f))
            for key in paper.DATASETS
            for figure in ("srcc", "plcc")
        ]
        complete = all(set(paper.DATASETS) <= set(result.trained) for result in group)
        ends = [_over_sessions(group, lambda r, f=figure: _mean(r, f)) for figure in ("srcc", "plcc")]
        rows.append((_label(group, results), *cells, *(ends if complete else (None, None))))
    return Table(
        name="1-data-sets",
        title="Table 1: agreement with people on held-out photos",
        note=f"Ours: PLCC after the 4-parameter logistic. The mean is over all six data sets or absent. {EMPTY}",
        columns=tuple(columns),
        rows=rows,
    )


def zero_shot(results: Sequence[Result]) -> Table:
    """Table 2: SRCC on data sets that trained nothing."""
    names = {**paper.ZERO_SHOT_DATASETS}
    for key in {key for result in results for key in result.zero_shot} - {*names}:
        names[key] = paper.DATASETS.get(key, key)
    rows: list[tuple[Cell, ...]] = [(PAPER_ROW, *(_known(paper.ZERO_SHOT_SRCC.get(key)) for key in names))]
    rows += [
        (
            _label(group, results),
            *(_over_sessions(group, lambda r, k=key: r.zero_shot.get(k, {}).get("srcc")) for key in names),
        )
        for group in _variants(results)
        if any(result.zero_shot for result in group)
    ]
    return Table(
        name="2-zero-shot",
        title="Table 2: SRCC on data sets that trained nothing",
        note="The paper does not say which session its row is of. Ours are of `defnet evaluate --sets ... --part all`. "
        + EMPTY,
        columns=("model", *names.values()),
        rows=rows,
    )


def class_accuracy(results: Sequence[Result]) -> Table:
    """Table 3, as we read it: accuracy of the two auxiliary tasks."""
    rows: list[tuple[Cell, ...]] = [(PAPER_ROW, Mean(paper.SCENE_ACCURACY), Mean(paper.DISTORTION_ACCURACY))]
    rows += [
        (
            _label(group, results),
            *(_over_sessions(group, lambda r, f=figure: _mean(r, f)) for figure in _ACCURACIES),
        )
        for group in _variants(results)
        if any(math.isfinite(_mean(result, figure)) for result in group for figure in _ACCURACIES)
    ]
    return Table(
        name="3-scene-and-distortion",
        title="Table 3: accuracy of scene (9 classes) and distortion (11 classes)",
        note=f"Means over data sets with labels. Of k true scenes, those among the k most probable count. {EMPTY}",
        columns=("model", "scene", "distortion"),
        rows=rows,
    )


_ACCURACIES = ("scene_accuracy", "distortion_accuracy")


def ablation(results: Sequence[Result]) -> Table:
    """Table 4: which tasks and which evidential losses, 16 rows; a column for each base that was ablated."""
    bases = _bases([r for r in results if r.config and set(r.loss_weights) <= {0.0, paper.LOSS_WEIGHTS[0]}])
    rows: list[tuple[Cell, ...]] = []
    for tasks, (cross, fusion) in product(SUBSETS, [(False, False), (True, False), (False, True), (True, True)]):
        cells = [
            _over_sessions(
                [r for r in group if r.tasks == tasks and tuple(w > 0 for w in r.loss_weights) == (cross, fusion)],
                lambda r: _mean(r, "srcc"),
            )
            for group in bases.values()
        ]
        losses = ("yes", "yes" if cross else "", "yes" if fusion else "")
        rows.append((tasks, *losses, _known(paper.ABLATION_SRCC.get((tasks, cross, fusion))), *cells))
    return Table(
        name="4-ablation",
        title="Table 4: tasks and losses, mean SRCC over data sets",
        note=f"q quality, s scene, d distortion; L_U cross-region, L_F local-global evidential loss. {EMPTY}",
        columns=("tasks", "L_M", "L_U", "L_F", "the paper", *bases),
        rows=rows,
    )


def loss_weights(results: Sequence[Result]) -> Table:
    """Table 5: weights of the two evidential losses, all tasks; the pairs are those found, and the paper's own."""
    chosen = [r for r in results if r.config and r.tasks == ALL_TASKS]
    bases = _bases(chosen)
    pairs = sorted({paper.LOSS_WEIGHTS, *(result.loss_weights for result in chosen)})
    known = mean_of([*paper.SRCC.values()])
    rows: list[tuple[Cell, ...]] = [
        (
            *(f"{weight:g}" for weight in pair),
            _bare(known) if pair == paper.LOSS_WEIGHTS else None,
            *(
                _over_sessions([r for r in group if r.loss_weights == pair], lambda r: _mean(r, "srcc"))
                for group in bases.values()
            ),
        )
        for pair in pairs
    ]
    return Table(
        name="5-loss-weights",
        title="Table 5: weights of the evidential losses, mean SRCC over data sets",
        note=f"The paper's row is the mean of its Table 1, which it equals. {EMPTY}",
        columns=("lambda 1 (L_U)", "lambda 2 (L_F)", "the paper", *bases),
        rows=rows,
    )


def distortion_types(results: Sequence[Result]) -> Table:
    """Table 7, as we read it: SRCC within each distortion type of each data set."""
    groups = list(_variants(results))
    places = sorted({(key, kind) for result in results for key, types in result.types.items() for kind in types})
    rows: list[tuple[Cell, ...]] = [
        (
            {**paper.DATASETS, **paper.ZERO_SHOT_DATASETS}.get(key, key),
            kind,
            _over_sessions(groups[0], lambda r, k=key, t=kind: _of_type(r, k, t, "photos"), decimals=0),
            None,
            *(_over_sessions(group, lambda r, k=key, t=kind: _of_type(r, k, t, "srcc")) for group in groups),
        )
        for key, kind in places
    ]
    return Table(
        name="7-distortion-types",
        title="Table 7: SRCC within distortion types",
        note=f"Types of fewer than five held-out photos have no correlation. {EMPTY}",
        columns=("data set", "type", "photos a session", "the paper", *(_label(group, results) for group in groups)),
        rows=rows,
    )


def cost(results: Sequence[Result], count_parameters: Callable[[Result], dict[str, int]]) -> Table:
    """Table 8: parameters, true counts, and photos a second where an evaluation measured it."""
    rows: list[tuple[Cell, ...]] = [
        (f"{name}, as the paper prints it", None, None, None, Mean(value, decimals=0), None)
        for name, value in paper.PARAMETERS.items()
    ]
    for group in _variants(results):
        stored = next((result for result in group if result.checkpoint), None)
        counts = count_parameters(stored) if stored else {}
        parts = [_count(counts.get(part)) for part in ("image", "text", "heads")]
        speed = mean_of([r.photos_per_second for r in group if r.photos_per_second], decimals=2)
        rows.append((_label(group, results), *parts, _count(sum(counts.values()) or None), speed))
    return Table(
        name="8-cost",
        title="Table 8: parameters and speed",
        note="The paper's counts leave out attention, embeddings and norms, and LIQE's its text tower; CLIP ViT-B/32 "
        "has 151,277,313 parameters in both methods. After export the text tower is a constant of 495 vectors. The "
        f"total includes the temperature. Speed is that of the evaluation, on whatever machine ran it. {EMPTY}",
        columns=("model", "image tower", "text tower", "heads", "total", "photos a second"),
        rows=rows,
    )


def _variants(results: Sequence[Result]) -> Iterable[list[Result]]:
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.variant, []).append(result)
    return groups.values()


def _bases(results: Sequence[Result]) -> dict[str, list[Result]]:
    """Results by what is the same in all rows of Tables 4 and 5, under a name for it."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result.base, []).append(result)
    named: dict[str, list[Result]] = {}
    for group in groups.values():
        config = group[0].config
        assert config is not None
        name = f"{config['model']['tower']} on {', '.join(config['data']['sets'])}"
        named[name if name not in named else f"{name} ({group[0].folder.name})"] = group
    return named


def _label(group: Sequence[Result], among: Sequence[Result]) -> str:
    """Name of a variant: its recipe, its tasks and loss weights where these are not the usual ones, its sessions."""
    first = group[0]
    name = first.name
    if first.config is not None:
        if first.tasks != ALL_TASKS:
            name += f", {first.tasks}"
        if first.loss_weights != paper.LOSS_WEIGHTS:
            name += ", lambda {:g} and {:g}".format(*first.loss_weights)
        others = [r for r in among if r.name == first.name and r.variant != first.variant]
        if any(r.config and (r.tasks, r.loss_weights) == (first.tasks, first.loss_weights) for r in others):
            name += f" in {first.folder.name}"
    count = len({result.session for result in group})
    return f"{name} ({count} session{'s' if count > 1 else ''})"


def _mean(result: Result, figure: str) -> float:
    """Mean over the data sets trained on; NaN where none has the figure."""
    values = [found[figure] for found in result.trained.values() if figure in found]
    return math.fsum(values) / len(values) if values else math.nan


def _of_type(result: Result, dataset: str, kind: str, figure: str) -> float | None:
    found: Figures = result.types.get(dataset, {}).get(kind, {})
    return found.get(figure)


def _over_sessions(group: Sequence[Result], figure: Callable[[Result], float | None], decimals: int = 3) -> Cell:
    values = [figure(result) for result in group]
    return mean_of([value for value in values if value is not None], decimals)


def _known(value: float | None) -> Cell:
    return None if value is None else Mean(value)


def _bare(mean: Mean | None) -> Cell:
    """A mean over data sets: its deviation is not one over sessions."""
    return None if mean is None else Mean(mean.value)


def _count(value: float | None) -> Cell:
    return None if value is None else Mean(float(value), decimals=0)
