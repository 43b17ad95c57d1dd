"""Small problems with known solutions, and the form in which an algorithm asks to be tested.

Every factory takes a dtype and gives a problem and its reference: the minimiser where it is unique,
by a closed form or by enumeration in float64, never by the algorithms under test.
"""

import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon import functionals as F
from jaxrecon.core import Algorithm, LinearOperator, Problem, gradient, identity, operator

N_DATA, N_IMAGE = 12, 7
KEYS = jax.random.split(jax.random.key(11), 8)


class Case(NamedTuple):
    """An algorithm with a problem it must solve.

    Attributes:
        algorithm: the hyper-parameters under test.
        problem: a key of `PROBLEMS`.
        n_iter: iterations within which it must get there in float64.
        tol: its own stopping tolerance; None for methods that cannot stop by themselves.
        accuracy: relative gap of the objective, and distance to the solution squared, to reach.
        implicit: whether `fixed_point` exists, so that implicit gradients are checked.
        stochastic: whether a key is needed.
        on_complex: whether the problem is posed on complex images too.
    """

    algorithm: Algorithm
    problem: str
    n_iter: int = 2000
    tol: float | None = 1e-13
    accuracy: float = 1e-6
    implicit: bool = False
    stochastic: bool = False
    on_complex: bool = True


class Posed(NamedTuple):
    """A problem with its minimiser; `arrays` are what gradients are taken in."""

    build: Callable[..., Problem]
    arrays: tuple[Any, ...]
    solution: np.ndarray

    @property
    def problem(self) -> Problem:
        return self.build(*self.arrays)


@operator
class Dense(LinearOperator):
    """A matrix whose rows can be dealt out to subsets."""

    matrix: jax.Array

    @property
    def domain(self):
        return jax.ShapeDtypeStruct(self.matrix.shape[1:], self.matrix.dtype)

    @property
    def range(self):
        return jax.ShapeDtypeStruct(self.matrix.shape[:1], self.matrix.dtype)

    def forward(self, x):
        return jnp.matmul(self.matrix, x, precision="highest")

    def adjoint(self, y):
        return jnp.matmul(self.matrix.conj().T, y, precision="highest")

    def subset(self, i, n):
        return Dense(self.matrix.reshape(-1, n, self.matrix.shape[1])[:, i])


def _matrix(dtype, positive=False):
    M = jax.random.normal(KEYS[0], (N_DATA, N_IMAGE), dtype)
    return jnp.abs(M) + 0.1 if positive else M


def _data(dtype):
    return jax.random.normal(KEYS[1], (N_DATA,), dtype)


def least_squares(dtype) -> Posed:
    M, y = _matrix(dtype), _data(dtype)
    build = lambda M, y: Problem(((F.LeastSquares(y), Dense(M)),))  # noqa: E731
    return Posed(build, (M, y), np.linalg.lstsq(np.asarray(M), np.asarray(y))[0])


def tikhonov(dtype) -> Posed:
    M, y, w = _matrix(dtype), _data(dtype), jnp.asarray(0.5)

    def build(M, y, w):
        A = Dense(M)
        return Problem(((F.LeastSquares(y), A), (F.SquaredL2(w), identity(A.domain))))

    G = M.conj().T @ M + 0.5 * jnp.eye(N_IMAGE)
    return Posed(build, (M, y, w), np.linalg.solve(np.asarray(G), np.asarray(M.conj().T @ y)))


def lasso(dtype) -> Posed:
    """The reference is polished on its support: 0 = Mᴴ(Mx − y) + w x/|x|, by Newton's method."""
    M, y, w = _matrix(dtype), _data(dtype), jnp.asarray(3.0)

    def build(M, y, w):
        A = Dense(M)
        return Problem(((F.LeastSquares(y), A), (F.L1(w), identity(A.domain))))

    return Posed(build, (M, y, w), _lasso_reference(np.asarray(M), np.asarray(y), 3.0))


def nonnegative(dtype) -> Posed:
    """Every support is tried."""
    M, y = _matrix(dtype), _data(dtype)

    def build(M, y):
        A = Dense(M)
        return Problem(((F.LeastSquares(y), A), (F.non_negative(), identity(A.domain))))

    return Posed(build, (M, y), _nonnegative_reference(np.asarray(M), np.asarray(y)))


def tv_denoising(dtype) -> Posed:
    """One row, so that the taut string is exact: pieces are enumerated by their borders."""
    y = jax.random.normal(KEYS[2], (7,), dtype).real.astype(dtype) + 1.0
    w = jnp.asarray(0.4)
    build = lambda y, w: Problem(((F.LeastSquares(y), identity(y)), (F.L21(w), gradient(y))))  # noqa: E731
    return Posed(build, (y, w), _tv_reference(np.asarray(y.real), 0.4).astype(dtype))


def huber(dtype) -> Posed:
    """Smooth and strongly convex, not quadratic: ½‖Mx − y‖² + Σ Huber(x), by Newton's method."""
    M, y = _matrix(dtype), _data(dtype)

    def build(M, y):
        A = Dense(M)
        envelope = F.moreau_envelope(F.L1(2.0), 0.5)
        return Problem(((F.LeastSquares(y), A), (envelope, identity(A.domain))))

    return Posed(build, (M, y), _newton(build(M, y), M))


