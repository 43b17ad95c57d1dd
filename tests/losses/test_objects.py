"""What all losses have to do: exact gradients, one trace, and words for what is missing."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxrecon import core
from jaxrecon.core import identity
from jaxrecon.physics import ct
from jaxrecon.training import losses
from tests.losses.toys import (
    KEY,
    SHAPE,
    Mixing,
    bare,
    check_gradient,
)

REAL = {
    "consistency": losses.MeasurementConsistency(),
    "ssdu": losses.SSDU(losses.UniformSplit(0.4)),
    "weighted ssdu": losses.WeightedSSDU(losses.UniformSplit(0.4), jnp.full((1, 6), 0.7)),
    "robust ssdu": losses.RobustSSDU(0.1, 0.5, losses.UniformSplit(0.4)),
    "noise2noise": losses.Noise2Noise(losses.charbonnier),
    "noisier2noise": losses.Noisier2Noise(0.1),
    "r2r": losses.Recorrupted2Recorrupted(losses.GaussianNoise(0.1)),
    "sure": losses.SURE(0.1, gain=0.1, epsilon=1e-3),
    "ei": losses.equivariant_imaging(losses.Shifts(), fidelity=losses.SURE(0.1, epsilon=1e-3)),
    "moi": losses.multi_operator_imaging(
        lambda key, A: core.replace(A, weights=A.weights + jax.random.uniform(key)),
        transform=losses.Flips(),
        noise=losses.GaussianNoise(0.1),
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_gradients_equal_finite_differences_and_one_trace_serves_all(name, x64):
    loss = REAL[name]
    A = core.diagonal(jnp.linspace(0.5, 2, 6), jnp.zeros((4, 6)))
    y = A(1 + jax.random.uniform(KEY, (4, 6)))
    batch = {"y": y, "y2": y + 0.1, "A": A}
    graph, params = nnx.split(Mixing(0.5, 0.2, 0.3))
    count = 0

    @jax.jit
    def value(loss, p, batch, key):
        nonlocal count
        count += 1
        total, metrics = loss(nnx.merge(graph, p), batch, key)
        assert total.shape == ()
        assert all(m.shape == () for m in metrics.values())
        return total

    check_gradient(lambda p: value(loss, p, batch, KEY), params, tolerance=2e-5)
    value(loss, params, {**batch, "y": 2 * y}, jax.random.key(1))
    assert count == 1


def test_what_is_missing_is_named():
    y = jnp.ones(SHAPE)
    with pytest.raises(ValueError, match="density"):
        losses.WeightedSSDU(losses.UniformSplit(0.3))(bare, {"y": y, "A": identity(y)}, KEY)
    batch = {"y": y, "A": identity(y), "density": jnp.ones(SHAPE)}
    with pytest.raises(ValueError, match="GaussianSplit"):
        losses.WeightedSSDU(losses.GaussianSplit())(bare, batch, KEY)
    with pytest.raises(ValueError, match="`strategy`"):
        losses.noise2inverse(bare, strategy="2:1")
    A = ct.parallel_beam(jnp.arange(5.0), (4, 4), 4)
    with pytest.raises(ValueError, match="which does not divide"):
        losses.noise2inverse(bare, n=2)(bare, {"y": jnp.ones((5, 4)), "A": A}, KEY)
    odd = jnp.ones((3, 4))
    with pytest.raises(ValueError, match="even sizes"):
        losses.Neighbour2Neighbour()(bare, {"y": odd, "A": identity(odd)}, KEY)


def test_neighbour2neighbour_of_a_constant_image_and_a_scaling(x64):
    y = jnp.full((4, 6), 3.0)
    loss = losses.Neighbour2Neighbour(weight=2.0)
    value, parts = loss(lambda A, y: 0.5 * y, {"y": y, "A": identity(y)}, KEY)
    np.testing.assert_allclose(value, 1.5**2 + 2 * 1.5**2)
    np.testing.assert_allclose(parts["fit"], 1.5**2)
