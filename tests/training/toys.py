"""A tiny network and what is needed to train it; the training programs of the tests use it too."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxrecon.training.input import ArraySource


def weights(key, shape, dtype, **_):
    """Drawn without JAX, whose generators take longer to compile than the rest."""
    del key
    return jnp.asarray(np.random.default_rng(1).standard_normal(shape) / 3, dtype)


class Toy(nnx.Module):
    """Two convolutions; with or without batch statistics and dropout."""

    def __init__(
        self, features=2, *, norm=False, rate=0.0, dtype=None, param_dtype=jnp.float32, rngs
    ):
        options = {"dtype": dtype, "param_dtype": param_dtype, "rngs": rngs}
        first = nnx.Conv(1, features, (3, 3), kernel_init=weights, **options)
        second = nnx.Conv(features, 1, (1, 1), kernel_init=weights, **options)
        self.layers = nnx.List([first, second])
        self.norm = nnx.BatchNorm(features, axis_name="batch", **options) if norm else None
        self.dropout = nnx.Dropout(rate, rngs=rngs)
        self.eval()

    def __call__(self, x):
        h = self.layers[0](x[..., None])
        h = h if self.norm is None else self.norm(h)
        return self.layers[1](self.dropout(jnp.tanh(h)))[..., 0].astype(x.dtype)


def denoising(net, example, key):
    """The measurement is simulated inside: an image and noise of the example's own key."""
    image = example["image"]
    noisy = image + 0.1 * jax.random.normal(key, image.shape, image.dtype)
    error = jnp.mean((net(noisy) - image) ** 2)
    return error, {"rmse": jnp.sqrt(error)}


def restoration(net, example, key):
    """Nothing random, for comparisons that must not depend on keys."""
    del key
    return jnp.mean((net(example["image"]) - 0.5 * example["image"]) ** 2), {}


def images(n=12, shape=(6, 5), dtype: Any = np.float32):
    return np.random.default_rng(0).standard_normal((n, *shape)).astype(dtype)


def source(n=12, dtype: Any = np.float32):
    return ArraySource(image=images(n, dtype=dtype))
