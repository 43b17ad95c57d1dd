"""Krylov methods against SciPy and dense solves, implicit gradients, preconditioners."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse.linalg

from jaxrecon import core
from jaxrecon import functionals as F
from jaxrecon.core import Problem, diagonal, gradient, identity, run, tree
from jaxrecon.solvers import linear
from jaxrecon.solvers.linear import CGLS, LSQR, MINRES, ConjugateGradient, LinearSystem
from tests.solvers.problems import Dense

KEYS = jax.random.split(jax.random.key(23), 8)
DTYPES = ["float64", "complex128"]
WEIGHTS = np.linspace(0.2, 2.0, 12)


@pytest.fixture(params=DTYPES)
def system(request, x64):
    M = jax.random.normal(KEYS[0], (12, 7), request.param)
    return M, jax.random.normal(KEYS[1], (12,), request.param)


def weighted(M, y, w, weight):
    A = Dense(M)
    return Problem(((F.LeastSquares(y, w), A), (F.SquaredL2(weight), identity(A.domain))))


def dense_solution(M, y, w, weight):
    G = M.conj().T @ (w[:, None] * M) + weight * jnp.eye(M.shape[1])
    return jnp.linalg.solve(G, M.conj().T @ (w * y))


def iterates(algorithm, problem, x0, n):
    """All iterates, and the info of every step, by one compilation."""

    def step(state, _):
        state, info = algorithm.step(prepared, state, None)
        return state, (algorithm.value(state), info)

    prepared = algorithm.prepare(problem)
    return jax.lax.scan(step, algorithm.init(prepared, x0), length=n)[1]


def with_spectrum(key, values, n_rows):
    """A matrix with given singular values."""
    keys = jax.random.split(key)
    U = jnp.linalg.qr(jax.random.normal(keys[0], (n_rows, len(values))))[0]
    V = jnp.linalg.qr(jax.random.normal(keys[1], (len(values), len(values))))[0]
    return (U * values) @ V.T


# ------------------------------------------------------------------------------ Krylov methods


@pytest.mark.parametrize("algorithm", [CGLS(), LSQR()], ids=["cgls", "lsqr"])
def test_iterates_are_those_of_scipy_lsqr(algorithm, system):
    """Every iterate, with statistical weights, damping, and a start that is not zero."""
    M, y = system
    x0 = 0.3 * jnp.arange(1.0, 8).astype(M.dtype)
    root = np.sqrt(WEIGHTS)
    stacked = np.concatenate([root[:, None] * M, np.sqrt(0.5) * np.eye(7)])
    rhs = np.concatenate([root * y, np.zeros(7)])
    size = np.linalg.norm(stacked.conj().T @ rhs)
    values, info = iterates(algorithm, weighted(M, y, jnp.asarray(WEIGHTS), 0.5), x0, 7)
    for k in range(7):
        expected = scipy.sparse.linalg.lsqr(
            stacked, rhs, x0=np.asarray(x0), iter_lim=k + 1, atol=0, btol=0, conlim=0
        )
        np.testing.assert_allclose(values[k], expected[0], rtol=1e-10)
        np.testing.assert_allclose(info.misfit[k], expected[3], rtol=1e-10)
        slope = np.linalg.norm(stacked.conj().T @ (rhs - stacked @ values[k]))
        np.testing.assert_allclose(info.residual[k], slope / size, rtol=1e-6, atol=1e-12)


def test_a_multiple_of_a_term_is_quadratic_too(x64):
    M, y = jax.random.normal(KEYS[0], (12, 7)), jax.random.normal(KEYS[1], (12,))
    A = Dense(M)
    terms = ((3.0 * F.LeastSquares(y), A), (2.0 * F.SquaredL2(0.5), identity(A.domain)))
    x = run(CGLS(), Problem(terms), n_iter=20, tol=1e-13).value
    np.testing.assert_allclose(x, dense_solution(M, y, 3.0 * jnp.ones(12), 1.0), rtol=1e-9)


def test_lsqr_estimates_the_operators_norm_and_condition(x64):
    M = with_spectrum(KEYS[2], jnp.array([5.0, 2.0, 1.0, 0.5]), 6)
    y = jax.random.normal(KEYS[3], (6,))
    info = run(LSQR(), Problem(((F.LeastSquares(y), Dense(M)),)), n_iter=4).info
    squares = np.array([25, 4, 1, 0.25])
    np.testing.assert_allclose(info.operator_norm[-1] ** 2, squares.sum(), rtol=1e-8)
    condition = np.sqrt(squares.sum() * (1 / squares).sum())
    np.testing.assert_allclose(info.condition[-1], condition, rtol=1e-8)
    assert np.all(np.diff(info.condition) > 0)


def test_minres_iterates_are_those_of_scipy(x64):
    """On an indefinite matrix, from a start that is not zero, with a positive preconditioner."""
    Q = jnp.linalg.qr(jax.random.normal(KEYS[2], (8, 8)))[0]
    d = jnp.array([-3.0, -2.0, -0.5, 0.3, 1.0, 2.0, 4.0, 5.0])
    G = (Q * d) @ Q.T
    b, x0 = jax.random.normal(KEYS[3], (2, 8))
    scale = jnp.linspace(0.5, 2, 8)
    linear_system = LinearSystem(Dense(G), b, diagonal(scale, b))
    values, _ = iterates(MINRES(), linear_system, x0, 6)
    for k in range(1, 7):
        expected, _ = scipy.sparse.linalg.minres(
            np.asarray(G), np.asarray(b), np.asarray(x0), M=np.diag(scale), maxiter=k, rtol=1e-15
        )
        np.testing.assert_allclose(values[k - 1], expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_minres_minimises_the_residual_over_the_krylov_space(dtype, x64):
    B = jax.random.normal(KEYS[4], (6, 6), dtype)
    G = B + B.conj().T
    b = jax.random.normal(KEYS[5], (6,), dtype)
    krylov = np.stack([np.linalg.matrix_power(np.asarray(G), j) @ b for j in range(4)], 1)
    best = krylov @ np.linalg.lstsq(G @ krylov, np.asarray(b))[0]
    result = run(MINRES(), LinearSystem(Dense(G), b), n_iter=4)
    np.testing.assert_allclose(result.value, best, rtol=1e-7)
    true = jnp.linalg.norm(b - G @ result.value) / jnp.linalg.norm(b)
    np.testing.assert_allclose(result.info.residual[-1], true, rtol=1e-7)
    solved = run(MINRES(), LinearSystem(Dense(G), b), n_iter=30, tol=1e-11).check().value
    np.testing.assert_allclose(solved, jnp.linalg.solve(G, b), rtol=1e-8)


def test_cgls_is_better_conditioned_than_cg_in_single_precision():
    """Condition number 2000: squared it is beyond float32."""
    M = with_spectrum(KEYS[6], jnp.logspace(0, -3.3, 20), 30)
    x = jax.random.normal(KEYS[7], (20,))
    y = jnp.matmul(M, x, precision="highest")
    problem = Problem(((F.LeastSquares(y), Dense(M)),))
    error = {}
    for algorithm in (ConjugateGradient(), CGLS(), LSQR()):
        values = run(algorithm, problem, n_iter=200).value
        error[type(algorithm)] = float(jnp.linalg.norm(values - x) / jnp.linalg.norm(x))
    assert error[CGLS] < 1e-3
    assert error[LSQR] < 1e-3
    assert error[ConjugateGradient] > 10 * error[CGLS]


@pytest.mark.parametrize("algorithm", [CGLS(), LSQR()], ids=["cgls", "lsqr"])
def test_underdetermined_gives_the_solution_nearest_to_the_start(algorithm, system):
    M, y = system
    M, y = M[:5], y[:5]
    x0 = jnp.arange(7.0).astype(M.dtype)
    x = run(algorithm, Problem(((F.LeastSquares(y), Dense(M)),)), x0, n_iter=30, tol=1e-13).value
    np.testing.assert_allclose(x, x0 + jnp.linalg.pinv(M) @ (y - M @ x0), rtol=1e-9)


@pytest.mark.parametrize("algorithm", [CGLS(), LSQR(), MINRES()], ids=["cgls", "lsqr", "minres"])
def test_pytrees_with_batches_that_stop_by_themselves(algorithm, x64):
    """A real and a complex leaf side by side; zero data and an exact start are no 0/0."""
    x = (jnp.arange(1.0, 4), jnp.ones((2,), jnp.complex128) * 1j)
    A = core.block_diagonal([2.0 * identity(x[0]), diagonal(jnp.array([1 + 1j, 3.0]), x[1])])

    def solve(scale):
        y = A(tree.scale(scale, x))
        rhs = linear.LeastSquaresSystem(A, y, jax.tree.map(lambda v: 1.0, y))
        posed = LinearSystem(A.gram, A.H(y)) if isinstance(algorithm, MINRES) else rhs
        return run(algorithm, posed, tree.zeros(A.domain), n_iter=10, tol=1e-12)

    batch = jax.vmap(solve)(jnp.array([1.0, 0.0]))
    assert bool(jnp.all(batch.status.ok))
    np.testing.assert_allclose(batch.value[0], jnp.stack([x[0], 0 * x[0]]), atol=1e-11)
    np.testing.assert_allclose(batch.value[1], jnp.stack([x[1], 0 * x[1]]), atol=1e-11)
    assert int(batch.n_iter[1]) < int(batch.n_iter[0])


def test_a_new_problem_compiles_nothing():
    M, y = jnp.ones((4, 3)) + jnp.eye(4, 3), jnp.arange(4.0)
    traces = []

    @jax.jit
    def solve(M, y):
        traces.append(0)
        return run(LSQR(), Problem(((F.LeastSquares(y), Dense(M)),)), n_iter=3).value

    solve(M, y)
    solve(2 * M, y + 1)
    assert len(traces) == 1


def test_terms_that_are_not_quadratic_are_named():
    x = jnp.zeros(3)
    with pytest.raises(ValueError, match=r"L1.*not quadratic"):
        run(CGLS(), Problem(((F.L1(), identity(x)),)), x, n_iter=1)
    with pytest.raises(ValueError, match=r"LinearSystem.*MINRES"):
        run(LSQR(), LinearSystem(identity(x), x), x, n_iter=1)


# --------------------------------------------------------------------------- implicit gradients


@pytest.mark.parametrize("dtype", DTYPES)
def test_lstsq_gradients_are_those_of_the_dense_solution(dtype, x64):
    """In everything, one weight being zero; for real data to second order."""
    M = jax.random.normal(KEYS[0], (12, 7), dtype)
    y = jax.random.normal(KEYS[1], (12,), dtype)
    w, d = jnp.asarray(WEIGHTS).at[3].set(0.0), jnp.asarray(0.3)

    def through(M, y, w, d):
        result = linear.lstsq(Dense(M), y, weights=w, damping=d, tol=1e-14)
        return tree.sum_of_squares(result.value) ** 2

    def direct(*arrays):
        return tree.sum_of_squares(dense_solution(*arrays)) ** 2

    if dtype == "complex128":
        slopes = [jax.jit(jax.grad(f, (0, 1, 2, 3)))(M, y, w, d) for f in (through, direct)]
    else:
        first = lambda f: jax.grad(lambda w: f(M, y, w, d))  # noqa: E731
        slopes = [
            (jax.jit(jax.grad(lambda w, f=f: jnp.sum(first(f)(w) ** 2)))(w),)
            for f in (through, direct)
        ]
    for a, b in zip(*slopes, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-11)


def test_unrolled_cgls_is_differentiable_at_weight_zero(x64):
    """No square root of a weight is taken: a masked sample has a finite, right derivative."""
    M, y = jax.random.normal(KEYS[0], (12, 7)), jax.random.normal(KEYS[1], (12,))
    w = jnp.asarray(WEIGHTS).at[3].set(0.0)

    def unrolled(w):
        problem = weighted(M, y, w, 0.3)
        return run(CGLS(), problem, n_iter=12, tol=1e-13, gradient="unrolled").value

    got = jax.grad(lambda w: jnp.sum(unrolled(w) ** 2))(w)
    expected = jax.grad(lambda w: jnp.sum(dense_solution(M, y, w, 0.3) ** 2))(w)
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_lstsq_refuses_a_regulariser_without_weight():
    x = jnp.zeros(3)
    with pytest.raises(ValueError, match=r"`regulariser`.*`damping`"):
        linear.lstsq(identity(x), x, regulariser=gradient(x))


# ------------------------------------------------------------------------------ preconditioners


def test_jacobi_is_the_diagonal(x64):
    key = KEYS[2]
    d = jnp.array([1.0, 3.0, 10.0])
    exact = linear.estimate_diagonal(diagonal(d, d), key, n_probes=1)
    np.testing.assert_allclose(exact, d)
    B = jax.random.normal(KEYS[3], (6, 6), "complex128")
    G = B @ B.conj().T
    estimate = linear.estimate_diagonal(Dense(G), key, n_probes=20000)
    np.testing.assert_allclose(estimate, jnp.diag(G).real, rtol=0.05)
    pair = core.block_diagonal([diagonal(d, d), 2.0 * identity(d)])
    M = linear.jacobi(pair, key)
    np.testing.assert_allclose(M((d, d))[0], jnp.ones(3))
    np.testing.assert_allclose(M((d, d))[1], d / 2)


@pytest.mark.parametrize("algorithm", ["cgls", "minres"])
def test_preconditioners_save_iterations(algorithm, x64):
    """Rows of very different size for Jacobi; differences with a smooth weight for circulant."""
    y = jax.random.normal(KEYS[4], (16, 15))
    rows = diagonal(jnp.logspace(0, 3, 16)[:, None], y)
    w = 1 + 0.2 * jnp.cos(jnp.arange(15.0))[None]
    smooth = ((F.LeastSquares(y, w * jnp.ones((16, 1))), identity(y)),)
    cases = [
        (Problem(((F.LeastSquares(y), rows),)), lambda G: linear.jacobi(G, KEYS[5])),
        (Problem((*smooth, (F.SquaredL2(300.0), gradient(y)))), linear.circulant),
    ]
    for problem, make in cases:
        equations = linear.normal_equations(problem)
        M = make(equations.operator)
        plain, better = _pair_of_runs(algorithm, problem, equations, M)
        assert int(better.n_iter) < int(plain.n_iter) / 2
        np.testing.assert_allclose(better.value, plain.value, rtol=1e-5, atol=1e-6)


def _pair_of_runs(algorithm, problem, equations, M):
    options = {"n_iter": 2000, "tol": 1e-10}
    if algorithm == "cgls":
        return [run(CGLS(m), problem, **options).check() for m in (None, M)]
    systems = [LinearSystem(equations.operator, equations.rhs, m) for m in (None, M)]
    return [run(MINRES(), s, **options).check() for s in systems]
