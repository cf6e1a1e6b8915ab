"""The nodes that make views say what `defnet_infer.views` says: the same windows, pixels hardly ever a level apart."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime
import pytest

from defnet_export.view_graph import halvings, view_graph
from defnet_infer import views
from defnet_infer.contract import Preprocess
from defnet_infer.views import Views
from tests.conftest import picture

RULE = Preprocess()
OTHER = Preprocess(
    shrink_short_side=300,
    crop_size=64,
    crop_count=7,
    stride=20,
    large_stride=30,
    large_side=500,
    crop_rule="linspace",
)
Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def runner(rule: Preprocess, opset: int = 18) -> Run:
    proto = view_graph(rule, opset)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda photo: tuple(session.run(["crops", "overview"], {"image": photo}))


@pytest.fixture(scope="module")
def run() -> Run:
    return runner(RULE)


def noisy(width: int, height: int) -> np.ndarray:
    noise = np.random.default_rng([width, height]).integers(-40, 41, (height, width, 3))
    return (picture(width, height) + noise).clip(0, 255).astype(np.uint8)


def assert_close(found: tuple[np.ndarray, np.ndarray], expected: Views) -> None:
    crops, overview = found
    assert crops.shape == (1, *expected.crops.shape)
    assert overview.shape == (1, *expected.overview.shape)
    for made, wanted in ((crops[0], expected.crops), (overview[0], expected.overview)):
        assert made.dtype == np.uint8
        difference = np.abs(made.astype(int) - wanted)
        # Two only where both passes round the other way.
        assert difference.max() <= 2
        assert (difference > 1).mean() < 1e-4
        assert (difference > 0).mean() < 0.05


SHRUNK = [(1600, 1200), (800, 1900), (769, 768), (2100, 770)]
ENLARGED = [(100, 80), (80, 100), (223, 1000), (2000, 150), (3, 500), (500, 1), (1, 1)]


@pytest.mark.parametrize("size", [(500, 500), (300, 3000), *SHRUNK, *ENLARGED])
def test_hardly_a_pixel_differs_and_then_by_a_level(run: Run, size: tuple[int, int]) -> None:
    photo = noisy(*size)
    assert_close(run(photo), views.make(photo, RULE))


def test_windows_are_cut_at_exactly_the_same_places_of_photos_of_any_shape(run: Run) -> None:
    rng = np.random.default_rng(0)
    sizes = [(224, 224), (225, 224), (228, 228), (255, 256), (288, 288), (767, 1023), (767, 1024), (1024, 224)]
    sizes += [(int(width), int(height)) for width, height in rng.integers(224, 768, (20, 2))]
    sizes += [(int(width), int(rng.integers(224, 400))) for width in rng.integers(1000, 1100, 6)]
    for width, height in sizes:
        # Nothing is resized here, so one level off would be another place.
        photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        assert np.array_equal(run(photo)[0][0], views.make(photo, RULE).crops), (width, height)


@pytest.mark.parametrize("size", [(400, 200), (299, 500), (700, 600), (70, 64), (40, 300), (64, 64)])
def test_another_preset_makes_another_graph(size: tuple[int, int]) -> None:
    photo = noisy(*size)
    assert_close(runner(OTHER)(photo), views.make(photo, OTHER))


def test_a_preset_that_never_shrinks_cuts_from_the_photo_itself() -> None:
    rule = Preprocess(shrink_short_side=0)
    photo = noisy(1300, 900)
    assert np.array_equal(runner(rule)(photo)[0][0], views.make(photo, rule).crops)


def test_the_graph_is_the_same_in_a_later_opset(run: Run) -> None:
    photo = noisy(1000, 900)
    later = runner(RULE, opset=20)(photo)
    assert all(np.array_equal(a, b) for a, b in zip(later, run(photo), strict=True))


def test_only_standard_operators_are_used_and_no_name_can_clash_with_a_scoring_graph() -> None:
    proto = view_graph(RULE, 18)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    names = {name for node in proto.graph.node for name in [node.name, *node.output]}
    names |= {initializer.name for initializer in proto.graph.initializer}
    assert {name for name in names if not name.startswith("views.")} == {"crops", "overview"}
    assert b"onnxscript" not in proto.SerializeToString()


def test_strides_halve_down_to_one() -> None:
    assert halvings(48) == [48, 24, 12, 6, 3, 1]
    assert halvings(1) == [1]
