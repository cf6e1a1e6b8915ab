"""A trunk whose last stages train after all: what is cached fits, what trains changes, and nothing else does."""

from __future__ import annotations

import threading
from pathlib import Path

import lightning_fabric
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from defnet_infer.contract import Preprocess
from defnet_infer.errors import UsageError
from defnet_infer.taxonomy import DISTORTIONS
from defnet_train.batches import FeatureViews, PhotoViews, resized
from defnet_train.config import TrainConfig
from defnet_train.encoder import Encoder
from defnet_train.features import finished_features, trunk_features
from defnet_train.labels import Labels
from defnet_train.listener import Interrupted, Silent
from defnet_train.loop import train
from defnet_train.model import Defnet
from defnet_train.multilevel import MultiLevelMobileNet
from defnet_train.plan import make_plan
from defnet_train.recipe_file import load_config
from defnet_train.records import ImageRecord
from defnet_train.run_data import RunData, load_data
from defnet_train.run_state import load_state, save_state
from defnet_train.trainer import Trainer
from tests.texture_columns import assert_close_features
from tests.train.conftest import TINY, StopIn, make_release, textured_photo

STAGES = 5
"""Of seven; the last two and the last layer train."""


def record(path: Path, index: int = 0) -> ImageRecord:
    labels = Labels(scenes=(index % 3,), distortion=index % len(DISTORTIONS))
    target = 1.5 + index / 4
    return ImageRecord(dataset="clive", path=path, mos=target, target=target, group=str(path), labels=labels)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder("mobilenetv2_100", "paper")


@pytest.fixture(scope="module")
def photo_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(2):
        textured_photo(0.4 + seed / 2, seed, 300).save(folder / f"{seed}.png")
    return sorted(folder.iterdir())


@pytest.mark.parametrize("stages", [1, 3, 5, 6])
def test_a_trunk_that_stops_and_goes_on_gives_what_it_gives_at_once(stages: int) -> None:
    torch.manual_seed(1)
    trunk = MultiLevelMobileNet().eval()
    pixels = torch.randn(2, 3, 224, 224)
    with torch.inference_mode():
        begun = trunk.begin(pixels, stages)
        assert_close_features(trunk.finish(begun, stages), trunk(pixels), trunk, textures=1e-3)
        trunk.net.blocks[6][0].bn3.bias += 1.0
        assert torch.equal(trunk.begin(pixels, stages), begun), "the last stages have no part in it"
        assert not torch.allclose(trunk.finish(begun, stages), trunk(pixels + 0.1))


def test_features_of_a_stopped_trunk_finish_as_those_of_the_whole(
    encoder: Encoder, photo_files: list[Path], tmp_path: Path
) -> None:
    records, rule = [record(path, i) for i, path in enumerate(photo_files)], Preprocess()
    whole = trunk_features(encoder, records, rule, tmp_path, lambda _: None)
    begun = trunk_features(encoder, records, rule, tmp_path, lambda _: None, stages=STAGES)
    finished = finished_features(encoder, records, rule, tmp_path, begun, stages=STAGES)
    assert begun[0].dtype == torch.float16
    assert len(list(tmp_path.iterdir())) == 3, "each is kept under a key of its own"
    for one, other in zip(whole, finished, strict=True):
        # Half precision in the middle: near, and not the same bits.
        assert (one - other).norm() < 2e-3 * one.norm()
        assert not torch.equal(one, other)


def test_what_the_first_stages_gave_is_read_again_when_the_last_have_trained(
    photo_files: list[Path], tmp_path: Path
) -> None:
    torch.manual_seed(0)
    own, records, rule = Encoder("mobilenetv2_100", "paper"), [record(photo_files[0])], Preprocess()
    first = trunk_features(own, records, rule, tmp_path, lambda _: None, stages=STAGES)
    for parameter in own.last_stages(STAGES):
        parameter.data += 0.1
    again = trunk_features(own, records, rule, tmp_path, lambda _: None, stages=STAGES)
    assert torch.equal(first[0], again[0])
    assert len(list(tmp_path.iterdir())) == 1
    own.trunk.net.conv_stem.weight.data += 0.1
    other = trunk_features(own, records, rule, tmp_path, lambda _: None, stages=STAGES)
    assert len(list(tmp_path.iterdir())) == 2
    assert not torch.equal(first[0], other[0])


