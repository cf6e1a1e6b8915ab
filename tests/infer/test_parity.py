"""The figures of a verdict are those of NumPy and SciPy, and every way of disagreeing is seen."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from defnet_infer import parity
from defnet_infer.errors import ArtifactError
from defnet_infer.evidential import Nig, interval_95
from defnet_infer.parity import BOUNDS, TASKS, Precision, batch_difference, expected_coverage, srcc
from defnet_infer.sessions import Outputs
from defnet_infer.verdict import Check, Verdict


def outputs(count: int = 300, seed: int = 0) -> Outputs:
    """Outputs of made-up photos, consistent with each other."""
    rng = np.random.default_rng(seed)
    nig = Nig(
        rng.uniform(1, 5, count), rng.uniform(0.2, 3, count), rng.uniform(2.6, 6, count), rng.uniform(0.1, 1, count)
    )
    probabilities = {task: rng.dirichlet(np.ones(n), count) for task, n in zip(TASKS, (5, 9, 11), strict=True)}
    return {
        "score": rng.uniform(1, 5, count),
        "fused_score": nig.delta,
        "aleatoric": nig.aleatoric,
        "epistemic": nig.epistemic,
        "interval": interval_95(nig, 1.37),
        "nig": np.stack([nig.delta, nig.v, nig.alpha, nig.beta], axis=-1),
        **probabilities,
    }


def judge(reference: Outputs, candidate: Outputs, precision: Precision = "float16", **options: object) -> Verdict:
    names = [f"photo {k}" for k in range(len(reference["score"]))]
    return parity.compare(reference, candidate, names, precision=precision, between=("right", "tried"), **options)  # type: ignore[arg-type]


def check(verdict: Verdict, what: str) -> Check:
    return next(c for c in verdict.checks if c.what == what)


def states(verdict: Verdict, state: str) -> list[str]:
    return [c.what for c in verdict.checks if c.state == state]


@pytest.mark.parametrize("precision", list(BOUNDS))
def test_what_is_the_same_passes_with_nothing_undecided(precision: Precision) -> None:
    verdict = judge(outputs(), outputs(), precision, batch_difference=0.0)
    assert verdict.passed
    assert not states(verdict, "fails") and not states(verdict, "undecided")
    assert f"bounds of {precision} hold, 300 photos" in verdict.summary()


def test_differences_are_those_that_numpy_gives() -> None:
    reference, candidate = outputs(), outputs()
    moved = np.random.default_rng(1).normal(0, 0.005, 300)
    candidate["score"] = reference["score"] + moved
    verdict = judge(reference, candidate)
    assert check(verdict, "score: max difference").value == pytest.approx(np.abs(moved).max())
    assert check(verdict, "score: p99").value == pytest.approx(np.percentile(np.abs(moved), 99))
    assert check(verdict, "score: mean").value == pytest.approx(np.abs(moved).mean())
    assert check(verdict, "score: SRCC").value == pytest.approx(
        stats.spearmanr(reference["score"], candidate["score"]).statistic, abs=1e-12
    )
    assert verdict.worst_photo == f"photo {np.abs(moved).argmax()}"
    assert verdict.worst_difference == pytest.approx(np.abs(moved).max())
    assert states(verdict, "fails") == ["score: p99", "score: mean"]


def test_the_rank_correlation_shares_ranks_among_ties_as_scipy_does() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 6, 50).astype(float), rng.integers(0, 6, 50).astype(float)
    assert srcc(a, b) == pytest.approx(stats.spearmanr(a, b).statistic, abs=1e-12)


def test_expected_coverage_is_the_students_t_probability_of_scipy() -> None:
    rng = np.random.default_rng(3)
    mean, scale, dof = rng.uniform(1, 5, 40), rng.uniform(0.2, 2, 40), rng.uniform(5, 60, 40)
    interval = np.stack([mean - rng.uniform(-1, 4, 40), mean + rng.uniform(1, 9, 40)], axis=-1)
    t = stats.t(dof, loc=mean, scale=scale)
    expected = t.cdf(interval[:, 1]) - t.cdf(interval[:, 0])
    np.testing.assert_allclose(expected_coverage(interval, mean, scale, dof), expected, atol=1e-9)
    assert np.ptp(expected) > 0.1


def test_an_interval_of_another_width_changes_coverage_by_what_its_own_t_says() -> None:
    reference, candidate = outputs(), outputs()
    nig = Nig(*reference["nig"].T)
    candidate["interval"] = interval_95(nig, 1.37 * 0.95)
    expected = np.mean(2 * stats.t.cdf(0.95 * stats.t.ppf(0.975, 2 * nig.alpha), 2 * nig.alpha) - 1) - 0.95
    verdict = judge(reference, candidate)
    assert check(verdict, "interval coverage: change").value == pytest.approx(-expected, abs=2e-5)
    assert states(verdict, "fails") == ["interval width: relative error, p99", "interval coverage: change"]


@pytest.mark.parametrize("name", ["aleatoric", "epistemic"])
def test_a_variance_that_is_off_by_three_percent_on_one_photo_in_fifty_fails(name: str) -> None:
    reference, candidate = outputs(), outputs()
    candidate[name] = reference[name] * np.where(np.arange(300) % 50 == 0, 1.03, 1.0)
    assert states(judge(reference, candidate, "float32"), "fails") == [f"{name}: relative error, p99"]


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("task", TASKS)
def test_labels_in_another_order_fail(task: str, precision: Precision) -> None:
    reference, candidate = outputs(), outputs()
    candidate[task] = reference[task][:, ::-1]
    verdict = judge(reference, candidate, precision)
    assert states(verdict, "fails") == [f"{task}: same label"]
    same = (reference[task].argmax(1) == candidate[task].argmax(1)).mean()
    assert check(verdict, f"{task}: same label").value == pytest.approx(same)


def test_either_of_two_labels_that_the_reference_ties_is_right() -> None:
    reference, candidate = outputs(3), outputs(3)
    reference["scene"] = np.tile([0.4, 0.4, 0.2, 0, 0, 0, 0, 0, 0], (3, 1))
    candidate["scene"] = reference["scene"] + np.array([-1e-7, 1e-7, 0, 0, 0, 0, 0, 0, 0])
    assert reference["scene"].argmax(1)[0] != candidate["scene"].argmax(1)[0]
    assert judge(reference, candidate, "float32").passed
    candidate["scene"] = np.roll(reference["scene"], 2, axis=1)
    assert states(judge(reference, candidate, "float32"), "fails") == ["scene: same label"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["score", "interval", "scene"])
def test_one_output_that_is_no_number_fails_and_names_its_photo(name: str, value: float) -> None:
    candidate = outputs()
    candidate[name] = candidate[name].copy()
    candidate[name][17] = value
    verdict = judge(outputs(), candidate)
    assert states(verdict, "fails") == ["photos with an output that is no number"]
    assert verdict.worst_photo == "photo 17"
    assert "photo 17" in verdict.summary()


def test_a_file_that_returns_nothing_but_nan_fails() -> None:
    candidate = {name: np.full_like(value, np.nan) for name, value in outputs(4).items()}
    assert not judge(outputs(4), candidate).passed


def test_scores_that_do_not_differ_leave_the_rank_undecided_and_say_so() -> None:
    reference = outputs() | {"score": np.full(300, 3.0)}
    verdict = judge(reference, dict(reference))
    assert verdict.passed
    assert states(verdict, "undecided") == ["score: SRCC"]
    assert "not decided: score: SRCC (the reference gives all 300 photos the same score)" in verdict.summary()


def test_a_candidate_that_gives_every_photo_one_score_fails_the_rank() -> None:
    reference, candidate = outputs(), outputs()
    candidate["score"] = np.full(300, 3.0)
    assert "score: SRCC" in states(judge(reference, candidate, "int8"), "fails")


def test_with_three_photos_a_swap_of_two_is_undecided_and_with_three_hundred_a_mess_fails() -> None:
    reference = outputs(3) | {"score": np.array([2.0, 2.001, 4.0])}
    candidate = reference | {"score": np.array([2.001, 2.0, 4.0])}
    verdict = judge(reference, candidate, "int8")
    assert verdict.passed and states(verdict, "undecided") == ["score: SRCC"]
    assert "3 photos are too few" in verdict.summary()
    many = outputs()
    shuffled = many | {"score": many["score"][::-1]}
    assert "score: SRCC" in states(judge(many, shuffled, "int8"), "fails")


def test_one_label_of_three_photos_is_undecided_for_half_precision_and_two_fail() -> None:
    reference, candidate = outputs(3), outputs(3)
    candidate["scene"] = np.where(np.arange(3)[:, None] < 1, np.roll(reference["scene"], 1, 1), reference["scene"])
    assert states(judge(reference, candidate), "undecided") == ["scene: same label"]
    candidate["scene"] = np.roll(reference["scene"], 1, 1)
    assert states(judge(reference, candidate), "fails") == ["scene: same label"]


def test_photos_that_touch_each_other_in_a_batch_fail() -> None:
    crops, overview = np.arange(3, dtype=np.uint8)[:, None], np.arange(3, dtype=np.uint8)[:, None]

    def alone(crops: np.ndarray, overview: np.ndarray) -> Outputs:
        return {"score": crops[:, 0].astype(np.float32), "fused_score": overview[:, 0].astype(np.float32)}

    def by_neighbour(crops: np.ndarray, overview: np.ndarray) -> Outputs:
        return {"score": crops[:, 0] + 0.001 * crops.mean(), "fused_score": overview[:, 0].astype(np.float32)}

    def by_place(crops: np.ndarray, overview: np.ndarray) -> Outputs:
        return {"score": crops[:, 0] * 1.0, "fused_score": overview[:, 0] + 0.25 * np.arange(len(overview))}

    assert batch_difference(alone, crops, overview) == 0
    assert batch_difference(by_neighbour, crops, overview) == pytest.approx(0.001)
    assert batch_difference(by_place, crops, overview) == pytest.approx(0.5)
    same = outputs()
    assert judge(same, same, "float32", batch_difference=9e-5).passed
    assert not judge(same, same, "float32", batch_difference=0.001).passed
    assert judge(same, same, "float16", batch_difference=0.001).passed
    assert not judge(same, same, "float16", batch_difference=float("nan")).passed


def test_no_photo_or_other_photos_are_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="no photos"):
        judge(outputs(0), outputs(0))
    with pytest.raises(ValueError, match="not of the same photos"):
        judge(outputs(4), outputs(5))


def test_a_verdict_survives_json_with_its_nan() -> None:
    candidate = outputs() | {"score": outputs()["score"] + 0.02}
    verdict = judge(outputs(), candidate, batch_difference=float("nan"), notes=["one photo left out"])
    body = json.loads(json.dumps(verdict.to_json(), allow_nan=False))
    again = Verdict.from_json(body)
    assert [c.state for c in again.checks] == [c.state for c in verdict.checks]
    assert again.summary() == verdict.summary()
    assert again.notes == verdict.notes
    assert body["passed"] is False
    with pytest.raises(ArtifactError, match="the certificate cannot be read"):
        Verdict.from_json({"checks": []})


def test_the_table_shows_every_figure_and_what_failed() -> None:
    from rich.console import Console

    candidate = outputs() | {"score": outputs()["score"] + 0.5}
    verdict = judge(outputs(), candidate)
    console = Console(width=160)
    with console.capture() as capture:
        console.print(verdict.table())
    text = capture.get()
    assert all(check.what in text for check in verdict.checks)
    assert "fails" in text and "holds" in text and "photo" in text
