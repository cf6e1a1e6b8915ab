"""Recipes and settings: what is misspelt is refused, what is accepted comes back as it was."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from defnet_infer.errors import UsageError
from defnet_train.config import HeadConfig, TrainConfig
from defnet_train.recipe_file import RECIPES, apply_overrides, load_config


@pytest.mark.parametrize("recipe", sorted(p.stem for p in RECIPES.glob("*.toml")))
def test_every_shipped_recipe_loads(recipe: str) -> None:
    assert load_config(recipe).recipe == recipe


def test_the_paper_recipe_is_the_paper() -> None:
    config = load_config("paper")
    assert (config.optim.epochs, config.optim.steps_per_epoch) == (80, 200)
    assert (config.optim.encoder_lr, config.optim.encoder_weight_decay) == (5e-6, 1e-3)
    assert (config.loss.cross_weight, config.loss.fusion_weight, config.loss.tau) == (0.1, 0.1, 0.05)
    assert config.optim.schedule == "liqe_cyclic"
    assert config.model.tower == "ViT-B-32-quickgelu", "plain ViT-B-32 has the wrong activation for these weights"
    assert sum(config.data.sets.values()) == 48
    assert config.data.crops == 4


def test_a_config_survives_json() -> None:
    config = load_config("paper", ["optim.epochs=5", "data.sets={clive = 8}", "loss.overview_gradient=full"])
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict())), "test") == config


@pytest.mark.parametrize(
    ("setting", "table", "key", "value"),
    [
        ("optim.epochs=5", "optim", "epochs", 5),
        ("optim.encoder_lr=1e-4", "optim", "encoder_lr", 1e-4),
        ("optim.clip_norm=1", "optim", "clip_norm", 1.0),
        ("optim.freeze_trunk=true", "optim", "freeze_trunk", True),
        ("model.weights=random", "model", "weights", "random"),
        ('model.weights="a=b.pt"', "model", "weights", "a=b.pt"),
        ("data.labels=some/folder", "data", "labels", "some/folder"),
        ("data.sets.clive=12", "data", "sets", load_config("paper").data.sets | {"clive": 12}),
        ("model.head.kind=mlp", "model", "head", HeadConfig(kind="mlp")),
    ],
)
def test_a_setting_replaces_one_value(setting: str, table: str, key: str, value: object) -> None:
    before, after = load_config("paper"), load_config("paper", [setting])
    found = getattr(getattr(after, table), key)
    assert found == value
    assert type(found) is type(value)
    assert getattr(getattr(before, table), key) != value, "or this test shows nothing"
    assert apply_overrides(before, [setting]) == after


def test_settings_leave_the_config_they_start_from_alone() -> None:
    config = load_config("paper")
    apply_overrides(config, ["data.sets.clive=3", "optim.epochs=1"])
    assert config == load_config("paper")


def test_the_last_of_two_settings_counts() -> None:
    assert load_config("paper", ["optim.epochs=5", "optim.epochs=7"]).optim.epochs == 7


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("optim.epoch=5", "unknown key 'optim.epoch'; did you mean 'optim.epochs'"),
        ("optin.epochs=5", "unknown key 'optin'; did you mean 'optim'"),
        ("optim.zzz=5", "known keys: epochs, steps_per_epoch"),
        ("optim.epochs=many", "optim.epochs = 'many' is not of type int"),
        ("optim.epochs=1.5", "optim.epochs = 1.5 is not of type int"),
        ("optim.epochs=true", "optim.epochs = True is not of type int"),
        ("optim.encoder_lr=fast", "is not of type float"),
        ("optim.freeze_trunk=1", "optim.freeze_trunk = 1 is not of type bool"),
        ("seed=-1", "seed = -1 must be from 0 to 4294967295"),
        ("seed=4294967296", "must be from 0 to 4294967295"),
        ("optim.schedule=linear", "choose one of 'liqe_cyclic', 'cosine', 'constant'"),
        ("optim=5", "'optim' must be a table"),
        ("seed.x=5", "'seed' is not a table"),
        ("data.sets=clive", "must map data sets to photos per batch"),
        ("data.sets={}", "must map data sets to photos per batch"),
        ("data.sets.clive=0", "must map data sets to photos per batch"),
        ("optim.epochs", "write it as table.key=value"),
    ],
)
def test_a_setting_that_does_not_fit_says_what_would(setting: str, message: str, tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("seed = 1\n")
    with pytest.raises(UsageError) as caught:
        load_config(str(recipe), [setting])
    assert message in str(caught.value)


def test_an_unknown_key_in_a_file_names_the_file(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[optim]\nepoks = 3\n")
    with pytest.raises(UsageError, match=r"mine\.toml: unknown key 'optim\.epoks'"):
        load_config(str(recipe))


def test_a_file_that_is_not_toml_is_named(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[optim\n")
    with pytest.raises(UsageError, match=r"mine\.toml: not valid TOML"):
        load_config(str(recipe))


def test_a_recipe_is_read_as_utf_8_with_or_without_a_mark(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("# caf\xe9\n[optim]\nepochs = 3\n", encoding="utf-8-sig")
    assert load_config(str(recipe)).optim.epochs == 3
    recipe.write_text("# caf\xe9\n", encoding="latin-1")
    with pytest.raises(UsageError, match=r"mine\.toml: a recipe is a text in UTF-8"):
        load_config(str(recipe))


def test_an_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"recipe 'papre' not found; use one of .*paper.*smoke"):
        load_config("papre")


def test_a_recipe_of_ones_own_is_named_after_its_file(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text("[optim]\nepochs = 3\n")
    config = load_config(str(recipe))
    assert (config.recipe, config.optim.epochs) == ("mine", 3)
    assert config.data == TrainConfig().data, "what a recipe leaves out keeps its default"


@pytest.mark.parametrize(
    "override",
    [
        "optim.epochs=0",
        "optim.steps_per_epoch=0",
        "data.crops=0",
        "data.session=0",
        "model.dropout=1.0",
        "loss.tau=nan",
        "loss.tie_probability=1.5",
        "optim.encoder_weight_decay=-1.0",
        "optim.head_lr=inf",
    ],
)
def test_a_number_that_cannot_work_is_refused_before_anything_runs(override: str) -> None:
    with pytest.raises(UsageError, match=override.split("=")[0].replace(".", r"\.")):
        load_config("paper", [override])


def test_liqe_is_three_crops_its_own_prompts_and_no_evidence() -> None:
    liqe, paper = load_config("liqe"), load_config("paper")
    assert (liqe.data.crops, liqe.model.prompt_preset, liqe.model.local_aggregation) == (3, "liqe", "logit_mean")
    assert (liqe.loss.cross_weight, liqe.loss.fusion_weight) == (0, 0)
    assert not liqe.optim.learn_kappa
    assert liqe.data.sets == paper.data.sets, "the same photos in every batch"


def test_the_batch_of_the_paper_is_six_data_sets_in_its_order() -> None:
    sets = load_config("paper").data.sets
    assert list(sets) == ["live", "csiq", "bid", "clive", "koniq10k", "kadid10k"]
    assert list(sets.values()) == [4, 4, 4, 4, 16, 16]


def test_folds_leave_room_for_the_seeds_that_they_add() -> None:
    assert load_config("paper", ["seed=4294967287", "calibration.folds=8"]).seed == 2**32 - 9
    with pytest.raises(UsageError, match="seed = 4294967288 must be from 0 to 4294967287"):
        load_config("paper", ["seed=4294967288", "calibration.folds=8"])
