"""Total variation of images, volumes and series: exact with a proximal map, or smoothed.

    TV(x) = Σ_i w_i ‖(a ⊙ Dx)_i‖                                                               (1)
    TV_δ(x) = Σ_i w_i φ_δ(‖(a ⊙ Dx)_i‖)                                                        (2)

where D are the forward differences along some axes, divided by the grid spacing, with none across
the border; a are weights of the axes (space against time, say); and the norm at each pixel is the
Euclidean one over axes (isotropic) or the sum over axes (anisotropic). In (2) φ_δ(r) is
√(r² + δ²) − δ (hyperbolic) or Huber's function, r²/2δ up to δ and r − δ/2 beyond; both have
curvature at most 1/δ and differ from r by at most δ and δ/2.

The proximal map of (1) is iterative with a fixed number of iterations (see `_dual`). Where the
exact total variation is wanted, give the primal-dual solver the term
``(L21(w), gradient(domain))`` instead.
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.core import LinearOperator, diagonal, gradient, pytree, static, tree
from jaxrecon.functionals._functional import Functional
from jaxrecon.functionals._norms import L1, L21
from jaxrecon.functionals.priors._dual import dual_prox

Spacing = tuple[float, ...] | float


@pytree
class TV(Functional):
    """Total variation (1) over some axes of an array.

    Args:
        weight: w, a scalar or an array that broadcasts against x.
        axes: the axes to differentiate along; all by default.
        spacing: grid spacing, one for all axes or one for each.
        isotropic: Euclidean norm over axes at each pixel, rather than the sum over axes.
        n_iter: iterations of the proximal map.
        axis_weights: a, one for each axis, as data.

    Example:
        >>> float(TV(2.0)(jnp.array([[0.0, 1.0], [0.0, 1.0]])))
        4.0
    """

    weight: Any = 1.0
    axes: tuple[int, ...] | None = static(default=None)
    spacing: Spacing = static(default=1.0)
    isotropic: bool = static(default=True)
    n_iter: int = static(default=50)
    axis_weights: Any = None

    def __call__(self, x: Array) -> Array:
        return self._field_norm()(self._gradient(x)(x))

    def prox(self, x: Array, step: Any) -> Array:
        D = self._gradient(x)
        bound = _norm_bound(x, self.axes, self.spacing, self.axis_weights)
        return dual_prox(self._field_norm(), D, bound, x, step, self.n_iter)

    def _gradient(self, x: Array) -> LinearOperator:
        return _weighted_gradient(x, self.axes, self.spacing, self.axis_weights)

    def _field_norm(self) -> Functional:
        return L21(self.weight) if self.isotropic else L1(self.weight)


@pytree
class SmoothTV(Functional):
    """Total variation (2), smooth, for gradient methods.

    Args:
        weight: w, a scalar or an array that broadcasts against x.
        delta: δ, in units of the image gradient: edges well above it are kept.
        axes: the axes to differentiate along; all by default.
        spacing: grid spacing, one for all axes or one for each.
        isotropic: Euclidean norm over axes at each pixel, rather than the sum over axes.
        huber: Huber's function rather than the hyperbolic one.
        axis_weights: a, one for each axis, as data.

    Example:
        >>> float(SmoothTV(delta=0.1, huber=True)(jnp.array([0.0, 1.0])))
        0.949999988079071
    """

    smooth: ClassVar[bool] = True

    weight: Any = 1.0
    delta: Any = 1e-2
    axes: tuple[int, ...] | None = static(default=None)
    spacing: Spacing = static(default=1.0)
    isotropic: bool = static(default=True)
    huber: bool = static(default=False)
    axis_weights: Any = None

    def __call__(self, x: Array) -> Array:
        squares = self._squares(self._gradient(x).forward(x))
        profile = _huber if self.huber else _hyperbolic
        return jnp.sum(self.weight * profile(squares, self.delta))

    def grad(self, x: Array) -> Array:
        D = self._gradient(x)
        field = D.forward(x)
        slope = _huber_slope if self.huber else _hyperbolic_slope
        return D.adjoint(self.weight * slope(self._squares(field), self.delta) * field)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        """√(w/δ) D A, from φ'' ≤ φ'/r ≤ 1/δ."""
        root = jnp.sqrt(self.weight / self.delta)
        D = self._gradient(A.range) @ A
        return root * D if jnp.ndim(root) == 0 else diagonal(root, D.range) @ D

    def _gradient(self, x: Any) -> LinearOperator:
        return _weighted_gradient(x, self.axes, self.spacing, self.axis_weights)

    def _squares(self, field: Array) -> Array:
        squares = field.real**2 + field.imag**2 if jnp.iscomplexobj(field) else field**2
        return jnp.sum(squares, 0, keepdims=True) if self.isotropic else squares


def _weighted_gradient(x: Any, axes: Any, spacing: Spacing, axis_weights: Any) -> LinearOperator:
    """A ⊙ D on arrays like x."""
    D = gradient(x, axes, spacing=spacing)
    if axis_weights is None:
        return D
    weights = jnp.reshape(jnp.asarray(axis_weights), (-1, *(1,) * len(x.shape)))
    return diagonal(weights, D.range) @ D


def _norm_bound(x: Any, axes: Any, spacing: Spacing, axis_weights: Any) -> Any:
    """Σ 4 a²/h² ≥ ‖a ⊙ D‖², reached in the limit of large images."""
    n_axes = len(x.shape) if axes is None else len(axes)
    steps = (spacing,) * n_axes if isinstance(spacing, int | float) else spacing
    weights = 1.0 if axis_weights is None else jnp.asarray(axis_weights)
    return jnp.sum(4 * (weights / jnp.asarray(steps, x.real.dtype)) ** 2)


def _hyperbolic(squares: Array, delta: Any) -> Array:
    # r² / (√(r² + δ²) + δ): no cancellation where r is small.
    return squares / (jnp.sqrt(squares + delta**2) + delta)


def _hyperbolic_slope(squares: Array, delta: Any) -> Array:
    return 1 / jnp.sqrt(squares + delta**2)


def _huber(squares: Array, delta: Any) -> Array:
    length = tree.safe_sqrt(squares)
    return jnp.where(length <= delta, squares / (2 * delta), length - delta / 2)


def _huber_slope(squares: Array, delta: Any) -> Array:
    return 1 / jnp.maximum(tree.safe_sqrt(squares), delta)
