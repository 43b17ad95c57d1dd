"""Measurements simulated inside the loss: their noise, their masks, their keys."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon import core
from jaxrecon.physics import ct, mri
from jaxrecon.training.input import Gaussian, Photons, random_masks, simulated
from jaxrecon.training.losses import l2, supervised

KEY = jax.random.key(2)


def keep(net, batch, key):
    """A loss that only looks at what was measured."""
    del net, key
    return jnp.sum(jnp.abs(batch["y"]) ** 2), {"first": jnp.abs(batch["y"]).ravel()[0]}


def test_gaussian_noise_has_the_promised_size():
    x = 3 * jnp.ones((50, 40))
    for A, parts in ((core.identity(x), 1), (core.fft(x), 2)):
        _, y = Gaussian(A, 0.1)(KEY, x)
        noise = np.asarray(y - A(x))
        np.testing.assert_allclose(np.mean(np.abs(noise) ** 2), parts * 0.01, rtol=0.1)
    _, y = Gaussian(core.identity(x), 0.1, relative=True)(KEY, x)
    np.testing.assert_allclose(np.std(np.asarray(y)), 0.3, rtol=0.05)


def test_photons_give_line_integrals_with_their_variance():
    A = ct.parallel_beam(jnp.zeros(40), (8, 8), 41, pixel=0.02)
    _, y = Photons(A, 1e4)(KEY, jnp.ones((8, 8)))
    error = np.asarray(y - A(jnp.ones((8, 8))))
    np.testing.assert_allclose(np.var(error), 1e-4, rtol=0.25)


def test_every_example_has_a_mask_of_its_own():
    maps = mri.normalise_maps(mri.birdcage_maps(3, (12, 10)))
    draw = lambda key: mri.random_mask(key, (12, 10), 3, calibration=4)  # noqa: E731
    measure = random_masks(maps, draw, 0.01)
    x = jnp.ones((12, 10), jnp.complex64)
    A, y = jax.vmap(measure, (0, None))(jax.random.split(KEY, 2), x)
    sampled = np.asarray(jnp.any(y != 0, axis=1))
    assert sampled.sum(axis=(1, 2)).tolist() == [40, 40]
    assert (sampled[0] != sampled[1]).any()
    back = jax.vmap(lambda A, y: A(A.H(y)))(A, y)
    np.testing.assert_array_equal(np.asarray(jnp.any(back != 0, axis=1)), sampled)


def test_a_key_gives_the_same_measurement_again():
    loss = simulated(keep, Gaussian(core.identity(jnp.zeros(5)), 0.5))
    draw = lambda key: float(loss(None, {"x": jnp.ones(5)}, key)[0])  # noqa: E731
    assert draw(KEY) == draw(KEY) != draw(jax.random.key(3))


def test_a_scan_may_bring_the_truth_of_another_grid():
    def measure(key, x):
        truth = x.reshape(2, 2, 2, 2).mean((1, 3))
        return core.identity(truth), 2 * truth, truth

    batch = {"x": jnp.arange(16.0).reshape(4, 4)}
    loss = simulated(supervised(l2), measure)
    value, _ = loss(lambda A, y: A.H(y) / 2, batch, KEY)
    assert float(value) == 0
