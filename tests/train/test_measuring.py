"""`defnet evaluate` and `defnet calibrate`: checkpoints, run directories and exported files on rated photos."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from defnet_infer.errors import CheckpointError, DatasetError, UsageError
from defnet_train.calibration import calibrate_checkpoint
from defnet_train.checkpoint import find_model, load_checkpoint, save_checkpoint
from defnet_train.config import DataConfig
from defnet_train.evaluation_files import write_evaluations
from defnet_train.initial_weights import describe_initial
from defnet_train.loop import train
from defnet_train.measuring import CsvFile, Part, Question, evaluate, over_sessions
from defnet_train.model import Defnet
from defnet_train.readers import data_folder
from defnet_train.recipe_file import apply_overrides
from defnet_train.records import ImageRecord
from defnet_train.run_data import load_data
from defnet_train.run_directory import provenance
from defnet_train.run_results import read_results
from defnet_train.trained_on import TrainedOn, may_have_trained, split_anew
from defnet_train.uncertainty import FIGURES
from tests.train.conftest import Recorder, Run, make_release, textured_photo


def question(run: Run, **changes: object) -> Question:
    return replace(Question(root=run.release.root), **changes)


def test_a_run_directory_stands_for_its_best_checkpoint(smoke_run: Run, tmp_path: Path) -> None:
    assert find_model(smoke_run.out) == smoke_run.out / "best.safetensors"
    with pytest.raises(CheckpointError, match=r"holds no best\.safetensors; name a run directory"):
        find_model(tmp_path)


def test_an_evaluation_repeats_the_run_and_leaves_files_that_tables_read(smoke_run: Run, tmp_path: Path) -> None:
    listener = Recorder()
    found = evaluate(smoke_run.out, question(smoke_run), listener)
    assert found.figures["srcc"] == pytest.approx(smoke_run.result["test"]["srcc"], abs=1e-3)
    assert not found.seen
    assert listener.advanced == [12], "the test fifth of 60 photos"
    assert write_evaluations(tmp_path / "out", [found]) == 3
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"evaluation.json", "photos.csv", "scatter.png", "scatter.svg", "uncertainty.png"} <= written
    with (tmp_path / "out" / "photos.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["path"]).name for row in rows] == [record.path.name for record in found.records]
    np.testing.assert_allclose([float(row["score"]) for row in rows], found.outputs["score"], atol=1e-6)
    (result,), _ = read_results(tmp_path / "out")
    assert result.trained["clive"]["srcc"] == found.figures["datasets"]["clive"]["srcc"]
    assert result.checkpoint == smoke_run.out / "best.safetensors"


def test_an_exported_file_is_measured_by_its_own_session(smoke_run: Run, tiny_model: Path) -> None:
    asked = question(smoke_run, sets=("clive",), session=1)
    found = evaluate(tiny_model, asked, Recorder())
    assert found.config is None
    assert found.session == 1
    # The tiny file's fused score is 1 + 4 times the mean of the overview, so it can be had without a session.
    brightness = [1 + 4 * record.pixels().mean() / 255 for record in found.records]
    np.testing.assert_allclose(found.outputs["fused_score"], brightness, atol=0.02)
    assert found.figures["datasets"]["clive"]["photos"] == 12


@pytest.mark.parametrize(
    ("part", "session", "trained_session", "expected"),
    [
        ("test", 1, 1, False),
        ("val", 1, 1, False),
        ("train", 1, 1, True),
        ("all", 1, 1, True),
        ("test", 2, 1, True),
        ("test", 1, None, False),
        ("train", 1, None, True),
    ],
)
def test_held_out_photos_are_those_of_the_trained_split(
    part: Part, session: int, trained_session: int | None, expected: bool
) -> None:
    trained = None if trained_session is None else DataConfig(session=trained_session)
    assert may_have_trained(part, DataConfig(session=session), trained) is expected


def test_the_same_session_of_another_kind_of_split_holds_out_other_photos() -> None:
    asked, trained = DataConfig(splits="liqe"), DataConfig(splits="generated")
    assert may_have_trained("test", asked, trained)
    assert not may_have_trained("test", asked, replace(trained, splits="liqe"))


def test_a_photo_less_shuffles_a_generated_split_and_is_told(smoke_run: Run, tmp_path: Path) -> None:
    root = Path(shutil.copytree(smoke_run.release.root, tmp_path / "data"))
    next((root / "ChallengeDB_release" / "Images").glob("*.bmp")).unlink()
    asked = Question(root=root, settings=("data.missing=skip",))
    assert evaluate(smoke_run.out, asked, Recorder()).seen
    copy = Path(shutil.copytree(smoke_run.out, tmp_path / "run")) / "best.safetensors"
    with pytest.raises(UsageError, match="more or fewer photos of clive"):
        calibrate_checkpoint(copy, root, Recorder(), settings=("data.missing=skip",))


def test_an_original_more_deals_the_synthetic_copies_anew_and_is_told(smoke_run: Run, tmp_path: Path) -> None:
    root, path = tmp_path / "data", tmp_path / "model.safetensors"
    (root / "pristine").mkdir(parents=True)
    (root / "ChallengeDB_release").symlink_to(smoke_run.release.root / "ChallengeDB_release")
    for number in range(6):
        textured_photo(1.0, number, 224).save(root / "pristine" / f"{number}.png")
    config = apply_overrides(smoke_run.config, ["data.sets={ clive = 4, synthetic = 2 }", "data.synthetic_levels=[5]"])
    about = provenance(load_data(config, root))
    assert about["originals"] == 6
    model, info = load_checkpoint(smoke_run.out / "best.safetensors")
    save_checkpoint(path, model, config, info.record | about)
    asked = Question(root=root, levels=True)
    same = evaluate(path, asked, Recorder())
    assert same.copies
    assert not same.copies_seen
    textured_photo(1.0, 6, 224).save(root / "pristine" / "6.png")
    more = evaluate(path, asked, Recorder())
    assert more.copies_seen
    assert not more.seen, "other data sets are split as before"
    assert not evaluate(path, replace(asked, levels=False), Recorder()).copies_seen
    trained = TrainedOn.of_metadata(TrainedOn.of_checkpoint(load_checkpoint(path)[1]).to_metadata())
    assert trained.originals == 6, "and an exported file knows it"


@pytest.mark.parametrize(
    ("csv_file", "had", "anew"),
    [
        ("a.csv", {"clive": 2, "csv": 1}, False),
        ("a.csv", {"clive": 2, "csv": 3}, True),
        ("b.csv", {"clive": 2, "csv": 3}, False),
        ("b.csv", {"clive": 3, "csv": 1}, True),
    ],
)
def test_another_csv_file_is_another_set_and_hides_no_change_of_the_rest(
    csv_file: str, had: dict[str, int], anew: bool
) -> None:
    photos = [
        ImageRecord(dataset=key, path=Path(key), mos=3, target=3, group=key, labels=None)
        for key in ("clive", "clive", "csv")
    ]
    trained = TrainedOn(sets=("clive", "csv"), split=DataConfig(csv="a.csv"), photos=had)
    assert split_anew(DataConfig(csv=csv_file), photos, trained) is anew
    assert trained.may_know("all", DataConfig(csv=csv_file), photos, photos) == (
        {"clive", "csv"} if csv_file == "a.csv" else {"clive"}
    )


def of_csv(run: Run, path: Path) -> Path:
    """The run's checkpoint, as if its photos had come from my.csv."""
    model, info = load_checkpoint(run.out / "best.safetensors")
    config = replace(info.config, data=replace(info.config.data, csv="my.csv", sets={"csv": 4}))
    record = info.record | {"photos": {"csv": 60}, "photo_digests": {"csv": info.record["photo_digests"]["clive"]}}
    save_checkpoint(path, model, config, record)
    return path


