"""Fidelities of photon counts y, negative log-likelihoods of Poisson(m) up to a constant of y.

    D(y, m) = Σ m − y + y log(y / m)                                                      (1)

is the Kullback-Leibler divergence: never negative, and 0 at m = y. In emission (PET, microscopy)
m = x + b with the operator's x ≥ 0 and a background b (scatter, randoms, dark counts). In
transmission (CT) m = I₀ e^{−p} + b with line integrals p, which are dimensionless.

Source: Shepp and Vardi, IEEE Trans. Med. Imaging 1 (1982); Fessler, Statistical image
reconstruction methods for transmission tomography, Handbook of Medical Imaging 2 (2000).
"""

from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.core import LinearOperator, diagonal, pytree, tree
from jaxrecon.functionals._functional import Functional, subsets
from jaxrecon.functionals.fidelities._newton import newton, with_derivatives


@pytree
class Poisson(Functional):
    """D(y, x + b): the Kullback-Leibler fidelity of emission data; convex.

    Finite where x + b ≥ 0 (> 0 where there are counts), so x itself may be slightly negative:
    add `non_negative` for the image. The curvature bound y/b² holds for x ≥ 0 and needs b > 0.

    Args:
        counts: y ≥ 0, not necessarily whole numbers.
        background: b ≥ 0, a scalar or an array that broadcasts to the counts.

    Example:
        >>> f = Poisson(jnp.array([4.0, 0.0]), background=1.0)
        >>> float(f(jnp.array([3.0, -1.0]))), f.prox(jnp.array([3.0, 0.5]), 1.0).tolist()
        (0.0, [3.0, -0.5])
    """

    smooth: ClassVar[bool] = True
    fidelity: ClassVar[bool] = True
    elementwise: ClassVar[bool] = True

    counts: Array
    background: Any = 0.0

    def __call__(self, x: Array) -> Array:
        return _divergence(self.counts, x + self.background)

    def grad(self, x: Array) -> Array:
        return 1 - _ratio(self.counts, x + self.background)

    def prox(self, x: Array, step: Any) -> Array:
        """The positive root m of m² + (t − x − b) m − t y = 0, less b."""
        q = x + self.background - step
        root = tree.safe_sqrt(q**2 + 4 * step * self.counts)
        # Where q < 0, the form without cancellation.
        span = jnp.where((q < 0) & (root > 0), root - q, 1)
        mean = jnp.where(q < 0, 2 * step * self.counts / span, (q + root) / 2)
        return mean - self.background

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        """√y / b, for x ≥ 0.

        Raises:
            ValueError: there is no background, so the curvature is not bounded.
        """
        if isinstance(self.background, int | float) and self.background == 0:
            raise ValueError(
                "`background` is 0, so the curvature of `Poisson` is not bounded: pass a positive "
                "background, `step_size` to the algorithm, or use a proximal or EM method"
            )
        return diagonal(_ratio(jnp.sqrt(self.counts), self.background), A.range) @ A

    def subset(self, i: Any, n: int) -> "Poisson":
        return Poisson(*subsets(i, n, self.counts, self.background))


