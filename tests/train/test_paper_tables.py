"""The paper's tables from run directories: the right runs in the right cells, and nothing invented."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from defnet_infer.errors import DatasetError, UsageError
from defnet_train import paper_results as paper
from defnet_train.paper_tables import paper_tables
from defnet_train.recipe_file import load_config
from defnet_train.run_results import read_results
from defnet_train.table_files import Mean, Table

SIX = "data.sets={ live = 1, csiq = 1, kadid10k = 1, bid = 1, clive = 1, koniq10k = 1 }"


def figures(datasets: dict[str, float], **types: dict[str, float]) -> dict[str, Any]:
    """Figures of a run in which PLCC is SRCC - 0.01, and the accuracies are SRCC / 2 and SRCC / 4."""
    return {
        "datasets": {
            key: {"srcc": s, "plcc": s - 0.01, "scene_accuracy": s / 2, "distortion_accuracy": s / 4, "photos": 100.0}
            for key, s in datasets.items()
        },
        "types": {key: {kind: {"srcc": s, "photos": 9.0} for kind, s in found.items()} for key, found in types.items()},
    }


def run(root: Path, name: str, srcc: dict[str, float] | None, *settings: str, **types: dict[str, float]) -> Path:
    """A run directory; without figures it is not finished."""
    folder = root / name
    folder.mkdir(parents=True)
    config = load_config("paper", list(settings)).to_dict()
    (folder / "config.json").write_text(json.dumps({"config": config}))
    if srcc is not None:
        (folder / "metrics.json").write_text(json.dumps({"test": figures(srcc, **types)}))
    return folder


def evaluation(folder: Path, srcc: dict[str, float], *settings: str, seen: bool = False, part: str = "all") -> None:
    """What `defnet evaluate --out` leaves."""
    folder.mkdir(parents=True)
    entry = {
        "model": str(folder / "best.safetensors"),
        "config": load_config("paper", list(settings)).to_dict(),
        "session": 9,
        "part": part,
        "seen": seen,
        "photos_per_second": 3.5,
        "figures": figures(srcc),
    }
    (folder / "evaluation.json").write_text(json.dumps({"evaluations": [entry]}))


def tables(root: Path) -> dict[str, Table]:
    results, _ = read_results(root)
    made = paper_tables(results, lambda _: {"image": 10, "text": 20, "temperature": 1, "heads": 4})
    return {table.name: table for table in made}


def column(table: Table, name: str) -> list[Any]:
    return [row[table.columns.index(name)] for row in table.rows]


def test_there_are_the_seven_tables(tmp_path: Path) -> None:
    run(tmp_path, "a", {"clive": 0.8})
    assert [name[0] for name in tables(tmp_path)] == list("1234578")


def test_table_1_means_over_sessions_and_leaves_untrained_data_sets_empty(tmp_path: Path) -> None:
    for session, value in ((1, 0.80), (2, 0.84), (3, 0.79)):
        run(tmp_path, f"s{session}", {"clive": value}, f"data.session={session}", "data.sets={ clive = 1 }")
    table = tables(tmp_path)["1-data-sets"]
    assert table.rows[1][0] == "paper (3 sessions)"
    mean = column(table, "LIVE Challenge SRCC")[1]
    assert mean.value == pytest.approx(np.mean([0.80, 0.84, 0.79]))
    assert mean.deviation == pytest.approx(np.std([0.80, 0.84, 0.79], ddof=1))
    assert column(table, "LIVE Challenge PLCC")[1].value == pytest.approx(mean.value - 0.01)
    assert column(table, "LIVE SRCC")[1] is None
    assert column(table, "mean SRCC")[1] is None, "a mean of one data set beside one of six would mislead"


def test_table_1_has_the_papers_row_beside_ours(tmp_path: Path) -> None:
    run(tmp_path, "a", dict.fromkeys(paper.DATASETS, 0.9), SIX)
    table = tables(tmp_path)["1-data-sets"]
    assert column(table, "CSIQ SRCC")[0] == Mean(0.967, pytest.approx(float("nan"), nan_ok=True))
    assert column(table, "mean SRCC")[0].value == pytest.approx(0.939, abs=1e-3)
    assert column(table, "mean SRCC")[1].value == pytest.approx(0.9)


def test_runs_with_other_settings_are_rows_of_their_own(tmp_path: Path) -> None:
    run(tmp_path, "a", {"clive": 0.8})
    run(tmp_path, "b", {"clive": 0.7}, "loss.cross_weight=0.0", "loss.fusion_weight=0.0")
    run(tmp_path, "c", {"clive": 0.6}, "optim.epochs=3")
    run(tmp_path, "d", {"clive": 0.9}, "data.session=2", "data.labels=elsewhere", "seed=5")
    rows = {row[0]: row for row in tables(tmp_path)["1-data-sets"].rows[1:]}
    assert set(rows) == {
        "paper in a (2 sessions)",
        "paper, lambda 0 and 0 (1 session)",
        "paper in c (1 session)",
    }, "where data lay and which session it was does not matter; epochs do"


def test_an_exported_file_says_what_it_was_trained_on(tmp_path: Path) -> None:
    evaluation(tmp_path / "a", {"tid2013": 0.7, "clive": 0.8})
    file = tmp_path / "a" / "evaluation.json"
    entry = json.loads(file.read_text())["evaluations"][0] | {
        "config": None,
        "model": "m.onnx",
        "trained_on": ["clive"],
    }
    file.write_text(json.dumps({"evaluations": [entry]}))
    made = tables(tmp_path)
    assert column(made["2-zero-shot"], "TID2013")[-1].value == 0.7
    assert column(made["1-data-sets"], "LIVE Challenge SRCC")[-1].value == 0.8


def test_zero_shot_figures_go_to_table_2_and_never_to_table_1(tmp_path: Path) -> None:
    run(tmp_path, "a", {"clive": 0.8}, "data.sets={ clive = 1 }")
    evaluation(tmp_path / "a-tid", {"tid2013": 0.7, "bid": 0.6}, "data.sets={ clive = 1 }")
    made = tables(tmp_path)
    zero_shot = made["2-zero-shot"]
    assert [cell and cell.value for cell in column(zero_shot, "TID2013")] == [0.828, 0.7]
    assert [cell and cell.value for cell in column(zero_shot, "SPAQ")] == [0.868, None]
    assert column(zero_shot, "BID")[1].value == 0.6, "BID trained nothing here"
    table = made["1-data-sets"]
    assert column(table, "BID SRCC")[1] is None
    assert column(table, "LIVE Challenge SRCC")[1].value == 0.8
    assert column(made["8-cost"], "photos a second")[-1].value == 3.5


def test_another_csv_file_is_a_data_set_of_its_own(tmp_path: Path) -> None:
    settings = ("data.sets={ csv = 1 }", "data.csv=my.csv")
    run(tmp_path, "a", {"csv": 0.8}, *settings, csv={"noise": 0.7})
    for name, value, of_run in (("sub.csv", 0.3, False), ("my.csv", 0.4, False), ("my.csv", 0.75, True)):
        folder = tmp_path / f"{name}-{of_run}"
        evaluation(folder, {"csv": value}, *settings)
        content = json.loads((folder / "evaluation.json").read_text())
        content["evaluations"][0]["csv"] = {"name": name, "sha256": "0", "of_run": of_run}
        (folder / "evaluation.json").write_text(json.dumps(content))
    (result,), _ = read_results(tmp_path)
    assert {key: found["srcc"] for key, found in result.trained.items()} == {"csv": 0.75}
    assert {key: found["srcc"] for key, found in result.zero_shot.items()} == {"csv:sub.csv": 0.3, "csv:my.csv": 0.4}
    assert column(tables(tmp_path)["2-zero-shot"], "csv:sub.csv")[1].value == 0.3


def test_photos_that_may_have_trained_the_model_never_reach_a_table(tmp_path: Path) -> None:
    run(tmp_path, "a", {"clive": 0.8}, "data.sets={ clive = 1 }")
    evaluation(tmp_path / "b", {"clive": 0.99}, "data.sets={ clive = 1 }", seen=True)
    evaluation(tmp_path / "c", {"clive": 0.98}, "data.sets={ clive = 1 }", part="val")
    assert column(tables(tmp_path)["1-data-sets"], "LIVE Challenge SRCC")[1].value == 0.8


def test_the_later_measurement_of_a_session_counts(tmp_path: Path) -> None:
    first = run(tmp_path, "a", {"clive": 0.8}, "data.sets={ clive = 1 }") / "metrics.json"
    evaluation(tmp_path / "b", {"clive": 0.75}, "data.sets={ clive = 1 }", part="test")
    os.utime(first, (1, 1))
    assert column(tables(tmp_path)["1-data-sets"], "LIVE Challenge SRCC")[1].value == 0.75
    os.utime(first, (4e9, 4e9))
    assert column(tables(tmp_path)["1-data-sets"], "LIVE Challenge SRCC")[1].value == 0.8


def test_table_4_has_16_rows_and_puts_every_run_into_its_own(tmp_path: Path) -> None:
    weights = {(0, 0): 0.70, (1, 0): 0.71, (0, 1): 0.72, (1, 1): 0.73}
    for (cross, fusion), value in weights.items():
        settings = (f"loss.cross_weight={cross / 10}", f"loss.fusion_weight={fusion / 10}", "data.sets={ clive = 1 }")
        run(tmp_path, f"r{cross}{fusion}", {"clive": value}, *settings)
    other = run(tmp_path, "other", {"clive": 0.5}, "loss.cross_weight=0.7", "data.sets={ clive = 1 }")
    quality_only = json.loads((other / "config.json").read_text())
    quality_only["config"]["loss"]["cross_weight"] = 0.1
    quality_only["config"]["model"]["tasks"] = "q"
    (run(tmp_path, "q", {"clive": 0.65}) / "config.json").write_text(json.dumps(quality_only))
    table = tables(tmp_path)["4-ablation"]
    assert len(table.rows) == 16
    ours = {row[:4]: row[5] for row in table.rows}
    for (cross, fusion), value in weights.items():
        assert ours["q+s+d", "yes", "yes" if cross else "", "yes" if fusion else ""].value == value
    assert ours["q", "yes", "yes", "yes"].value == 0.65
    assert sum(cell is not None for cell in ours.values()) == 5, "a weight of the grid is no ablation"
    known = {row[:4]: row[4].value for row in table.rows if row[4] is not None}
    assert known == {("q+s+d", "yes", "", ""): 0.916}, "of the paper's rows only this one is known"


def test_table_5_lists_the_weights_that_were_tried_and_the_papers(tmp_path: Path) -> None:
    run(tmp_path, "a", {"clive": 0.8}, "loss.cross_weight=0.2", "loss.fusion_weight=0.5")
    table = tables(tmp_path)["5-loss-weights"]
    assert [row[:2] for row in table.rows] == [("0.1", "0.1"), ("0.2", "0.5")]
    assert [cell and cell.value for cell in table.rows[0][2:]] == [pytest.approx(0.939, abs=1e-3), None]
    assert [cell and cell.value for cell in table.rows[1][2:]] == [None, 0.8]


def test_tables_3_7_and_8_hold_accuracies_types_and_true_counts(tmp_path: Path) -> None:
    folder = run(tmp_path, "a", {"clive": 0.8}, clive={"blur": 0.6, "noise": 0.4})
    (folder / "best.safetensors").touch()
    made = tables(tmp_path)
    assert [cell.value for cell in made["3-scene-and-distortion"].rows[1][1:]] == [0.4, 0.2]
    types = made["7-distortion-types"]
    assert [(row[0], row[1], row[2].value, row[3], row[4].value) for row in types.rows] == [
        ("LIVE Challenge", "blur", 9, None, 0.6),
        ("LIVE Challenge", "noise", 9, None, 0.4),
    ]
    assert [cell and cell.value for cell in made["8-cost"].rows[-1][1:]] == [10, 20, 4, 35, None]


def test_unfinished_runs_are_counted_and_left_out(tmp_path: Path) -> None:
    run(tmp_path, "a", {"clive": 0.8})
    run(tmp_path, "b", None)
    results, unfinished = read_results(tmp_path)
    assert (len(results), unfinished) == (1, 1)


def test_a_folder_without_runs_and_a_damaged_file_say_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="name the one that holds run directories"):
        read_results(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match=r"holds no finished run.*defnet train"):
        read_results(tmp_path)
    metrics = run(tmp_path, "a", {"clive": 0.8}) / "metrics.json"
    metrics.write_text('{"test": {"srcc": 0.8}}')
    with pytest.raises(DatasetError, match=r"metrics\.json is not what this defnet writes.*defnet evaluate"):
        read_results(tmp_path)
