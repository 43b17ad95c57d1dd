"""The derivative of a solution, by its fixed-point equation.

With T the algorithm's momentum-free `fixed_point` map and z* = T(p, z*) its fixed point, which is
the solution itself or the solution with its duals,

    ∂z*/∂p = (I − ∂T/∂z)⁻¹ ∂T/∂p,                                                           (1)

so a cotangent c costs one linear solve (I − ∂T/∂zᵀ) u = c, by GMRES on the real vector space behind
Re⟨·,·⟩ (T need not be complex-linear), then one pullback of u. Memory does not grow with the
iterations. If that solve fails its gradient is NaN, never a number that looks fine. The starting
point, the key and the inputs shape the path, not the solution: no derivative.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jaxrecon.core import _tree
from jaxrecon.core._algorithm import Algorithm, Result
from jaxrecon.core._gmres import gmres
from jaxrecon.core._loops import Watch, iterated
from jaxrecon.core._pytree import pytree, replace, static


@pytree
class AdjointSolve:
    """How the adjoint system of gradient="implicit" is solved: restarted GMRES.

    Attributes:
        tol: relative residual to stop at; by default 100 times the rounding of the dtype.
        accept: relative residual up to which a gradient is trusted; beyond, it is NaN.
        restart: Krylov vectors kept.
        n_restarts: restarts at most.
    """

    tol: float | None = static(default=None)
    accept: float = static(default=1e-2)
    restart: int = static(default=30)
    n_restarts: int = static(default=20)


@functools.partial(jax.jit, static_argnames=("n_iter", "progress"))
def implicit(
    algorithm: Algorithm,
    problem: Any,
    start: Any,
    watch: Watch,
    solve: AdjointSolve,
    *,
    n_iter: int,
    progress: Any,
) -> Result:
    """The result of a while loop, with equation (1) for a derivative."""
    leaves, rebuild = _partition((algorithm, problem))

    # Everything that a cotangent may be asked for is an argument: a closed-over tracer would leak.
    @jax.custom_vjp
    def converged(leaves, rest):
        fixed, start, watch = rest
        return iterated(*rebuild(leaves, fixed), start, watch, n_iter=n_iter, progress=progress)

    def forward(leaves, rest):
        result, point = converged(leaves, rest)
        return (result, point), (leaves, rest, point)

    def backward(residuals, ct):
        leaves, (fixed, _, _), point = residuals

        def fixed_point(leaves, z):
            algorithm, problem = rebuild(leaves, fixed)
            return algorithm.fixed_point(algorithm.prepare(problem), z)

        u = _solve_adjoint(lambda z: fixed_point(leaves, z), point, ct[1], solve)
        (leaves_ct,) = jax.vjp(lambda p: fixed_point(p, point), leaves)[1](u)
        return leaves_ct, None

    converged.defvjp(forward, backward)
    result, point = converged(leaves, (_fixed((algorithm, problem)), start, watch))
    return replace(result, value=algorithm.solution(algorithm.prepare(problem), point))


def _solve_adjoint(fixed_point, point: PyTree, ct: PyTree, solve: AdjointSolve) -> PyTree:
    """U with u − (∂T/∂z)ᵀ u = ct, or NaN where GMRES does not get there; equation (1)."""
    pull = jax.vjp(fixed_point, point)[1]

    def system(u):
        (image,) = pull(_tree.from_real(u, point))
        return _tree.sub(u, _tree.to_real(image))

    b = _tree.to_real(ct)
    rounding = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(b))
    tol = 100 * rounding if solve.tol is None else solve.tol
    u = gmres(system, b, tol=tol, restart=solve.restart, n_restarts=solve.n_restarts)
    missed = _tree.norm(_tree.sub(system(u), b))
    trusted = missed <= solve.accept * _tree.norm(b)
    u = jax.tree.map(lambda leaf: jnp.where(trusted, leaf, jnp.nan), u)
    return _tree.from_real(u, point)


def _is_inexact(leaf: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(leaf), jnp.inexact)


def _partition(tree: PyTree):
    """The leaves that have a derivative, and how to put them back beside the others."""
    leaves, structure = jax.tree.flatten(tree)
    chosen = [_is_inexact(leaf) for leaf in leaves]

    def rebuild(inexact, others):
        inexact, others = iter(inexact), iter(others)
        merged = [next(inexact) if c else next(others) for c in chosen]
        return jax.tree.unflatten(structure, merged)

    return [leaf for leaf, c in zip(leaves, chosen, strict=True) if c], rebuild


def _fixed(tree: PyTree) -> list:
    return [leaf for leaf in jax.tree.leaves(tree) if not _is_inexact(leaf)]