@pytree
class Transmission(Functional):
    """D(y, I₀ e^{−p} + b): transmission data as a functional of the line integrals p.

    Convex for b = 0; with background it is not where I₀ e^{−p} + b < √(y b), far in the shadow. The
    proximal map comes from Newton's method with a fixed number of steps, which approach from below
    the solution nearest to the data's own estimate log(I₀ / (y − b)). That is the global minimiser
    for b = 0 and wherever step·y < 4, which makes the solution unique; beyond, the point found is
    stationary. The curvature bound I₀ holds for p ≥ 0.

    Args:
        counts: y ≥ 0.
        blank: counts I₀ without an object, a scalar or an array that broadcasts to y; 0 where the
            detector is dead.
        background: b ≥ 0, likewise.

    Example:
        >>> f = Transmission(jnp.array([1000.0 * jnp.exp(-2.0)]), blank=1000.0)
        >>> value, estimate = f(jnp.array([2.0])), f.prox(jnp.array([0.0]), 1.0)
        >>> bool(value < 1e-3), bool(1.9 < estimate[0] < 2)
        (True, True)
    """

    smooth: ClassVar[bool] = True
    fidelity: ClassVar[bool] = True
    convex: ClassVar[bool] = False
    elementwise: ClassVar[bool] = True

    counts: Array
    blank: Any
    background: Any = 0.0

    def __call__(self, x: Array) -> Array:
        return _divergence(self.counts, self.blank * jnp.exp(-x) + self.background)

    def grad(self, x: Array) -> Array:
        return _transmission_slopes(x, self.counts, self.blank, self.background)[0]

    def prox(self, x: Array, step: Any) -> Array:
        data = (self.counts, self.blank, self.background)
        root = newton(_monotone, (x, step, *data), _start(x, step, *data), 20)
        return with_derivatives(_stationary, (x, step, *data), root)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return diagonal(jnp.sqrt(jnp.asarray(self.blank)), A.range) @ A

    def subset(self, i: Any, n: int) -> "Transmission":
        return Transmission(*subsets(i, n, self.counts, self.blank, self.background))


def _divergence(counts: Array, mean: Array) -> Array:
    """Equation (1), as y (ρ − log(1 + ρ)) with ρ = m/y − 1, which rounds to nothing at m = y."""
    counted, possible = counts > 0, mean > 0
    y = jnp.where(counted, counts, 1)
    excess = jnp.where(possible, mean, y) / y - 1
    total = jnp.sum(jnp.where(counted, y * (excess - jnp.log1p(excess)), mean))
    valid = jnp.all(possible | (~counted & (mean == 0)))
    return jnp.where(valid, total, jnp.inf)


def _ratio(a: Array, b: Any) -> Array:
    """A / b, and 0 where a is."""
    zero = a == 0
    return jnp.where(zero, 0, a) / jnp.where(zero, 1, b)


def _transmission_slopes(p: Array, counts: Any, blank: Any, background: Any) -> tuple[Array, Array]:
    """First and second derivative of D(y, s + b), s = I₀ e^{−p}, in p."""
    signal = blank * jnp.exp(-p)
    mean = signal + background
    inverse = jnp.where(mean > 0, 1, 0) / jnp.where(mean > 0, mean, 1)
    fraction = counts * inverse
    return signal * (fraction - 1), signal * (1 - fraction * background * inverse)


def _stationary(p: Array, parameters: Any) -> tuple[Array, Array]:
    """Value and slope of p − x + t f'(p); the slope is positive at a minimiser."""
    x, step, *data = parameters
    first, second = _transmission_slopes(p, *data)
    slope = 1 + step * second
    return p - x + step * first, jnp.where(slope > 0, slope, 1)


def _monotone(p: Array, parameters: Any) -> tuple[Array, Array]:
    """The same with a bound of all slopes to the right: f'' falls while it is positive."""
    x, step, *data = parameters
    first, second = _transmission_slopes(p, *data)
    return p - x + step * first, 1 + step * jnp.maximum(second, 0)


def _start(x: Array, step: Any, counts: Any, blank: Any, background: Any) -> Array:
    """A point to the left of the solution, close to it.

    Without background the solution is p = log(t I₀) − q with q + e^q = log(t I₀) − x + t y
    (Lambert's function), which background moves to the right. Neither does it leave the interval
    between x and the data's own estimate.
    """
    alive = blank > 0
    scale = jnp.log(step * jnp.where(alive, blank, 1))
    target = scale - x + step * counts
    q = jnp.where(target > 1, jnp.log(jnp.maximum(target, 1)), target)
    for _ in range(5):
        power = jnp.exp(q)
        q = q - (q + power - target) / (1 + power)
    signal = counts - background
    estimate = jnp.where(signal > 0, jnp.log(blank / jnp.where(signal > 0, signal, 1)), jnp.inf)
    start = jnp.maximum(scale - q, jnp.minimum(x, estimate))
    return jnp.where(alive, start, x)
