"""MINRES: Hermitian systems that need not be positive.

Paige and Saunders (SIAM J. Numer. Anal. 12, 1975): the Lanczos process of G with the preconditioner
M, one plane rotation a step; ‖b − Gx‖ in the norm of M falls monotonically. For a positive G it
stops earlier than CG, whose error but not whose residual is monotone; for an indefinite one (saddle
points, shifted operators) CG may break down.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, pytree, tree
from jaxrecon.solvers.linear._cg import (
    CgInfo,
    LinearSystem,
    as_system,
    precondition,
    ratio,
    richardson,
)


class MinresState(NamedTuple):
    """Iterate, Lanczos vectors (two, and M times the last), two update directions, rotation."""

    x: Any
    r_old: Any
    r: Any
    z: Any
    w_old: Any
    w: Any
    beta_old: Array
    beta: Array
    delta_bar: Array
    epsilon: Array
    phi_bar: Array
    cosine: Array
    sine: Array
    size: Array


@pytree
class MINRES(Algorithm):
    """MINRES on a `LinearSystem` with a Hermitian G, or on normal equations; see the module's text.

    `info.residual` is ‖b − Gx‖ / ‖b‖ in the norm of the preconditioner, by recurrence. The
    preconditioner must be positive, even where G is not.

    Example:
        >>> from jaxrecon.core import diagonal, run
        >>> G = diagonal(jnp.array([2.0, -4.0]), jnp.zeros(2))
        >>> system = LinearSystem(G, jnp.ones(2))
        >>> run(MINRES(), system, jnp.zeros(2), n_iter=4, tol=1e-5).value.round(4).tolist()
        [0.5, -0.25]
    """

    def prepare(self, problem: Any) -> LinearSystem:
        return as_system(problem)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> MinresState:
        del key
        system = as_system(problem)
        b, M = system.rhs, system.preconditioner
        r = tree.sub(b, system.operator.forward(x0))
        z = precondition(M, r)
        beta = tree.safe_sqrt(tree.dot(r, z))
        size = tree.safe_sqrt(tree.dot(b, precondition(M, b)))
        size = jnp.where(size > 0, size, beta)
        zero, nothing = jnp.zeros_like(beta), jax.tree.map(jnp.zeros_like, r)
        scalars = zero, beta, zero, zero, beta, zero - 1, zero, size
        return MinresState(x0, nothing, r, z, nothing, nothing, *scalars)

    def step(self, problem: Any, state: MinresState, inputs: Any) -> tuple[MinresState, CgInfo]:
        del inputs
        system = as_system(problem)
        v, r, z, alpha, beta = _lanczos(system, state)

        delta = state.cosine * state.delta_bar + state.sine * alpha
        gamma_bar = state.sine * state.delta_bar - state.cosine * alpha
        epsilon, delta_bar = state.sine * beta, -state.cosine * beta
        gamma = tree.safe_sqrt(gamma_bar**2 + beta**2)
        cosine, sine = ratio(gamma_bar, gamma), ratio(beta, gamma)
        phi, phi_bar = cosine * state.phi_bar, sine * state.phi_bar

        w = tree.add_scaled(v, -state.epsilon, state.w_old)
        w = tree.add_scaled(w, -delta, state.w)
        w = tree.scale(ratio(jnp.ones_like(gamma), gamma), w)
        x = tree.add_scaled(state.x, phi, w)
        rotation = delta_bar, epsilon, phi_bar, cosine, sine
        new = MinresState(
            x, state.r, r, z, state.w, w, state.beta, beta, *rotation, size=state.size
        )
        return new, CgInfo(ratio(phi_bar, state.size))

    def value(self, state: MinresState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Any, x: PyTree) -> PyTree:
        """Richardson's map: its fixed points are the solutions, though iterating it may diverge."""
        return richardson(as_system(problem), x)


def _lanczos(system: LinearSystem, state: MinresState):
    """The current unit vector v, the next residual vector r and M r, and their α, β."""
    v = tree.scale(ratio(jnp.ones_like(state.beta), state.beta), state.z)
    r = system.operator.forward(v)
    r = tree.add_scaled(r, -ratio(state.beta, state.beta_old), state.r_old)
    alpha = tree.dot(v, r)
    r = tree.add_scaled(r, -ratio(alpha, state.beta), state.r)
    z = precondition(system.preconditioner, r)
    return v, r, z, alpha, tree.safe_sqrt(tree.dot(r, z))
