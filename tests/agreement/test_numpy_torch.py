"""NumPy and torch say the same, and both say what SciPy's Student-t says.

Text matrix, head and embeddings are random and far from uniform, so that every output has something to say.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy import stats

from defnet_infer import evidential
from defnet_infer.evidential import Nig
from defnet_train import nig as torch_nig
from defnet_train.model import Defnet
from tests.agreement.conftest import read_out_of

NewModel = Callable[..., Defnet]
PROBABILITIES = ("quality", "scene", "distortion")
SCORES = ("score", "fused_score", "crop_score", "interval")
EVIDENCE = ("nig", "aleatoric", "epistemic")


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def inputs(crops: int = 15, scale: float = 40.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crop embeddings (6, V, 64), overview embeddings (6, 64), scaled text (64, 495)."""
    rng = np.random.default_rng(seed)
    return unit(rng, 6, crops, 64), unit(rng, 6, 64), scale * unit(rng, 495, 64).T


def by_torch(model: Defnet, crops: np.ndarray, overview: np.ndarray, text: np.ndarray) -> dict[str, np.ndarray]:
    with torch.inference_mode():
        outputs = model.score_views(*(torch.from_numpy(a.astype(np.float32)) for a in (crops, overview, text)))
    return {name: value.numpy() for name, value in outputs.items()}


@pytest.mark.parametrize("aggregation", ["prob_mean", "logit_mean"])
@pytest.mark.parametrize("source", ["fusion", "cross"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize(("crops", "scale"), [(15, 40.0), (15, 100.0), (4, 40.0), (1, 40.0)])
def test_numpy_scores_as_torch_does(
    new_model: NewModel, aggregation: str, source: str, dtype: type, crops: int, scale: float
) -> None:
    model = new_model(aggregation, source)
    crops_BVE, overview_BE, text_EJ = inputs(crops, scale)
    expected = by_torch(model, crops_BVE, overview_BE, text_EJ)
    read_out = read_out_of(model, text_EJ, dtype)
    found = evidential.predict(crops_BVE.astype(dtype), overview_BE.astype(dtype), read_out)
    assert list(found) == list(expected)
    for name, value in found.items():
        assert value.shape == expected[name].shape, name
        assert value.dtype == dtype, f"{name}: float32 in, float32 out"
    for name in PROBABILITIES:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-5, err_msg=name)
    for name in SCORES:
        np.testing.assert_allclose(found[name], expected[name], rtol=0, atol=1e-4, err_msg=name)
    for name in EVIDENCE:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-3, atol=0, err_msg=name)


def test_the_inputs_of_this_file_are_not_degenerate(new_model: NewModel) -> None:
    found = evidential.predict(*inputs()[:2], read_out_of(new_model("prob_mean", "fusion"), inputs()[2]))
    for name, value in found.items():
        assert value.std(axis=0).min() > 1e-3, f"{name} does not tell photos apart, so a mistake could hide in it"
    assert np.abs(found["score"] - found["fused_score"]).max() > 0.05
    assert found["quality"].max() > 0.3


def test_every_option_changes_the_outputs_it_is_about(new_model: NewModel) -> None:
    crops, overview, text = inputs()
    found = {
        key: evidential.predict(crops, overview, read_out_of(new_model(*key), text))
        for key in [("prob_mean", "fusion"), ("logit_mean", "fusion"), ("prob_mean", "cross")]
    }
    base, by_logit, by_crops = found.values()
    assert np.abs(base["score"] - by_logit["score"]).min() > 1e-4
    assert np.array_equal(base["nig"], by_logit["nig"]), "aggregation is about the photo's probabilities only"
    assert np.abs(base["nig"] - by_crops["nig"]).min() > 1e-4
    assert np.array_equal(base["score"], by_crops["score"])


def test_the_models_own_text_matrix_reaches_numpy(new_model: NewModel) -> None:
    model = new_model("prob_mean", "fusion")
    crops, overview, _ = inputs()
    with torch.inference_mode():
        text = model.text_matrix().numpy()
    found = evidential.predict(crops, overview, read_out_of(model))
    np.testing.assert_allclose(found["score"], by_torch(model, crops, overview, text)["score"], rtol=0, atol=1e-5)


