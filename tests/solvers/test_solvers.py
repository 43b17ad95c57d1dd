"""Solvers against closed forms, dense solves and each other; float64 where optimality is judged."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import functionals as F
from jaxrecon.core import Problem, diagonal, from_function, gradient, identity, run, tree
from jaxrecon.solvers import (
    FISTA,
    PDHG,
    ConjugateGradient,
    ProximalGradient,
    cg,
    normal_equations,
)

KEYS = jax.random.split(jax.random.key(11), 6)


def _matmul(M, x):
    return jnp.matmul(M, x, precision="highest")


def dense(M):
    return from_function(_matmul, jax.ShapeDtypeStruct((M.shape[1],), M.dtype), M)


@pytest.fixture(params=["float64", "complex128"])
def system(request, x64):
    M = jax.random.normal(KEYS[0], (12, 7), request.param)
    return M, jax.random.normal(KEYS[1], (12,), request.param)


SOLVERS = {
    "proximal gradient": ProximalGradient(),
    "fista": FISTA(),
    "fista without restart": FISTA(restart=None),
    "pdhg": PDHG(),
    "pdhg, not adaptive": PDHG(adaptive=False),
}


@pytest.mark.parametrize("name", SOLVERS)
def test_lasso_is_optimal(name, system):
    """0 ∈ Mᴴ(Mx − y) + w ∂‖x‖₁, coordinate by coordinate."""
    M, y = system
    weight = 3.0
    A = dense(M)
    problem = Problem(((F.LeastSquares(y), A), (F.L1(weight), identity(A.domain))))
    x0 = jnp.zeros(7, M.dtype)
    x = run(SOLVERS[name], problem, x0, n_iter=20000, tol=1e-13).check().value
    slope = A.H(A(x) - y)
    active = jnp.abs(x) > 1e-8
    assert 0 < int(active.sum()) < 7, "the case shows nothing"
    phase = x / jnp.where(active, jnp.abs(x), 1)
    np.testing.assert_allclose(jnp.where(active, slope + weight * phase, 0), 0, atol=1e-7)
    assert float(jnp.abs(jnp.where(active, 0, slope)).max()) <= weight + 1e-7


@pytest.mark.parametrize("name", ["proximal gradient", "fista", "pdhg", "cg"])
def test_weighted_tikhonov_is_the_dense_solution(name, system):
    M, y = system
    w = jnp.linspace(0.2, 2.0, 12)
    A = dense(M)
    problem = Problem(((F.LeastSquares(y, w), A), (F.SquaredL2(0.5), identity(A.domain))))
    algorithm = ConjugateGradient() if name == "cg" else SOLVERS[name]
    x = run(algorithm, problem, jnp.zeros(7, M.dtype), n_iter=5000, tol=1e-13).check().value
    G = M.conj().T @ (w[:, None] * M) + 0.5 * jnp.eye(7)
    np.testing.assert_allclose(x, jnp.linalg.solve(G, M.conj().T @ (w * y)), rtol=1e-8)


def test_pdhg_total_variation_with_positivity(x64):
    """Three blocks of different scale, against the same problem's dual solution."""
    y = jax.random.normal(KEYS[2], (6, 5)) + 1.0
    problem = Problem(((F.LeastSquares(y), identity(y)), (F.L21(0.4), gradient(y))))
    x = run(PDHG(), problem, jnp.zeros_like(y), n_iter=20000, tol=1e-12).value
    np.testing.assert_allclose(x, F.TV(0.4, n_iter=20000).prox(y, 1.0), atol=1e-6)
    positive = Problem((*problem.terms, (F.non_negative(), identity(y))))
    xp = run(PDHG(), positive, jnp.zeros_like(y), n_iter=20000, tol=1e-12).value
    assert float(xp.min()) >= 0
    objective = lambda x: float(problem(x))  # noqa: E731
    for i in range(20):
        rival = jnp.maximum(xp + 1e-3 * jax.random.normal(jax.random.key(i), y.shape), 0)
        assert objective(rival) >= objective(xp) - 1e-9


