"""Training on one measurement: what is held out, when it stops, what it keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxrecon.core import identity
from jaxrecon.training import losses
from tests.losses.toys import Views

KEY = jax.random.key(6)


class Free(nnx.Module):
    """An untrained network at its worst: one parameter for each pixel, y is not looked at."""

    def __init__(self, shape, scale=0.0):
        self.pixels = nnx.Param(jnp.full(shape, scale))

    def __call__(self, A, y):
        return self.pixels[...]


class Constant(nnx.Module):
    """An untrained network that can only make constant images."""

    def __init__(self, value):
        self.value = nnx.Param(jnp.asarray(value, float))

    def __call__(self, A, y):
        return self.value[...] * jnp.ones(A.domain.shape)


class Product(nnx.Module):
    """A constant image, of two factors."""

    def __init__(self, gain):
        self.gain = nnx.Param(jnp.asarray(gain))
        self.frozen = nnx.Param(jnp.asarray(1.0))

    def __call__(self, A, y):
        return self.gain[...] * self.frozen[...] * jnp.ones(A.domain.shape)


def noisy(shape=(6, 7)):
    return 3 + 0.5 * jax.random.normal(KEY, shape)


def test_a_network_that_fits_only_what_it_sees_is_stopped_at_the_start():
    y = noisy()
    net = Free(y.shape)
    options = {"n_steps": 100, "patience": 4, "optimiser": optax.sgd(2.0), "key": KEY}
    loss = losses.MeasurementConsistency()
    done = losses.adapt(net, identity(y), y, loss, **options)
    assert (done.best_step, done.stopped, len(done.losses)) == (0, True, 4)
    assert done.losses[-1] < done.losses[0]  # what it sees is fitted better and better
    np.testing.assert_array_equal(done.net(None, None), 0.0)
    everything = losses.adapt(net, identity(y), y, loss, **options, holdout=None)
    assert (everything.best_step, everything.stopped) == (100, False)
    np.testing.assert_allclose(everything.net(None, None), y, atol=0.05)
    np.testing.assert_array_equal(net.pixels[...], 0.0)  # the one given stays as it is


def test_the_best_weights_on_held_out_data_are_kept():
    y = noisy()
    # Steps so long that it swings about the mean for a while.
    done = losses.adapt(
        Constant(0.0),
        identity(y),
        y,
        losses.MeasurementConsistency(),
        key=KEY,
        optimiser=optax.adam(1.3),
        n_steps=150,
        check_every=2,
        patience=10,
    )
    checked = np.argmin(done.validation)
    assert done.best_step == 2 * checked
    assert done.stopped
    assert len(done.validation) == checked + 11
    assert done.validation[checked] < 0.3 * done.validation[0]
    assert abs(float(done.net.value[...]) - 3) < 0.5


def test_held_out_units_are_not_trained_on():
    y = noisy()
    keep = jax.random.bernoulli(KEY, 0.5, y.shape)

    class Known:
        def __call__(self, key, units):
            return units & keep

    done = losses.adapt(
        Free(y.shape),
        identity(y),
        y,
        losses.MeasurementConsistency(),
        key=KEY,
        optimiser=optax.sgd(2.0),
        holdout=Known(),
        patience=1000,
        n_steps=80,
        distance=lambda a, b: losses.l1(a, jnp.zeros_like(b)),  # the prediction itself
    )
    assert np.all(done.validation == 0)  # held-out pixels stayed at zero
    assert done.best_step == 0


def test_turns_repeat_the_same_keys():
    y = noisy()
    options = {"key": KEY, "optimiser": optax.sgd(0.0), "n_steps": 6, "holdout": None}
    split = losses.UniformSplit(0.4)
    done = losses.zero_shot(Constant(1.0), identity(y), y, split=split, n_masks=3, **options)
    np.testing.assert_allclose(done.losses[:3], done.losses[3:], rtol=1e-6)
    assert len(set(np.round(done.losses[:3], 5))) == 3
    fresh = losses.adapt(Constant(1.0), identity(y), y, losses.SSDU(split), **options)
    assert len(set(np.round(fresh.losses, 5))) == 6


def test_zero_shot_learning_finds_what_views_have_in_common():
    A = Views(jnp.abs(jax.random.normal(KEY, (12, 5, 2, 3))))
    y = A(jnp.full((2, 3), 2.0))
    done = losses.zero_shot(
        Product(0.1),
        A,
        y,
        key=KEY,
        split=losses.SubsetSplit(4),
        holdout=losses.SubsetSplit(6),
        n_masks=4,
        n_steps=60,
        optimiser=optax.adam(0.1),
        trainable=nnx.All(nnx.Param, nnx.PathContains("gain")),
    )
    assert abs(float(done.net.gain[...]) - 2) < 0.1
    assert float(done.net.frozen[...]) == 1.0
    assert done.validation.min() < 0.1 * done.validation[0]


def test_the_next_measurement_compiles_nothing():
    count = 0

    class Counted(Constant):
        def __call__(self, A, y):
            nonlocal count
            count += 1
            return super().__call__(A, y)

    optimiser = optax.adam(0.1)
    counts = []
    for seed in (0, 1):
        y = 2 + jax.random.normal(jax.random.key(seed), (6, 7))
        loss = losses.MeasurementConsistency()
        options = {"key": jax.random.key(seed), "optimiser": optimiser, "n_steps": 2}
        losses.adapt(Counted(1.0 + seed), identity(y), y, loss, **options)
        counts.append(count)
    assert counts[0] == counts[1] > 0


def test_refusals():
    y = noisy()
    with pytest.raises(ValueError, match="`n_steps`"):
        losses.adapt(Constant(0.0), identity(y), y, losses.SSDU(), key=KEY, n_steps=0)