def write_list(file: Path, photos: Sequence[Path], part: str) -> Path:
    """A CSV file that puts copies of photos, under other names, into one part."""
    file.parent.mkdir(exist_ok=True)
    lines = ["path,mos,split"]
    for number, photo in enumerate(photos):
        shutil.copy(photo, file.parent / f"copy-{number}.bmp")
        lines.append(f"copy-{number}.bmp,{number},{part}")
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.mark.parametrize(
    ("part_of_run", "part", "name", "seen"),
    [
        ("train", "test", "sub.csv", True),
        ("val", "test", "sub.csv", True),
        ("val", "val", "sub.csv", False),
        ("test", "test", "sub.csv", False),
        ("test", "all", "my.csv", False),
        ("train", "train", "my.csv", True),
    ],
)
def test_photos_of_a_csv_file_are_known_by_themselves_not_by_its_name(
    smoke_run: Run, tmp_path: Path, part_of_run: str, part: Part, name: str, seen: bool
) -> None:
    photos = load_data(smoke_run.config, smoke_run.release.root).of(part_of_run)
    file = write_list(tmp_path / "mine" / name, [photo.path for photo in photos], "test" if part == "all" else part)
    asked = Question(root=file, part=part)
    assert evaluate(of_csv(smoke_run, tmp_path / "model.safetensors"), asked, Recorder()).seen is seen
    data = load_data(apply_overrides(smoke_run.config, ["data.sets={ csv = 4 }", f"data.csv={name}"]), file.parent, ())
    for model in (of_csv(smoke_run, tmp_path / "model.safetensors"), smoke_run.out / "best.safetensors"):
        trained = TrainedOn.of_checkpoint(load_checkpoint(model)[1])
        known = trained.may_know(part, DataConfig(csv=name), data.records, data.records)
        assert known == ({"csv"} if seen else set()), "also where a release, not a list, named them to the run"


