"""Envelopes, infimal convolutions and conjugates of convex functionals.

    (M_μ f)(x)  = min_u f(u) + ‖u − x‖²/2μ                                                 (1)
    (f □ g)(x)  = min_u f(u) + g(x − u)                                                    (2)
    f*(y)       = max_x Re⟨x, y⟩ − f(x)                                                    (3)

Exact: everything about the Moreau envelope (1), whose gradient is (x − prox_{μf}(x))/μ and whose
proximal map is x + t/(μ + t) (prox_{(μ+t)f}(x) − x); the proximal map of the conjugate (3), by
Moreau's decomposition. Approximate, by a fixed number of iterations: the value and the proximal map
of an infimal convolution (2), and the value of a conjugate. Infimal convolution adds conjugates,
(f □ g)* = f* + g*, and (1) is the one with ‖·‖²/2μ.

Source: Bauschke and Combettes, Convex Analysis and Monotone Operator Theory (2nd ed., 2017),
chapters 12 to 14.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import LinearOperator, match_varying, pytree, static, tree
from jaxrecon.functionals._algebra import Wrapper
from jaxrecon.functionals._functional import Functional
from jaxrecon.functionals._norms import L1, LInfBall
from jaxrecon.functionals._quadratic import SquaredL2


@pytree
class MoreauEnvelope(Wrapper):
    """Equation (1): f smoothed over a width of μ, from below; smooth whatever f is."""

    smooth: ClassVar[bool] = True

    inner: Any
    mu: Any = 1.0

    def __call__(self, x: PyTree) -> Array:
        nearest = self.inner.prox(x, self.mu)
        return self.inner(nearest) + tree.sum_of_squares(tree.sub(nearest, x)) / (2 * self.mu)

    def grad(self, x: PyTree) -> PyTree:
        return tree.scale(1 / self.mu, tree.sub(x, self.inner.prox(x, self.mu)))

    def prox(self, x: PyTree, step: Any) -> PyTree:
        """Exact for convex f; else a ValueError, for the formula needs it.

        Raises:
            ValueError: f is not convex.
        """
        if not self.convex:
            raise ValueError("`MoreauEnvelope` of a non-convex f has no proximal map: use `grad`")
        further = self.inner.prox(x, self.mu + step)
        share = step / (self.mu + step)
        return jax.tree.map(lambda a, p: a + tree.weak(share, a) * (p - a), x, further)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return jnp.sqrt(1 / self.mu) * A

    def subset(self, i: Any, n: int) -> "MoreauEnvelope":
        return MoreauEnvelope(self.inner.subset(i, n), self.mu)


@pytree
class InfimalConvolution(Functional):
    """Equation (2): x split into a part that f likes and one that g likes.

    Its value comes from `n_iter` steps of Douglas-Rachford and is never below the minimum; with
    two indicators it may be +inf short of convergence. Its proximal map comes from
    `n_iter` accelerated proximal gradient steps on u. Solvers that take several blocks find the
    same x = u + v exactly.
    """

    first: Any
    second: Any
    n_iter: int = static(default=200)

    @property
    def convex(self) -> bool:
        return self.first.convex and self.second.convex

    def __call__(self, x: PyTree) -> Array:
        def body(z, _):
            u = self.first.prox(z, 1.0)
            mirrored = tree.sub(tree.scale(2.0, u), z)
            w = tree.sub(x, self.second.prox(tree.sub(x, mirrored), 1.0))
            return tree.add(z, tree.sub(w, u)), None

        start = match_varying(tree.scale(0.5, x), self, x)
        z, _ = jax.lax.scan(body, start, length=self.n_iter)
        u = self.first.prox(z, 1.0)
        v = self.second.prox(tree.sub(x, tree.sub(tree.scale(2.0, u), z)), 1.0)
        # Two splits of x, each feasible for one of the two: both are bounds from above.
        split_by_first = self.first(u) + self.second(tree.sub(x, u))
        split_by_second = self.first(tree.sub(x, v)) + self.second(v)
        return jnp.minimum(split_by_first, split_by_second)

    def prox(self, x: PyTree, step: Any) -> PyTree:
        def body(carry, _):
            u, extrapolated, t = carry
            v = self.second.prox(tree.sub(x, extrapolated), step)
            new = self.first.prox(tree.sub(x, v), step)
            t_new = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
            return (new, tree.add_scaled(new, (t - 1) / t_new, tree.sub(new, u)), t_new), None

        u = tree.scale(0.5, x)
        start = match_varying((u, u, jnp.ones((), tree.norm(x).dtype)), self, x, step)
        (u, _, _), _ = jax.lax.scan(body, start, length=self.n_iter)
        return tree.add(u, self.second.prox(tree.sub(x, u), step))


@pytree
class Conjugate(Functional):
    """Equation (3), for a convex f.

    The value is a lower bound by a few proximal-point steps on (3): sharp to
    rounding where f* is finite and f quadratic, a norm or alike; large rather than +inf outside
    f*'s domain. The proximal map is exact.
    """

    inner: Any

    @property
    def elementwise(self) -> bool:
        return self.inner.elementwise

    def __call__(self, x: PyTree) -> Array:
        point = tree.zeros(x)
        for size in (1000.0, 100.0, 10.0, 1.0):  # the last one rounds least
            point = self.inner.prox(tree.add_scaled(point, size, x), size)
        return tree.dot(point, x) - self.inner(point)

    def prox(self, x: PyTree, step: Any) -> PyTree:
        return self.inner.conjugate_prox(x, step)

    def conjugate_prox(self, x: PyTree, step: Any) -> PyTree:
        return self.inner.prox(x, step)


def moreau_envelope(f: Functional, mu: Any = 1.0) -> Functional:
    """The Moreau envelope of width μ, equation (1): f made smooth, its minimisers kept.

    Example:
        >>> from jaxrecon.functionals import L1
        >>> huber = moreau_envelope(L1(), 1.0)
        >>> huber.grad(jnp.array([0.5, 9.0])).tolist()
        [0.5, 1.0]
    """
    return MoreauEnvelope(f, mu)


def infimal_convolution(f: Functional, g: Functional, *, n_iter: int = 200) -> Functional:
    """(f □ g)(x) = min_u f(u) + g(x − u), equation (2); f and g convex.

    The Moreau envelope, exactly, where one of the two is a squared norm; else approximate, see
    `InfimalConvolution`.

    Raises:
        ValueError: f or g is not convex.
    """
    if not (f.convex and g.convex):
        raise ValueError("`infimal_convolution` needs convex functionals")
    for one, other in ((f, g), (g, f)):
        if isinstance(other, SquaredL2):
            return MoreauEnvelope(one, 1 / other.weight)
    return InfimalConvolution(f, g, n_iter)


def conjugate(f: Functional) -> Functional:
    """The convex conjugate f*, equation (3); that of a conjugate is the functional itself.

    In closed form for `L1`, `LInfBall` and `SquaredL2`; else by Moreau's decomposition, see
    `Conjugate`.

    Raises:
        ValueError: f is not convex.

    Example:
        >>> from jaxrecon.functionals import L1, L2
        >>> conjugate(L1(2.0)).prox(jnp.array([3.0, -1.0]), 0.7).tolist()
        [2.0, -1.0]
        >>> conjugate(conjugate(L2(2.0)))
        L2(weight=2.0)
    """
    if not f.convex:
        raise ValueError(f"`f` is a {type(f).__name__}, which is not convex")
    if isinstance(f, Conjugate):
        return f.inner
    if isinstance(f, L1):
        return LInfBall(f.weight)
    if isinstance(f, LInfBall):
        return L1(f.radius)
    if isinstance(f, SquaredL2):
        return SquaredL2(1 / f.weight)
    return Conjugate(f)
