"""The error of any reconstruction over objects, and what to make of several classes of them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key, PyTree

from jaxrecon.core import Operator, tree
from jaxrecon.solvers.tuning import relative_squared_error

__all__ = ["reconstruction_error", "robust", "sampling_error"]


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


def sampling_error(
    weights: Float[Array, "*sample"],
    scan: Callable[[Array], Any],
    reconstruct: Callable[[Any, PyTree], PyTree],
    objects: PyTree,
    key: Key[Array, ""],
    *,
    noise: ArrayLike = 0.0,
    loss: Callable[[PyTree, PyTree], Array] = relative_squared_error,
) -> Float[Array, ""]:
    """The mean loss where a sample of weight w counts w times: for the choice of samples.

    Everything is measured, with its noise, and data and operator have the amplitude √(w + 10⁻⁶): so
    a sample that is not measured has the derivative of what it would bring. With a mask itself in
    the operator it has none but that of its noise.

    Args:
        weights: of the samples, zero to one, such as a mask with the derivative of
            `straight_through`; of a shape that the data take by broadcasting.
        scan: ``scan(amplitudes)``, an operator such as ``lambda a: mri.sense(maps, a)``.
        reconstruct: ``reconstruct(A, y)``, an image like one of the objects.
        objects: the ground truth, along the leading axis of every leaf.
        key: of the noise; objects differ in theirs.
        noise: standard deviation, of the real and of the imaginary part of complex data.
        loss: ``loss(image, truth)``; ‖image − truth‖²/‖truth‖² by default.

    Example:
        >>> from jaxrecon.core import diagonal
        >>> x = jnp.array([[3.0, 1.0]])
        >>> zero_filled = lambda A, y: A.H(y)
        >>> error = lambda w: sampling_error(
        ...     w, lambda a: diagonal(a, x[0]), zero_filled, x, jax.random.key(0))
        >>> slope = jax.grad(error)(jnp.zeros(2))  # both would help, the first more
        >>> bool(slope[0] < slope[1] < 0)
        True
    """
    n = jax.tree.leaves(objects)[0].shape[0]
    amplitudes = jnp.sqrt(weights + 1e-6)
    A, whole = scan(amplitudes), scan(jnp.ones_like(amplitudes))

    def one(truth: PyTree, key: Array) -> Array:
        y = jax.tree.map(lambda y: amplitudes * y, _measured(whole, truth, key, noise))
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
