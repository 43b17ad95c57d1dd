"""The one loop driver: iterate, unroll, or differentiate the solution of an algorithm.

Three ways to a gradient:

- "none": a while loop that may stop early. Cheapest; reverse mode raises.
- "unrolled": a scan of static length with rematerialised steps. The derivative of the iterate as
  it is; after `tol` it freezes.
- "implicit": the while loop, with the derivative of the solution. With T the algorithm's
  momentum-free `fixed_point` map and x* = T(p, x*),

      ∂x*/∂p = (I − ∂T/∂x)⁻¹ ∂T/∂p,                                             (1)

  so a cotangent c costs one linear solve (I − ∂T/∂xᵀ) u = c, by GMRES on the real vector space
  behind Re⟨·,·⟩ (T need not be complex-linear), then one pullback of u. Memory does not grow with
  the iterations. If that solve fails its gradient is NaN, never a number that looks fine. The
  starting point, the key and the inputs shape the path, not the solution: no derivative.
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import _tree
from jaxrecon.core._algorithm import (
    COMPLETED,
    CONVERGED,
    NOT_CONVERGED,
    NOT_FINITE,
    RUNNING,
    Algorithm,
    Result,
    Status,
)
from jaxrecon.core._pytree import pytree, static
from jaxrecon.core._rule import match_varying

GradientMethod = Literal["none", "unrolled", "implicit"]


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


def run(
    algorithm: Algorithm,
    problem: Any,
    x0: PyTree = None,
    *,
    n_iter: int,
    tol: Any = None,
    inputs: PyTree = None,
    key: Key[Array, ""] | None = None,
    gradient: GradientMethod = "none",
    remat: bool = True,
    unroll: int = 1,
    adjoint_solve: AdjointSolve | None = None,
    progress: Callable[[Any, Any], None] | None = None,
) -> Result:
    """Runs an algorithm on a problem.

    Args:
        algorithm: its hyper-parameters are data, and differentiable where the gradient allows.
        problem: a `Problem`, or whatever else the algorithm works on.
        x0: the starting point, a pytree like the problem's domain; zeros there if None.
        n_iter: static number of iterations, at most.
        tol: stop once info.residual is at most this; None does all iterations.
        inputs: pytree with leading axis n_iter, one slice for each step.
        key: for stochastic algorithms.
        gradient: "none", "unrolled" or "implicit"; see the module's text.
        remat: for "unrolled", recompute each step in the backward pass instead of storing it.
        unroll: for "unrolled", how many steps stand in one turn of the scan.
        adjoint_solve: for "implicit", the tolerances of the adjoint system.
        progress: called on the host as ``progress(i, info)`` after each step; also under jit.

    Returns:
        The result with its status; `Result.check` turns a bad status into an exception.

    Raises:
        ValueError: an unknown `gradient`, `n_iter` below 1, or inputs of another length.
    """
    _check_arguments(n_iter, inputs, gradient)
    x0 = _tree.zeros(problem.domain) if x0 is None else jax.tree.map(jnp.asarray, x0)
    start = (x0, tol, inputs, key)
    match gradient:
        case "unrolled":
            options = {"n_iter": n_iter, "remat": remat, "unroll": unroll}
            return _unrolled(algorithm, problem, start, **options)
        case "implicit":
            solve = adjoint_solve or AdjointSolve()
            return _implicit(algorithm, problem, start, solve, n_iter=n_iter, progress=progress)
    return _iterated(algorithm, problem, start, n_iter=n_iter, progress=progress)


def _check_arguments(n_iter: int, inputs: PyTree, gradient: str) -> None:
    if gradient not in ("none", "unrolled", "implicit"):
        raise ValueError(f"`gradient` is {gradient!r}, expected 'none', 'unrolled' or 'implicit'")
    if n_iter < 1:
        raise ValueError(f"`n_iter` is {n_iter}, expected at least 1")
    for leaf in jax.tree.leaves(inputs):
        if jnp.ndim(leaf) == 0 or jnp.shape(leaf)[0] != n_iter:
            raise ValueError(
                f"`inputs` has a leaf of shape {jnp.shape(leaf)}, expected leading axis {n_iter}"
            )


# Compiled here, so that a second scan of the same sizes runs at once, also outside jit.
@functools.partial(jax.jit, static_argnames=("n_iter", "progress"))
def _iterated(algorithm, problem, start, *, n_iter, progress) -> Result:
    x0, tol, inputs, key = start
    problem = algorithm.prepare(problem)
    state = algorithm.init(problem, x0, key=key)
    one = lambda i: jax.tree.map(lambda leaf: leaf[i], inputs)  # noqa: E731
    _, info = jax.eval_shape(lambda s: algorithm.step(problem, s, one(0)), state)
    history = jax.tree.map(lambda s: _blank((n_iter, *s.shape), s.dtype), info)

    def body(carry):
        i, _, state, history = carry
        state, info = algorithm.step(problem, state, one(i))
        history = jax.tree.map(lambda h, v: h.at[i].set(v), history, info)
        if progress is not None:
            jax.debug.callback(progress, i, info)
        return i + 1, _judge(info.residual, tol), state, history

    carry = (jnp.zeros((), jnp.int32), jnp.full((), RUNNING), state, history)
    carry = jax.tree.map(jnp.asarray, carry)
    # Inside shard_map the loop's carry varies over the axes that its own output varies over.
    shape = jax.eval_shape(body, carry)
    carry = jax.tree.map(_like_output, carry, shape)
    going = lambda c: (c[0] < n_iter) & (c[1] == RUNNING)  # noqa: E731
    i, code, state, history = jax.lax.while_loop(going, body, carry)
    return Result(algorithm.value(state), Status(_ended(code, tol)), history, i)


@functools.partial(jax.jit, static_argnames=("n_iter", "remat", "unroll"))
def _unrolled(algorithm, problem, start, *, n_iter, remat, unroll) -> Result:
    x0, tol, inputs, key = start
    problem = algorithm.prepare(problem)
    state = algorithm.init(problem, x0, key=key)

    def body(carry, inputs):
        code, state = carry
        new, info = algorithm.step(problem, state, inputs)
        running = code == RUNNING
        state = _tree.where(running, new, state)
        info = jax.tree.map(lambda v: jnp.where(running, v, _blank(v.shape, v.dtype)), info)
        code = jnp.where(running, _judge(info.residual, tol), code)
        return (code, state), (info, running)

    body = jax.checkpoint(body) if remat else body
    carry = jax.tree.map(jnp.asarray, (jnp.full((), RUNNING), state))
    carry = jax.tree.map(_like_output, carry, jax.eval_shape(body, carry, _first(inputs))[0])
    (code, state), (info, active) = jax.lax.scan(body, carry, inputs, length=n_iter, unroll=unroll)
    status = Status(_ended(code, tol))
    return Result(algorithm.value(state), status, info, jnp.sum(active))


@functools.partial(jax.jit, static_argnames=("n_iter", "progress"))
def _implicit(algorithm, problem, start, solve, *, n_iter, progress) -> Result:
    leaves, rebuild = _partition((algorithm, problem))

    # Everything that a cotangent may be asked for is an argument: a closed-over tracer would leak.
    @jax.custom_vjp
    def solution(leaves, rest):
        fixed, start = rest
        return _iterated(*rebuild(leaves, fixed), start, n_iter=n_iter, progress=progress)

    def forward(leaves, rest):
        result = solution(leaves, rest)
        return result, (leaves, rest, result.value)

    def backward(residuals, ct):
        leaves, (fixed, _), value = residuals

        def fixed_point(leaves, x):
            algorithm, problem = rebuild(leaves, fixed)
            return algorithm.fixed_point(problem, x)

        u = _solve_adjoint(lambda x: fixed_point(leaves, x), value, ct.value, solve)
        (leaves_ct,) = jax.vjp(lambda p: fixed_point(p, value), leaves)[1](u)
        return leaves_ct, None

    solution.defvjp(forward, backward)
    return solution(leaves, (_fixed((algorithm, problem)), start))


def _solve_adjoint(fixed_point, value: PyTree, ct: PyTree, solve: AdjointSolve) -> PyTree:
    """U with u − (∂T/∂x)ᵀ u = ct, or NaN where GMRES does not get there; equation (1)."""
    pull = jax.vjp(fixed_point, value)[1]

    def system(u):
        (image,) = pull(_tree.from_real(u, value))
        return _tree.sub(u, _tree.to_real(image))

    b = _tree.to_real(ct)
    rounding = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(b))
    tol = 100 * rounding if solve.tol is None else solve.tol
    u, _ = jax.scipy.sparse.linalg.gmres(
        system, b, tol=tol, restart=solve.restart, maxiter=solve.n_restarts
    )
    missed = _tree.norm(_tree.sub(system(u), b))
    trusted = missed <= solve.accept * _tree.norm(b)
    u = jax.tree.map(lambda leaf: jnp.where(trusted, leaf, jnp.nan), u)
    return _tree.from_real(u, value)


def _judge(residual: Array, tol: Any) -> Array:
    done = jnp.asarray(False) if tol is None else residual <= tol
    code = jnp.where(done, CONVERGED, RUNNING)
    return jnp.where(jnp.isfinite(residual), code, NOT_FINITE)


def _ended(code: Array, tol: Any) -> Array:
    return jnp.where(code == RUNNING, COMPLETED if tol is None else NOT_CONVERGED, code)


def _blank(shape: tuple[int, ...], dtype: Any) -> Array:
    return jnp.full(shape, jnp.nan if jnp.issubdtype(dtype, jnp.inexact) else 0, dtype)


def _first(inputs: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[0], inputs)


def _like_output(leaf: Array, out: Any) -> Array:
    """The initial carry in the dtype and mesh variation that the loop gives it."""
    leaf = match_varying(leaf, out)
    return leaf if leaf.dtype == out.dtype else leaf.astype(out.dtype)


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
