"""Roots of increasing scalar equations, entry by entry, with derivatives.

An equation is ``equation(u, parameters) -> (value, slope)``. The callers start where Newton's
method approaches the root from one side, so nothing needs safeguarding.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array

from jaxrecon.core import match_varying

Equation = Callable[[Array, Any], tuple[Array, Array]]


@functools.partial(jax.jit, static_argnums=(0, 3))
def newton(equation: Equation, parameters: Any, start: Array, n_iter: int) -> Array:
    """`n_iter` steps u − value/slope from `start`, without derivatives."""
    parameters, start = jax.lax.stop_gradient((parameters, start))
    start = match_varying(start, parameters)
    return jax.lax.fori_loop(0, n_iter, lambda _, u: _step(equation, parameters, u), start)


def with_derivatives(equation: Equation, parameters: Any, root: Array) -> Array:
    """The root with its first three derivatives in the parameters.

    A step of Newton's method squares the error, also that made by moving the parameters away from
    those the root belongs to: two steps from a constant are right up to the third order.
    """
    root = jax.lax.stop_gradient(root)
    return _step(equation, parameters, _step(equation, parameters, root))


def _step(equation: Equation, parameters: Any, u: Array) -> Array:
    value, slope = equation(u, parameters)
    return u - value / slope
