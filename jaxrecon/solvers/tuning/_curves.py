"""Choosing a parameter from the misfit: the discrepancy principle and the L-curve.

The discrepancy principle (Morozov 1966) takes the strongest regularisation whose reconstruction
still explains the data to within the noise, ‖A x̂ − y‖ = τ σ √m. The L-curve (Hansen, SIAM Rev. 34,
1992) needs no noise level: it takes the corner, the point of largest curvature, of
(log ‖A x̂ − y‖, log R(x̂)). It is a heuristic, and known to over-regularise as the noise vanishes.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.core import Operator, pytree
from jaxrecon.solvers.tuning._choice import (
    Choice,
    Reconstruct,
    check_candidates,
    each,
    is_edge,
    n_real,
    squared_distance,
)


@pytree
class Discrepancy:
    """A rule for ``run(stop=...)``: end once the data are explained to within the noise.

    Stops at f(A x) ≤ ½ τ² σ² m for the problem's first term, a `LeastSquares` f of m real data:
    ½‖A x − y‖² for one without weights. With weights 1/variance, sigma is 1.

    Attributes:
        sigma: the noise's standard deviation, of each part for complex data.
        factor: τ, at least 1.
    """

    sigma: Any
    factor: Any = 1.0

    def __call__(self, problem: Any, value: Any, info: Any) -> Array:
        """Whether the data are explained."""
        del info
        fidelity, A = problem.terms[0]
        level = 0.5 * (self.factor * self.sigma) ** 2 * n_real(fidelity.data)
        return fidelity(A(value)) <= level


def discrepancy(
    reconstruct: Reconstruct,
    A: Operator,
    data: Any,
    sigma: Any,
    bounds: tuple[Any, Any],
    *,
    factor: Any = 1.0,
    n_iter: int = 20,
) -> Choice:
    """The parameter at which the misfit is that of the noise, by bisection on its logarithm.

    Args:
        reconstruct: ``reconstruct(parameter, data) -> image``; its misfit grows with the parameter.
        A: the forward model.
        data: the measurements, m real numbers.
        sigma: standard deviation of the noise, of each part for complex data.
        bounds: positive lower and upper end of the search.
        factor: τ: aim at ‖A x̂ − y‖ = τ σ √m.
        n_iter: bisections; each halves the interval of log parameters.

    Returns:
        The choice; its scores are (misfit / aim)² of every parameter tried. `at_edge` says that
        the aim is not between the bounds.
    """
    aim = (factor * sigma) ** 2 * n_real(data)
    misfit = lambda parameter: squared_distance(A(reconstruct(parameter, data)), data) / aim  # noqa: E731
    low, high = (jnp.log(jnp.asarray(b, jnp.result_type(float))) for b in bounds)

    def bisect(interval, _):
        low, high = interval
        middle = (low + high) / 2
        ratio = misfit(jnp.exp(middle))
        interval = jnp.where(ratio < 1, middle, low), jnp.where(ratio < 1, high, middle)
        return interval, (jnp.exp(middle), ratio)

    (a, b), (tried, ratios) = jax.lax.scan(bisect, (low, high), length=n_iter)
    at_edge = (a == low) | (b == high)
    return Choice(jnp.exp((a + b) / 2), tried, ratios, at_edge)


def l_curve(
    reconstruct: Reconstruct,
    A: Operator,
    data: Any,
    regulariser: Callable[[Any], Array],
    candidates: Any,
) -> Choice:
    """The parameter at the corner of the L-curve.

    Args:
        reconstruct: ``reconstruct(parameter, data) -> image``.
        A: the forward model.
        data: the measurements.
        regulariser: R, ``regulariser(image)`` positive, such as a functional after its operator.
        candidates: parameters to try, ``(candidate,)``, in order and about evenly spaced in the
            logarithm.

    Returns:
        The choice; its scores are minus the curvature, NaN at both ends.

    Raises:
        ValueError: fewer than three candidates.
    """
    candidates = check_candidates(candidates)

    def point(parameter):
        image = reconstruct(parameter, data)
        return squared_distance(A(image), data), regulariser(image)

    misfit, penalty = each(point, candidates)
    curvature = _curvature(jnp.log(misfit) / 2, jnp.log(penalty), jnp.log(candidates))
    best = jnp.argmax(curvature) + 1
    scores = jnp.pad(-curvature, 1, constant_values=jnp.nan)
    edge = is_edge(best - 1, curvature.size)
    return Choice(candidates[best], candidates, scores, edge)


def _curvature(x: Array, y: Array, t: Array) -> Array:
    """Signed curvature of (x, y)(t) at the inner points, positive at an L's corner."""
    dx, dy = (_slopes(c, t) for c in (x, y))
    first = [(d[1:] + d[:-1]) / 2 for d in (dx, dy)]
    step = (t[2:] - t[:-2]) / 2
    second = [(d[1:] - d[:-1]) / step for d in (dx, dy)]
    speed = (first[0] ** 2 + first[1] ** 2) ** 1.5
    return (first[0] * second[1] - second[0] * first[1]) / jnp.where(speed > 0, speed, jnp.inf)


def _slopes(values: Array, t: Array) -> Array:
    return jnp.diff(values) / jnp.diff(t)
