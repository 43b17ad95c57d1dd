"""Gradient methods against textbook loops in numpy and known bounds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.sparse.linalg

from jaxrecon import functionals as F
from jaxrecon.core import (
    Algorithm,
    Problem,
    diagonal,
    identity,
    pointwise,
    pytree,
    run,
)
from jaxrecon.solvers.gradient import (
    FISTA,
    LBFGS,
    POGM,
    Anderson,
    Backtracking,
    BarzilaiBorwein,
    GaussNewton,
    GradientDescent,
    LevenbergMarquardt,
    ProximalGradient,
)
from jaxrecon.solvers.gradient._smooth import composite, expansion
from tests.solvers.gradient.posed import KEYS, N, iterate, lasso, least_squares, soft
from tests.solvers.problems import Dense

# --------------------------------------------------------------------------------- textbook loops


def test_ista_and_fista_iterates(quadratic):
    M, y, step = quadratic
    m, d = np.asarray(M), np.asarray(y)
    slope = lambda x: m.T @ (m @ x - d)  # noqa: E731
    x = np.zeros(N)
    for _ in range(7):
        x = soft(x - step * slope(x), 1.5 * step)
    np.testing.assert_allclose(iterate(ProximalGradient(step), lasso(M, y), 7), x, rtol=1e-10)

    x, z, t = np.zeros(N), np.zeros(N), 1.0
    for _ in range(7):
        new = soft(z - step * slope(z), 1.5 * step)
        t_next = (1 + np.sqrt(1 + 4 * t**2)) / 2
        x, z, t = new, new + (t - 1) / t_next * (new - x), t_next
    np.testing.assert_allclose(iterate(FISTA(step, restart=None), lasso(M, y), 7), x, rtol=1e-10)


def test_pogm_iterates(quadratic):
    """Taylor, Hendrickx and Glineur's form, with explicit lists of every sequence."""
    M, y, step = quadratic
    m, d = np.asarray(M), np.asarray(y)
    x, w, z, theta, zeta = np.zeros(N), np.zeros(N), np.zeros(N), 1.0, step
    for _ in range(7):
        w_new = x - step * m.T @ (m @ x - d)
        new = (1 + np.sqrt(4 * theta**2 + 1)) / 2
        z_new = w_new + (theta - 1) / new * (w_new - w) + theta / new * (w_new - x)
        z_new = z_new + step * (theta - 1) / (zeta * new) * (z - x)
        zeta = step * (2 * theta + new - 1) / new
        x, w, z, theta = soft(z_new, 1.5 * zeta), w_new, z_new, new
    np.testing.assert_allclose(iterate(POGM(step, restart=None), lasso(M, y), 7), x, rtol=1e-10)


@pytest.mark.parametrize("short", [False, True])
def test_barzilai_borwein_iterates(quadratic, short):
    M, y, step = quadratic
    m, d = np.asarray(M), np.asarray(y)
    slope = lambda x: m.T @ (m @ x - d)  # noqa: E731
    x, size = np.zeros(N), step
    for _ in range(9):
        new = x - size * slope(x)
        s, r = new - x, slope(new) - slope(x)
        x, size = new, (s @ r) / (r @ r) if short else (s @ s) / (s @ r)
    algorithm = BarzilaiBorwein(step, short=short, memory=20)
    np.testing.assert_allclose(iterate(algorithm, least_squares(M, y), 9), x, rtol=1e-8)


def test_backtracking_is_beck_and_teboulles(x64):
    """The first of the grown step, the last one and its halves that satisfies the bound."""
    y = jnp.array([2.0, 5.0, 1.0])
    curve = pointwise(jnp.exp, y)
    problem = Problem(((F.LeastSquares(y), curve),))
    value = lambda x: 0.5 * np.sum((np.exp(x) - y) ** 2)  # noqa: E731
    slope = lambda x: np.exp(x) * (np.exp(x) - y)  # noqa: E731
    x, step = np.zeros(3), 8.0
    for _ in range(6):
        last, step, g = step, 1.5 * step, slope(x)
        while value(x - step * g) > value(x) - step / 2 * g @ g:
            step = max(step / 2, last) if step > last else step / 2
        x = x - step * g
    algorithm = GradientDescent(8.0, line_search=Backtracking())
    np.testing.assert_allclose(iterate(algorithm, problem, 6), x, rtol=1e-12)


