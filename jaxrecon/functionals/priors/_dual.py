"""Proximal maps of a norm of a transform, through the dual.

The proximal map of t·‖D·‖ at x is x − t Dᴴp, where the field p maximises the dual over the unit
ball of the dual norm. It is found by fast gradient projection (Beck and Teboulle, IEEE Trans. Image
Process. 18, 2009), n_iter steps of

    p⁺ = proj(q + Dx − D(t Dᴴq)) / (‖D‖² max t)),   q⁺ = p⁺ + ((k − 1)/(k + 2)) (p⁺ − p),     (1)

so it is approximate: its objective is above the least one by O(1/n_iter²).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.core import LinearOperator, match_varying
from jaxrecon.functionals._functional import Functional


# Compiled here, so that a call outside jit does not compile its loop again.
@functools.partial(jax.jit, static_argnames="n_iter")
def dual_prox(
    norm: Functional, D: LinearOperator, bound: Any, x: Array, step: Any, n_iter: int
) -> Array:
    """Argmin_u norm(D u) + Σ |u − x|² / (2 step), step a scalar or an array like x.

    Args:
        norm: a norm, weighted or not, whose conjugate's proximal map is a projection.
        D: the transform.
        bound: ‖D‖² or more.
        x: the point.
        step: positive.
        n_iter: number of iterations.
    """
    step = jnp.asarray(step, x.real.dtype)
    slope = 1 / (bound * jnp.maximum(jnp.max(step), jnp.finfo(step.dtype).tiny))

    def body(carry, k):
        p, q = carry
        u = x - step * D.adjoint(q)
        # The projection does not depend on the step of the conjugate's proximal map.
        new = norm.conjugate_prox(q + slope * D.forward(u), 1.0)
        return (new, new + (k / (k + 3)) * (new - p)), None

    p = jnp.zeros_like(D.forward(x))
    start = match_varying((p, p), x, step, norm)
    iterations = jnp.arange(n_iter, dtype=step.dtype)
    (p, _), _ = jax.lax.scan(body, start, iterations)
    return x - step * D.adjoint(p)