def test_a_csv_file_is_the_runs_own_by_its_content(smoke_run: Run, tmp_path: Path) -> None:
    photos = [photo.path for photo in load_data(smoke_run.config, smoke_run.release.root).of("test")]
    file = write_list(tmp_path / "mine" / "sub.csv", photos, "test")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    path = of_csv(smoke_run, tmp_path / "model.safetensors")
    assert evaluate(path, Question(root=file), Recorder()).csv == CsvFile("sub.csv", digest, of_run=False)
    assert evaluate(path, question(smoke_run, sets=("clive",)), Recorder()).csv is None
    model, info = load_checkpoint(path)
    save_checkpoint(path, model, info.config, info.record | {"csv_sha256": digest})
    found = evaluate(path, Question(root=file), Recorder())
    assert found.to_json()["csv"] == {"name": "sub.csv", "sha256": digest, "of_run": True}
    trained = TrainedOn.of_checkpoint(load_checkpoint(path)[1])
    assert TrainedOn.of_metadata(trained.to_metadata()).csv_sha256 == digest


def test_a_run_on_a_csv_file_keeps_its_digest(smoke_run: Run, tmp_path: Path) -> None:
    data = load_data(smoke_run.config, smoke_run.release.root)
    file = write_list(tmp_path / "mine" / "my.csv", [photo.path for photo in data.records], "")
    config, root = data_folder(replace(smoke_run.config, optim=replace(smoke_run.config.optim, epochs=1)), file)
    train(config, root, tmp_path / "run", Recorder(), "cpu")
    found = evaluate(tmp_path / "run", Question(root=file), Recorder())
    assert found.csv is not None
    assert found.csv.of_run
    assert not found.seen


def test_without_digests_a_csv_file_is_known_by_its_name(smoke_run: Run, tmp_path: Path) -> None:
    _, info = load_checkpoint(of_csv(smoke_run, tmp_path / "model.safetensors"))
    del info.record["photo_digests"]
    trained = TrainedOn.of_checkpoint(info)
    assert trained.common(DataConfig(csv="my.csv"), ["csv"]) == {"csv"}
    assert trained.common(DataConfig(csv="sub.csv"), ["csv"]) == set()


