"""Criteria against dense posteriors, finite differences and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxrecon.core import diagonal, fft, identity, materialise
from jaxrecon.design import masks
from jaxrecon.design._optimise import optimise
from jaxrecon.design.criteria import (
    aliasing_energy,
    error_slope,
    expected_error,
    expected_information,
    information_slope,
    linear_gaussian,
    peak_side_lobe,
    point_spread,
    posterior_covariance,
    reconstruction_error,
    robust,
    sampling_error,
    spectral_error,
    spectral_information,
    stochastic_error,
)
from jaxrecon.physics import ct, mri
from jaxrecon.posterior import Gaussian
from jaxrecon.solvers import cg

pytestmark = pytest.mark.usefixtures("x64")
RNG = np.random.default_rng(2)
NOISE = 0.7
WEIGHTS = np.array([0.0, 1.0, 0.3, 2.0, 0.8])


def random(*shape, dtype: type = float):
    values = RNG.normal(size=shape)
    return values if dtype is float else values + 1j * RNG.normal(size=shape)


def problem(dtype):
    """Rows of five candidates with two data each, a factor of six pixels from four modes."""
    return random(5, 2, 6, dtype=dtype), random(6, 4, dtype=dtype), random(3, 6, dtype=dtype)


def dense_posterior(rows, factor, weights):
    """C − C Aᴴ (A C Aᴴ + σ²/w)⁻¹ A C by plain numpy, of what is measured."""
    measured = weights > 0
    A = rows[measured].reshape(-1, rows.shape[-1])
    noise = np.repeat(NOISE**2 / weights[measured], rows.shape[1])
    C = factor @ factor.conj().T
    gain = np.linalg.solve(A @ C @ A.conj().T + np.diag(noise), A @ C).conj().T
    return C, C - gain @ A @ C


@pytest.mark.parametrize("dtype", [float, complex])
def test_errors_and_information_are_those_of_the_dense_posterior(dtype):
    rows, factor, K = problem(dtype)
    model = linear_gaussian(jnp.asarray(rows), jnp.asarray(factor), NOISE, interest=jnp.asarray(K))
    C, P = dense_posterior(rows, factor, WEIGHTS)
    parts = 2 if dtype is complex else 1
    seen, weights = K @ P @ K.conj().T, jnp.asarray(WEIGHTS)
    np.testing.assert_allclose(posterior_covariance(model, weights), seen, atol=1e-12)
    assert float(expected_error(model, weights)) == pytest.approx(parts * np.trace(seen).real)
    A = rows.reshape(-1, 6) * np.sqrt(np.repeat(WEIGHTS, 2))[:, None] / NOISE
    gain = np.linalg.slogdet(np.eye(10) + A @ C @ A.conj().T)[1] * parts / 2
    assert float(expected_information(model, weights)) == pytest.approx(gain)


@pytest.mark.parametrize("dtype", [float, complex])
def test_slopes_in_closed_form_are_the_derivatives(dtype):
    """Also at weight zero; against autodiff, finite differences and −‖K P Aᴴ‖²/σ² spelled out."""
    rows, factor, K = problem(dtype)
    model = linear_gaussian(jnp.asarray(rows), jnp.asarray(factor), NOISE, interest=jnp.asarray(K))
    weights = jnp.asarray(WEIGHTS)
    pairs = (expected_error, error_slope), (expected_information, information_slope)
    for value, slope in pairs:
        found = slope(model, weights)
        np.testing.assert_allclose(found, jax.grad(value, 1)(model, weights), rtol=1e-10)
        np.testing.assert_allclose(slope(model.grams(), weights), found, rtol=1e-10)
        h = 1e-5 * jnp.eye(5)
        steps = [(value(model, weights + e) - value(model, weights - e)) / 2e-5 for e in h]
        np.testing.assert_allclose(found, steps, rtol=1e-6)
        assert float(value(model.grams(), weights)) == pytest.approx(float(value(model, weights)))
    _, P = dense_posterior(rows, factor, WEIGHTS)
    parts = 2 if dtype is complex else 1
    by_hand = [-parts * np.linalg.norm(K @ P @ a.conj().T) ** 2 / NOISE**2 for a in rows]
    np.testing.assert_allclose(error_slope(model, weights), by_hand, rtol=1e-10)


def test_compression_keeps_what_tells():
    rows, factor, _ = problem(complex)
    rows = np.concatenate([rows, rows @ np.diag(np.zeros(6)), 2j * rows], 1)  # of rank two
    model = linear_gaussian(jnp.asarray(rows), jnp.asarray(factor), NOISE)
    few, weights = model.compressed(2), jnp.asarray(WEIGHTS)
    assert few.rows.shape == (5, 2, 4)
    error = float(expected_error(model, weights))
    assert float(expected_error(few, weights)) == pytest.approx(error)
    less = float(expected_information(model.compressed(1), weights))
    assert 0 < less < float(expected_information(model, weights))


def test_an_operator_is_cut_into_views():
    A = ct.parallel_beam(jnp.linspace(0, 3, 4), (5, 5), 7)
    model = linear_gaussian(A, jnp.eye(25), NOISE)
    assert model.rows.shape == (4, 7, 25)
    np.testing.assert_allclose(model.rows[2, 3], materialise(A)[17] / NOISE, rtol=1e-12)


def test_expected_error_is_what_the_posterior_mean_makes():
    """Draws of objects and noise, reconstructed: the criterion predicts their error."""
    rows, factor, _ = problem(float)
    model = linear_gaussian(jnp.asarray(rows), jnp.asarray(factor), NOISE)
    weights = WEIGHTS[1:]
    A = rows[1:].reshape(8, 6)
    deviation = NOISE / np.sqrt(np.repeat(weights, 2))
    x = random(20_000, 4) @ factor.T
    y = x @ A.T + deviation * random(20_000, 8)
    C = factor @ factor.T
    gain = np.linalg.solve(A @ C @ A.T + np.diag(deviation**2), A @ C).T
    errors = np.sum((y @ gain.T - x) ** 2, 1)
    expected = float(expected_error(model, jnp.asarray(WEIGHTS)))
    assert abs(errors.mean() - expected) < 4 * errors.std() / np.sqrt(20_000)


def test_gradient_descent_reaches_the_optimal_dose():
    """Independent coefficients: the optimal doses are known, v/(1 + w v)² equal where w > 0."""
    variances = jnp.array([4.0, 2.0, 1.0, 0.05])
    model = linear_gaussian(jnp.eye(4), jnp.diag(jnp.sqrt(variances)), 1.0)
    loss = lambda p, key, step: expected_error(model, p.weights())  # noqa: E731
    options = {"n_steps": 400, "key": jax.random.key(0), "project": masks.project}
    design = optimise(loss, masks.dose(4, 3.0), optimiser=optax.sgd(0.2), **options)
    # v/(1 + w v) = √λ wherever w > 0: w = 1/√λ − 1/v, and the doses sum to 3.
    level = (3 + jnp.sum(1 / variances[:3])) / 3
    best = jnp.append(level - 1 / variances[:3], 0.0)
    np.testing.assert_allclose(design.value.weights(), best, atol=1e-6)
    weights = design.value
    assert float(weights.gap(error_slope(model, weights.weights()))) < 1e-6


# -------------------------------------------------------------------------------------- large scale


def test_sums_over_coefficients_equal_the_dense_model():
    v, w = jnp.asarray(RNG.uniform(size=6)), jnp.asarray(RNG.uniform(size=6))
    model = linear_gaussian(jnp.eye(6), jnp.diag(jnp.sqrt(v)), NOISE)
    assert float(spectral_error(w, v, NOISE)) == pytest.approx(float(expected_error(model, w)))
    dense = float(expected_information(model, w))
    assert float(spectral_information(w, v, NOISE)) == pytest.approx(dense)


def stationary(shape):
    F = fft(jax.ShapeDtypeStruct(shape, jnp.complex128))
    squares = sum(np.meshgrid(*[(np.arange(n) - n // 2) ** 2 for n in shape], indexing="ij"))
    return Gaussian(jnp.zeros(shape, complex), F, jnp.asarray(2 / (1.0 + squares)))


def test_the_stochastic_error_has_the_right_mean_and_gradient():
    """Single-coil MRI with a stationary prior, where the truth is a sum over k-space."""
    shape, key = (4, 6), jax.random.key(1)
    prior, mask = stationary(shape), jnp.asarray(RNG.uniform(0.2, 1, (1, 6)))

    def estimate(mask, key, n=4):
        A = mri.cartesian(mask, shape, dtype=jnp.complex128)
        return stochastic_error(A, prior, key, noise=NOISE, n_probes=n, tol=1e-12)

    exact = lambda mask: 2 * spectral_error(mask**2, prior.variances, NOISE)  # noqa: E731
    value, slope = jax.jit(jax.value_and_grad(estimate))(mask, key)
    h = 1e-5
    step = h * jnp.eye(6)[2][None]
    difference = (estimate(mask + step, key) - estimate(mask - step, key)) / (2 * h)
    assert float(slope[0, 2]) == pytest.approx(float(difference), rel=1e-6)
    keys = jax.random.split(key, 300)
    values = jax.jit(jax.vmap(lambda k: estimate(mask, k, 1)))(keys)
    assert abs(values.mean() - exact(mask)) < 4 * values.std() / np.sqrt(300)
    assert abs(float(value) - float(exact(mask))) < 0.5 * float(exact(mask))


def test_the_stochastic_error_says_when_it_did_not_converge():
    A = identity(jnp.zeros(50))
    prior = Gaussian(jnp.zeros(50), A, jnp.logspace(-3, 3, 50))
    error = stochastic_error(A, prior, jax.random.key(0), noise=0.01, n_probes=1, n_iter=2)
    assert np.isnan(error)


# ------------------------------------------------------------------------------------ point spread


def test_the_point_spread_is_a_column_of_the_gram():
    shape = (5, 6)
    coils = mri.normalise_maps(mri.birdcage_maps(2, shape)).astype(complex)
    mask = jnp.asarray(RNG.uniform(size=shape))
    A = mri.sense(coils, mask)
    column = materialise(A.gram).reshape(30, 5, 6, order="C")[:, 1, 2].reshape(shape)
    spread = point_spread(A, (1, 2))
    np.testing.assert_allclose(spread, column / column[1, 2].real, atol=1e-12)
    energy = np.abs(spread) ** 2
    assert float(aliasing_energy(A, (1, 2))) == pytest.approx(energy.sum() - 1)
    beyond = energy.copy()
    beyond[np.ix_([0, 1, 2], [1, 2, 3])] = 0
    assert float(aliasing_energy(A, (1, 2), main_lobe=1)) == pytest.approx(beyond.sum())
    assert float(peak_side_lobe(A, (1, 2), main_lobe=1)) == pytest.approx(beyond.max() ** 0.5)
    with pytest.raises(ValueError, match="`position` is"):
        point_spread(A, (5, 0))


@pytest.mark.parametrize("criterion", [aliasing_energy, peak_side_lobe])
def test_aliasing_has_exact_gradients_in_the_mask(criterion):
    mask = jnp.asarray(RNG.uniform(0.3, 1, (1, 7)))
    f = jax.jit(lambda m: criterion(mri.cartesian(m, (3, 7), dtype=jnp.complex128)))
    h = 1e-6
    steps = [(f(mask + e) - f(mask - e)) / (2 * h) for e in h * jnp.eye(7)[:, None]]
    np.testing.assert_allclose(jax.grad(f)(mask)[0], steps, atol=1e-7)


def test_a_fully_sampled_scan_does_not_alias():
    A = mri.cartesian(jnp.ones((1, 8)), (4, 8), dtype=jnp.complex128)
    assert float(aliasing_energy(A)) < 1e-25
    assert np.isfinite(jax.grad(lambda m: peak_side_lobe(mri.cartesian(m)))(jnp.ones((4, 8)))).all()


# ----------------------------------------------------------------------------- reconstruction error


def test_reconstruction_error_is_the_mean_loss_with_the_right_noise():
    """Zero-filling of complex data: the error is that of the noise and of what is missing."""
    x = jnp.asarray(random(3, 4, dtype=complex))
    images = jnp.broadcast_to(x[:1], (4000, 4))
    A = diagonal(jnp.array([1.0, 1.0, 1.0, 0.0]), x[0])
    squares = lambda image, truth: jnp.sum(jnp.abs(image - truth) ** 2)  # noqa: E731
    adjoint = lambda A, y: A.H(y)  # noqa: E731
    error = reconstruction_error(A, adjoint, images, jax.random.key(0), noise=0.5, loss=squares)
    expected = 3 * 2 * 0.5**2 + float(jnp.abs(x[0, 3])) ** 2
    assert float(error) == pytest.approx(expected, rel=0.05)


def test_the_error_of_a_solver_is_differentiable_in_the_mask():
    shape, key = (3, 6), jax.random.key(2)
    images = jnp.asarray(random(2, *shape, dtype=complex))
    coils = mri.normalise_maps(mri.birdcage_maps(2, shape)).astype(complex)

    def sense(A, y):
        return cg(A.gram + 0.1 * identity(A.domain), A.H(y), n_iter=100, tol=1e-13).value

    @jax.jit
    def f(mask):
        return reconstruction_error(mri.sense(coils, mask), sense, images, key, noise=0.1)

    mask = jnp.asarray(RNG.uniform(0.3, 1, (1, 6)))
    h = 1e-5
    steps = [(f(mask + e) - f(mask - e)) / (2 * h) for e in h * jnp.eye(6)[:, None]]
    np.testing.assert_allclose(jax.grad(f)(mask)[0], steps, rtol=1e-6)


def test_robust_lies_between_mean_and_worst():
    values, shares = jnp.array([1.0, 2.0, 5.0]), jnp.array([2.0, 1.0, 1.0])
    assert float(robust(values)) == 5.0
    assert float(robust(values, 1e6)) == pytest.approx(8 / 3, rel=1e-5)
    assert float(robust(values, 1e6, shares)) == pytest.approx(9 / 4, rel=1e-5)
    by_hand = 0.7 * np.log(np.sum(np.array([0.5, 0.25, 0.25]) * np.exp(values / 0.7)))
    assert float(robust(values, 0.7, shares)) == pytest.approx(by_hand)
    assert float(robust(values, 1e-3)) == pytest.approx(5, abs=0.01)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: linear_gaussian(jnp.ones((3, 4)), jnp.ones((5, 2)), 1.0), "`rows` has shape"),
        (lambda: linear_gaussian(jnp.ones((3, 4)), jnp.ones((4, 2)), 0.0), "`noise` is 0"),
        (
            lambda: linear_gaussian(identity(jnp.zeros(6)), jnp.eye(6), 1.0, n_candidates=4),
            "`n_candidates` is 4",
        ),
        (lambda: linear_gaussian(jnp.eye(2), jnp.eye(2), 1.0).compressed(0), "`n_data` is 0"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_samples_that_are_not_measured_have_the_derivative_of_what_they_would_bring(x64):
    """To their weight, against differences; the mask itself in the operator has none."""
    x = jnp.array([[3.0, 1.0, 2.0], [2.0, 0.5, 1.0]])
    ridge = lambda A, y: A.H(y) / (A.H(A(jnp.ones(3))) + 0.1)  # noqa: E731
    scan = lambda a: diagonal(a, x[0])  # noqa: E731
    key, w = jax.random.key(0), jnp.array([1.0, 0.0, 0.0])
    error = lambda w: sampling_error(w, scan, ridge, x, key, noise=0.01)  # noqa: E731
    slope, h = jax.grad(error)(w), 1e-9
    quotients = [(error(w.at[i].add(h)) - error(w)) / h for i in range(3)]
    np.testing.assert_allclose(slope, quotients, rtol=1e-3)
    assert slope[2] < slope[1] < 0  # the second is the smaller in both objects
    mask = lambda m: reconstruction_error(scan(m), ridge, x, key)  # noqa: E731
    np.testing.assert_array_equal(jax.grad(mask)(w)[1:], 0)
