"""Conjugate gradients for Hermitian positive systems, with an implicit derivative.

`cg` solves G x = b. Its derivative is that of the solution, not of the iterates: with w = conj(ct),

    v = G⁻¹ w,   ct_b = conj(v),   and G receives the pullback of Re⟨−v, G x⟩              (1)

so a gradient costs one more solve, which is `cg` itself: higher derivatives follow. It works on
complex data and pytrees, with a preconditioner, and under vmap each problem stops by itself.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, LinearOperator, Problem, Result, norm, pytree, run, tree


@pytree
class LinearSystem:
    """G x = b with G Hermitian positive, and M ≈ G⁻¹ or None."""

    operator: LinearOperator
    rhs: Any
    preconditioner: LinearOperator | None = None

    @property
    def domain(self) -> PyTree:
        """Structs of x."""
        return self.operator.domain


class CgState(NamedTuple):
    """Iterate, residual b − Gx, search direction, ⟨r, M r⟩, ‖b‖."""

    x: Any
    r: Any
    p: Any
    rz: Array
    size: Array


class CgInfo(NamedTuple):
    """‖b − Gx‖ / ‖b‖."""

    residual: Array


@pytree
class ConjugateGradient(Algorithm):
    """CG on a `LinearSystem`, or on the normal equations of a `Problem` of quadratic terms.

    A least-squares problem Σ ½‖Aᵢx − yᵢ‖²_W is solved through Σ AᵢᴴWAᵢ x = Σ AᵢᴴWyᵢ; stopped early
    it regularises.
    """

    def prepare(self, problem: Any) -> LinearSystem:
        """The normal equations, with grams that may have cost something to set up."""
        return as_system(problem)

    def init(self, problem: Any, x0: PyTree, *, key: Key[Array, ""] | None = None) -> CgState:
        del key
        system = as_system(problem)
        r = tree.sub(system.rhs, system.operator.forward(x0))
        z = precondition(system.preconditioner, r)
        return CgState(x0, r, z, tree.dot(r, z), tree.norm(system.rhs))

    def step(self, problem: Any, state: CgState, inputs: Any) -> tuple[CgState, CgInfo]:
        del inputs
        system = as_system(problem)
        Gp = system.operator.forward(state.p)
        step = ratio(state.rz, tree.dot(state.p, Gp))
        x = tree.add_scaled(state.x, step, state.p)
        r = tree.add_scaled(state.r, -step, Gp)
        z = precondition(system.preconditioner, r)
        rz = tree.dot(r, z)
        p = tree.add_scaled(z, ratio(rz, state.rz), state.p)
        residual = ratio(tree.norm(r), state.size)
        return CgState(x, r, p, rz, state.size), CgInfo(residual)

    def value(self, state: CgState) -> PyTree:
        return state.x

    def fixed_point(self, problem: Any, x: PyTree) -> PyTree:
        """Richardson's step; with a preconditioner the same fixed point."""
        return richardson(as_system(problem), x)


def cg(
    operator: LinearOperator,
    rhs: PyTree,
    x0: PyTree | None = None,
    *,
    n_iter: int = 100,
    tol: float = 1e-6,
    preconditioner: LinearOperator | None = None,
) -> Result:
    """Solves G x = b for a Hermitian positive operator; differentiable in G and b.

    Args:
        operator: G, with a domain like b.
        rhs: b.
        x0: the start, zero by default; no gradient flows to it.
        n_iter: iterations at most, in the solve and in the one of its gradient.
        tol: stop at ‖b − Gx‖ ≤ tol·‖b‖.
        preconditioner: M ≈ G⁻¹, Hermitian positive; no gradient flows to it.

    Returns:
        The result with its status. The derivative is that of the exact solution: it is as good as
        the solve converged. Where the solve of the gradient fails, the gradient is NaN.

    Example:
        >>> from jaxrecon.core import diagonal
        >>> G = diagonal(jnp.array([2.0, 4.0]), jnp.zeros(2))
        >>> cg(G, jnp.ones(2)).value.round(4).tolist()
        [0.5, 0.25]
    """
    x0 = tree.zeros(tree.structs(rhs)) if x0 is None else x0
    return _solve((n_iter, tol), operator, rhs, jax.lax.stop_gradient((x0, preconditioner)))


