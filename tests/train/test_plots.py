"""Figures show the numbers they are about, in files that can be shown and printed."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from defnet_train.gmad import pairs
from defnet_train.plots.agreement import scatter
from defnet_train.plots.distribution import distribution, normal_quantiles
from defnet_train.plots.gmad import gmad_figure
from defnet_train.plots.levels import curves_by_kind, level_curves
from defnet_train.plots.style import save
from defnet_train.plots.uncertainty import binned, uncertainty_figure
from defnet_train.records import ImageRecord
from tests.train.test_uncertainty import drawn_outputs


def points(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    opinion = rng.uniform(1, 5, count)
    return np.clip(opinion + rng.normal(0, 0.5, count), 1, 5), opinion


def copies() -> tuple[np.ndarray, list[ImageRecord]]:
    """Two photos, two kinds, levels 1, 3 and 5; `noise` of the second photo lacks a level."""
    records, scores = [], []
    for group, start in (("x.png", 4.0), ("y.png", 3.5)):
        common = {"dataset": "synthetic", "path": Path(group), "target": None, "group": group, "series": True}
        records.append(ImageRecord(mos=0, labels=None, **common))
        scores.append(start)
        for kind, step in (("blur", 0.5), ("noise", 0.25)):
            for level in (1, 3, 5):
                if (group, kind, level) != ("y.png", "noise", 3):
                    records.append(ImageRecord(mos=-level, labels=None, kind=kind, level=level, **common))
                    scores.append(start - step * level)
    return np.array(scores), records


def test_a_figure_is_saved_as_png_and_svg_with_readable_text(tmp_path: Path) -> None:
    png, svg = save(scatter({"LIVE": points()}), tmp_path / "new", "scatter")
    with Image.open(png) as image:
        image.load()
        assert image.width > 400
        assert len(image.getcolors(1 << 20) or ()) > 5, "something is drawn"
    text = svg.read_text()
    assert "mean opinion score" in text
    assert "LIVE, 60 photos" in text


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (save(scatter({"LIVE": points()}), tmp_path, name)[1].read_bytes() for name in ("a", "b"))
    assert first == second


def test_the_scatter_has_a_panel_a_data_set_and_all_photos_in_it() -> None:
    figure = scatter({"one": points(50), "two": points(30), "three": points(20), "four": points(10)})
    assert len(figure.axes) == 4
    assert [len(axis.collections[0].get_offsets()) for axis in figure.axes] == [50, 30, 20, 10]


def test_normal_quantiles_of_normal_values_lie_on_the_diagonal() -> None:
    values = 3 + 0.7 * stats.norm.ppf((np.arange(500) + 0.5) / 500)
    theory, standard = normal_quantiles(np.random.default_rng(0).permutation(values))
    np.testing.assert_allclose(standard, theory, atol=0.02)
    skewed = normal_quantiles(np.exp(values))[1]
    assert np.abs(skewed - theory).max() > 0.5


def test_every_figure_can_be_drawn(tmp_path: Path) -> None:
    outputs, target = drawn_outputs(60)
    score, records = copies()
    for name, figure, panels in (
        ("distribution", distribution("LIVE", *points()), 3),
        ("uncertainty", uncertainty_figure("LIVE", outputs, target), 3),
        ("levels", level_curves(score, records), 2),
    ):
        assert len(figure.axes) == panels, name
        assert all(path.stat().st_size > 5000 for path in save(figure, tmp_path, name))


def test_names_may_hold_what_mathematics_is_written_with(tmp_path: Path) -> None:
    name = r"$\no$_{日本"
    outputs, target = drawn_outputs(60)
    score, records = copies()
    blurred = [i for i, record in enumerate(records) if record.kind != "noise"]
    named = [dataclasses.replace(records[i], kind=records[i].kind and name) for i in blurred]
    photos = [f"{name}{i}.png" for i in range(3)]
    for photo in photos:
        Image.new("RGB", (8, 8)).save(tmp_path / photo)
    one, other = ({p: float(s) for p, s in zip(photos, scores, strict=True)} for scores in ((1, 2, 3), (3, 1, 2)))
    for figure in (
        scatter({name: points()}),
        distribution(name, *points()),
        uncertainty_figure(name, outputs, target),
        level_curves(score[blurred], named),
        gmad_figure(pairs((name, one), ("other", other)), tmp_path),
    ):
        assert name in save(figure, tmp_path, "figure")[1].read_text()


def test_deviations_that_are_nearly_equal_look_so(tmp_path: Path) -> None:
    outputs, target = drawn_outputs(60)
    assert len(uncertainty_figure("LIVE", outputs, target).axes[2].lines) == 1
    alike = {"aleatoric": 0.2 + 1e-6 * np.linspace(0, 1, 60), "epistemic": np.full(60, 0.05)}
    figure = uncertainty_figure("LIVE", outputs | alike, target)
    save(figure, tmp_path, "alike")
    errors = figure.axes[2]
    low, high = errors.get_xlim()
    assert (high - low) / (high + low) * 2 == pytest.approx(0.05, rel=1e-3)
    assert low < errors.collections[0].get_offsets()[0, 0] < high
    assert len(errors.lines) == 0, "tenths of what is alike have no order"
    assert errors.xaxis.get_major_formatter().get_offset() == ""


def test_means_of_groups_of_equal_size_follow_the_order_of_x() -> None:
    x = np.array([5.0, 1.0, 4.0, 2.0, 3.0, 6.0])
    middles, means = binned(x, 10 * x, 3)
    np.testing.assert_allclose(middles, [1.5, 3.5, 5.5])
    np.testing.assert_allclose(means, [15, 35, 55])


def test_level_curves_start_at_the_original_and_leave_out_photos_that_lack_a_level() -> None:
    curves = curves_by_kind(*copies())
    levels, scores_PL = curves["blur"]
    assert levels == [0, 1, 3, 5]
    np.testing.assert_allclose(scores_PL, [[4, 3.5, 2.5, 1.5], [3.5, 3, 2, 1]])
    assert curves["noise"][1].shape == (1, 4)


def test_gmad_pairs_are_shown_with_both_scores(tmp_path: Path) -> None:
    for name, colour in (("red.png", (200, 0, 0)), ("blue.png", (0, 0, 200)), ("green.png", (0, 200, 0))):
        Image.new("RGB", (640, 300), colour).save(tmp_path / name)
    one = {"red.png": 3.0, "blue.png": 3.01, "green.png": 5.0}
    other = {"red.png": 10.0, "blue.png": 70.0, "green.png": 71.0}
    found = pairs(("one", one), ("other", other), levels=(0.0,))
    figure = gmad_figure(found, tmp_path)
    axes = [axis for block in figure.subfigs for axis in block.axes]
    assert [axis.get_title() for axis in axes[:2]] == [
        "one 3.01   other 70.00\nblue.png",
        "one 3.00   other 10.00\nred.png",
    ]
    shown = [np.asarray(axis.images[0].get_array())[5, 5, :3].tolist() for axis in axes[:2]]
    assert shown == [[0, 0, 200], [200, 0, 0]], "above the photo that the attacker prefers"
    assert max(np.asarray(axes[0].images[0].get_array()).shape) == 512