def test_photos_that_trained_under_another_list_do_not_calibrate(smoke_run: Run, tmp_path: Path) -> None:
    model = of_csv(smoke_run, tmp_path / "model.safetensors")
    content = model.read_bytes()
    data = load_data(smoke_run.config, smoke_run.release.root)
    photos = [photo.path for photo in (*data.of("train")[:3], *data.of("test")[:7])]
    file = write_list(tmp_path / "mine" / "sub.csv", photos, "val")
    file.write_text(re.sub(r"-([5-9])\.bmp,(.),val", r"-\1.bmp,\2,test", file.read_text()))
    with pytest.raises(
        UsageError, match=r"3 of 10 validation and test photos in .*sub\.csv trained .*--data OTHER\.csv"
    ):
        calibrate_checkpoint(model, file, Recorder())
    assert model.read_bytes() == content


def test_weights_know_photos_of_a_csv_file_by_themselves(smoke_run: Run, tmp_path: Path) -> None:
    start = of_csv(smoke_run, tmp_path / "start.safetensors")
    data = load_data(smoke_run.config, smoke_run.release.root)
    same = replace(smoke_run.config, data=replace(smoke_run.config.data, csv="sub.csv", sets={"csv": 4}))
    records = [replace(record, dataset="csv") for record in data.records]
    assert "may_know" not in describe_initial(start, same, replace(data, records=records)), "held out in both runs"
    swapped = {"train": data.parts["test"], "val": data.parts["val"], "test": data.parts["train"]}
    assert describe_initial(start, same, replace(data, records=records, parts=swapped))["may_know"] == ["csv"]


def test_weights_that_know_the_held_out_photos_are_noted_and_reach_no_table(smoke_run: Run, tmp_path: Path) -> None:
    start = smoke_run.out / "best.safetensors"
    config = replace(smoke_run.config, optim=replace(smoke_run.config.optim, epochs=1))
    other = replace(config, data=replace(config.data, session=2))
    assert "may_know" not in describe_initial(start, config)
    assert describe_initial(start, other)["may_know"] == ["clive"]
    leaked = tmp_path / "leaked"
    result = train(other, smoke_run.release.root, leaked, Recorder(), "cpu", init=start)
    assert result["start_may_know"] == ["clive"]
    assert evaluate(leaked, question(smoke_run), Recorder()).seen, (
        "its own test photos may have trained what it began with"
    )
    with pytest.raises(DatasetError, match="holds no finished run"):
        read_results(leaked)
    assert describe_initial(leaked / "best.safetensors", other)["may_know"] == ["clive"], "and so for what follows"


def test_an_exported_file_tells_its_split(smoke_run: Run, tmp_path: Path) -> None:
    _, info = load_checkpoint(smoke_run.out / "best.safetensors")
    split = replace(info.config, data=replace(info.config.data, session=3))
    about = TrainedOn.of_checkpoint(replace(info, config=split)).to_metadata()
    trained = TrainedOn.of_metadata(json.loads(json.dumps(about)))
    assert trained.split == DataConfig(session=3, splits=split.data.splits)
    records = [ImageRecord(dataset="clive", path=Path("a"), mos=3, target=3, group="a", labels=None)] * about["photos"][
        "clive"
    ]
    assert not trained.may_know("test", DataConfig(session=3), records, records)
    assert trained.may_know("test", DataConfig(session=1), records, records) == {"clive"}
    assert trained.may_know("test", DataConfig(session=3), records[1:], records[1:]) == {"clive"}, (
        "another split of fewer photos"
    )
    assert not TrainedOn.of_metadata({"photos": {"clive": 1}}).may_know("test", DataConfig(), records[:1], records[:1])