def test_bend_is_that_of_the_gradients(x64):
    """Of a fast gram, of another linear map and of a curve, between far and near points."""
    M = jax.random.normal(KEYS[0], (5, 3))
    terms = composite(
        Problem(
            (
                (F.LeastSquares(jnp.arange(5.0)), Dense(M)),
                (F.Poisson(jnp.arange(1.0, 6), 30.0), Dense(M)),
                (F.LeastSquares(jnp.arange(1.0, 4)), pointwise(jnp.exp, jnp.ones(3))),
            )
        ),
        1.0,
    ).terms
    x, direction = jax.random.normal(KEYS[1], (2, 3))
    for size in (1.0, 1e-3):
        here, there = (expansion(terms, at) for at in (x, x + size * direction))
        expected = jnp.vdot(there.gradient - here.gradient, there.x - here.x)
        np.testing.assert_allclose(here.bend(there), expected, rtol=1e-10)


def test_backtracking_ends_at_the_accuracy_of_single_precision():
    """Rounding of the objective, which is large at the end, must not decide the steps."""
    d = jnp.logspace(0, 1, 30)
    y = jnp.concatenate([d, jnp.full(1, 1e3)])
    M = jnp.concatenate([jnp.diag(d), jnp.zeros((1, 30))])
    result = run(GradientDescent(line_search=Backtracking()), least_squares(M, y), n_iter=400)
    np.testing.assert_allclose(result.value, 1.0, rtol=1e-5)


# ------------------------------------------------------------------------------------------ rates


def test_worst_case_bounds(x64):
    """Nesterov's worst quadratic: within the bounds, which order the methods."""
    n, n_iter = 60, 25
    D = 2 * np.eye(n) - np.eye(n, k=1) - np.eye(n, k=-1)
    M = jnp.asarray(np.linalg.cholesky(D).T)
    y = jnp.asarray(np.linalg.solve(np.asarray(M).T, np.eye(n)[0]))
    problem, L = least_squares(M, y), float(np.linalg.norm(D, 2))
    distance = float(np.sum(np.linalg.solve(D, np.eye(n)[0]) ** 2))
    methods = (GradientDescent(1 / L), FISTA(1 / L, restart=None), POGM(1 / L, restart=None))
    gaps = [float(problem(run(a, problem, n_iter=n_iter).value)) for a in methods]
    assert gaps[0] <= L * distance / (4 * n_iter + 2)
    assert gaps[1] <= 2 * L * distance / (n_iter + 1) ** 2
    assert gaps[2] <= L * distance / (n_iter + 1) ** 2
    assert gaps[2] < gaps[1] < gaps[0] / 2


def test_restart_and_strong_convexity_speed_up(x64):
    d = jnp.logspace(0, 1.5, 30)
    problem = Problem(((F.LeastSquares(d), diagonal(d, d)),))
    step = float(1 / d[-1] ** 2)
    plain, never, rule, function, constant = (
        float(problem(run(a, problem, n_iter=500).value))
        for a in (
            ProximalGradient(step),
            FISTA(step, restart=None),
            FISTA(step),
            FISTA(step, restart="function"),
            FISTA(step, strong_convexity=1.0, restart=None),
        )
    )
    assert never < plain / 10
    assert max(rule, function, constant) < never / 100


# --------------------------------------------------------------------------------------- Anderson


@pytree
class Affine(Algorithm):
    """x ↦ B x + c, a fixed-point map without symmetry."""

    def init(self, problem, x0, *, key=None):
        return x0

    def step(self, problem, state, inputs):
        raise NotImplementedError

    def value(self, state):
        return state

    def fixed_point(self, problem, x):
        B, c = problem
        return B @ x + c


