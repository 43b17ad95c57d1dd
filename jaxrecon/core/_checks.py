"""Self-checks of operators, public because users write operators too.

Inner products are accumulated in float64 on the host: an adjoint scaled by 1.001 must not hide
behind float32 sums.
"""

from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import _tree
from jaxrecon.core._algorithm import Algorithm, Result
from jaxrecon.core._pytree import pytree
from jaxrecon.core._run import run
from jaxrecon.core.operators._operator import Adjoint, LinearOperator


def adjointness(A: LinearOperator, key: Key[Array, ""]) -> float:
    """How far `A.H` is from the adjoint of A; about the dtype's rounding for a right one.

    The larger of |⟨Ax, Ax⟩ − ⟨x, AᴴAx⟩| / ⟨Ax, Ax⟩, which sees a scaled adjoint, and
    |⟨Ax, y⟩ − ⟨x, Aᴴy⟩| / (‖Ax‖ ‖y‖) for independent random x and y, which sees what happens off
    the range of A.

    Example:
        >>> from jaxrecon.core import gradient
        >>> adjointness(gradient(jnp.zeros((4, 5))), jax.random.key(0)) < 1e-6
        True
    """
    x, y = _draws(key, A.domain, A.range)
    Ax = _forward(A, x)
    energy = _dot64(Ax, Ax)
    scale_error = abs(energy - _dot64(x, _adjoint(A, Ax))) / energy
    mismatch = abs(_dot64(Ax, y) - _dot64(x, _adjoint(A, y)))
    return float(max(scale_error, mismatch / np.sqrt(energy * _dot64(y, y))))


def linearity(A: LinearOperator, key: Key[Array, ""]) -> float:
    """‖A(a·u + v) − a·Au − Av‖ / ‖A(a·u + v)‖ for random u, v and a real scalar a."""
    u, v = _draws(key, A.domain, A.domain)
    joint = _forward(A, jax.tree.map(_combined, u, v))
    parts = jax.tree.map(_combined, _forward(A, u), _forward(A, v))
    error = jax.tree.map(lambda a, b: np.asarray(a) - b, joint, parts)
    return float(np.sqrt(_dot64(error, error) / _dot64(joint, joint)))


def norm(A: LinearOperator, key: Key[Array, ""], *, n_iter: int = 100, tol: float = 1e-4) -> Result:
    """Operator norm ‖A‖₂ by power iteration on AᴴA.

    The estimate approaches the norm from below: a step size from it wants a margin of a per cent.

    Args:
        A: the operator.
        key: for the random start.
        n_iter: iterations at most.
        tol: stop when the estimate changes by less than this, relatively.

    Returns:
        Result whose value is the norm, with a convergence status.

    Example:
        >>> from jaxrecon.core import diagonal
        >>> A = diagonal(jnp.array([1.0, -3.0]), jnp.zeros(2))
        >>> round(float(norm(A, jax.random.key(0)).value), 3)
        3.0
    """
    start = _tree.random_normal(key, A.domain)
    return run(PowerIteration(), A, start, n_iter=n_iter, tol=tol)


class _PowerState(NamedTuple):
    vector: Any
    norm: Array


class _PowerInfo(NamedTuple):
    norm: Array
    residual: Array


@pytree
class PowerIteration(Algorithm):
    """Power iteration on AᴴA, the problem being A itself; its value is ‖A‖₂."""

    def init(self, problem: LinearOperator, x0: PyTree, *, key=None) -> _PowerState:
        del problem, key
        return _PowerState(_normalised(x0), jnp.zeros_like(_tree.norm(x0)))

    def step(self, problem: LinearOperator, state: _PowerState, inputs: Any):
        del inputs
        image = problem.gram.forward(state.vector)
        # For a unit vector v, ‖AᴴA v‖ tends to ‖A‖².
        estimate = jnp.sqrt(_tree.norm(image))
        change = jnp.abs(estimate - state.norm) / jnp.where(estimate > 0, estimate, 1)
        return _PowerState(_normalised(image), estimate), _PowerInfo(estimate, change)

    def value(self, state: _PowerState) -> Array:
        return state.norm


def materialise(A: LinearOperator) -> Array:
    """The dense matrix of A, ``(range size, domain size)``, both sides flattened and joined.

    For small operators: it applies A to every unit vector. An operator that is only real-linear on
    a complex domain (one that takes a real part) has no complex matrix.
    """
    x, unravel = jax.flatten_util.ravel_pytree(_tree.zeros(A.domain))
    column = lambda e: jax.flatten_util.ravel_pytree(A(unravel(e)))[0]  # noqa: E731
    return jax.vmap(column, out_axes=1)(jnp.eye(x.size, dtype=x.dtype))


def _forward(A: LinearOperator, x: PyTree) -> PyTree:
    """A(x), compiled once for A and for A.H."""
    return adjoint(A.inner, x) if isinstance(A, Adjoint) else forward(A, x)


def _adjoint(A: LinearOperator, y: PyTree) -> PyTree:
    """A.H(y), likewise."""
    return forward(A.inner, y) if isinstance(A, Adjoint) else adjoint(A, y)


@jax.jit
def forward(A: LinearOperator, x: PyTree) -> PyTree:
    """A(x) as a program of both."""
    return A(x)


@jax.jit
def adjoint(A: LinearOperator, y: PyTree) -> PyTree:
    """A.H(y) as a program of both."""
    return A.H(y)


def _draws(key: Key[Array, ""], *likes: PyTree) -> list[PyTree]:
    """Independent standard normal trees, from the host: random numbers take long to compile."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))

    def one(struct: jax.ShapeDtypeStruct) -> Array:
        values = rng.standard_normal(struct.shape)
        if jnp.issubdtype(struct.dtype, jnp.complexfloating):
            values = values + 1j * rng.standard_normal(struct.shape)
        return jnp.asarray(values, struct.dtype)

    return [jax.tree.map(one, like) for like in likes]


def _combined(u: Array, v: Array) -> np.ndarray:
    return np.asarray(-1.7 * np.asarray(u) + np.asarray(v), u.dtype)


def _normalised(x: PyTree) -> PyTree:
    size = _tree.norm(x)
    return _tree.scale(1 / jnp.where(size > 0, size, 1), x)


def _dot64(a: PyTree, b: PyTree) -> float:
    leaves = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    wide = ((np.asarray(p, np.complex128), np.asarray(q, np.complex128)) for p, q in leaves)
    return float(sum(np.vdot(p, q).real for p, q in wide))
