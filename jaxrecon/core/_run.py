"""The one loop driver: iterate, unroll, or differentiate the solution of an algorithm.

Three ways to a gradient:

- "none": a while loop that may stop early. Cheapest; reverse mode raises.
- "unrolled": a scan of static length with rematerialised steps. The derivative of the iterate as
  it is; after `tol` it freezes.
- "implicit": the while loop, with the derivative of the solution; see `_implicit.py`. Memory does
  not grow with the iterations.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import _tree
from jaxrecon.core._algorithm import Algorithm, Result
from jaxrecon.core._implicit import AdjointSolve, implicit
from jaxrecon.core._loops import Watch, iterated, unrolled
from jaxrecon.core._progress import bar

GradientMethod = Literal["none", "unrolled", "implicit"]

# XLA:CPU's own backward pass of a convolution is some 35 times slower inside a loop (jax#12868).
_WRITTEN_OUT_ON_CPU = 32


def run(
    algorithm: Algorithm,
    problem: Any,
    x0: PyTree = None,
    *,
    n_iter: int,
    tol: Any = None,
    inputs: PyTree = None,
    key: Key[Array, ""] | None = None,
    stop: Callable[[Any, Any, Any], Any] | None = None,
    record: Callable[[Any, Any], Any] | None = None,
    gradient: GradientMethod = "none",
    remat: bool = True,
    unroll: int | Literal["auto"] = 1,
    adjoint_solve: AdjointSolve | None = None,
    progress: Callable[[Any, Any], None] | bool | None = None,
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
        stop: a rule ``stop(problem, value, info)`` that ends the run where it is true, such as
            the discrepancy principle. A pytree if it carries arrays; a plain function is part of
            the program, so a new lambda compiles again.
        record: ``record(problem, value)`` is kept of every iteration, on the device: the
            objective, say, as ``lambda problem, x: problem(x)``. Static or a pytree, as `stop`.
        gradient: "none", "unrolled" or "implicit"; see the module's text.
        remat: for "unrolled", recompute each step in the backward pass instead of storing it.
        unroll: for "unrolled", how many steps stand in one turn of the scan; "auto" writes up to
            32 steps out on the CPU, where loops slow convolutions down, and none elsewhere.
        adjoint_solve: for "implicit", the tolerances of the adjoint system.
        progress: True for a progress bar (needs `rich`), or a function called on the host as
            ``progress(i, info)`` after each step; both also under jit.

    Returns:
        The result with its status; `Result.check` turns a bad status into an exception.

    Raises:
        ValueError: an unknown `gradient` or `unroll`, `n_iter` below 1, or inputs of another
            length.
    """
    _check_arguments(n_iter, inputs, gradient, unroll)
    x0 = _tree.zeros(problem.domain) if x0 is None else jax.tree.map(jnp.asarray, x0)
    watch = Watch(tol, _callable_pytree(stop), _callable_pytree(record))
    start = (x0, inputs, key)
    if gradient == "unrolled":
        steps = _steps_in_a_turn(unroll, n_iter)
        options = {"n_iter": n_iter, "remat": remat, "unroll": steps}
        return unrolled(algorithm, problem, start, watch, **options)
    report = bar(n_iter) if progress is True else progress or None
    options = {"n_iter": n_iter, "progress": report}
    if gradient == "implicit":
        solve = adjoint_solve or AdjointSolve()
        return implicit(algorithm, problem, start, watch, solve, **options)
    return iterated(algorithm, problem, start, watch, **options)[0]


def _check_arguments(n_iter: int, inputs: PyTree, gradient: str, unroll: Any) -> None:
    if gradient not in ("none", "unrolled", "implicit"):
        raise ValueError(f"`gradient` is {gradient!r}, expected 'none', 'unrolled' or 'implicit'")
    if unroll != "auto" and not (isinstance(unroll, int) and unroll >= 1):
        raise ValueError(f"`unroll` is {unroll!r}, expected 'auto' or a number of steps")
    if n_iter < 1:
        raise ValueError(f"`n_iter` is {n_iter}, expected at least 1")
    for leaf in jax.tree.leaves(inputs):
        if jnp.ndim(leaf) == 0 or jnp.shape(leaf)[0] != n_iter:
            raise ValueError(
                f"`inputs` has a leaf of shape {jnp.shape(leaf)}, expected leading axis {n_iter}"
            )


def _steps_in_a_turn(unroll: int | str, n_iter: int) -> int:
    if isinstance(unroll, int):
        return unroll
    write_out = jax.default_backend() == "cpu" and n_iter <= _WRITTEN_OUT_ON_CPU
    return n_iter if write_out else 1


def _callable_pytree(function: Any) -> Any:
    """A callable as a pytree: itself if it is one, else static."""
    # One without arrays must stay itself: a Partial of it would compile again for an equal one.
    return jax.tree_util.Partial(function) if jax.tree_util.all_leaves([function]) else function
