"""The correlation with derivatives of its own, against XLA's."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.nets.layers._correlation import correlate, kernel_gradient

KEYS = jax.random.split(jax.random.key(0), 4)


def xla(x, kernel, padding):
    numbers = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=numbers)


CASES = [
    ((2, 9, 7, 3), (3, 3, 3, 2), ((1, 1), (1, 1))),
    ((1, 17, 6, 2), (3, 3, 2, 4), ((1, 1), (1, 1))),
    ((2, 8, 9, 2), (4, 2, 2, 3), ((1, 2), (0, 1))),  # even kernels
    ((1, 10, 11, 1), (3, 5, 1, 2), ((0, 0), (0, 0))),  # no padding, as behind mirrored borders
    ((1, 5, 5, 2), (1, 1, 2, 1), ((0, 0), (0, 0))),
]


@pytest.mark.parametrize(("shape", "size", "padding"), CASES)
def test_derivatives_are_those_of_xla(x64, shape, size, padding):
    x, kernel = jax.random.normal(KEYS[0], shape), jax.random.normal(KEYS[1], size)
    expected, pull = jax.vjp(lambda x, k: xla(x, k, padding), x, kernel)
    found: Any
    found, own_pull = jax.vjp(lambda x, k: correlate(x, k, padding), x, kernel)
    np.testing.assert_array_equal(found, expected)
    g = jax.random.normal(KEYS[2], found.shape)
    for own, other in zip(own_pull(g), pull(g), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-12, atol=1e-12)


def test_second_derivatives(x64):
    (shape, size, padding), *_ = CASES
    x, kernel = jax.random.normal(KEYS[0], shape), jax.random.normal(KEYS[1], size)

    def penalty(conv):
        def inner(x, k):
            return jnp.sum(jnp.tanh(conv(x, k, padding)) ** 2)

        def outer(x, k):
            slopes = jax.grad(inner, (0, 1))(x, k)
            return sum(jnp.sum(s**2) for s in slopes)

        return jax.jit(jax.grad(outer, (0, 1)))

    for own, other in zip(penalty(correlate)(x, kernel), penalty(xla)(x, kernel), strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "axes", [a for a in itertools.product((0, None), repeat=2) if any(i == 0 for i in a)]
)
def test_batches_of_kernel_gradients(axes):
    (shape, _, padding), *_ = CASES
    x = jax.random.normal(KEYS[0], (3, *shape) if axes[0] == 0 else shape)
    g = jax.random.normal(KEYS[2], (3, *shape[:3], 2) if axes[1] == 0 else (*shape[:3], 2))
    found = jax.jit(jax.vmap(lambda x, g: kernel_gradient(x, g, padding), axes))(x, g)
    each: list[Any] = [
        kernel_gradient(x[i] if axes[0] == 0 else x, g[i] if axes[1] == 0 else g, padding)
        for i in range(3)
    ]
    np.testing.assert_allclose(found, np.stack(each), rtol=1e-5, atol=1e-5)


def test_a_batch_shares_its_kernel():
    """The gradient of a mean over examples, as training takes it, and a batch of networks."""
    (shape, size, padding), *_ = CASES
    x = jax.random.normal(KEYS[0], (3, *shape))
    kernels = jax.random.normal(KEYS[1], (3, *size))

    def loss(conv, batched):
        def mean(k):
            each = jax.vmap(lambda x, k: jnp.sum(conv(x, k, padding) ** 2), (0, batched))
            return jnp.mean(each(x, k))

        return jax.jit(jax.grad(mean))

    for batched, k in ((None, kernels[0]), (0, kernels)):
        own, other = loss(correlate, batched)(k), loss(xla, batched)(k)
        np.testing.assert_allclose(own, other, rtol=1e-4, atol=1e-3)


def test_bfloat16_sums_in_float32():
    x, g = (jax.random.normal(k, (1, 64, 64, 1), jnp.bfloat16) for k in KEYS[:2])
    found: Any = kernel_gradient(x, g, ((0, 0), (0, 0)))
    assert found.dtype == jnp.bfloat16
    exact = np.sum(np.asarray(x, np.float64) * np.asarray(g, np.float64))
    assert float(found[0, 0, 0, 0]) == pytest.approx(exact, rel=1e-2, abs=0.5)