def test_a_photo_is_also_seen_at_other_sizes(encoder: Encoder, photo_files: list[Path]) -> None:
    rule = Preprocess()
    (found,) = trunk_features(encoder, [record(photo_files[0])], rule, None, lambda _: None, scales=(1.5,))
    assert found.shape[:2] == (3, 16)
    crops, _ = PhotoViews([record(photo_files[0])], rule).fixed([0], 1.5)
    with torch.inference_mode():
        alone = encoder.trunk_features(crops)[0]
        for window in range(15):  # Every other window stands for the next one too.
            torch.testing.assert_close(found[2, window], alone[window - window % 2], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(found[2], found[0], rtol=0.1)
    # The whole photo as a square hardly changes with its size.
    assert (found[2, -1] - found[0, -1]).norm() < 0.5 * (found[2, 0] - found[0, 0]).norm()


def test_resizing_keeps_the_shape_and_never_goes_below_a_crop() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (300, 600, 3), dtype=np.uint8)
    assert resized(pixels, 1.5, 224).shape == (450, 900, 3)
    assert resized(pixels, 0.5, 224).shape == (224, 300, 3)
    assert resized(pixels, 1.0, 224) is pixels
    small = pixels[:100, :100]
    assert resized(small, 0.5, 224).shape == (100, 100, 3), "what is smaller already is left so"


def test_views_cut_on_the_fly_are_drawn_at_the_sizes_too(photo_files: list[Path]) -> None:
    source = PhotoViews([record(photo_files[0])], Preprocess(), scales=(0.8, 1.5))
    rng = np.random.default_rng(4)
    sizes = {source._scale(0, rng) for _ in range(60)}
    assert sizes == {1.0, 0.8, 1.5}
    crops, overview = source.draw([0] * 6, 2, rng)
    assert crops.shape == (6, 2, 224, 224, 3)
    assert overview.shape == (6, 224, 224, 3)


# ---- training


def thaw_config(*settings: str) -> TrainConfig:
    wanted = ["model.tower=mobilenetv2_100", "optim.thaw_stages=2", "optim.thaw_epoch=1", "optim.trunk_lr=1e-3"]
    return load_config("smoke", [*wanted, "data.sets={clive = 4}", "data.crops=2", *settings])