def normal_equations(problem: Problem) -> LinearSystem:
    """Σ AᴴWA and Σ AᴴWy of a problem whose terms are all quadratic.

    Raises:
        ValueError: a term is not.
    """
    grams, sides = zip(*(f.normal(A) for f, A in problem.terms), strict=True)
    operator, rhs = grams[0], sides[0]
    for gram, side in zip(grams[1:], sides[1:], strict=True):
        operator, rhs = operator + gram, tree.add(rhs, side)
    return LinearSystem(operator, rhs)


def as_system(problem: Any) -> LinearSystem:
    """A `LinearSystem` as it is, the normal equations of a `Problem`."""
    return problem if isinstance(problem, LinearSystem) else normal_equations(problem)


def _conjugate_gradient(limits: tuple[int, float], operator, rhs, start) -> Result:
    x0, preconditioner = start
    system = LinearSystem(operator, rhs, preconditioner)
    return run(ConjugateGradient(), system, x0, n_iter=limits[0], tol=limits[1])


_solve = jax.custom_vjp(_conjugate_gradient, nondiff_argnums=(0,))


def _solve_forward(limits, operator, rhs, start):
    result = _solve(limits, operator, rhs, start)
    return result, (operator, result.value, start)


def _solve_backward(limits, residuals, ct):
    operator, x, (x0, preconditioner) = residuals
    w = jax.tree.map(jnp.conj, ct.value)
    adjoint = _solve(limits, operator, w, (tree.zeros(tree.structs(x0)), preconditioner))
    v = jax.tree.map(lambda u: jnp.where(adjoint.status.ok, u, jnp.nan), adjoint.value)
    pull = jax.vjp(lambda G: G.forward(x), operator)[1]
    (ct_operator,) = pull(jax.tree.map(lambda u: -jnp.conj(u), v))
    return ct_operator, jax.tree.map(jnp.conj, v), None


_solve.defvjp(_solve_forward, _solve_backward)


def attach(limits: tuple[int, float], operator, rhs, solved) -> Result:
    """A result found by other means as the solution of G x = b, with the derivative (1).

    Args:
        limits: `n_iter` and `tol` of the gradient's solve.
        operator: G.
        rhs: b.
        solved: the result and the preconditioner; no gradient flows to either.
    """
    return _attach(limits, operator, rhs, jax.lax.stop_gradient(solved))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attach(limits, operator, rhs, solved) -> Result:
    del limits, operator, rhs
    return solved[0]


def _attach_forward(limits, operator, rhs, solved):
    result: Any = _attach(limits, operator, rhs, solved)
    return result, (operator, result.value, (result.value, solved[1]))


_attach.defvjp(_attach_forward, _solve_backward)


def richardson(system: LinearSystem, x: PyTree) -> PyTree:
    """The map x + (b − G x)/‖G‖, whose fixed points are the solutions; no gradient through ‖G‖."""
    G = jax.lax.stop_gradient(system.operator)
    step = 1 / norm(G, jax.random.key(0), n_iter=50, tol=1e-3).value
    residual = tree.sub(system.rhs, system.operator.forward(x))
    return tree.add_scaled(x, jax.lax.stop_gradient(step), residual)


def precondition(M: LinearOperator | None, r: PyTree) -> PyTree:
    """M r, or r without a preconditioner."""
    return r if M is None else M.forward(r)


def ratio(a: Array, b: Array) -> Array:
    """The quotient a/b, but zero where b is: at an exact solution 0/0 means stay."""
    return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))
