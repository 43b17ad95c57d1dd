"""Risk estimates are the squared error on average, and the unknown noise level has its saddle."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrecon import core
from jaxrecon.core import identity
from jaxrecon.physics import mri
from jaxrecon.training import losses
from jaxrecon.training.losses.self_supervised._rows import count
from jaxrecon.training.losses.self_supervised._sure import directional, random_signs
from tests.losses.toys import (
    KEY,
    SHAPE,
    signs,
    statistics,
    truth,
)


def risks(loss, noise, net, A, u, n=20000):
    """Mean and standard error of (estimated risk − true squared error), and of that without div."""

    def one(key):
        key_y, key_loss = jax.random.split(key)
        y = noise(key_y, u)
        risk, parts = loss(net, {"y": y, "A": A}, key_loss)
        residual = A(net(A, y)) - u
        error = core.tree.sum_of_squares(residual) / count(A)
        return risk - error, risk - 2 * parts["divergence"] - error

    right, wrong = jax.jit(jax.vmap(one))(jax.random.split(KEY, n))
    return statistics(right), statistics(wrong)


def smooth(A, y):
    return 0.5 * y * jnp.tanh(y) + 0.2 * jnp.roll(y, 1, 1)


def quadratic(A, y):
    return 0.5 * y**2


RISKS = {
    "gaussian": (losses.SURE(0.7), smooth, 0.0),
    # Quadratic: the remainder of first order in the gain is γ² y h'' = 0.05² · 2 · 1.
    "both, curved": (losses.SURE(0.8, gain=0.05), quadratic, 0.01),
}


@pytest.mark.parametrize("name", RISKS)
def test_sure_is_the_squared_error_on_average(name, x64):
    loss, net, remainder = RISKS[name]
    x = truth()

    def noise(key, u):
        key_counts, key_electrons = jax.random.split(key)
        y = u if loss.gain is None else losses.PoissonNoise(loss.gain)._sample(key_counts, u)
        return y + loss.sigma * jax.random.normal(key_electrons, u.shape)

    (mean, error), (wrong, wrong_error) = risks(loss, noise, net, identity(x), x)
    assert abs(mean) < 4.5 * error + remainder, (mean, error)
    assert abs(wrong) > 10 * wrong_error + remainder


def test_the_second_derivative_matters_for_mixed_noise(x64):
    loss, net, _ = RISKS["both, curved"]
    # Without it the risk would be too large by 2 σ²γ h''.
    assert 2 * loss.sigma**2 * loss.gain > 5 * 0.01
    x = truth()
    predict = lambda y: net(None, y)  # noqa: E731
    mask = jnp.ones(SHAPE, bool)
    bend = lambda k: loss._bend(predict, predict(x), x, mask, k, 1e-3)  # noqa: E731
    mean, error = statistics(jax.vmap(bend)(jax.random.split(KEY, 4000)))
    assert abs(mean - loss.sigma**2 * x.size) < 4.5 * error


def test_sure_of_complex_undersampled_kspace(x64):
    A = mri.sense(jax.random.normal(KEY, (2, 3, 4), complex), jnp.arange(12).reshape(3, 4) % 3 > 0)
    sigma = 0.6
    u = A(jax.random.normal(jax.random.key(9), (3, 4), complex))
    noise = lambda k, u: losses.GaussianNoise(sigma).sample(k, A, u)  # noqa: E731
    net = lambda A, y: 0.3 * A.H(y)  # noqa: E731
    (mean, error), (wrong, wrong_error) = risks(losses.SURE(sigma), noise, net, A, u, 500)
    assert abs(mean) < 4.5 * error
    assert abs(wrong) > 10 * wrong_error
    with pytest.raises(ValueError, match="complex"):
        losses.SURE(gain=1.0)(net, {"y": u, "A": A}, KEY)


def test_the_divergence_over_all_signs_is_the_trace(x64):
    matrix = jax.random.normal(KEY, (5, 5))
    y = jnp.ones(5)
    variance = jnp.arange(5.0)
    values = [
        directional(lambda y: matrix @ y, matrix @ y, y, b, variance, 0.1)
        for b in jnp.asarray(signs(5))
    ]
    np.testing.assert_allclose(np.mean(values), np.sum(variance * np.diag(matrix)), rtol=1e-9)
    b = random_signs(KEY, jnp.zeros(50, complex))
    assert np.all(np.abs(np.concatenate([b.real, b.imag])) == 1)


class Diagonal(nnx.Module):
    def __init__(self, gains):
        self.gains = nnx.Param(jnp.asarray(gains))

    def __call__(self, A, y):
        return self.gains[...] * y


def test_unsure_has_its_saddle_where_the_divergence_vanishes(x64):
    # Signals of covariance diag(c): the best network of zero divergence is 1 − η/c.
    c = np.array([4.0, 1.0, 0.5, 2.0])
    eta = len(c) / np.sum(1 / c)
    signals = jnp.asarray(np.sqrt(len(c) * c)[:, None] * np.eye(len(c)))
    loss = losses.UNSURE()

    def slopes(gains, variance):
        net = losses.WithNoiseLevel(Diagonal(gains), variance)
        graph, params = nnx.split(net, nnx.Param)

        def value(p):
            one = lambda y: loss(nnx.merge(graph, p), {"y": y, "A": identity(y)}, KEY)[0]  # noqa: E731
            return jnp.mean(jax.vmap(one)(signals))

        slope = nnx.to_pure_dict(jax.grad(value)(params))
        return np.asarray(slope["net"]["gains"]), float(slope["variance"])

    gains, variance = slopes(1 - eta / c, eta)
    np.testing.assert_allclose(gains, 0, atol=1e-10)
    np.testing.assert_allclose(variance, 0, atol=1e-10)
    # With too little shrinkage the divergence is positive, and a descent step raises η.
    assert slopes(1 - 0.5 * eta / c, 0.5 * eta)[1] < -0.1
    with pytest.raises(ValueError, match="WithNoiseLevel"):
        loss(Diagonal(c), {"y": signals[0], "A": identity(signals[0])}, KEY)
