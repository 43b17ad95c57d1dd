"""Null-space components against dense pseudo-inverses; residuals against their distributions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import diagonal, fft, from_function, stack
from jaxrecon.physics import optics
from jaxrecon.posterior import calibration as C

RNG = np.random.default_rng(2)
SHAPE = (4, 5)
IMAGE = jnp.asarray(RNG.standard_normal(SHAPE), jnp.float32)
PHASED = jnp.asarray(IMAGE + 1j * RNG.standard_normal(SHAPE), jnp.complex64)
SEEN = jnp.asarray(RNG.random(SHAPE) < 0.5)
MATRIX = jnp.asarray(RNG.standard_normal((7, 20)), jnp.float32)
DENSE = from_function(
    lambda M, x: jnp.matmul(M, x.ravel(), precision="highest"), jnp.zeros(SHAPE), MATRIX
)

WIDE = jnp.asarray(RNG.standard_normal((4, 8)), jnp.float32)
BLUR = optics.blur(jnp.array([[0.0, 0.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), WIDE)

OPERATORS = {
    "masked Fourier": (diagonal(SEEN, PHASED) @ fft(PHASED), PHASED),  # closed pseudo-inverse
    "blur": (BLUR, WIDE),  # with zeros in its spectrum
    "inpainting": (optics.inpaint(SEEN, IMAGE), IMAGE),  # a shifted inverse as preconditioner
    "dense": (DENSE, IMAGE),  # conjugate gradients
    "stacked": (stack([DENSE, optics.inpaint(SEEN, IMAGE)]), IMAGE),
}


def dense_split(A, image, damping):
    """By the matrix of A, in double precision."""
    units = jnp.eye(image.size, dtype=image.dtype).reshape(-1, *image.shape)
    columns = [np.reshape(y, (image.size, -1)) for y in jax.tree.leaves(jax.vmap(A)(units))]
    M = np.concatenate(columns, axis=1).T.astype(np.result_type(image.dtype, np.float64))
    gram = M.conj().T @ M
    shifted = gram + (damping or 0) * np.eye(image.size)
    return (np.linalg.pinv(shifted, rcond=1e-6) @ gram @ np.ravel(image)).reshape(image.shape)


@pytest.mark.parametrize("damping", [None, 0.3], ids=["sharp", "damped"])
@pytest.mark.parametrize("name", OPERATORS)
def test_components_are_those_of_the_dense_operator(name, damping):
    A, image = OPERATORS[name]
    found = jax.jit(C.null_space_split)(A, image, damping=damping)
    assert bool(found.status.ok)
    np.testing.assert_allclose(found.measured, dense_split(A, image, damping), atol=5e-4)
    np.testing.assert_allclose(found.measured + found.unseen, image, atol=1e-5)


@pytest.mark.parametrize("name", OPERATORS)
def test_the_unseen_leaves_no_trace_in_the_data(name):
    A, image = OPERATORS[name]
    unseen = C.null_space_split(A, image, tol=1e-6).unseen
    assert max(float(jnp.max(jnp.abs(y))) for y in jax.tree.leaves(A(unseen))) < 1e-3
    assert float(jnp.linalg.norm(unseen)) > 0.1


def test_conjugate_gradients_say_when_they_are_not_done():
    found = C.null_space_split(DENSE, IMAGE, n_iter=2)
    assert not bool(found.status.ok)
    assert float(jnp.max(jnp.abs(DENSE(found.unseen)))) > 0.1


def test_an_invented_lesion_is_found_in_the_null_space():
    A, truth = OPERATORS["inpainting"]
    row, column = np.argwhere(~np.array(SEEN))[0]
    inside, outside = (tuple(np.argwhere(m)[0]) for m in (np.array(SEEN), ~np.array(SEEN)))
    image = truth.at[outside].add(2.0).at[inside].add(1.0)
    maps = C.hallucination_maps(A, image, truth)
    np.testing.assert_allclose(maps.unseen, jnp.zeros(SHAPE).at[row, column].set(2.0), atol=1e-5)
    np.testing.assert_allclose(maps.measured, jnp.zeros(SHAPE).at[inside].set(1.0), atol=1e-5)


def test_nothing_splits_into_nothing_and_under_vmap():
    split = functools.partial(C.null_space_split, DENSE)
    found = jax.jit(jax.vmap(split))(jnp.stack([IMAGE, 0 * IMAGE]))
    np.testing.assert_allclose(found.measured[0], split(IMAGE).measured, atol=1e-4)
    assert np.all(np.array(found.measured[1]) == 0)


# -------------------------------------------------------------------------------- data consistency

gaussian_consistency = jax.jit(C.gaussian_consistency)
CLEAN = jnp.asarray(RNG.standard_normal((30, 40)), jnp.float32)


def gaussian(sigma, claimed, *, is_complex=False, mask=None):
    noise = sigma * RNG.standard_normal((2, *CLEAN.shape))
    measured = CLEAN + noise[0] + (1j * noise[1] if is_complex else 0)
    predicted = CLEAN.astype(complex) if is_complex else CLEAN
    if mask is not None:
        measured = np.where(mask, measured, np.nan)
    return gaussian_consistency(predicted, jnp.asarray(measured), claimed, mask=mask)


@pytest.mark.parametrize("is_complex", [False, True])
def test_the_truth_explains_its_data_and_a_wrong_level_of_noise_does_not(is_complex):
    found = gaussian(0.2, 0.2, is_complex=is_complex)
    assert float(found.reduced) == pytest.approx(1, abs=0.1)
    assert found.p_value > 0.01
    assert gaussian(0.2, 0.17, is_complex=is_complex).p_value < 1e-3
    assert gaussian(0.2, 0.25, is_complex=is_complex).p_value < 1e-3


def test_only_measured_entries_count():
    mask = jnp.asarray(RNG.random(CLEAN.shape) < 0.3)
    found = gaussian(0.2, 0.2, mask=mask)
    assert float(found.reduced) == pytest.approx(1, abs=0.25)
    assert found.p_value > 0.01
    assert np.all(np.array(found.residuals)[~np.array(mask)] == 0)


def test_an_artefact_shows_where_it_is():
    wrong = CLEAN.at[3, 4].add(5.0)
    found = C.gaussian_consistency(wrong, CLEAN, 0.2)
    assert np.unravel_index(np.argmax(np.abs(found.residuals)), CLEAN.shape) == (3, 4)
    assert float(found.residuals[3, 4]) == pytest.approx(-25, rel=1e-4)


def test_posterior_samples_explain_the_data_and_their_mean_fits_too_well():
    """y = x + n, x and n standard normal: the posterior is N(y/2, 1/2)."""
    truth, noise, draw = jnp.asarray(RNG.standard_normal((3, 5000)))
    y = truth + noise
    sample = y / 2 + jnp.sqrt(0.5) * draw
    assert float(C.gaussian_consistency(sample, y, 1.0).reduced) == pytest.approx(1, abs=0.08)
    mean = C.gaussian_consistency(y / 2, y, 1.0)
    assert float(mean.reduced) == pytest.approx(0.5, abs=0.05)
    assert mean.p_value < 1e-3


@pytest.mark.parametrize(("counts", "electronic"), [(0.05, 0.0), (0.05, 1.0), (40.0, 3.0)])
def test_p_values_of_counts_are_uniform(counts, electronic):
    expected = counts * (1 + 0.5 * RNG.random((1500, 200)))
    readings = RNG.poisson(expected) + electronic * RNG.standard_normal(expected.shape)
    test = jax.jit(jax.vmap(functools.partial(C.poisson_consistency, electronic=electronic)))
    found = test(jnp.asarray(expected), jnp.asarray(readings))
    assert float(jnp.mean(found.reduced)) == pytest.approx(1, abs=0.02)
    assert float(jnp.mean(found.p_value < 0.1)) == pytest.approx(0.1, abs=0.03)
    if counts < 1 and not electronic:  # where the plain chi-square distribution fails
        above = C.chi_square_tail(found.statistic, 200.0)
        assert float(jnp.mean(2 * jnp.minimum(above, 1 - above) < 0.1)) > 0.3
    wrong = test(jnp.asarray(expected), jnp.asarray(1.5 * readings))
    assert float(jnp.mean(wrong.p_value < 0.1)) > 0.4


def test_bins_that_expect_nothing():
    found = C.poisson_consistency(jnp.array([0.0, 4.0]), jnp.array([0.0, 6.0]))
    assert found.residuals.tolist() == [0, 1]
    assert float(found.reduced) == 1
    found = C.poisson_consistency(jnp.array([0.0, 4.0]), jnp.array([1.0, 6.0]))
    assert float(found.statistic) == np.inf
    assert float(found.p_value) == 0


def test_real_against_complex_is_refused():
    with pytest.raises(ValueError, match="`predicted` is float32 and `measured` complex64"):
        C.gaussian_consistency(IMAGE, PHASED, 1.0)