def test_a_small_csv_file_of_test_photos_alone_can_be_measured(smoke_run: Run, tmp_path: Path) -> None:
    lines = [
        f"{name},{score},test"
        for name, score in zip(smoke_run.release.names[7:], smoke_run.release.scores[7:], strict=True)
    ]
    file = smoke_run.release.images / "few.csv"
    file.write_text("\n".join(["path,mos,split", *lines[:6]]) + "\n")
    try:
        assert evaluate(smoke_run.out, Question(root=file), Recorder()).figures["photos"] == 6
        with pytest.raises(DatasetError, match="only 0 rated photos in the val part of 6; 5 are needed: add photos"):
            evaluate(smoke_run.out, Question(root=file, part="val"), Recorder())
    finally:
        file.unlink()


def test_settings_of_a_finished_model_cannot_be_changed(smoke_run: Run) -> None:
    for ask in (
        lambda: evaluate(smoke_run.out, question(smoke_run, settings=("model.crop_rule=linspace",)), Recorder()),
        lambda: calibrate_checkpoint(
            smoke_run.out / "best.safetensors", smoke_run.release.root, Recorder(), settings=("optim.epochs=3",)
        ),
    ):
        with pytest.raises(UsageError, match="only settings of data can change"):
            ask()


def test_photos_that_may_have_been_trained_on_are_marked(smoke_run: Run) -> None:
    assert evaluate(smoke_run.out, question(smoke_run, session=2), Recorder()).seen


def test_an_unknown_data_set_is_an_error_that_names_those_there_are(smoke_run: Run) -> None:
    with pytest.raises(UsageError, match="'clvie'"):
        evaluate(smoke_run.out, question(smoke_run, sets=("clvie",)), Recorder())


