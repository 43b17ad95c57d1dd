"""Among affine denoisers, the minimiser of each loss is the exact posterior mean of Gaussian data.

Every loss is quadratic in an affine network, so that one Newton step on its mean over many draws
lands on the minimiser; what is left is the error of so many draws.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxrecon.core import diagonal
from jaxrecon.posterior import FromNoise, FromScore, FromVelocity
from jaxrecon.training.losses.generative import (
    AmbientDiffusion,
    AmbientTweedie,
    DenoisingScoreMatching,
    EvenTimes,
    FlowMatching,
    LogitNormal,
    LogNormal,
    SUREScore,
    noise_weight,
    velocity_weight,
)
from jaxrecon.training.losses.self_supervised import UniformSplit
from tests.tolerances import relative_error

N, N_DRAWS, TOLERANCE = 3, 20_000, 0.04
MEAN = np.array([1.0, -0.5, 0.3])
ROOT = np.array([[0.9, 0.0, 0.0], [0.6, 0.5, 0.0], [-0.4, 0.3, 0.7]])
COVARIANCE = ROOT @ ROOT.T
SIGMA = 0.8
TIME = SIGMA / (1 + SIGMA)
NOISE = 0.5  # of the data of those that learn from noisy images
ADDED = np.sqrt(SIGMA**2 - NOISE**2)


def fixed(value):
    return lambda key: jnp.asarray(value)


def drawn(key, noise=0.0):
    key_x, key_n = jax.random.split(key)
    x = MEAN + ROOT @ jax.random.normal(key_x, (N,))
    return x + noise * jax.random.normal(key_n, (N,))


def slopes(function, size):
    """The gradient and the curvature at zero."""
    zero = jnp.zeros(size)
    return jax.grad(function)(zero), jax.hessian(function)(zero)


def minimiser(slope, curvature):
    """Of a quadratic function; of least norm where there are many."""
    return np.linalg.lstsq(np.asarray(curvature), -np.asarray(slope), rcond=1e-9)[0]


def affine(parameters, x, level):
    del level
    return parameters[: N * N].reshape(N, N) @ x + parameters[N * N :]


def fitted(loss, draw):
    """The affine network of least loss, ``net(x, level)``."""

    def mean_loss(parameters):
        def one(key):
            key_data, key_loss = jax.random.split(key)
            return loss(Partial(affine, parameters), draw(key_data), key_loss)[0]

        return jnp.mean(jax.vmap(one)(jax.random.split(jax.random.key(1), N_DRAWS)))

    return Partial(affine, minimiser(*jax.jit(lambda: slopes(mean_loss, N * N + N))()))


def posterior_mean(x, sigma=SIGMA):
    gain = COVARIANCE @ np.linalg.inv(COVARIANCE + sigma**2 * np.eye(N))
    return MEAN + gain @ (x - MEAN)


def columns(denoiser):
    """Of the affine map, with its constant."""
    points = [np.zeros(N), *np.eye(N)]
    return np.stack([denoiser(jnp.asarray(p), SIGMA) for p in points])


def exact():
    return columns(lambda x, sigma: posterior_mean(np.asarray(x)))


ALPHA = jnp.asarray([0.99, 1 / (1 + SIGMA**2), 0.01])
from_noise = Partial(FromNoise, signal=ALPHA)
clean = lambda key: {"x": drawn(key)}  # noqa: E731
noisy = lambda key: {"y": drawn(key, NOISE)}  # noqa: E731
as_if_clean = lambda key: {"x": drawn(key, NOISE)}  # noqa: E731
matching = functools.partial(DenoisingScoreMatching, fixed(SIGMA))

CASES = {  # the loss, its data, and what makes its network a denoiser
    "EDM": (matching(), clean, None),
    "noise": (matching(noise_weight, from_noise), clean, from_noise),
    "score": (matching(noise_weight, FromScore), clean, FromScore),
    "velocity": (matching(velocity_weight, FromVelocity), clean, FromVelocity),
    "flow matching": (FlowMatching(fixed(TIME)), clean, FromVelocity),
    "SURE": (SUREScore(NOISE, fixed(ADDED)), noisy, None),
    "Tweedie": (AmbientTweedie(NOISE, fixed(ADDED)), noisy, None),
}


@pytest.mark.parametrize("name", CASES)
def test_the_minimiser_is_the_posterior_mean(name, x64):
    loss, draw, parametrisation = CASES[name]
    net = fitted(loss, draw)
    denoiser = net if parametrisation is None else parametrisation(net)
    assert relative_error(columns(denoiser), exact()) < TOLERANCE


def test_noisy_images_taken_for_clean_ones_do_not_do(x64):
    net = fitted(matching(), as_if_clean)
    assert relative_error(columns(net), exact()) > 5 * TOLERANCE


def test_flow_matching_finds_the_velocity(x64):
    """E[n − x₀ | x_t] by the formula for Gaussians, without a denoiser between."""
    net = fitted(FlowMatching(fixed(TIME)), clean)
    spread = (1 - TIME) ** 2 * COVARIANCE + TIME**2 * np.eye(N)
    gain = (TIME * np.eye(N) - (1 - TIME) * COVARIANCE) @ np.linalg.inv(spread)
    points = [np.zeros(N), *np.eye(N)]
    wanted = np.stack([-MEAN + gain @ (p - (1 - TIME) * MEAN) for p in points])
    assert relative_error(columns(net), wanted) < TOLERANCE


# ------------------------------------------------------------------------------ from part of it

PATTERNS = 2**N


def by_pattern(parameters, A, y, sigma):
    """An affine map for each set of pixels that are seen."""
    del sigma
    place = jnp.sum((A.weights != 0) * 2 ** jnp.arange(N))
    return affine(parameters.reshape(PATTERNS, -1)[place], y, None)


@jax.jit
def slopes_by_pattern(held_out):
    """Of the mean loss at zero: gradient and curvature; of images one pixel is always missing."""
    loss = AmbientDiffusion(fixed(SIGMA), further=UniformSplit(held_out))

    def mean_loss(parameters):
        def one(key):
            key_x, key_mask, key_loss = jax.random.split(key, 3)
            x = drawn(key_x)
            seen = jnp.arange(N) != jax.random.randint(key_mask, (), 0, N)
            A = diagonal(jnp.where(seen, 1.0, 0.0), x)
            return loss(Partial(by_pattern, parameters), {"y": A(x), "A": A}, key_loss)[0]

        return jnp.mean(jax.vmap(one)(jax.random.split(jax.random.key(2), N_DRAWS)))

    return slopes(mean_loss, PATTERNS * (N * N + N))


def conditional_mean(seen, y):
    """E[x₀ | the seen pixels of x₀ + σn]."""
    C = COVARIANCE[np.ix_(seen, seen)] + SIGMA**2 * np.eye(len(seen))
    return MEAN + COVARIANCE[:, seen] @ np.linalg.solve(C, y[seen] - MEAN[seen])


def estimates(parameters, seen):
    """Of the fitted network and in truth, for a few images of which these pixels are seen."""
    weights = np.isin(np.arange(N), seen).astype(float)
    images = np.random.default_rng(0).normal(size=(5, N)) * weights
    A = diagonal(jnp.asarray(weights), jnp.zeros(N))
    found = [by_pattern(jnp.asarray(parameters), A, jnp.asarray(y), SIGMA) for y in images]
    return np.stack(found), np.stack([conditional_mean(seen, y) for y in images])


def test_ambient_diffusion_learns_pixels_that_are_never_seen_together(x64):
    parameters = minimiser(*slopes_by_pattern(0.5))
    for seen in ([0], [1], [2]):
        assert relative_error(*estimates(parameters, seen)) < 2 * TOLERANCE


def test_judged_on_what_it_sees_it_learns_nothing_of_the_rest(x64):
    parameters = minimiser(*slopes_by_pattern(0.0))
    for missing, seen in enumerate(([1, 2], [0, 2], [0, 1])):
        found, truth = estimates(parameters, seen)
        assert relative_error(found[:, seen], truth[:, seen]) < 2 * TOLERANCE
        np.testing.assert_allclose(found[:, missing], 0, atol=1e-6)


# ----------------------------------------------------------------------------------- same draws


def test_one_loss_has_the_others(x64):
    """With the weights named it is the squared error of what the network predicts."""
    net = Partial(affine, jnp.linspace(-1.0, 1.0, N * N + N))
    example, key = clean(jax.random.key(5)), jax.random.key(6)
    flow, _ = FlowMatching(fixed(TIME))(net, example, key)
    value, _ = matching(velocity_weight, FromVelocity)(net, example, key)
    np.testing.assert_allclose(value, flow, rtol=1e-10)

    seen = []

    def spy(x, t):
        seen.append((x, t, net(x, t)))
        return seen[-1][-1]

    value, _ = matching(noise_weight, lambda network: FromNoise(spy, ALPHA))(net, example, key)
    (x, t, predicted) = seen[0]
    noise = (x * np.sqrt(1 + SIGMA**2) - example["x"]) / SIGMA
    np.testing.assert_allclose(value, np.mean((predicted - noise) ** 2), rtol=1e-10)
    np.testing.assert_allclose(t, 1.0)  # the place of this level in the table


def test_conditions_are_dropped_now_and_then():
    def net(x, sigma, condition):
        return x + condition[0]

    def error(key, dropped):
        loss = DenoisingScoreMatching(fixed(1e-6), parametrisation=None, dropped=dropped)
        batch = {"x": jnp.zeros(4), "condition": jnp.array([2.0])}
        return loss(net, batch, key)[1]["error"]

    errors = jax.jit(jax.vmap(error, (0, None)))(jax.random.split(jax.random.key(0), 400), 0.25)
    kept = errors > 2
    np.testing.assert_allclose(errors[kept], 4, rtol=1e-4)
    np.testing.assert_allclose(errors[~kept], 0, atol=1e-4)
    np.testing.assert_allclose(jnp.mean(kept), 0.75, atol=0.07)


def test_laws_of_levels():
    keys = jax.random.split(jax.random.key(0), 20_000)
    draws = {
        "log-normal": (LogNormal(-1.0, 0.5), jnp.log, -1.0, 0.5),
        "logit-normal": (LogitNormal(0.5, 0.8), lambda t: jnp.log(t / (1 - t)), 0.5, 0.8),
        "exploding": (EvenTimes(jnp.array([0.1, 10.0])), jnp.log10, 0.0, 2 / np.sqrt(12)),
    }
    for law, transform, mean, deviation in draws.values():
        values = np.asarray(transform(jax.jit(jax.vmap(law))(keys)))
        np.testing.assert_allclose(values.mean(), mean, atol=0.02)
        np.testing.assert_allclose(values.std(), deviation, rtol=0.02)
