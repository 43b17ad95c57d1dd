"""What the registry asks of every algorithm; `test_registry.py` shows each verb something wrong."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon.core import LinearOperator, Problem, chain, operator, run, static, tree
from tests.solvers.problems import KEYS, PROBLEMS, Case, Posed

QUADRATIC = {"least squares", "tikhonov", "two blocks"}


def solve(case: Case, problem: Problem, **options: Any):
    key = KEYS[7] if case.stochastic else None
    settings = {"n_iter": case.n_iter, "tol": case.tol, "key": key} | options
    return run(case.algorithm, problem, tree.zeros(problem.domain), **settings)


_programs: dict[tuple[int, str], tuple[Case, Posed, Callable]] = {}


def program(case: Case, dtype: str) -> tuple[Posed, Callable]:
    """The posed problem, and `solve` as one program of its arrays, compiled once for all verbs."""
    if (id(case), dtype) not in _programs:
        posed = PROBLEMS[case.problem](dtype)
        go = jax.jit(lambda *arrays: solve(case, posed.build(*arrays)))
        _programs[id(case), dtype] = case, posed, go  # with the case, so that its id stays its own
    return _programs[id(case), dtype][1:]


def check_solution(case: Case, dtype: str) -> None:
    """The objective is the least one, and the status says that it got there."""
    posed, go = program(case, dtype)
    result = go(*posed.arrays)
    assert bool(result.status.ok), result.status.advice
    best = float(posed.problem(jnp.asarray(posed.solution)))
    gap = (float(posed.problem(result.value)) - best) / abs(best)
    assert gap < case.accuracy, f"relative objective gap {gap:.1e}"
    distance = np.linalg.norm(result.value - posed.solution) / np.linalg.norm(posed.solution)
    assert distance**2 < case.accuracy, f"relative distance {distance:.1e}"


def check_dtype(case: Case, dtype: str) -> None:
    """Single precision stays so, also under x64; nothing needs to run for that."""
    single = {"float64": "float32", "complex128": "complex64"}[dtype]
    posed = PROBLEMS[case.problem](dtype)
    arrays = tree_as(posed.arrays, single)
    result = jax.eval_shape(lambda a: solve(case, posed.build(*a), n_iter=4, tol=None), arrays)
    assert result.value.dtype == single, f"became {result.value.dtype}"
    wide = [leaf.dtype for leaf in jax.tree.leaves(result.info) if leaf.dtype == jnp.float64]
    assert not wide, f"info in {wide}"


def check_vmap(case: Case, dtype: str) -> None:
    """Problems in a batch end where they do alone, each after its own number of iterations."""
    posed, go = program(case, dtype)
    many = [posed.arrays, tuple(0.7 * a for a in posed.arrays)]
    batch = jax.tree.map(lambda *leaves: np.stack(leaves), *many)
    together = jax.jit(jax.vmap(go))(*batch)
    for i, arrays in enumerate(many):
        alone = go(*arrays)
        # Rounding may decide the last steps before the tolerance.
        n_alone, n_together = int(alone.n_iter), int(together.n_iter[i])
        assert abs(n_alone - n_together) <= 0.02 * n_alone + 2, (
            f"{n_together} steps, {n_alone} alone"
        )
        np.testing.assert_allclose(together.value[i], alone.value, rtol=1e-6, atol=1e-9)


def check_unrolled(case: Case, dtype: str) -> None:
    """A scan of the same steps ends where the while loop does, with its derivative.

    The derivative is that of the whole path, to its end, against central differences of the end:
    step sizes are found by power iterations that are not differentiated.
    """
    _check_slope(case, dtype, "unrolled", rtol=1e-4)


def check_implicit_gradient(case: Case, dtype: str) -> None:
    """The derivative of the solution against central differences of the solution."""
    _check_slope(case, dtype, "implicit", rtol=1e-6)


def check_pytrees(case: Case, dtype: str) -> None:
    """The image as a tuple of two arrays; for problems whose terms act on any pytree."""
    posed, go = program(case, dtype)
    terms = posed.problem.terms
    domain = posed.problem.domain
    join = Join(3, domain.shape[0], domain.dtype)
    split = Problem(tuple((f, chain(A, join)) for f, A in terms))
    # At the end: the power iteration for a step size starts from a draw that knows the tree.
    parts = jax.jit(lambda problem: solve(case, problem).value)(split)
    whole = go(*posed.arrays).value
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-6, atol=1e-9)


def tree_as(arrays: Any, dtype: str) -> Any:
    """Arrays in another precision, each real or complex as it was."""
    real = jnp.finfo(dtype).dtype
    return jax.tree.map(lambda a: a.astype(dtype if jnp.iscomplexobj(a) else real), arrays)


def _check_slope(case: Case, dtype: str, gradient: str, rtol: float) -> None:
    posed, go = program(case, dtype)

    def loss(arrays):
        value = solve(case, posed.build(*arrays), gradient=gradient).value
        return tree.sum_of_squares(value)

    def end(arrays):
        return np.sum(np.abs(go(*arrays).value) ** 2)

    value, slopes = jax.jit(jax.value_and_grad(loss))(posed.arrays)
    np.testing.assert_allclose(value, end(posed.arrays), rtol=1e-9)
    rng, h, exact, shifted = np.random.default_rng(6), 1e-5, 0.0, ([], [])
    for array, slope in zip(posed.arrays, slopes, strict=True):
        direction = rng.standard_normal(array.shape).astype(array.dtype)
        if np.iscomplexobj(array):
            direction = direction + 1j * rng.standard_normal(array.shape)
        exact += np.vdot(np.conj(slope), direction).real
        for points, sign in zip(shifted, (1, -1), strict=True):
            points.append(np.asarray(array) + sign * h * direction)
    numeric = float(end(shifted[0]) - end(shifted[1])) / (2 * h)
    assert abs(exact - numeric) <= rtol * abs(numeric), f"{exact:.9g}, difference {numeric:.9g}"


@operator
class Join(LinearOperator):
    """(x₁, x₂) ↦ their concatenation."""

    first: int = static()
    size: int = static()
    dtype: Any = static()

    @property
    def domain(self):
        sizes = (self.first, self.size - self.first)
        return tuple(jax.ShapeDtypeStruct((n,), self.dtype) for n in sizes)

    @property
    def range(self):
        return jax.ShapeDtypeStruct((self.size,), self.dtype)

    def forward(self, x):
        return jnp.concatenate(x)

    def adjoint(self, y):
        return y[: self.first], y[self.first :]


VERBS = {
    "solution": check_solution,
    "dtype": check_dtype,
    "vmap": check_vmap,
    "unrolled": check_unrolled,
    "implicit gradient": check_implicit_gradient,
    "pytrees": check_pytrees,
}
