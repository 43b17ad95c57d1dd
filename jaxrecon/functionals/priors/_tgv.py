"""Total generalised variation of second order.

Bredies, Kunisch and Pock, SIAM J. Imaging Sci. 3, 2010:

    TGV(x) = min_w α₁ Σ_i ‖(Dx − w)_i‖ + α₀ Σ_i ‖(Ew)_i‖                                       (1)

It favours piecewise affine images: edges without the staircases of total variation on slopes. D are
forward differences, w a field of slopes, E its symmetrised gradient, ½(∂_i w_j + ∂_j w_i), whose
matrices are measured in Frobenius' norm. E takes backward differences, and none that reach a slope
across the border, where Dx is zero by definition: so that TGV of every affine image is exactly 0.

Two ways to use it. `tgv_terms` are the two terms of (1) on the pair (x, w), exact, for a
primal-dual solver; the image is lifted to the pair by `component`. `TGV` is the functional of x
alone with a proximal map: both minimise over w by a fixed number of primal-dual steps (Chambolle
and Pock, J. Math. Imaging Vis. 40, 2011), so they are approximate, the value from above.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import (
    LinearOperator,
    component,
    gradient,
    match_varying,
    operator,
    pytree,
    static,
)
from jaxrecon.functionals._functional import Functional
from jaxrecon.functionals._norms import L21

Axes = tuple[int, ...]
Spacing = tuple[float, ...] | float
Terms = tuple[tuple[Functional, LinearOperator], ...]


@operator
class SymmetricGradient(LinearOperator):
    """E: a field ``(axis, *shape)`` to its symmetric derivative ``(pair, *shape)``.

    Pairs (i, j), i ≤ j, in lexical order. Those off the diagonal carry √2 ½(∂_i w_j + ∂_j w_i),
    since they stand for two entries of the matrix: sums of squares over pairs are Frobenius'.
    """

    struct: jax.ShapeDtypeStruct = static()
    axes: Axes = static()
    spacing: tuple[float, ...] = static()

    @property
    def domain(self) -> PyTree:
        return jax.ShapeDtypeStruct((len(self.axes), *self.struct.shape), self.struct.dtype)

    @property
    def range(self) -> PyTree:
        return jax.ShapeDtypeStruct((len(self._pairs), *self.struct.shape), self.struct.dtype)

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        n = len(self.axes)
        return [(i, j) for i in range(n) for j in range(i, n)]

    def forward(self, x: Array) -> Array:
        difference = lambda i, j: _backward(x[j], self.axes[i]) / self.spacing[i]  # noqa: E731
        return jnp.stack(
            [
                _without_last(difference(i, i), self.axes[i])
                if i == j
                else (difference(i, j) + difference(j, i)) / math.sqrt(2)
                for i, j in self._pairs
            ]
        )

    def adjoint(self, y: Array) -> Array:
        parts = [jnp.zeros_like(y[0]) for _ in self.axes]
        back = lambda part, i: _backward_adjoint(part, self.axes[i]) / self.spacing[i]  # noqa: E731
        for part, (i, j) in zip(y, self._pairs, strict=True):
            if i == j:
                parts[i] += back(_without_last(part, self.axes[i]), i)
            else:
                parts[j] += back(part, i) / math.sqrt(2)
                parts[i] += back(part, j) / math.sqrt(2)
        return jnp.stack(parts)


@pytree
class TGV(Functional):
    """Total generalised variation (1) over some axes of an array.

    Its value and proximal map are iterative with `n_iter` steps; see the module's text.

    Args:
        alpha1: α₁, the weight of edges, a scalar or an array that broadcasts against x.
        alpha0: α₀, the weight of kinks, likewise; two to three pixels times α₁ is usual.
        axes: the axes to differentiate along; all by default.
        spacing: grid spacing, one for all axes or one for each (time against space).
        n_iter: primal-dual steps of the value and of the proximal map.

    Example:
        >>> ramp = jnp.arange(12.0).reshape(3, 4)
        >>> bool(TGV(n_iter=300)(ramp) < 1e-3)
        True
    """

    alpha1: Any = 1.0
    alpha0: Any = 2.0
    axes: Axes | None = static(default=None)
    spacing: Spacing = static(default=1.0)
    n_iter: int = static(default=200)

    def __call__(self, x: Array) -> Array:
        D, E = self._operators(x)
        slopes = D.forward(x)
        w = _slopes(self._norms(), E, _difference_bound(E), slopes, self.n_iter)
        edges, kinks = self._norms()
        # No slopes at all, which is total variation, bounds the minimum too.
        return jnp.minimum(edges(slopes - w) + kinks(E.forward(w)), edges(slopes))

    def prox(self, x: Array, step: Any) -> Array:
        D, E = self._operators(x)
        return _denoise(self._norms(), D, E, _difference_bound(E), x, step, self.n_iter)

    def _operators(self, x: Array) -> tuple[LinearOperator, Any]:
        D = gradient(x, self.axes, spacing=self.spacing)
        return D, symmetric_gradient(x, self.axes, spacing=self.spacing)

    def _norms(self) -> tuple[L21, L21]:
        return L21(self.alpha1), L21(self.alpha0)


def symmetric_gradient(
    domain: Any, axes: Axes | None = None, *, spacing: Spacing = 1.0
) -> LinearOperator:
    """E of equation (1), on fields ``(axis, *shape)`` over images like `domain`.

    Args:
        domain: array or struct of the image (not of the field).
        axes: the image's axes that the field has components along; all by default.
        spacing: grid spacing, one for all axes or one for each.

    Raises:
        ValueError: axes that the image has not, or a wrong number of spacings.

    Example:
        >>> symmetric_gradient(jnp.zeros((5, 4))).range.shape
        (3, 5, 4)
    """
    D: Any = gradient(domain, axes, spacing=spacing)
    return SymmetricGradient(D.struct, D.axes, D.spacing)


def tgv_terms(
    domain: Any, alpha1: Any, alpha0: Any, *, axes: Axes | None = None, spacing: Spacing = 1.0
) -> Terms:
    """The terms of (1) on the pair (x, w), for `Problem` and a primal-dual solver.

    Args:
        domain: array or struct of the image x.
        alpha1: weight of ‖Dx − w‖.
        alpha0: weight of ‖Ew‖.
        axes: the axes to differentiate along; all by default.
        spacing: grid spacing, one for all axes or one for each.

    Returns:
        Two (functional, operator) terms whose operators act on tuples ``(x, w)``, x like `domain`
        and w ``(axis, *shape)``.

    Example:
        >>> from jaxrecon.core import Problem
        >>> from jaxrecon.functionals import LeastSquares
        >>> image = jnp.zeros((5, 4))
        >>> terms = tgv_terms(image, 0.1, 0.2)
        >>> lift = component(terms[0][1].domain, 0)
        >>> problem = Problem(((LeastSquares(image), lift), *terms))
    """
    E = symmetric_gradient(domain, axes, spacing=spacing)
    D = gradient(domain, axes, spacing=spacing)
    pair = (D.domain, E.domain)
    image, field = component(pair, 0), component(pair, 1)
    return (L21(alpha1), D @ image - field), (L21(alpha0), E @ field)


# Compiled here, so that a call outside jit does not compile its loop again.
@functools.partial(jax.jit, static_argnames=("bound", "n_iter"))
def _denoise(norms, D, E, bound, x, step, n_iter) -> Array:
    """Argmin_u TGV(u) + Σ |u − x|²/(2 step) by primal-dual steps on (u, w) and their duals."""
    edges, kinks = norms
    # The norm of (Dx − w, Ew): the largest eigenvalue of ((a, √a), (√a, 1 + a)), a = ‖D‖².
    size = math.sqrt((2 * bound + 1 + math.sqrt(1 + 4 * bound)) / 2)
    step = jnp.asarray(step, x.real.dtype)
    largest = jnp.maximum(jnp.max(step), jnp.finfo(step.dtype).tiny)
    tau, sigma = largest / size, 1 / (largest * size)

    def body(carry, _):
        u, w, u_bar, w_bar, p, q = carry
        p = edges.conjugate_prox(p + sigma * (D.forward(u_bar) - w_bar), 1.0)
        q = kinks.conjugate_prox(q + sigma * E.forward(w_bar), 1.0)
        u_new = (step * (u - tau * D.adjoint(p)) + tau * x) / (step + tau)
        w_new = w + tau * (p - E.adjoint(q))
        return (u_new, w_new, 2 * u_new - u, 2 * w_new - w, p, q), None

    w = jnp.zeros_like(D.forward(x))
    q = jnp.zeros_like(E.forward(w))
    start = match_varying((x, w, x, w, w, q), x, step, norms)
    (u, *_), _ = jax.lax.scan(body, start, length=n_iter)
    return u


@functools.partial(jax.jit, static_argnames=("bound", "n_iter"))
def _slopes(norms, E, bound, slopes, n_iter) -> Array:
    """The minimising w of (1) by primal-dual steps on w and the dual of Ew."""
    edges, kinks = norms
    # Lengths of the field against those of its dual, which edges bound too, set the steps' scale.
    dual = jnp.minimum(jnp.max(jnp.asarray(kinks.weight)), 4 * jnp.max(jnp.asarray(edges.weight)))
    largest = jnp.max(jnp.abs(slopes)) / jnp.maximum(dual, 1e-30)
    largest = jax.lax.stop_gradient(jnp.where(largest > 0, largest, 1)).astype(slopes.real.dtype)
    tau, sigma = largest / math.sqrt(bound), 1 / (largest * math.sqrt(bound))

    def body(carry, _):
        w, w_bar, q = carry
        q = kinks.conjugate_prox(q + sigma * E.forward(w_bar), 1.0)
        w_new = slopes + edges.prox(w - tau * E.adjoint(q) - slopes, tau)
        return (w_new, 2 * w_new - w, q), None

    q = jnp.zeros_like(E.forward(slopes))
    start = match_varying((slopes, slopes, q), slopes, norms)
    (w, _, _), _ = jax.lax.scan(body, start, length=n_iter)
    return w


def _difference_bound(E: Any) -> float:
    """Σ 4/h² ≥ ‖D‖² ≥ ‖E‖²."""
    return sum(4 / h**2 for h in E.spacing)


def _backward(x: Array, axis: int) -> Array:
    """x_n − x_{n−1}, and 0 for the first."""
    return jnp.diff(x, axis=axis, prepend=jax.lax.slice_in_dim(x, 0, 1, axis=axis))


def _backward_adjoint(y: Array, axis: int) -> Array:
    inner = jax.lax.slice_in_dim(y, 1, None, axis=axis)
    edge = jnp.zeros_like(jax.lax.slice_in_dim(y, 0, 1, axis=axis))
    return jnp.concatenate([edge, inner], axis) - jnp.concatenate([inner, edge], axis)


def _without_last(x: Array, axis: int) -> Array:
    inner = jax.lax.slice_in_dim(x, 0, -1, axis=axis)
    edge = jnp.zeros_like(jax.lax.slice_in_dim(x, -1, None, axis=axis))
    return jnp.concatenate([inner, edge], axis)