def poisson(dtype) -> Posed:
    """Kullback-Leibler with background on x ≥ 0; the optimum is inside, by Newton's method."""
    M = _matrix(dtype, positive=True)
    truth = jnp.abs(jax.random.normal(KEYS[3], (N_IMAGE,), dtype)) + 1.0
    background = jnp.full((N_DATA,), 0.3, dtype)
    y = M @ truth + background + 0.1 * _data(dtype)

    def build(M, y):
        A = Dense(M)
        likelihood = F.Poisson(y, background.astype(y.dtype))
        return Problem(((likelihood, A), (F.non_negative(), identity(A.domain))))

    smooth = Problem(build(M, y).terms[:1])
    solution = _newton(smooth, M, start=truth)
    assert solution.min() > 0, "the constraint is active: the reference is wrong"
    return Posed(build, (M, y), solution)


def two_blocks(dtype) -> Posed:
    """½‖Mx − y‖² + ½w‖Dx‖² + ½‖x‖²: three quadratic terms behind different operators."""
    M, y, w = _matrix(dtype), _data(dtype), jnp.asarray(2.0)

    def build(M, y, w):
        A = Dense(M)
        small = (F.SquaredL2(1.0), identity(A.domain))
        return Problem(((F.LeastSquares(y), A), (F.SquaredL2(w), gradient(A.domain)), small))

    D = np.diff(np.eye(N_IMAGE), axis=0)
    G = np.asarray(M).conj().T @ np.asarray(M) + 2.0 * D.T @ D + np.eye(N_IMAGE)
    return Posed(build, (M, y, w), np.linalg.solve(G, np.asarray(M).conj().T @ np.asarray(y)))


PROBLEMS = {
    "least squares": least_squares,
    "tikhonov": tikhonov,
    "lasso": lasso,
    "nonnegative": nonnegative,
    "tv denoising": tv_denoising,
    "huber": huber,
    "poisson": poisson,
    "two blocks": two_blocks,
}
PROBLEMS = {name: functools.cache(pose) for name, pose in PROBLEMS.items()}  # posed once, for all
REAL_ONLY = {"nonnegative", "poisson"}


def _lasso_reference(M: np.ndarray, y: np.ndarray, w: float) -> np.ndarray:
    """Coordinate descent to rounding: each coordinate's minimiser is closed."""
    x, r = np.zeros(M.shape[1], M.dtype), y.astype(M.dtype)
    squares = np.sum(np.abs(M) ** 2, 0)
    for _ in range(5000):
        for j in range(x.size):
            c = M[:, j].conj() @ r + squares[j] * x[j]
            new = c / max(abs(c), 1e-300) * max(abs(c) - w, 0) / squares[j]
            r, x[j] = r - M[:, j] * (new - x[j]), new
    return x


def _nonnegative_reference(M: np.ndarray, y: np.ndarray) -> np.ndarray:
    best, best_value = np.zeros(M.shape[1]), np.inf
    for support in itertools.product([False, True], repeat=M.shape[1]):
        x = np.zeros(M.shape[1])
        if any(support):
            x[list(support)] = np.linalg.lstsq(M[:, list(support)], y)[0]
        value = 0.5 * np.sum((M @ x - y) ** 2)
        if x.min() >= 0 and value < best_value:
            best, best_value = x, value
    return best


def _tv_reference(y: np.ndarray, w: float) -> np.ndarray:
    """All partitions into flat pieces; on each, the slopes' signs give the value."""
    n, best, best_value = y.size, y, np.inf
    for jumps in itertools.product([-1, 0, 1], repeat=n - 1):
        labels = np.concatenate([[0], np.cumsum(np.abs(jumps))])
        slope = np.concatenate([[0], jumps]) - np.concatenate([jumps, [0]])
        means = np.bincount(labels, y - w * slope) / np.bincount(labels)
        x = means[labels]
        value = 0.5 * np.sum((x - y) ** 2) + w * np.sum(np.abs(np.diff(x)))
        if value < best_value:
            best, best_value = x, value
    return best


def _newton(problem: Problem, M: jax.Array, start: Any = None) -> np.ndarray:
    """Damped Newton's method on the real vector space, with JAX's own Hessian."""
    n, is_complex = M.shape[1], jnp.iscomplexobj(M)

    @jax.jit
    def value(v):
        return problem(jax.lax.complex(v[:n], v[n:]) if is_complex else v)

    v = jnp.zeros(2 * n if is_complex else n) if start is None else start
    gradient_of, hessian_of = jax.jit(jax.grad(value)), jax.jit(jax.hessian(value))
    for _ in range(60):
        direction = jnp.linalg.solve(hessian_of(v), gradient_of(v))
        length = 1.0
        while not value(v - length * direction) <= value(v) and length > 1e-4:
            length /= 2
        v = v - length * direction
    assert jnp.linalg.norm(gradient_of(v)) < 1e-9, "Newton's method did not get there"
    return np.asarray(v[:n] + 1j * v[n:] if is_complex else v)