def test_mean_and_deviation_over_sessions() -> None:
    means, deviations = over_sessions([{"srcc": 0.7, "plcc": 0.6}, {"srcc": 0.8}, {"srcc": 0.75, "datasets": {}}])
    assert means == pytest.approx({"srcc": 0.75, "plcc": 0.6})
    assert deviations["srcc"] == pytest.approx(0.05)
    assert np.isnan(deviations["plcc"])


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A release whose validation tenth has 19 photos."""
    return make_release(tmp_path_factory.mktemp("larger"), 190, side=224).root


def test_calibration_is_stored_and_changes_nothing_else(smoke_run: Run, larger: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(smoke_run.out / "best.safetensors", tmp_path))
    model, info = load_checkpoint(path)
    model.calibration.fill_(77.0)  # what was there before must not matter
    save_checkpoint(
        path, model, info.config, info.record | {"photos": {"clive": 190}}
    )  # as if it had been trained there
    before = load_file(path)
    done = calibrate_checkpoint(path, larger, Recorder(), settings=('data.labels=""',))
    assert done.photos == 19
    assert done.data == {"clive": 19}
    assert done.coverage_validation == 1.0, "ceil(20 x 0.95) = 19 of 19"
    after = load_file(path)
    assert after.pop("calibration") == pytest.approx(done.factor)
    before.pop("calibration")
    assert all(np.array_equal(before[name], value) for name, value in after.items())
    record = load_checkpoint(path)[1].record
    assert record["calibrated"]["factor"] == record["calibration"] == done.factor
    assert record["test"]["coverage"] == done.coverage_test
    assert record["calibrated"]["coverage_test"] == done.coverage_test
    assert record["epoch"] == info.record["epoch"], "what else the run wrote is kept"
    assert list(tmp_path.iterdir()) == [path], "nothing is left of the save"
    again = evaluate(path, Question(root=larger, part="val", settings=('data.labels=""',)), Recorder())
    assert again.figures["coverage"] == 1.0, "the loaded model has the factor, and the photo on the edge is inside"
    assert again.figures["width"] == pytest.approx(record["val"]["width"], rel=1e-4)


def test_calibration_also_scales_the_noise_that_comes_from_the_marginal(
    smoke_run: Run, larger: Path, tmp_path: Path
) -> None:
    model, info = load_checkpoint(smoke_run.out / "best.safetensors")
    config = apply_overrides(info.config, ["model.head.noise=marginal"])
    of_marginal = Defnet(config.model)
    missing, unexpected = of_marginal.load_state_dict(model.state_dict(), strict=False)
    assert {name.rpartition(".")[2] for name in missing} == {"noise_factor"}
    assert not unexpected
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, of_marginal, config, info.record | {"photos": {"clive": 190}})
    done = calibrate_checkpoint(path, larger, Recorder(), settings=('data.labels=""',))
    assert done.coverage_validation == 1.0
    factor = load_file(path)["heads.quality.noise_factor"].item()
    assert factor != 1
    again = calibrate_checkpoint(path, larger, Recorder(), settings=('data.labels=""',))
    assert load_file(path)["heads.quality.noise_factor"].item() == pytest.approx(factor, rel=1e-5), "fitted anew"
    assert again.factor == pytest.approx(done.factor, rel=1e-5)


@pytest.mark.parametrize("noise", ["learned", "marginal"])
def test_calibration_on_other_photos_leaves_no_figures_of_the_factor_before(
    smoke_run: Run, larger: Path, tmp_path: Path, noise: str
) -> None:
    model, info = load_checkpoint(smoke_run.out / "best.safetensors")
    config = apply_overrides(info.config, [f"model.head.noise={noise}"])
    of_noise = Defnet(config.model)
    of_noise.load_state_dict(model.state_dict(), strict=False)
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, of_noise, config, info.record)
    as_csv = larger.parent / "others.csv"
    photos = sorted((larger / "ChallengeDB_release" / "Images").iterdir())
    as_csv.write_text("path,mos\n" + "".join(f"{photo},{50 + i % 40}\n" for i, photo in enumerate(photos)))
    done = calibrate_checkpoint(path, as_csv, Recorder(), settings=('data.labels=""',))
    record = load_checkpoint(path)[1].record
    assert record["calibrated"]["coverage_test"] == done.coverage_test
    for part in ("val", "test"):
        before, after = info.record[part], record[part]
        kinds = after["types"]["clive"]
        assert kinds
        for found in (after, after["datasets"]["clive"], *kinds.values()):
            assert not {"coverage", "width"} & found.keys()
        assert after["srcc"] == before["srcc"]
        gone = before.keys() - after.keys()
        assert gone == {*FIGURES} if noise == "marginal" else {"coverage", "width"}


def test_what_folds_calibrated_is_not_replaced_by_the_few_photos_of_the_validation_part(
    smoke_run: Run, larger: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    model, info = load_checkpoint(smoke_run.out / "best.safetensors")
    of_folds = {"calibration_photos": 152, "out_of_fold": {"coverage": 0.95}}
    save_checkpoint(path, model, info.config, info.record | of_folds)
    content = path.read_bytes()
    with pytest.raises(UsageError, match=r"calibrated on 152 photos of clive, .* name other data sets"):
        calibrate_checkpoint(path, larger, Recorder(), settings=('data.labels=""',))
    assert path.read_bytes() == content
    as_csv = larger.parent / "mine.csv"
    photos = sorted((larger / "ChallengeDB_release" / "Images").iterdir())
    as_csv.write_text("path,mos\n" + "".join(f"{photo},{50 + i % 40}\n" for i, photo in enumerate(photos)))
    done = calibrate_checkpoint(path, as_csv, Recorder(), settings=('data.labels=""',))
    record = load_checkpoint(path)[1].record
    assert record["calibration_photos"] == done.photos != 152
    assert "out_of_fold" not in record, "figures of the factor before"


def test_too_few_photos_for_the_level_and_a_foreign_session_are_refused(smoke_run: Run, tmp_path: Path) -> None:
    path = Path(shutil.copy(smoke_run.out / "best.safetensors", tmp_path))
    content = path.read_bytes()
    with pytest.raises(DatasetError, match=r"6 rated validation photos .* 19 are the fewest"):
        calibrate_checkpoint(path, smoke_run.release.root, Recorder())
    with pytest.raises(UsageError, match=r"session 2 of generated splits would .* on photos of clive that trained it"):
        calibrate_checkpoint(path, smoke_run.release.root, Recorder(), session=2)
    assert path.read_bytes() == content
