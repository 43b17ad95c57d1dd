"""Measurements in units that networks understand, and what is undone at the end.

A network learns numbers of a certain size, while images come in 1/mm, in counts or in a scanner's
own units, and forward models with norms from 1 to 1000. With an initial image x₀,

    s = max |x₀|,    t = ‖v‖² / ‖Av‖²,    A' = √t A,    y' = √t y / s,    x = s x'             (1)

A'x' = y' is solved by an image of about 1, and ‖A'‖ is about 1: v = (AᴴA)²Aᴴy are two steps of the
power method, so that 1/t is ‖A‖² from below. Without them, an object whose mean is about zero
excites so little of the largest singular values of a projector that t is three times too large, and
a gradient step of t diverges. By default x₀ is the multiple of Aᴴy that explains the data best.
Everything comes from the measurements, so a reconstruction that starts with (1) commutes with a
change of units: c·A and d·y give d/c times the image. Derivatives flow through s and t.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, PyTree

from jaxrecon.core import LinearOperator, tree

_N_POWER = 2


class Scan(NamedTuple):
    """A scan in the units of (1): forward model, measurements, initial image; s."""

    A: LinearOperator
    y: Any
    x0: Any
    scale: Array


def normalise(A: LinearOperator, y: PyTree, x0: PyTree | None = None) -> Scan:
    """A scan in the units of equation (1).

    Args:
        A: forward model.
        y: measurements, like its range.
        x0: initial image, the best multiple of Aᴴy by default.

    Returns:
        A', y', x₀' and s, which multiplies what is reconstructed from them.

    Example:
        >>> from jaxrecon.core import diagonal
        >>> A = diagonal(jnp.array([20.0, 20.0]), jnp.zeros(2))
        >>> scan = normalise(A, jnp.array([20.0, 80.0]))
        >>> scan.x0.round(3).tolist(), float(scan.scale.round(3)), scan.A(jnp.ones(2)).tolist()
        ([0.25, 1.0], 4.0, [1.0, 1.0])
    """
    step, back, again = _back_and_forth(A, y)
    x0 = tree.scale(step, back) if x0 is None else x0
    scale = peak(x0)
    root = jnp.sqrt(_inverse_square_norm(A, again))
    return Scan(root * A, tree.scale(root / scale, y), tree.scale(1 / scale, x0), scale)


def unscaled(A: LinearOperator, y: PyTree, x0: PyTree | None = None) -> Scan:
    """The scan as it is, with s = 1."""
    x0 = A.H(y) if x0 is None else x0
    return Scan(A, y, x0, jnp.ones_like(peak(x0)))


def steepest_descent(A: LinearOperator, y: PyTree) -> tuple[Array, PyTree]:
    """The exact step of steepest descent on ½‖Ax − y‖² from zero, and Aᴴy; step 1 for y = 0."""
    return _back_and_forth(A, y)[:2]


def inverse_square_norm(A: LinearOperator, y: PyTree) -> Array:
    """The t of equation (1): 1/‖A‖² or a little more; 1 for y = 0."""
    return _inverse_square_norm(A, _back_and_forth(A, y)[2])


def _back_and_forth(A: LinearOperator, y: PyTree) -> tuple[Array, PyTree, PyTree]:
    """The step of steepest descent, Aᴴy and AAᴴy."""
    back = A.H(y)
    again = A(back)
    return _ratio(back, again), back, again


def _inverse_square_norm(A: LinearOperator, data: PyTree) -> Array:
    """From AAᴴy; vectors are kept near length one against overflow."""
    for _ in range(_N_POWER):
        image = A.H(tree.scale(jnp.sqrt(_inverse_size(data)), data))
        data = A(image)
    return _ratio(image, data)


def _ratio(above: PyTree, below: PyTree) -> Array:
    """‖above‖²/‖below‖², or 1 for nothing below."""
    size = tree.sum_of_squares(below)
    found = size > 0
    return jnp.where(found, tree.sum_of_squares(above) / jnp.where(found, size, 1), 1)


def _inverse_size(x: PyTree) -> Array:
    size = tree.sum_of_squares(x)
    return 1 / jnp.where(size > 0, size, 1)


def check_measurements(A: LinearOperator, y: PyTree) -> None:
    """Refuses measurements that are not like the range of A.

    Raises:
        ValueError: other shapes or another structure.
    """
    got = [jnp.shape(leaf) for leaf in jax.tree.leaves(y)]
    expected = [struct.shape for struct in jax.tree.leaves(A.range)]
    if jax.tree.structure(y) != jax.tree.structure(A.range) or got != expected:
        hint = ""
        if len(got) == len(expected) and all(len(g) > len(e) for g, e in zip(got, expected)):
            hint = ": for a batch use `jax.vmap(net, in_axes=(None, 0))(A, y)`"
        raise ValueError(
            f"`y` has shapes {got}, expected those of the range of {type(A).__name__}, "
            f"{expected}{hint}"
        )


def peak(x: PyTree) -> Array:
    """Max |x|, or 1 for an image of zeros."""
    squares = [jnp.max(v.real**2 + v.imag**2) for v in jax.tree.leaves(x)]
    largest = tree.safe_sqrt(jnp.max(jnp.stack(squares)))
    return jnp.where(largest > 0, largest, 1)


class Positive(nnx.Module):
    """A learned positive number, or an array of them: a step size, a penalty, a noise level.

    It is kept as its logarithm, so that an optimiser changes it by per cents. It may stand for any
    hyper-parameter of an algorithm: ``ProximalGradient(step_size=Positive(1.0))``.

    Args:
        value: the number to start from.
        dtype: of the parameter.

    Raises:
        ValueError: a value that is not positive.

    Example:
        >>> round(float(Positive(0.5)()), 6)
        0.5
    """

    def __init__(self, value: ArrayLike, *, dtype: Any = jnp.float32):
        if not isinstance(value, Tracer) and not np.all(np.asarray(value) > 0):
            raise ValueError(f"`value` is {value}, expected positive numbers")
        self.log = nnx.Param(jnp.log(jnp.asarray(value, dtype)))

    def __call__(self) -> Array:
        """The number itself."""
        return jnp.exp(self.log[...])


def with_values(tree: PyTree) -> PyTree:
    """The tree with numbers in the place of `Positive` and of bare variables; networks stay."""

    def value(leaf: Any) -> Any:
        if isinstance(leaf, Positive):
            return leaf()
        return leaf[...] if isinstance(leaf, nnx.Variable) else leaf

    kept = (nnx.Module, nnx.Variable)
    return jax.tree.map(value, tree, is_leaf=lambda leaf: isinstance(leaf, kept))