def test_pdhg_units_do_not_matter(x64):
    """Rescaling an operator and its functional together leaves the iterates unchanged."""
    y = jax.random.normal(KEYS[2], (6, 5))
    x0 = jnp.zeros_like(y)
    values = []
    for c in (1.0, 1000.0):
        terms = ((F.LeastSquares(c * y, jnp.full(y.shape, c**-2)), c * identity(y)),)
        problem = Problem((*terms, (F.L21(0.4 / c), c * gradient(y))))
        values.append(run(PDHG(), problem, x0, n_iter=40).value)
    np.testing.assert_allclose(*values, rtol=1e-5, atol=1e-8)


def test_stochastic_prox_uses_the_key(x64):
    x = jax.random.normal(KEYS[3], (8, 8))
    f = F.WaveletL1(0.3, F.wavelet(x, "haar", levels=2))
    problem = Problem(((F.LeastSquares(x), identity(x)), (f, identity(x))))
    go = lambda key: run(FISTA(), problem, jnp.zeros_like(x), n_iter=5, key=key).value  # noqa: E731
    np.testing.assert_array_equal(go(KEYS[0]), go(KEYS[0]))
    assert not jnp.allclose(go(KEYS[0]), go(KEYS[1]))
    assert not jnp.allclose(go(KEYS[0]), go(None))


def test_cg_gradient_is_that_of_the_dense_solution(system):
    M, y = system

    def through(M, y):
        s = normal_equations(
            Problem(((F.LeastSquares(y), dense(M)), (F.SquaredL2(0.3), identity(dense(M).domain))))
        )
        return tree.sum_of_squares(cg(s.operator, s.rhs, tol=1e-14).value) ** 2

    def direct(M, y):
        G = M.conj().T @ M + 0.3 * jnp.eye(7)
        return tree.sum_of_squares(jnp.linalg.solve(G, M.conj().T @ y)) ** 2

    for a, b in zip(jax.grad(through, (0, 1))(M, y), jax.grad(direct, (0, 1))(M, y), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    second = lambda f: jax.grad(lambda M: tree.sum_of_squares(jax.grad(f)(M, y)))(M)  # noqa: E731
    np.testing.assert_allclose(second(through), second(direct), rtol=1e-7, atol=1e-10)


def test_preconditioner_speeds_up(x64):
    d = jnp.logspace(0, 5, 50)
    G = diagonal(d, d) + 0.1 * identity(d)
    M = diagonal(1 / d, d)
    plain = cg(G, jnp.ones(50), n_iter=300, tol=1e-10)
    preconditioned = cg(G, jnp.ones(50), n_iter=300, tol=1e-10, preconditioner=M)
    assert int(preconditioned.n_iter) < int(plain.n_iter) / 3
    np.testing.assert_allclose(preconditioned.value, 1 / (d + 0.1), rtol=1e-8)


def test_cg_on_pytrees_and_batches(x64):
    b = (jnp.arange(1.0, 4.0), jnp.ones(2, jnp.complex128) * 1j)
    x = cg(2.0 * identity(b), b).check().value
    np.testing.assert_allclose(x[1], b[1] / 2)
    d = jnp.arange(1.0, 6.0)
    rhs = jnp.stack([d, jnp.ones(5), jnp.zeros(5)])
    batch = jax.vmap(lambda r: cg(diagonal(d, d), r, tol=1e-12))(rhs)
    np.testing.assert_allclose(batch.value, rhs / d, rtol=1e-10, atol=0)
    assert batch.n_iter[1] > batch.n_iter[2]


def test_failed_gradient_solve_is_nan(x64):
    d = jnp.logspace(0, 8, 60)
    value = lambda b: jnp.sum(cg(diagonal(d, d), b, n_iter=3).value ** 2)  # noqa: E731
    assert jnp.all(jnp.isnan(jax.grad(value)(jnp.ones(60))))


def test_terms_that_do_not_fit_are_named():
    x = jnp.zeros((4, 4))
    rough = Problem(((F.LeastSquares(x), identity(x)), (F.L21(1.0), gradient(x))))
    with pytest.raises(ValueError, match=r"L21 of Gradient.*PDHG"):
        run(FISTA(), rough, x, n_iter=1)
    with pytest.raises(ValueError, match=r"L21.*not quadratic"):
        run(ConjugateGradient(), rough, x, n_iter=1)
