"""The error of any reconstruction over objects, and what to make of several classes of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key, PyTree

from jaxrecon.core import Operator, tree
from jaxrecon.solvers.tuning import relative_squared_error

__all__ = ["reconstruction_error", "robust"]


def reconstruction_error(
    A: Operator,
    reconstruct: Callable[[Any, PyTree], PyTree],
    objects: PyTree,
    key: Key[Array, ""],
    *,
    noise: ArrayLike = 0.0,
    loss: Callable[[PyTree, PyTree], Array] = relative_squared_error,
) -> Float[Array, ""]:
    """The mean loss of reconstructions from simulated noisy data: for end-to-end design.

    The gradient in the pattern that A carries has both paths: through what is measured, and
    through what the reconstruction makes of it. That is unrolled or implicit, as the
    reconstruction is; plain early-stopped loops have none.

    Args:
        A: the scan under design. A mask of amplitudes below one lowers the signal, not the noise.
        reconstruct: ``reconstruct(A, y)``, an image like one of the objects.
        objects: the ground truth, along the leading axis of every leaf.
        key: of the noise; objects differ in theirs.
        noise: standard deviation, of the real and of the imaginary part of complex data.
        loss: ``loss(image, truth)``; ‖image − truth‖²/‖truth‖² by default.

    Example:
        >>> from jaxrecon.core import diagonal
        >>> x = jnp.ones((2, 3))
        >>> zero_filled = lambda A, y: A.H(y)
        >>> error = lambda m: reconstruction_error(
        ...     diagonal(m, x[0]), zero_filled, x, jax.random.key(0))
        >>> round(float(error(jnp.array([1.0, 1.0, 0.0]))), 4)
        0.3333
    """
    n = jax.tree.leaves(objects)[0].shape[0]

    def one(truth: PyTree, key: Array) -> Array:
        y = _measured(A, truth, key, noise)
        return loss(reconstruct(A, y), truth)

    return jnp.mean(jax.vmap(one)(objects, jax.random.split(key, n)))


def robust(
    values: Float[Array, " group"],
    temperature: ArrayLike | None = None,
    shares: Float[ArrayLike, " group"] | None = None,
) -> Float[Array, ""]:
    """One number from the criteria of several classes of objects.

    Args:
        values: one for each class.
        temperature: T of T log Σ s exp(v/T), between the mean (large T) and the worst (small T);
            None is the worst itself.
        shares: s of the classes, normalised here; equal by default, without effect on the worst.

    Example:
        >>> values = jnp.array([1.0, 2.0, 6.0])
        >>> [round(float(robust(values, T)), 2) for T in (1e4, 1.0, 0.01)], float(robust(values))
        ([3.0, 4.93, 5.99], 6.0)
    """
    if temperature is None:
        return jnp.max(values)
    weights = jnp.ones(values.shape) if shares is None else jnp.asarray(shares)
    log_shares = jnp.log(weights / jnp.sum(weights))
    return jnp.asarray(temperature) * jax.scipy.special.logsumexp(values / temperature + log_shares)


def _measured(A: Operator, truth: PyTree, key: Array, noise: ArrayLike) -> PyTree:
    y = A(truth)
    return tree.add_scaled(y, noise, tree.standard_noise(key, tree.structs(y)))