def trainer_of(config: TrainConfig) -> Trainer:
    torch.manual_seed(config.seed)
    model = Defnet(config.model)
    views = torch.randint(0, 256, (6, 1, 4, 224, 224, 3), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    with torch.inference_mode():
        begun = list(model.encoder.begin_trunk(views, STAGES).half())
        finished = [model.encoder.finish_trunk(some, STAGES) for some in begun]
    data = RunData([record(Path(str(i)), i) for i in range(6)], {"train": list(range(6)), "val": [], "test": []})
    fabric = lightning_fabric.Fabric(accelerator="cpu", devices=1)
    return Trainer(fabric, config, model, FeatureViews([f.clone() for f in finished], [b.clone() for b in begun]), data)


def an_epoch(trainer: Trainer) -> None:
    trainer.begin_epoch()
    for _ in range(2):
        trainer.step()
    trainer.end_epoch({}, 0.0)


def snapshot(trainer: Trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def test_the_last_stages_train_from_their_epoch_on_and_the_first_never_do() -> None:
    trainer = trainer_of(thaw_config())
    start = snapshot(trainer)
    an_epoch(trainer)
    frozen = snapshot(trainer)
    an_epoch(trainer)
    thawed = snapshot(trainer)

    def changed(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
        return {name for name, value in before.items() if not torch.equal(value, after[name])}

    trunk = "encoder.clip.visual.trunk.net."
    assert not [name for name in changed(start, frozen) if name.startswith(trunk)]
    assert "encoder.clip.visual.head.proj.weight" in changed(start, frozen)
    stages = {name.removeprefix(trunk).split(".0.")[0] for name in changed(frozen, thawed) if name.startswith(trunk)}
    assert {"blocks.6", "conv_head.weight"} <= stages
    assert not [name for name in stages if name.startswith(("conv_stem", "bn1", *(f"blocks.{i}" for i in range(5))))]
    assert not [name for name in changed(start, thawed) if "running" in name], "batch norm keeps its statistics"


def test_a_restored_run_goes_on_with_the_same_bits_across_the_thaw(tmp_path: Path) -> None:
    unbroken = trainer_of(thaw_config())
    for _ in range(2):
        an_epoch(unbroken)
    save_state(tmp_path / "state.safetensors", unbroken.state())
    an_epoch(unbroken)
    torch.manual_seed(99)
    other = trainer_of(thaw_config())
    other.restore(load_state(tmp_path / "state.safetensors"))
    an_epoch(other)
    end, same = unbroken.model.state_dict(), other.model.state_dict()
    assert all(torch.equal(value, same[name]) for name, value in end.items())


def test_a_whole_run_thaws_measures_and_resumes(tmp_path: Path) -> None:
    release = make_release(tmp_path, 50, 230)
    settings = ["optim.epochs=2", "optim.steps_per_epoch=2", f"data.cache={tmp_path / 'cache'}"]
    config = thaw_config(*settings)
    metrics = train(config, release.root, tmp_path / "run", Silent(), "cpu")
    assert -1 <= metrics["test"]["srcc"] <= 1
    trained = load_file(tmp_path / "run" / "last.safetensors")
    assert train(config, release.root, tmp_path / "run", Silent(), "cpu", resume=True) == metrics
    fresh = Defnet(config.model).state_dict()
    name = "encoder.clip.visual.trunk.net.conv_head.weight"
    assert trained[name].shape == fresh[name].shape
    assert not torch.equal(trained[name], fresh[name])


def test_folds_start_from_the_trunk_that_the_run_started_from(tmp_path: Path) -> None:
    """A run that goes on has trained its last stages: neither they nor features of theirs may reach the folds."""
    release = make_release(tmp_path, 50, 230)
    config = thaw_config("optim.epochs=2", "optim.steps_per_epoch=2", "calibration.folds=2")
    whole = train(config, release.root, tmp_path / "whole", Silent(), "cpu")
    stop = threading.Event()
    with pytest.raises(Interrupted):
        train(config, release.root, tmp_path / "run", StopIn("fold 1/2", stop), "cpu", stop=stop)
    assert train(config, release.root, tmp_path / "run", Silent(), "cpu", resume=True) == whole


def test_the_plan_counts_what_thaws(tmp_path: Path) -> None:
    release = make_release(tmp_path, 50, 230)
    config = thaw_config()
    plan = make_plan(config, load_data(config, release.root))
    (tower,) = [part for part in plan.parts if part.name == "image tower"]
    net = MultiLevelMobileNet().net
    last = sum(p.numel() for module in (*net.blocks[5:], net.conv_head, net.bn2) for p in module.parameters())
    assert tower.trained == last
    assert tower.rate == 1e-3
    frozen = make_plan(thaw_config("optim.thaw_stages=0"), load_data(config, release.root))
    assert plan.memory.features > 3 * frozen.memory.features
    assert plan.memory.activations > frozen.memory.activations


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["optim.thaw_stages=2", "optim.freeze_trunk=false"], "set optim.freeze_trunk = true as well"),
        (["optim.thaw_stages=2", "run.devices=2"], "trains in one process; set run.devices = 1"),
        (["optim.thaw_stages=-1"], "optim.thaw_stages = -1 must be at least 0"),
        (["data.scales=[0.0]"], r"data.scales = \[0.0\]: factors from 0.25 to 4"),
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        load_config("smoke", settings)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([f"model.tower={TINY}", "optim.thaw_stages=1"], f"{TINY} is not: leave it at 0"),
        (["optim.thaw_stages=7"], "has 7 stages; one must stay frozen"),
    ],
)
def test_a_tower_without_so_many_stages_is_named(settings: list[str], said: str, tmp_path: Path) -> None:
    release = make_release(tmp_path, 50, 230)
    with pytest.raises(UsageError, match=said):
        train(thaw_config(*settings), release.root, tmp_path / "run", Silent(), "cpu")