def random_nig(*shape: int, seed: int = 0) -> Nig:
    rng = np.random.default_rng(seed)
    return Nig(
        rng.uniform(1, 5, shape), rng.uniform(0.2, 3, shape), rng.uniform(1.1, 4, shape), rng.uniform(0.05, 0.9, shape)
    )


def to_torch(nig: Nig) -> torch_nig.Nig:
    return torch_nig.Nig(*(torch.from_numpy(v) for v in (nig.delta, nig.v, nig.alpha, nig.beta)))


def assert_same(found: Nig, expected: torch_nig.Nig) -> None:
    for name in ("delta", "v", "alpha", "beta", "aleatoric", "epistemic"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name).numpy(), rtol=1e-12, err_msg=name)


@pytest.mark.parametrize("views", [1, 2, 4, 15])
def test_both_fuse_alike(views: int) -> None:
    local_BV, overview_B = random_nig(5, views), random_nig(5, seed=1)
    assert_same(evidential.fuse(local_BV), torch_nig.fuse(to_torch(local_BV), dim=1))
    assert_same(evidential.fuse(local_BV, axis=0), torch_nig.fuse(to_torch(local_BV), dim=0))
    assert_same(evidential.fuse_tempered(local_BV), torch_nig.fuse_tempered(to_torch(local_BV), dim=1))
    assert_same(
        evidential.fuse_local_global(local_BV, overview_B),
        torch_nig.fuse_local_global(to_torch(local_BV), to_torch(overview_B)),
    )


def test_fusing_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="zero views"):
        evidential.fuse(random_nig(3, 0))


def test_both_draw_the_same_interval() -> None:
    nig = random_nig(30)
    half = torch_nig.half_width_95(to_torch(nig)).numpy()
    expected = np.stack([nig.delta - 1.7 * half, nig.delta + 1.7 * half], axis=-1)
    np.testing.assert_allclose(evidential.interval_95(nig, 1.7), expected, rtol=1e-12)


@pytest.mark.parametrize(("dof", "error"), [(4.0, 1e-3), (5.0, 3e-4), (7.0, 1e-4), (10.0, 1e-5), (60.0, 1e-7)])
def test_the_t_quantile_agrees_with_scipy(dof: float, error: float) -> None:
    found = evidential.t_quantile_975(np.array([dof]))
    assert found == pytest.approx(stats.t.ppf(0.975, dof), abs=error)
    assert torch_nig.t_quantile_975(torch.tensor([dof]).double()).numpy() == pytest.approx(found, abs=1e-14)


def test_aleatoric_and_epistemic_add_up_to_the_variance_of_the_predictive_student_t() -> None:
    nig = random_nig(40)
    expected = stats.t(df=2 * nig.alpha, scale=nig.t_scale).var()
    np.testing.assert_allclose(nig.aleatoric + nig.epistemic, expected, rtol=1e-12)


def test_the_interval_covers_95_percent_of_draws_from_the_hierarchy_that_the_nig_stands_for() -> None:
    # Not drawn from the t that the interval is made of, but from normal-inverse-gamma, step by step.
    nig = evidential.fuse_local_global(random_nig(4, 6), random_nig(4, seed=2))
    low, high = evidential.interval_95(nig).T
    draws, rng = 200_000, np.random.default_rng(0)
    variance = stats.invgamma(nig.alpha, scale=nig.beta).rvs((draws, 4), random_state=rng)
    mean = rng.normal(nig.delta, np.sqrt(variance / nig.v))
    y = rng.normal(mean, np.sqrt(variance))
    np.testing.assert_allclose(((low <= y) & (y <= high)).mean(axis=0), 0.95, atol=0.002)
    np.testing.assert_allclose(y.var(axis=0), nig.aleatoric + nig.epistemic, rtol=0.05)
    np.testing.assert_allclose(variance.mean(axis=0), nig.aleatoric, rtol=0.03)
    np.testing.assert_allclose(mean.var(axis=0), nig.epistemic, rtol=0.05)
