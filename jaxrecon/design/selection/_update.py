"""What a measurement does to all candidates: the low-rank updates under selection and acquisition.

With the whitened rows B_i of `criteria.linear_gaussian`, M of what was measured so far, and R the
triangular factor of K L, kept are

    M⁻¹,     V_i = B_i M⁻¹ Rᴴ,     S_i = I + B_i M⁻¹ B_iᴴ                                    (1)

from which the gain of every candidate follows at once,

    error:        tr S_i⁻¹ V_i V_iᴴ,          information:  ½ log det S_i                     (2)

Measuring i, with U = B_i M⁻¹ and C_j = B_j Uᴴ, is Woodbury's formula (sign +), and giving it up the
same with the other sign:

    M⁻¹ ∓ Uᴴ W U,   V_j ∓ C_j W V_i,   S_j ∓ C_j W C_jᴴ,   W = (I ± B_i M⁻¹ B_iᴴ)⁻¹          (3)

One update costs O(candidates · data² · modes): for single rows, as much as one look at all of them.
Float32 bears ratios of signal to noise up to some 300 (squared, 1e5): beyond, pass float64.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, Int

from jaxrecon.design.criteria._gaussian import LinearGaussian, adjoint, product

OBJECTIVES = ("error", "information")


class Knowledge(NamedTuple):
    """Equation (1)."""

    inverse: Inexact[Array, "mode mode"]
    seen: Inexact[Array, "candidate datum interest"]
    spread: Inexact[Array, "candidate datum datum"]


def prior_knowledge(model: LinearGaussian) -> Knowledge:
    """Before the first measurement: M = I."""
    rows = model.rows
    R = jnp.linalg.qr(model.factor, mode="r")
    eye = jnp.eye(rows.shape[1], dtype=rows.dtype)
    inverse = jnp.eye(rows.shape[2], dtype=rows.dtype)
    return Knowledge(inverse, product(rows, adjoint(R)), eye + product(rows, adjoint(rows)))


def observe(
    model: LinearGaussian, known: Knowledge, i: Int[Array, ""], sign: int | Array = 1
) -> Knowledge:
    """After candidate i is measured, or given up with sign −1: equation (3)."""
    U = product(model.rows[i], known.inverse)
    eye = jnp.eye(U.shape[0], dtype=U.dtype)
    W = sign * jnp.linalg.inv(eye + sign * (known.spread[i] - eye))
    CW = product(product(model.rows, adjoint(U)), W)
    return Knowledge(
        known.inverse - product(adjoint(U), product(W, U)),
        known.seen - product(CW, known.seen[i]),
        known.spread - product(product(CW, U), adjoint(model.rows)),
    )


def gains(model: LinearGaussian, known: Knowledge, objective: str) -> Float[Array, " candidate"]:
    """What measuring each candidate next improves: equation (2)."""
    if objective == "error":
        energy = product(known.seen, adjoint(known.seen))
        reduced = jnp.linalg.solve(known.spread, energy)
        return model.parts * jnp.trace(reduced, axis1=1, axis2=2).real
    return model.parts / 2 * jnp.linalg.slogdet(known.spread)[1]


def prior_value(model: LinearGaussian, objective: str) -> Float[Array, ""]:
    """The objective before the first measurement."""
    if objective == "error":
        return model.parts * jnp.sum(jnp.abs(model.factor) ** 2)
    return jnp.zeros((), model.factor.real.dtype)


def check_objective(objective: str) -> None:
    """Raises ValueError unless it is known."""
    if objective not in OBJECTIVES:
        raise ValueError(f"`objective` is {objective!r}, expected one of {OBJECTIVES}")


def cumulative(start: Array, steps: Array, objective: str) -> Array:
    """Values of the objective after each gain."""
    total = jnp.cumsum(steps)
    return start - total if objective == "error" else start + total
