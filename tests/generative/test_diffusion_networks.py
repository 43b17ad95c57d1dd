"""Preconditioning, fields and their adapters: formulas, batches, kinds and sizes of images."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxrecon.core import diagonal, fft, identity
from jaxrecon.functionals import denoisers
from jaxrecon.nets import generative as G
from jaxrecon.nets.layers import to_channels
from jaxrecon.physics import optics
from jaxrecon.posterior import FromNoise, FromScore, FromVelocity, noise_of, velocity_of
from jaxrecon.training import create_state, data_mesh, train_step
from jaxrecon.training.losses.generative import DenoisingScoreMatching
from tests.tolerances import relative_error

pytestmark = pytest.mark.usefixtures("quick")

SHAPE = (6, 8)
X = jax.random.normal(jax.random.key(3), SHAPE)


class Toy(nnx.Module):
    """A network of a few numbers that depends on all it is given."""

    def __init__(self, n_channels=1, n_out=None):
        draw = np.random.default_rng(0)
        self.mix = nnx.Param(jnp.asarray(draw.normal(size=(n_channels, n_out or n_channels))))

    def __call__(self, x, level, condition=None):
        level = jnp.asarray(level)[..., None, None, None]
        y = jnp.tanh(x + 0.3 * jnp.roll(x, 1, -2)) @ self.mix[...].astype(x.dtype)
        y = y + jnp.sin(3 * level).astype(x.dtype)
        return y if condition is None else y + jnp.sum(condition).astype(x.dtype)


def unet(**options):
    """With random numbers in place of its own, which take seconds to compile and hide mistakes."""
    options |= {"width": 4, "factors": (1, 2), "n_blocks": 1, "n_groups": 2, "n_heads": 1}
    net = nnx.eval_shape(lambda: G.ScoreUNet(1, 1, window=4, **options, rngs=nnx.Rngs(0)))
    draw = np.random.default_rng(1)
    return jax.tree.map(lambda w: jnp.asarray(0.3 * draw.normal(size=w.shape), w.dtype), net)


@functools.cache
def small():
    return unet()


@jax.jit
def call(D, x, sigma):
    return D(x, sigma)


def test_the_coefficients_are_those_of_the_paper():
    D, sigma, width = G.Preconditioned(Toy(), sigma_data=0.4), 0.7, 0.4
    total = sigma**2 + width**2
    inner = Toy()(X[..., None] / np.sqrt(total), np.log(sigma) / 4)[..., 0]
    wanted = width**2 / total * X + sigma * width / np.sqrt(total) * inner
    np.testing.assert_allclose(D(X, sigma), wanted, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("sigma", [0.01, 0.4, 20.0])
def test_before_training_the_loss_is_one_at_every_level(sigma):
    """Where F is zero and images are white: what the weights are made for."""
    width = 0.4
    D = G.Preconditioned(lambda x, level, condition: 0 * x, sigma_data=width)
    weight = jax.tree_util.Partial(lambda s: (s**2 + width**2) / (s * width) ** 2)
    loss = DenoisingScoreMatching(lambda key: jnp.asarray(sigma), weight)
    x = width * jax.random.normal(jax.random.key(0), (200, 200))
    np.testing.assert_allclose(loss(D, {"x": x}, jax.random.key(1))[0], 1, rtol=0.03)


def test_images_and_levels_in_batches():
    """Mapped, and as leading axes, against one by one."""
    images, sigmas = jnp.stack([X, 2 * X]), jnp.array([0.05, 5.0])
    D = G.Preconditioned(small(), sigma_data=0.5)
    one_by_one = jnp.stack([call(D, x, s) for x, s in zip(images, sigmas)])
    mapped = jax.jit(jax.vmap(D.__call__))(images, sigmas)
    assert relative_error(mapped, one_by_one) < 1e-5

    toy = G.Preconditioned(Toy(), sigma_data=0.5)
    one_by_one = jnp.stack([toy(x, s) for x, s in zip(images, sigmas)])
    np.testing.assert_allclose(toy(images, sigmas), one_by_one, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(toy(images, 5.0)[1], one_by_one[1], rtol=1e-5, atol=1e-6)


def test_without_noise_the_image_comes_back():
    D = G.Preconditioned(Toy(), sigma_data=0.5)
    np.testing.assert_array_equal(D(X, 0.0), X)
    slope = jax.grad(lambda s: jnp.sum(D(X, s)))(0.0)
    assert np.isfinite(slope)


def test_complex_images_by_two_channels_or_by_an_adapter():
    z = X + 1j * jnp.roll(X, 1)
    D = G.Preconditioned(Toy(2), sigma_data=0.5)
    assert D(z, 0.3).dtype == jnp.complex64
    np.testing.assert_allclose(G.Field(Toy(2))(z, 0.3).imag, Toy(2)(to_channels(z), 0.3)[..., 1])
    parts = denoisers.Complex(G.Preconditioned(Toy(), sigma_data=0.5))(z, 0.3)
    np.testing.assert_allclose(parts.real, G.Preconditioned(Toy(), sigma_data=0.5)(X, 0.3))
    with pytest.raises(ValueError, match="channels"):
        G.Preconditioned(Toy(2, 1), sigma_data=0.5)(z, 0.3)


def test_tiles_of_a_large_image():
    """In the corner of the first tile, where no other reaches, it is that tile's own result."""
    D = G.Preconditioned(small(), sigma_data=0.5)
    large = jax.random.normal(jax.random.key(5), (10, 8))
    tiled = call(denoisers.Tiled(D, SHAPE, margin=1, blend=1), large, 0.3)
    first = call(D, large[:6], 0.3)
    assert tiled.shape == large.shape
    np.testing.assert_allclose(tiled[:2], first[:2], atol=1e-5)
    assert relative_error(tiled[4:6], first[4:6]) > 1e-3