def test_anderson_is_gmres_on_a_linear_map(x64):
    """Anderson's k+1-st point is T at GMRES's k-th iterate (Walker and Ni, theorem 2.2)."""
    B = 0.5 * jax.random.normal(KEYS[0], (N, N)) / np.sqrt(N)
    c = jax.random.normal(KEYS[1], (N,))
    algorithm = Anderson(Affine(), regularisation=0.0, safeguard=jnp.inf, memory=N)
    for k in (2, 3, 4):
        options = {"restart": k, "maxiter": 1, "rtol": 0.0}
        krylov, _ = scipy.sparse.linalg.gmres(np.eye(N) - np.asarray(B), np.asarray(c), **options)
        point = B @ krylov + c
        value = run(algorithm, (B, c), jnp.zeros(N), n_iter=k + 2).value  # the point's own image
        np.testing.assert_allclose(value, B @ point + c, rtol=1e-8)


def test_anderson_beats_the_plain_method(x64):
    d = jnp.logspace(0, 1.3, 25)
    problem = Problem(((F.LeastSquares(d), diagonal(d, d)), (F.L1(0.1), identity(d))))
    plain, fast = (
        run(a, problem, n_iter=20000, tol=1e-10).check()
        for a in (ProximalGradient(), Anderson(ProximalGradient()))
    )
    assert int(fast.n_iter) < int(plain.n_iter) / 4
    np.testing.assert_allclose(fast.value, plain.value, rtol=1e-6)


def test_anderson_gives_up_bad_points(x64):
    """A map on which extrapolation fails: its plain images still converge."""

    @pytree
    class Kinked(Algorithm):
        """Contracts by a factor that jumps with the sign pattern."""

        def init(self, problem, x0, *, key=None):
            return x0

        def step(self, problem, state, inputs):
            raise NotImplementedError

        def value(self, state):
            return state

        def fixed_point(self, problem, x):
            return jnp.where(jnp.sin(40 * x) > 0, 0.9, -0.6) * x

    result = run(Anderson(Kinked()), None, jnp.array([1.0, 2.0, -3.0]), n_iter=400, tol=None)
    assert not bool(result.info.accepted.all()), "the case shows nothing"
    np.testing.assert_allclose(result.value, 0, atol=1e-6)


# -------------------------------------------------------------------------- unrolled, and refusals


@pytest.mark.parametrize(
    "algorithm",
    [
        FISTA(0.02),
        POGM(0.02),
        ProximalGradient(0.05, line_search=Backtracking()),
        Anderson(ProximalGradient(0.02), memory=2, regularisation=1e-3),
    ],
    ids=["fista", "pogm", "backtracking", "anderson"],
)
def test_unrolled_derivative_of_few_steps(quadratic, algorithm):
    """Of the iterates as they are, far from convergence; backtracking's steps are discrete."""
    M, y, _ = quadratic

    def loss(y):
        options = {"n_iter": 5, "gradient": "unrolled"}
        return jnp.sum(run(algorithm, lasso(M, y), **options).value ** 2)

    direction = jax.random.normal(KEYS[3], y.shape)
    exact = float(jax.grad(loss)(y) @ direction)
    numeric = float(loss(y + 1e-6 * direction) - loss(y - 1e-6 * direction)) / 2e-6
    assert exact == pytest.approx(numeric, rel=1e-6)


def test_refusals_name_what_is_wrong():
    x = jnp.ones(4)
    data = (F.LeastSquares(x), identity(x))
    rough = Problem((data, (F.L1(1.0), identity(x))))
    for algorithm in (GradientDescent(), LBFGS(), GaussNewton(), LevenbergMarquardt()):
        with pytest.raises(ValueError, match=r"L1.*smooth"):
            run(algorithm, rough, n_iter=1)
    with pytest.raises(ValueError, match="no smooth term"):
        run(FISTA(), Problem((rough.terms[1],)), n_iter=1)
    with pytest.raises(ValueError, match="`restart` is 'never'"):
        run(FISTA(restart="never"), rough, n_iter=1)
    with pytest.raises(ValueError, match=r"not linear.*line_search"):
        run(FISTA(), Problem(((F.LeastSquares(x), pointwise(jnp.exp, x)),)), n_iter=1)
    with pytest.raises(ValueError, match="`memory` is 0"):
        run(Anderson(FISTA(), memory=0), rough, n_iter=1)
