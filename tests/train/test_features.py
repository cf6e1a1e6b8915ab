"""Cached trunk features: the same outputs as from the photos, and never those of another photo."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from defnet_infer.contract import Preprocess
from defnet_infer.errors import StorageError
from defnet_train.batches import FeatureViews, PhotoViews
from defnet_train.config import DataConfig
from defnet_train.evaluation import predict
from defnet_train.features import trunk_features
from defnet_train.model import Defnet
from defnet_train.readers import read_all
from tests.train.conftest import Release, textured_photo

NewRelease = Callable[..., Release]


def test_features_give_the_same_outputs_as_the_photos(new_release: NewRelease, shared_model: Defnet) -> None:
    records = read_all(new_release(5, 300).root, DataConfig())
    done: list[int] = []
    features = trunk_features(shared_model.encoder, records, Preprocess(), None, done.append)
    assert [f.shape[:2] for f in features] == [(2, 16)] * 5
    assert sum(done) == 5
    by_features = predict(shared_model, FeatureViews(features), range(5))
    by_photos = predict(shared_model, PhotoViews(records, Preprocess()), range(5))
    for name, value in by_photos.items():
        assert by_features[name] == pytest.approx(value, rel=1e-4, abs=1e-5), name
    assert len(set(by_photos["score"].tolist())) == 5


def test_mirrored_features_are_those_of_the_mirrored_photo(new_release: NewRelease, shared_model: Defnet) -> None:
    records = read_all(new_release(1, 300).root, DataConfig())
    features = torch.stack(trunk_features(shared_model.encoder, records, Preprocess(), None, lambda _: None))
    crops, overview = PhotoViews(records, Preprocess()).fixed([0])
    with torch.inference_mode():
        mirrored_crops = shared_model.encoder.trunk_features(crops.flip(-2))
        mirrored_overview = shared_model.encoder.trunk_features(overview.flip(-2))
    torch.testing.assert_close(features[:, 1, :-1], mirrored_crops, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(features[:, 1, -1], mirrored_overview, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(features[:, 0], features[:, 1], rtol=1e-4, atol=1e-5)


def test_a_second_call_reads_the_cache(new_release: NewRelease, shared_model: Defnet, tmp_path: Path) -> None:
    records = read_all(new_release(2, 230).root, DataConfig())
    first = trunk_features(shared_model.encoder, records, Preprocess(), tmp_path / "cache", lambda _: None)
    (file,) = (tmp_path / "cache").iterdir()
    written = file.stat().st_mtime_ns
    done: list[int] = []
    second = trunk_features(shared_model.encoder, records, Preprocess(), tmp_path / "cache", done.append)
    assert torch.equal(torch.stack(first), torch.stack(second))
    assert file.stat().st_mtime_ns == written
    assert sum(done) == 2, "the progress bar still fills"


def test_a_changed_photo_other_weights_or_another_rule_are_never_served_from_the_cache(
    new_release: NewRelease, new_model: Callable[..., Defnet], tmp_path: Path
) -> None:
    release, cache = new_release(2, 230), tmp_path / "cache"
    records, rule = read_all(release.root, DataConfig()), Preprocess()
    encoder = new_model().encoder

    def compute(**changes: object) -> torch.Tensor:
        arguments = {"encoder": encoder, "records": records, "rule": rule, **changes}
        found = trunk_features(cache=cache, progress=lambda _: None, **arguments)  # type: ignore[arg-type]
        return torch.stack(found)

    first = compute()
    other_weights = compute(encoder=new_model(seed=1).encoder)
    compute(rule=Preprocess(crop_rule="linspace"))
    other_order = compute(records=records[::-1])
    times = records[1].path.stat()
    textured_photo(0.3, seed=99, side=230).save(records[1].path)
    os.utime(records[1].path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))  # same size, a moment later
    changed = compute()
    assert len(list(cache.iterdir())) == 5
    assert torch.equal(first[0], changed[0])
    assert not torch.equal(first[1], changed[1])
    assert not torch.allclose(first, other_weights)
    torch.testing.assert_close(first.flip(0), other_order, rtol=1e-4, atol=1e-5)


def test_an_interrupted_write_leaves_no_cache_file_behind(
    new_release: NewRelease, shared_model: Defnet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = read_all(new_release(1, 230).root, DataConfig())

    def full_disk(_tensors: object, path: Path) -> None:
        Path(path).write_bytes(b"half a fi")
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("defnet_train.features.save_file", full_disk)
        with pytest.raises(StorageError, match="no space left"):
            trunk_features(shared_model.encoder, records, Preprocess(), tmp_path / "cache", lambda _: None)
    found = trunk_features(shared_model.encoder, records, Preprocess(), tmp_path / "cache", lambda _: None)
    assert len(found) == 1