def test_conditions_and_their_guidance():
    D = G.Preconditioned(Toy(), sigma_data=0.5)
    condition = jnp.array([0.2, 0.5])
    given, plain = D(X, 0.3, condition), D(X, 0.3, jnp.zeros(2))
    np.testing.assert_allclose(G.Conditioned(D, condition)(X, 0.3), given)
    guided = G.Conditioned(D, condition, 3.0)(X, 0.3)
    np.testing.assert_allclose(guided, 3 * given - 2 * plain, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="`condition` has shape"):
        small()(X[..., None], 0.3, condition)


# ---------------------------------------------------------------------------------- other targets


def test_a_network_of_velocities_is_a_denoiser(x64):
    """Denoiser, velocity and score of one network belong together."""
    field, t = G.Field(Toy()), 0.4
    x, sigma = X.astype(float), t / (1 - t)
    D = FromVelocity(field)
    np.testing.assert_allclose(velocity_of(D, (1 - t) * x, t), field((1 - t) * x, t), rtol=1e-5)
    score = denoisers.score(D, x, sigma)
    np.testing.assert_allclose(FromScore(lambda x, s: score)(x, sigma), D(x, sigma), rtol=1e-5)


def test_a_network_of_noises_is_a_denoiser(x64):
    x, alpha = X.astype(float), jnp.asarray([0.9, 0.5, 0.1])
    field = G.Field(Toy())
    D = FromNoise(field, alpha)
    for t in range(3):
        sigma = jnp.sqrt((1 - alpha[t]) / alpha[t])
        noise = field(x / jnp.sqrt(1 + sigma**2), float(t))
        np.testing.assert_allclose(noise_of(D, x, sigma), noise, rtol=1e-5)
        np.testing.assert_allclose(denoisers.score(D, x, sigma), -noise / sigma, rtol=1e-5)


def test_the_level_may_be_counted_in_steps():
    told = [
        net.embedding(t, None, jnp.float32) for net, t in ((unet(unit=100.0), 30), (small(), 0.3))
    ]
    assert relative_error(*told) < 1e-5


# -------------------------------------------------------------------------------------- of a scan


def test_what_a_scan_misses_is_not_looked_at():
    net = G.OfScan(Toy(3, 1), sigma_data=0.5)
    A = optics.inpaint(jnp.arange(8)[None] % 2 == jnp.zeros((6, 1)), X)
    other = jnp.where(jnp.arange(8)[None] % 2 == 0, X, 7.0)
    np.testing.assert_array_equal(net(A, A(X), 0.2), net(A, A(other), 0.2))


def test_scans_that_miss_other_rows_are_told_apart():
    """Pixels by the image of ones, frequencies by that of a point; of data that are all zero."""
    net = G.OfScan(Toy(3, 1), sigma_data=0.5)
    holes = [optics.inpaint(jnp.arange(48).reshape(SHAPE) % k > 0, X) for k in (2, 3)]
    assert relative_error(*(net(A, A(0 * X), 0.2) for A in holes)) > 0.01

    pair = G.OfScan(Toy(6, 2), sigma_data=0.5)
    z = X + 0j
    lines = [diagonal(1.0 * (jnp.arange(8) % k == 0), z) @ fft(z) for k in (2, 4)]
    assert relative_error(*(pair(A, A(0 * z), 0.2) for A in lines)) > 0.01


def test_a_network_of_scans_as_a_denoiser():
    net = G.OfScan(Toy(3, 1), sigma_data=0.5)
    D = G.Seen(net, identity(X))
    np.testing.assert_array_equal(D(X, 0.2), net(identity(X), X, 0.2))
    assert jax.tree.leaves(D)


# ---------------------------------------------------------------------------------------- training


def test_a_step_of_training_on_one_device_and_on_several():
    """The same step by `jit` and by `shard_map` with a check of varying axes."""
    net, optimiser = G.Preconditioned(Toy(), sigma_data=0.5), optax.sgd(0.1)
    batch = {"x": jnp.stack([X, 2 * X]), "condition": jnp.ones((2, 3))}
    graph, state = create_state(net, optimiser, key=jax.random.key(0), ema=True)
    states = []
    for manual in (None, data_mesh(1)):
        step = train_step(DenoisingScoreMatching(), optimiser, ema_decay=0.9, manual=manual)
        after, metrics = jax.jit(step.__call__, static_argnums=0)(graph, state, batch)
        assert float(metrics["skipped"]) == 0
        states.append(after)
    np.testing.assert_allclose(*(s.params["field"]["net"]["mix"] for s in states), rtol=1e-6)
    assert relative_error(states[0].params["field"]["net"]["mix"], net.field.net.mix[...]) > 1e-4


@pytest.mark.parametrize("make", [G.Preconditioned, G.OfScan])
def test_a_width_that_cannot_be_is_refused(make):
    with pytest.raises(ValueError, match="`sigma_data` is 0"):
        make(Toy(), sigma_data=0.0)
