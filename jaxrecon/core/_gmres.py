"""Restarted GMRES on pytrees of real arrays (Saad and Schultz, SIAM J. Sci. Stat. Comput. 7, 1986).

`jax.scipy.sparse.linalg.gmres` traces the transpose of its system on every call, and operators with
a derivative rule of their own (projectors, NUFFTs) have none: this one asks for a transpose only
where there is one, so that a first derivative does without.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import _tree
from jaxrecon.core.operators import match_varying

System = Callable[[PyTree], PyTree]


def gmres(system: System, b: PyTree, *, tol: float, restart: int, n_restarts: int) -> PyTree:
    """An approximate solution of system(x) = b, differentiable in b and in what `system` closes on.

    Args:
        system: a linear map of pytrees of real arrays; its derivative in reverse mode, and so
            second derivatives, need it to be transposable.
        b: right-hand side.
        tol: relative residual to stop at.
        restart: Krylov vectors kept.
        n_restarts: restarts at most; the caller looks at what residual they leave.
    """
    b = match_varying(b, b, jax.eval_shape(system, b))
    krylov = functools.partial(_restarted, tol=tol, restart=restart, n_restarts=n_restarts)
    transposed = krylov if _has_transpose(system, b) else None
    return jax.lax.custom_linear_solve(system, b, krylov, transposed)


def _has_transpose(system: System, b: PyTree) -> bool:
    try:
        jax.eval_shape(lambda b: jax.linear_transpose(system, b)(b), b)
    except NotImplementedError:
        return False
    return True


def _restarted(system: System, b: PyTree, *, tol: float, restart: int, n_restarts: int) -> PyTree:
    size = _tree.norm(b)

    def going(carry):
        _, residual, count = carry
        return (_tree.norm(residual) > tol * size) & (count < n_restarts)

    def cycle(carry):
        x, residual, count = carry
        x = _tree.add(x, _correction(system, residual, restart))
        return x, _tree.sub(b, system(x)), count + 1

    start = jax.tree.map(jnp.zeros_like, b), b, jnp.zeros((), jnp.int32)
    return jax.lax.while_loop(going, cycle, match_varying(start, b))[0]


def _correction(system: System, residual: PyTree, n: int) -> PyTree:
    """The vector of the Krylov space of dimension n that makes the residual smallest."""
    length = _tree.norm(residual)
    first = _tree.scale(1 / jnp.where(length > 0, length, 1), residual)
    basis = jax.tree.map(lambda q: jnp.zeros((n + 1, *q.shape), q.dtype).at[0].set(q), first)
    start = match_varying((basis, jnp.zeros((n, n + 1), length.dtype)), residual)
    expand = functools.partial(_expanded, system)
    basis, columns = jax.lax.fori_loop(0, n, expand, start)
    target = jnp.zeros(n + 1, length.dtype).at[0].set(length)
    weights = jnp.linalg.lstsq(columns.T, target)[0]
    return _combined(jax.tree.map(lambda q: q[:-1], basis), weights)


def _expanded(system: System, j: Array, carry: tuple[PyTree, Array]) -> tuple[PyTree, Array]:
    """The basis with vector j + 1, and column j of the Hessenberg matrix (Arnoldi)."""
    basis, columns = carry
    new = system(jax.tree.map(lambda q: q[j], basis))
    column = jnp.zeros_like(columns[0])
    for _ in range(2):  # once does not keep the basis orthogonal
        parts = _projected(basis, new)
        new, column = _tree.sub(new, _combined(basis, parts)), column + parts
    length = _tree.norm(new)
    done = length <= jnp.finfo(length.dtype).eps * jnp.linalg.norm(column)
    new = _tree.scale(jnp.where(done, 0, 1 / jnp.where(done, 1, length)), new)
    basis = jax.tree.map(lambda q, v: q.at[j + 1].set(v), basis, new)
    return basis, columns.at[j].set(column.at[j + 1].set(jnp.where(done, 0, length)))


def _projected(basis: PyTree, vector: PyTree) -> Array:
    product = functools.partial(jnp.tensordot, precision="highest")
    parts = jax.tree.map(lambda q, v: product(q, v, v.ndim), basis, vector)
    return functools.reduce(jnp.add, jax.tree.leaves(parts))


def _combined(basis: PyTree, weights: Array) -> Any:
    product = functools.partial(jnp.tensordot, precision="highest")
    return jax.tree.map(lambda q: product(weights.astype(q.dtype), q, 1), basis)
