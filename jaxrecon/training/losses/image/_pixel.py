"""Distances of pixels: l1, l2, Charbonnier, normalised, of edges.

A distance is ``d(prediction, target) -> scalar``, symmetric unless it says otherwise, on arrays or
on pytrees of them (the measurements of a stack of operators); means run over all entries. Of
complex values it is the complex difference that counts, both parts: a wrong phase is an error.
Means, not sums: the value does not grow with the image. Entries that are zero in both count.

    l1          mean |d|                                                                   (1)
    l2          mean |d|²                                                                  (2)
    Charbonnier mean √(|d|² + ε²) − ε                                                      (3)
    normalised  ‖d‖₂/‖t‖₂ + ‖d‖₁/‖t‖₁ with the target t                                    (4)
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

Distance = Callable[[Any, Any], Any]
"""``d(prediction, target) -> scalar``."""


def l1(prediction: PyTree, target: PyTree) -> Float[Array, ""]:
    """The mean absolute difference, equation (1); its gradient is zero where the two are equal.

    Raises:
        ValueError: structures or shapes differ.

    Example:
        >>> float(l1(jnp.array([3.0 + 4.0j, 0.0]), jnp.zeros(2)))
        2.5
    """
    return _mean(magnitude, difference(prediction, target))


def l2(prediction: PyTree, target: PyTree) -> Float[Array, ""]:
    """The mean squared difference, equation (2).

    Raises:
        ValueError: structures or shapes differ.

    Example:
        >>> float(l2(jnp.array([3.0 + 4.0j, 0.0]), jnp.zeros(2)))
        12.5
    """
    return _mean(squares, difference(prediction, target))


def charbonnier(prediction: PyTree, target: PyTree, *, epsilon: Any = 1e-3) -> Float[Array, ""]:
    """A smooth l1, equation (3): quadratic up to differences of about epsilon, 0 at none.

    Charbonnier et al., "Two deterministic half-quadratic regularization algorithms for computed
    imaging", ICIP 1994.

    Args:
        prediction: an array or a pytree of them.
        target: alike.
        epsilon: in the units of the image.

    Example:
        >>> round(float(charbonnier(jnp.array([3.0]), jnp.zeros(1), epsilon=4.0)), 6)
        1.0
    """

    def smooth(d: Array) -> Array:
        # |d|²/(√(|d|² + ε²) + ε) is √(|d|² + ε²) − ε without the difference of two large numbers.
        return squares(d) / (jnp.sqrt(squares(d) + epsilon**2) + epsilon)

    return _mean(smooth, difference(prediction, target))


def normalised_l1_l2(prediction: PyTree, target: PyTree) -> Float[Array, ""]:
    """Relative l2 plus relative l1 error, equation (4): no units, not symmetric; NaN for no target.

    The loss of SSDU for k-space, whose few large entries would rule any unweighted mean (Yaman et
    al., Magn. Reson. Med. 84, 2020).

    Example:
        >>> float(normalised_l1_l2(jnp.array([3.0, 0.0]), jnp.array([2.0, 0.0])))
        1.0
    """
    d = difference(prediction, target)
    size_2 = _total(squares, d) / _total(squares, target)
    # √ has no slope at zero: the two agree there, and the gradient is zero.
    size_2 = jnp.where(size_2 == 0, 0, jnp.sqrt(jnp.where(size_2 == 0, 1, size_2)))
    return size_2 + _total(magnitude, d) / _total(magnitude, target)


def edge(prediction: Array, target: Array, *, n_axes: int = 2) -> Float[Array, ""]:
    """The mean absolute difference of forward differences along the last axes, summed over these.

    Differences within the image only, none across its border.

    Args:
        prediction: ``(..., y, x)``.
        target: alike.
        n_axes: the image's axes.

    Example:
        >>> ramp = jnp.arange(4.0) * jnp.ones((3, 1))
        >>> float(edge(ramp, jnp.zeros((3, 4)))), float(edge(ramp + 7, ramp))
        (1.0, 0.0)
    """
    d = difference(prediction, target)
    axes = range(d.ndim - n_axes, d.ndim)
    return sum((jnp.mean(magnitude(jnp.diff(d, axis=a))) for a in axes), jnp.zeros((), _real(d)))


def difference(prediction: PyTree, target: PyTree) -> PyTree:
    """Prediction − target, leaf by leaf.

    Raises:
        ValueError: structures or shapes differ: broadcasting would hide a mistake.
    """
    got, expected = (_shapes(tree) for tree in (prediction, target))
    if got != expected:
        raise ValueError(
            f"`prediction` has shape {got}, expected {expected} as `target` has: crop or resample "
            "one of them, or let the network give the target's shape"
        )
    return jax.tree.map(jnp.subtract, prediction, target)


def squares(x: Array) -> Array:
    """|x|², real."""
    return x.real**2 + x.imag**2 if jnp.iscomplexobj(x) else x**2


def magnitude(x: Array) -> Array:
    """|x|, with gradient zero, not NaN, at zero."""
    if not jnp.iscomplexobj(x):
        return jnp.abs(x)
    s = squares(x)
    return jnp.where(s == 0, 0, jnp.sqrt(jnp.where(s == 0, 1, s)))


def _mean(of: Callable[[Array], Array], tree: PyTree) -> Array:
    return _total(of, tree) / sum(leaf.size for leaf in jax.tree.leaves(tree))


def _total(of: Callable[[Array], Array], tree: PyTree) -> Array:
    totals = [jnp.sum(of(leaf)) for leaf in jax.tree.leaves(tree)]
    return sum(totals[1:], totals[0])


def _shapes(tree: PyTree) -> Any:
    return jax.tree.map(jnp.shape, tree)


def _real(x: Array) -> Any:
    return jnp.finfo(x.dtype).dtype
