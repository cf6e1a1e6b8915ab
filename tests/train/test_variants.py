"""The tables of the paper as recipes: their rows are there, differ, and differ in nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from defnet_infer.errors import UsageError
from defnet_train.recipe_file import load_config
from defnet_train.variants import table_names, table_variants


def test_table_4_has_sixteen_rows_that_differ_in_tasks_and_evidential_losses_alone() -> None:
    rows = [load_config(variant.name) for variant in table_variants("table4")]
    found = {(c.model.tasks, c.loss.cross_weight, c.loss.fusion_weight) for c in rows}
    tasks, weights = ("q", "q+s", "q+d", "q+s+d"), (0.0, 0.1)
    assert found == {(t, u, f) for t in tasks for u in weights for f in weights}
    assert len(rows) == 16
    paper = load_config("paper")
    assert all(c.optim == paper.optim and c.data == paper.data for c in rows)


def test_the_last_row_of_table_4_is_the_paper() -> None:
    row, paper = load_config("table4-q+s+d-M+U+F"), load_config("paper")
    assert row.to_dict() | {"recipe": ""} == paper.to_dict() | {"recipe": ""}
    assert row.recipe == "table4-q+s+d-M+U+F"


def test_table_5_is_a_grid_that_holds_both_pairs_the_paper_names() -> None:
    rows = [load_config(variant.name).loss for variant in table_variants("table5")]
    pairs = {(loss.cross_weight, loss.fusion_weight) for loss in rows}
    assert len(pairs) == len(rows) == 9
    assert {(0.1, 0.1), (0.2, 0.2)} <= pairs


@pytest.mark.parametrize("table", table_names())
def test_every_row_can_be_trained_from_another_recipe(table: str) -> None:
    for variant in table_variants(table, "lite"):
        row = load_config(variant.name, ["optim.epochs=2"], "lite")
        assert row.model.tower == "mobilenetv2_100"
        assert row.optim.epochs == 2
        assert row.calibration.folds == 0, "tables hold no intervals"


def test_a_recipe_of_ones_own_can_be_the_base(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text('[model]\ntower = "tiny-resnet"\nweights = "random"\n')
    row = load_config("table4-q+d-M+F", base=str(mine))
    assert (row.model.tower, row.model.tasks, row.loss.cross_weight) == ("tiny-resnet", "q+d", 0.0)


def test_a_setting_typed_last_counts_more_than_the_row() -> None:
    assert load_config("table4-q-M", ["loss.cross_weight=0.4"]).loss.cross_weight == 0.4


@pytest.mark.parametrize(
    ("recipe", "base", "message"),
    [
        ("table4-q-X", "", "table4 has no row 'table4-q-X'; its rows are table4-q-M"),
        ("table4-q-M", "litte", "recipe 'litte' not found"),
        ("lite", "paper", "--base paper goes with a table"),
        ("table9-q", "", "recipe 'table9-q' not found; use one of .*table4"),
    ],
)
def test_a_row_that_is_not_there_says_which_are(recipe: str, base: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_config(recipe, base=base)
