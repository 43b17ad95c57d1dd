"""Weights fitted to one measurement, data that are held out, and when to stop."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from jax.tree_util import Partial

from jaxrecon import functionals as F
from jaxrecon.core import Problem, identity, pointwise
from jaxrecon.nets.generative import deep_decoder
from jaxrecon.posterior.latent import (
    best_entries,
    fit_generator,
    hold_out,
    masked,
    random_rows,
)
from tests.solvers.problems import Dense

pytestmark = pytest.mark.usefixtures("quick")
KEYS = jax.random.split(jax.random.key(81), 6)
RATE = 0.05
SGD = optax.sgd(RATE)
SHAPE = (4, 6)
KEEP = np.array([True, False, True, True])[:, None]


class Image(nnx.Module):
    """The generator that is its image, whatever z."""

    def __init__(self, image):
        self.image = nnx.Param(image)
        self.n_calls = nnx.Variable(jnp.zeros((), jnp.int32))

    def __call__(self, z):
        return self.image[...] + 0 * z


def noisy(dtype=float, n_data=9):
    """Data of a matrix with noise, which an iteration from zero begins to fit at some time."""
    A = Dense(jax.random.normal(KEYS[0], (n_data, 5), dtype) / 3)
    y = A(jnp.ones(5, dtype)) + 0.5 * jax.random.normal(KEYS[1], (n_data,), dtype)
    return A, y, Problem(((F.LeastSquares(y), A),))


@pytest.mark.parametrize("dtype", [float, complex])
def test_the_image_itself_as_weights_is_gradient_descent(dtype, x64):
    A, y, problem = noisy(dtype)
    net, z = Image(jnp.zeros(5, dtype)), jnp.zeros(5)
    result = fit_generator(net, z, problem, key=KEYS[2], n_iter=10, optimizer=SGD)
    x, values = jnp.zeros(5, dtype), []
    for _ in range(10):
        shown = x
        values.append(float(problem(x)))
        x = x - RATE * A.H(A(x) - y)
    np.testing.assert_allclose(result.value, shown, rtol=1e-12)
    np.testing.assert_allclose(result.info.misfit, values, rtol=1e-12)
    assert bool(jnp.isnan(result.info.held_out).all())
    longer = fit_generator(net, z, problem, key=KEYS[2], n_iter=3000, optimizer=SGD)
    expected = np.linalg.lstsq(np.asarray(A.matrix), np.asarray(y), rcond=None)[0]
    np.testing.assert_allclose(longer.value, expected, rtol=2e-3)
    np.testing.assert_array_equal(net.image[...], 0)


def test_the_image_of_the_least_held_out_misfit_is_returned(x64):
    """Against a loop; it is neither the first nor the last, and later ones do not matter."""
    A, y, problem = noisy()
    fit, judge = hold_out(problem, jnp.arange(9) % 3 != 0)
    net, z = Image(jnp.zeros(5)), jnp.zeros(5)
    options = {"judge": judge, "key": KEYS[2], "optimizer": SGD, "watch": lambda x: x}
    result = fit_generator(net, z, fit, n_iter=400, **options)
    kept = np.arange(9) % 3 != 0
    x, images, scores = jnp.zeros(5), [], []
    for _ in range(400):
        residual = A(x) - y
        images.append(x)
        scores.append(0.5 * float(jnp.sum(residual[~kept] ** 2)))
        x = x - RATE * A.H(jnp.where(kept, residual, 0))
    best = int(np.argmin(scores))
    assert 0 < best < 350
    np.testing.assert_allclose(result.info.held_out, scores, rtol=1e-9)
    np.testing.assert_allclose(result.value, images[best], rtol=1e-10)
    np.testing.assert_allclose(result.info.watched, jnp.stack(images), rtol=1e-9, atol=1e-12)
    patient = fit_generator(net, z, fit, n_iter=400, patience=20, **options)
    assert int(patient.n_iter) == best + 21
    np.testing.assert_array_equal(patient.value, result.value)


def test_means_of_images_and_noise_on_the_input(x64):
    _, _, problem = noisy()
    net, z = Image(jnp.zeros(5)), jnp.zeros(5)
    options = {"key": KEYS[2], "n_iter": 30, "optimizer": SGD, "watch": lambda x: x}
    plain = fit_generator(net, z, problem, **options).info.watched
    means = fit_generator(net, z, problem, average=0.9, **options).info.watched
    weights = 0.9 ** np.arange(29, -1, -1)
    np.testing.assert_allclose(means[-1], weights @ np.asarray(plain) / weights.sum(), rtol=1e-9)
    echo = Partial(lambda w, z: w + z, jnp.zeros(2000))
    y = jnp.zeros(2000)
    still = Problem(((F.LeastSquares(y), identity(y)),))
    options |= {"n_iter": 2, "optimizer": optax.sgd(0.0)}
    first, second = fit_generator(echo, y, still, jitter=0.3, **options).info.watched
    np.testing.assert_allclose(jnp.std(first), 0.3, rtol=0.1)
    assert abs(float(jnp.corrcoef(first, second)[0, 1])) < 0.1


def test_a_network_fits_counts_through_a_nonlinear_model_and_keeps_its_program():
    """Any fidelity and operator; and another scan does not trace again."""
    n_traces = 0
    x = jnp.zeros((6, 5))

    def attenuated(p):
        nonlocal n_traces
        n_traces += 1
        return 100 * jnp.exp(-p)

    A = pointwise(attenuated, x)
    G, z = deep_decoder(x, width=4, depth=1, key=KEYS[3])

    def reconstruct(level):
        truth = jnp.full((6, 5), level).at[2:4].add(0.4)
        problem = Problem(((F.Poisson(100 * jnp.exp(-truth)), A), (F.TV(1e-3), identity(x))))
        fit, judge = hold_out(problem, random_rows(KEYS[4], x, share=0.2, axes=(0, 1)))
        result = fit_generator(G, z, fit, judge=judge, key=KEYS[5], n_iter=300)
        return result, float(jnp.mean(jnp.abs(result.value - truth)))

    result, error = reconstruct(0.5)
    assert error < 0.1
    assert result.info.misfit[-1] < 0.02 * result.info.misfit[0]
    before = n_traces
    assert reconstruct(0.8)[1] < 0.1
    assert n_traces <= before + 2  # what a problem computes outside the loop, its shapes


def test_patience_needs_a_judge():
    _, _, problem = noisy()
    with pytest.raises(ValueError, match="`patience` without a `judge`"):
        fit_generator(Image(jnp.zeros(5)), jnp.zeros(5), problem, key=KEYS[0], patience=3)


# ------------------------------------------------------------------------------ what is held out


def positive(i, dtype=float):
    return 1 + jax.random.uniform(KEYS[i], SHAPE, dtype)


FIDELITIES = {
    "least squares": lambda: F.LeastSquares(positive(0)),
    "weighted": lambda: F.LeastSquares(positive(0), positive(1)),
    "huber": lambda: F.Huber(positive(0), 0.1),
    "absolute": lambda: F.LeastAbsolute(positive(0), positive(1)),
    "student": lambda: F.StudentT(positive(0)),
    "poisson": lambda: F.Poisson(5 * positive(0), 1.5),
    "transmission": lambda: F.Transmission(5 * positive(0), 20.0, 0.1),
    "amplitude": lambda: F.Amplitude(positive(0)),
    "intensity": lambda: F.Intensity(positive(0), positive(1)),
    "rician": lambda: F.Rician(positive(0), 0.5),
}


def part(f, rows):
    """The fidelity of some rows of its data, cut out."""

    def cut(leaf):
        return leaf[rows] if jnp.shape(leaf) == SHAPE else leaf

    return jax.tree.map(cut, f)


@pytest.mark.parametrize("name", FIDELITIES)
def test_a_masked_fidelity_is_that_of_the_rows_cut_out(name, x64):
    """Up to a constant, in value, gradient and proximal map; for the complement likewise."""
    f, x, other = FIDELITIES[name](), positive(2), positive(3)
    for keep in (KEEP, ~KEEP):
        rows, f_kept = keep[:, 0], masked(f, keep)
        change = f_kept(x) - f_kept(other)
        np.testing.assert_allclose(
            change, part(f, rows)(x[rows]) - part(f, rows)(other[rows]), rtol=1e-9
        )
        if f.smooth:
            slope = f_kept.grad(x)
            np.testing.assert_allclose(slope[rows], part(f, rows).grad(x[rows]), rtol=1e-12)
            np.testing.assert_array_equal(slope[~rows], 0)
            np.testing.assert_allclose(jax.grad(f_kept)(x), slope, atol=1e-9)
        if name != "student":
            moved = f_kept.prox(x, 0.7)
            np.testing.assert_allclose(moved[rows], part(f, rows).prox(x[rows], 0.7), rtol=1e-9)
            np.testing.assert_allclose(moved[~rows], x[~rows])
    # What is left out adds next to nothing.
    assert abs(float(f(best_entries(f)))) < 0.2 * abs(float(f(3 * x)))


def test_rows_are_held_out_in_number_and_only_where_allowed():
    like = jnp.zeros((3, 20, 30))
    lines = jnp.zeros((1, 1, 30), bool).at[..., 5:25].set(True)
    keep = random_rows(KEYS[0], like, share=0.1, axes=(-1,), measured=lines)
    assert keep.shape == (1, 1, 30)
    assert int(jnp.sum(~keep)) == 2
    assert bool((keep | lines).all())
    points = random_rows(KEYS[0], like, share=0.25, axes=(-2, -1), measured=lines)
    assert points.shape == (1, 20, 30)
    assert int(jnp.sum(~points)) == 100
    held = jnp.sum(jax.vmap(lambda k: ~random_rows(k, like))(jax.random.split(KEYS[1], 3000)), 0)
    np.testing.assert_allclose(held / 3000, 1 / 3, atol=0.04)  # one of three, each as often
    with pytest.raises(ValueError, match="`share` is 1"):
        random_rows(KEYS[0], like, share=1.0)


def test_holding_out_splits_every_fidelity_and_no_penalty(x64):
    x = positive(0)
    two = F.separable((F.LeastSquares(x), F.Poisson(x)))
    problem = Problem(((F.LeastSquares(2 * x), identity(x)), (F.TV(0.1), identity(x))))
    fit, judge = hold_out(problem, KEEP)
    at = positive(1)
    np.testing.assert_allclose(fit(at) + judge(at), problem(at))
    assert [type(f).__name__ for f, _ in fit.terms] == ["LeastSquares", "TV"]
    assert len(judge.terms) == 1
    parts = masked(two, (KEEP, ~KEEP)), masked(two, (~KEEP, KEEP))
    np.testing.assert_allclose(sum(f((at, at)) for f in parts), two((at, at)))
    with pytest.raises(ValueError, match="`keep` has 2 masks for 1 fidelities"):
        hold_out(problem, [KEEP, KEEP])
    with pytest.raises(ValueError, match="`f` is TV"):
        masked(F.TV(), KEEP)
    with pytest.raises(ValueError, match="`keep` has shape"):
        masked(F.Poisson(x), jnp.ones((5, 1), bool))
