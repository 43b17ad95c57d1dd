"""Pairs of measurements, given or made of one, are supervised learning in expectation.

Means over noise are exact where a loss is quadratic in noise that is given (see `gaussian_points`);
where a loss draws for itself, they are taken over thousands of keys and judged by their own
standard error. Every statement is shown to fail for a wrong version.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrecon import core
from jaxrecon.core import identity
from jaxrecon.physics import mri
from jaxrecon.training import losses
from jaxrecon.training.losses import self_supervised
from jaxrecon.training.losses.self_supervised._pairs import neighbours, partial_reconstructions
from tests.losses.toys import (
    KEY,
    SHAPE,
    WEIGHTS,
    Mixing,
    Views,
    bare,
    gaussian_points,
    slopes_over_keys,
    statistics,
    supervised_slope,
    truth,
)


def test_noise2noise_is_supervised_and_a_constant(x64):
    x, sigma = truth(), 0.4
    A = identity(x)
    points = jnp.asarray(gaussian_points(16, sigma)).reshape(-1, 2, *SHAPE)

    def mean_slope(second):
        def value(w):
            f = lambda A, y: bare(A, y, w)  # noqa: E731
            one = lambda n: losses.Noise2Noise()(  # noqa: E731
                f, {"y": x + n[0], "y2": second(n), "A": A}, KEY
            )[0]
            return jnp.mean(jax.vmap(one)(points))

        return jax.jit(jax.grad(value))(jnp.asarray(WEIGHTS))[:2]

    expected = supervised_slope(np.asarray(x), sigma**2)
    np.testing.assert_allclose(mean_slope(lambda n: x + n[1]), expected, rtol=1e-10)
    shared = mean_slope(lambda n: x + n[0])  # the same noise twice: not independent
    assert np.max(np.abs(shared - expected)) > 0.1


def test_noise2noise_with_another_second_scan(x64):
    x = truth()
    A, B = identity(x), core.diagonal(jnp.full(SHAPE, 2.0), x)
    batch = {"y": x, "A": A, "y2": 2 * x + 1, "A2": B}
    np.testing.assert_allclose(losses.Noise2Noise()(lambda A, y: A.H(y), batch, KEY)[0], 1.0)


def test_noise2inverse_splits_shots_and_not_coils():
    """The first axis of multi-coil measurements is no view."""
    trajectory = jax.random.uniform(KEY, (8, 12, 2), minval=-3.0, maxval=3.0)
    A = mri.noncartesian_sense(jnp.ones((4, 6, 6), complex), trajectory)
    y = A(jnp.ones((6, 6), complex))
    images = partial_reconstructions(lambda A, y: A.H(y), A, y, 4, 1)
    shots = [A.subset(j, 4).H(y[:, j::4]) for j in range(4)]
    np.testing.assert_allclose(images[0], shots[1], rtol=1e-5)
    np.testing.assert_allclose(images[1], (shots[0] + shots[2] + shots[3]) / 3, rtol=1e-5)
    with pytest.raises(ValueError, match="does not divide the 8 views"):
        partial_reconstructions(lambda A, y: A.H(y), A, y, 3, 1)


def test_noise2inverse_is_supervised_and_a_constant(x64):
    A = Views(jax.random.normal(KEY, (4, 3, 4, 4)))
    clean = A(2 + jax.random.normal(KEY, (4, 4)))
    points = jnp.asarray(gaussian_points(clean.size, 1.0)).reshape(-1, *clean.shape)
    reconstruct = lambda A, y: A.H(y) / A.matrices.shape[0]  # noqa: E731
    loss = losses.noise2inverse(reconstruct, n=2)
    net = Mixing()
    graph, params = nnx.split(net)

    def slope(value):
        mean = lambda p: jnp.mean(jax.vmap(lambda n: value(nnx.merge(graph, p), n))(points))  # noqa: E731
        return np.asarray(jax.tree.leaves(jax.jit(jax.grad(mean))(params))[0])[:2]

    def against(target):
        i = jax.random.randint(KEY, (), 0, 2)

        def value(net, n):
            others = partial_reconstructions(reconstruct, A, clean + n, 2, i)[1]
            return losses.l2(net(identity(others), others), target(n, i))

        return slope(value)

    got = slope(lambda net, n: loss(net, {"y": clean + n, "A": A}, KEY)[0])
    expected = against(lambda n, i: partial_reconstructions(reconstruct, A, clean, 2, i)[0])
    np.testing.assert_allclose(got, expected, rtol=1e-9)
    shared = against(lambda n, i: reconstruct(A, clean + n))  # all views: noise in common
    assert np.max(np.abs(shared - expected)) > 1e-2 * np.max(np.abs(expected))
    one, others = partial_reconstructions(reconstruct, A, clean, 4, 1)
    np.testing.assert_allclose((one + 3 * others) / 4, reconstruct(A, clean), rtol=1e-10)


def test_neighbours_are_two_different_ones_of_every_cell():
    image = jnp.arange(24.0).reshape(4, 6)
    first, second = jax.vmap(lambda k: neighbours(k, image))(jax.random.split(KEY, 50))
    distance = np.abs(np.asarray(first - second))
    assert set(np.unique(distance)) == {1.0, 6.0}  # along x, along y; never the diagonal
    for cell in np.ndindex(2, 3):
        corner = 12 * cell[0] + 2 * cell[1]
        seen = np.asarray(first)[(slice(None), *cell)]
        assert set(seen) == {corner, corner + 1.0, corner + 6.0, corner + 7.0}


ALPHA = 0.3
NOISES = {
    "gaussian": (losses.GaussianNoise(0.6), lambda x: 0.36 + 0 * x),
    "poisson": (losses.PoissonNoise(0.4), lambda x: 0.4 * x),
    "gamma": (losses.GammaNoise(5.0), lambda x: x**2 / 5),
}


@pytest.mark.parametrize("name", NOISES)
def test_noise_has_its_moments_and_splits_into_independent_ones(name, x64):
    noise, variance = NOISES[name]
    x = truth()

    def draw(key):
        key_y, key_split = jax.random.split(key)
        y = noise.sample(key_y, identity(x), x)
        return y, *noise.recorrupt(key_split, identity(x), y, ALPHA)

    y, first, second = map(np.asarray, jax.jit(jax.vmap(draw))(jax.random.split(KEY, 8000)))
    x, v = np.asarray(x), np.asarray(variance(truth()))
    for values, expected in ((y, v), (first, v / (1 - ALPHA)), (second, v / ALPHA)):
        for mean, error in (statistics(values - x), statistics((values - x) ** 2 - expected)):
            assert np.all(np.abs(mean) < 4.7 * error)
    mean, error = statistics((first - x) * (second - x))
    assert np.all(np.abs(mean) < 4.7 * error)
    if name != "gaussian":  # independent, not only uncorrelated
        mean, error = statistics((first - x) ** 2 * (second - x))
        assert np.all(np.abs(mean) < 4.7 * error)
    np.testing.assert_allclose((1 - ALPHA) * first + ALPHA * second, y, rtol=1e-9)


def test_recorrupted2recorrupted_is_supervised(x64):
    noise, variance = NOISES["gaussian"]
    loss = losses.Recorrupted2Recorrupted(noise, ALPHA)
    draw = lambda k, x: noise.sample(k, identity(x), x)  # noqa: E731
    mean, error = slopes_over_keys(loss, draw, 10000)
    x = np.asarray(truth())
    v = np.asarray(variance(truth())) / (1 - ALPHA)
    expected = supervised_slope(x, v)
    assert np.all(np.abs(mean - expected) < 4.5 * error), (mean, expected, error)
    # The measurement as target has noise in common with the input: a bias of −2 cov.
    assert 2 * np.mean(v) * (1 - ALPHA) > 10 * error[0]


def test_complex_noise_has_sigma_in_each_part_and_only_measured_rows_get_it(x64):
    mask = jnp.arange(6)[None] % 2 == 0
    A = mri.cartesian(mask, (40, 6), dtype=complex)
    y = losses.GaussianNoise(0.5).sample(KEY, A, jnp.zeros((40, 6), complex))
    assert bool(jnp.all(jnp.where(mask, 0, y) == 0))
    parts = np.asarray(y)[:, ::2]
    for part in (np.real(parts), np.imag(parts)):
        np.testing.assert_allclose(part.std(), 0.5, rtol=0.2)


def test_poisson_samples_pass_the_gradient_to_the_mean(x64):
    x = truth()
    noise = losses.PoissonNoise(0.1)
    slope = jax.grad(lambda x: jnp.sum(3 * noise.sample(KEY, identity(x), x)))(x)
    np.testing.assert_allclose(slope, 3.0)


def test_noisier2noise_finds_its_mean_and_the_correction_that_of_the_truth(x64):
    tau, sigma, alpha = 1.3, 0.8, 0.6
    total = tau**2 + sigma**2 * (1 + alpha**2)
    loss = losses.Noisier2Noise(sigma, alpha)
    A = identity(jnp.zeros(SHAPE))

    def slope(key):
        key_x, key_n, key_loss = jax.random.split(key, 3)
        y = tau * jax.random.normal(key_x, SHAPE) + sigma * jax.random.normal(key_n, SHAPE)
        value = lambda a: loss(lambda A, z: a * z, {"y": y, "A": A}, key_loss)[0]  # noqa: E731
        return jax.grad(value)((tau**2 + sigma**2) / total)

    mean, error = statistics(jax.jit(jax.vmap(slope))(jax.random.split(KEY, 10000)))
    assert abs(mean) < 4.5 * error
    z = jnp.ones(SHAPE)
    got = self_supervised.corrected((tau**2 + sigma**2) / total * z, z, alpha)
    np.testing.assert_allclose(got, tau**2 / total, rtol=1e-12)
    # The estimate in one go: of a network that gives E[y | z], the mean of x for that z.
    y = jnp.ones(SHAPE)
    z = loss._noisier(A, y, KEY)
    estimate = loss.reconstruct(lambda A, z: (tau**2 + sigma**2) / total * z, A, y, KEY)
    np.testing.assert_allclose(estimate, tau**2 / total * z, rtol=1e-10)


def test_recorrupted_reconstructions_are_averaged(x64):
    y = truth()
    loss = losses.Recorrupted2Recorrupted(losses.GaussianNoise(0.5))
    mean = loss.reconstruct(lambda A, y: y, identity(y), y, KEY, n=50)
    assert float(jnp.max(jnp.abs(mean - y))) < 0.15
