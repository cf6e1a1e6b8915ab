"""From photos to rows: order, independence of workers and batches, and broken photos that disturb nobody."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from defnet_infer import Scorer, photos, views
from defnet_infer.contract import Preprocess
from defnet_infer.errors import ArtifactError
from defnet_infer.results import Row
from defnet_infer.scoring import score
from defnet_infer.sessions.onnxruntime import OnnxRuntimeSession
from tests.conftest import MakePhoto


@pytest.fixture
def folder(make_photo: MakePhoto, tmp_path: Path) -> Path:
    """Twenty photos of different sizes and colours, five of them broken."""
    for k in range(20):
        path = make_photo(f"photos/{k:02}.jpg", width=230 + 20 * k, height=400 - 10 * k, seed=k)
        if k in (0, 7, 8, 9, 19):
            path.write_bytes(path.read_bytes()[: 300 * (k % 2)])
    return tmp_path / "photos"


def rows_of(model: Path, folder: Path, **options: int) -> list[Row]:
    with Scorer(model, device="cpu", **options) as scorer:
        return list(scorer.score(folder))


def test_rows_come_in_sorted_order_and_each_is_of_its_own_photo(tiny_model: Path, folder: Path) -> None:
    rows = rows_of(tiny_model, folder)
    assert [Path(row.path).name for row in rows] == [f"{k:02}.jpg" for k in range(20)]
    for row in rows:
        if row.failed:
            continue
        pixels = photos.decode(row.path).pixels
        made = views.make(pixels, Preprocess())
        expected = (1 + 4 / 255 * made.crops.mean((1, 2, 3))) @ np.arange(1, 16) / 120
        assert row.score == pytest.approx(expected, abs=1e-4)
        assert (row.height, row.width) == pixels.shape[:2]
    assert len({row.score for row in rows if not row.failed}) == 15


def test_a_broken_photo_is_a_row_and_changes_no_other(tiny_model: Path, folder: Path) -> None:
    rows = rows_of(tiny_model, folder)
    assert [k for k, row in enumerate(rows) if row.failed] == [0, 7, 8, 9, 19]
    assert rows[8].error == "file is empty"
    assert rows[8].score is None
    for row in rows:
        if row.failed:
            Path(row.path).unlink()
    assert rows_of(tiny_model, folder) == [row for row in rows if not row.failed]


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("threads", [1, 2, 8])
def test_workers_and_threads_change_nothing(tiny_model: Path, folder: Path, workers: int, threads: int) -> None:
    reference = rows_of(tiny_model, folder, workers=1, threads=3)
    assert rows_of(tiny_model, folder, workers=workers, threads=threads) == reference


@pytest.mark.parametrize("workers", [1, 8])
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_batches_as_on_a_gpu_give_the_rows_of_single_photos(
    tiny_model: Path, folder: Path, workers: int, batch_size: int
) -> None:
    session = OnnxRuntimeSession(tiny_model, device="cpu")
    session.photos_per_call, session.calls_at_once = batch_size, 2
    paths = sorted(map(str, folder.iterdir()))
    rows = list(score(paths, session, Preprocess(), decode=photos.decode, workers=workers))
    assert rows == rows_of(tiny_model, folder)


def test_the_order_of_the_photos_changes_nothing_but_the_order_of_the_rows(tiny_model: Path, folder: Path) -> None:
    paths = sorted(map(str, folder.iterdir()))
    shuffled = random.Random(1).sample(paths, len(paths))
    with Scorer(tiny_model, device="cpu") as scorer:
        rows = list(scorer.score(shuffled))
    assert [row.path for row in rows] == shuffled
    assert sorted(rows, key=lambda row: row.path) == rows_of(tiny_model, folder)


@pytest.mark.parametrize("photos_per_call", [1, 4])
def test_a_stop_ends_early_in_order_and_keeps_what_is_in_work(
    tiny_model: Path, make_photo: MakePhoto, photos_per_call: int
) -> None:
    session = OnnxRuntimeSession(tiny_model, device="cpu", threads=2)
    session.photos_per_call = photos_per_call
    paths = [str(make_photo(f"{k}.jpg", seed=k)) for k in range(3)] * 100
    stop = threading.Event()
    rows = score(paths, session, Preprocess(), decode=photos.decode, workers=2, stop=stop)
    done = [next(rows) for _ in range(5)]
    stop.set()
    done += rows
    assert 5 <= len(done) < 60
    assert [row.path for row in done] == paths[: len(done)]


def test_only_a_few_photos_are_taken_ahead_of_the_rows(tiny_model: Path, make_photo: MakePhoto) -> None:
    photo = str(make_photo("a.jpg"))
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield photo

    session = OnnxRuntimeSession(tiny_model, device="cpu", threads=1)
    rows = score(endless(), session, Preprocess(), decode=photos.decode, workers=2)
    for _ in range(10):
        next(rows)
    assert taken <= 10 + 4 * 1 + 2 + 1
    rows.close()


def test_a_folder_of_nothing_but_broken_photos_still_gives_rows_as_they_come(tiny_model: Path, tmp_path: Path) -> None:
    for k in range(50):
        (tmp_path / f"{k:02}.jpg").touch()
    rows = rows_of(tiny_model, tmp_path, batch_size=1, workers=1)
    assert len(rows) == 50
    assert {row.error for row in rows} == {"file is empty"}


def test_stopping_early_leaves_no_thread_behind(tiny_model: Path, folder: Path) -> None:
    before = threading.active_count()
    with Scorer(tiny_model, device="cpu", batch_size=1) as scorer:
        rows = scorer.score(folder)
        next(rows)
        rows.close()
        assert threading.active_count() <= before


def test_small_photos_are_marked_as_enlarged_and_large_ones_are_not(tiny_model: Path, make_photo: MakePhoto) -> None:
    make_photo("in/a.png", 1, 1)
    folder = make_photo("in/b.png", 300, 300).parent
    assert [row.status for row in rows_of(tiny_model, folder)] == ["ok: enlarged", "ok"]


def test_the_pixel_limit_is_a_row_s_error(tiny_model: Path, make_photo: MakePhoto) -> None:
    folder = make_photo("in/a.png", 300, 300).parent
    assert "limit of 89999 pixels" in rows_of(tiny_model, folder, max_pixels=89_999)[0].error
    assert not rows_of(tiny_model, folder, max_pixels=90_000)[0].failed


def test_a_missing_model_is_an_error_before_any_photo_is_read(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no such model file"):
        Scorer(tmp_path / "gone.onnx")
