"""Norms and indicators of convex sets, with closed proximal maps; complex values keep their phase.

The prox of t·w‖·‖ shrinks by t·w and stops at zero: entry by entry (`L1`), group by group (`L21`)
or as a whole (`L2`). Source: Parikh and Boyd, Found. Trends Optim. 1 (2014), section 6.

An indicator is 0 inside and +inf outside, its proximal map the projection, whatever the step. A
point counts as inside up to rounding (a thousand units in the last place of the set's size),
because projections are rounded too.

The ℓ1 ball and the simplex are projected onto by sorting: the projection of x onto {u ≥ 0, Σu = s}
is max(x − τ, 0), and for x sorted downwards τ = max_k (Σ_{i≤k} x_i − s) / k.
Source: Duchi et al., Efficient projections onto the ℓ1-ball, ICML 2008.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import LinearOperator, pytree, static, tree
from jaxrecon.functionals._functional import Functional


@pytree
class Zero(Functional):
    """The functional that is 0 everywhere; its proximal map is the identity."""

    smooth: ClassVar[bool] = True
    elementwise: ClassVar[bool] = True

    def __call__(self, x: PyTree) -> Array:
        return 0.0 * tree.sum_of_squares(x)

    def grad(self, x: PyTree) -> PyTree:
        return tree.zeros(x)

    def prox(self, x: PyTree, step: Any) -> PyTree:
        del step
        return x

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return 0.0 * A

    def normal(self, A: LinearOperator) -> tuple[LinearOperator, PyTree]:
        return 0.0 * A.gram, tree.zeros(A.domain)


@pytree
class L1(Functional):
    """Σ w |x|, w a scalar or an array."""

    elementwise: ClassVar[bool] = True

    weight: Any = 1.0

    def __call__(self, x: Array) -> Array:
        return jnp.sum(self.weight * magnitude(x))

    def prox(self, x: Array, step: Any) -> Array:
        return soft_threshold(x, step * self.weight)

    def conjugate_prox(self, x: Array, step: Any) -> Array:
        """The projection onto |x| ≤ w, whatever the step."""
        del step
        if jnp.iscomplexobj(x):
            return x * _clipping(magnitude(x), self.weight)
        return jnp.clip(x, -self.weight, self.weight)


@pytree
class L2(Functional):
    """W ‖x‖₂ over a whole pytree: the norm, not its square.

    Example:
        >>> f = L2(2.0)
        >>> float(f(jnp.array([3.0, 4.0]))), f.prox(jnp.array([3.0, 4.0]), 1.25).tolist()
        (10.0, [1.5, 2.0])
    """

    weight: Any = 1.0

    def __call__(self, x: PyTree) -> Array:
        return self.weight * tree.norm(x)

    def prox(self, x: PyTree, step: Any) -> PyTree:
        return tree.scale(_shrinkage(tree.norm(x), step * self.weight), x)


@pytree
class L21(Functional):
    """Σ w ‖x‖₂ over groups that lie along one axis or several; elsewhere also written L12.

    With the image gradient (axis 0), isotropic total variation; w may differ by group.

    Example:
        >>> x = jnp.arange(12.0).reshape(2, 3, 2)
        >>> bool(jnp.isclose(L21(1.0, axis=(0, 1, 2))(x), jnp.linalg.norm(x)))
        True
    """

    weight: Any = 1.0
    axis: int | tuple[int, ...] = static(default=0)

    def __call__(self, x: Array) -> Array:
        return jnp.sum(self.weight * _length(x, self.axis))

    def prox(self, x: Array, step: Any) -> Array:
        return x * _shrinkage(_length(x, self.axis), step * self.weight)

    def conjugate_prox(self, x: Array, step: Any) -> Array:
        """The projection of every group onto ‖x‖ ≤ w, whatever the step."""
        del step
        return x * _clipping(_length(x, self.axis), self.weight)


@pytree
class Box(Functional):
    """The indicator of lower ≤ x ≤ upper, for real x; a bound of None is no bound."""

    elementwise: ClassVar[bool] = True

    lower: Any = None
    upper: Any = None

    def __call__(self, x: Array) -> Array:
        return indicator(x == self.prox(x, 1.0), x)

    def prox(self, x: Array, step: Any) -> Array:
        """The projection onto the box.

        Raises:
            ValueError: x is complex.
        """
        del step
        _refuse_complex(x, "a box constrains real images")
        return jnp.clip(x, self.lower, self.upper)


def non_negative() -> Box:
    """The indicator of x ≥ 0."""
    return Box(lower=0.0)


@pytree
class LInfBall(Functional):
    """The indicator of |x| ≤ radius entry by entry, real or complex: the conjugate of `L1`.

    Example:
        >>> LInfBall(2.0).prox(jnp.array([3.0, -1.0]), 1.0).tolist()
        [2.0, -1.0]
    """

    elementwise: ClassVar[bool] = True

    radius: Any = 1.0

    def __call__(self, x: Array) -> Array:
        return indicator(magnitude(x) <= self.radius * (1 + slack(x)), x)

    def prox(self, x: Array, step: Any) -> Array:
        del step
        length = magnitude(x)
        outside = length > self.radius
        return jnp.where(outside, with_magnitude(self.radius, x, length), x)


@pytree
class L1Ball(Functional):
    """The indicator of Σ|x| ≤ radius over a whole array, real or complex: what `L1` constrains.

    Example:
        >>> L1Ball(1.0).prox(jnp.array([2.0, -1.5]), 1.0).tolist()
        [0.75, -0.25]
    """

    radius: Any = 1.0

    def __call__(self, x: Array) -> Array:
        return indicator(jnp.sum(magnitude(x)) <= self.radius * (1 + slack(x)), x)

    def prox(self, x: Array, step: Any) -> Array:
        del step
        length = magnitude(x)
        inside = jnp.sum(length) <= self.radius
        shrunk = jnp.maximum(length - _threshold(length.ravel(), self.radius), 0)
        return jnp.where(inside, x, with_magnitude(shrunk, x, length))


@pytree
class Simplex(Functional):
    """The indicator of {x ≥ 0, Σx = total}, the sum along one axis: mixtures, material fractions.

    Example:
        >>> Simplex().prox(jnp.array([1.0, 0.5, -3.0]), 1.0).tolist()
        [0.75, 0.25, 0.0]
    """

    total: Any = 1.0
    axis: int = static(default=-1)

    def __call__(self, x: Array) -> Array:
        _refuse_complex(x, "a simplex constrains real images")
        error = jnp.abs(jnp.sum(x, self.axis) - self.total)
        return indicator((x >= 0).all(self.axis) & (error <= self.total * slack(x)), x)

    def prox(self, x: Array, step: Any) -> Array:
        """The projection onto the simplex, at the cost of a sort.

        Raises:
            ValueError: x is complex.
        """
        del step
        _refuse_complex(x, "a simplex constrains real images")
        moved = jnp.moveaxis(x, self.axis, -1)
        projected = jnp.maximum(moved - _threshold(moved, self.total), 0)
        return jnp.moveaxis(projected, -1, self.axis)


def soft_threshold(x: Array, threshold: Any) -> Array:
    """X · max(0, 1 − threshold/|x|): the proximal map of threshold·|x|, real or complex.

    Example:
        >>> soft_threshold(jnp.array([3.0, -1.5]), 1.0).tolist()
        [2.0, -0.5]
    """
    if jnp.iscomplexobj(x):
        return x * _shrinkage(magnitude(x), threshold)
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - threshold, 0)


def magnitude(x: Array) -> Array:
    """|x|, with gradient zero at zero."""
    return tree.safe_sqrt(squared_magnitude(x)) if jnp.iscomplexobj(x) else jnp.abs(x)


def squared_magnitude(x: Array) -> Array:
    """|x|²."""
    return x.real**2 + x.imag**2 if jnp.iscomplexobj(x) else x**2


def with_magnitude(new: Any, x: Array, old: Array | None = None) -> Array:
    """The phase, or sign, of x with another magnitude; phase zero is that of zero.

    Args:
        new: the magnitudes to have.
        x: real or complex.
        old: |x|, if known.
    """
    old = magnitude(x) if old is None else old
    nonzero = old > 0
    return jnp.where(nonzero, x / jnp.where(nonzero, old, 1), 1) * new


def indicator(inside: Array, x: Array) -> Array:
    """0 where all of `inside` hold, else +inf, in the real precision of x."""
    return jnp.where(jnp.all(inside), 0.0, jnp.inf).astype(x.real.dtype)


def slack(x: Array) -> float:
    """The relative rounding error that still counts as inside."""
    return 1000 * float(jnp.finfo(x.dtype).eps)


def _shrinkage(length: Array, threshold: Any) -> Array:
    positive = length > threshold
    return jnp.where(positive, 1 - threshold / jnp.where(positive, length, 1), 0)


def _clipping(length: Array, limit: Any) -> Array:
    longer = length > limit
    return jnp.where(longer, limit / jnp.where(longer, length, 1), 1)


def _length(x: Array, axis: int | tuple[int, ...]) -> Array:
    return tree.safe_sqrt(jnp.sum(squared_magnitude(x), axis, keepdims=True))


def _threshold(x: Array, total: Any) -> Array:
    """The τ of the module's text along the last axis, kept as an axis of one."""
    # Sorted without a derivative of its own, then taken by index: the sum's derivative is exact.
    order = jnp.argsort(jax.lax.stop_gradient(x), axis=-1, descending=True)
    sums = jnp.cumsum(jnp.take_along_axis(x, order, -1), -1) - total
    means = sums / jnp.arange(1, x.shape[-1] + 1, dtype=x.dtype)
    return jnp.max(means, -1, keepdims=True)


def _refuse_complex(x: Array, reason: str) -> None:
    if jnp.iscomplexobj(x):
        raise ValueError(f"`x` is complex: {reason}")
