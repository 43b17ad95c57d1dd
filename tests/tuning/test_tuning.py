"""Parameter choice against exact formulas for Tikhonov, whose influence matrix is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import functionals as F
from jaxrecon.core import AdjointSolve, Problem, gradient, identity, run
from jaxrecon.solvers import ConjugateGradient, ProximalGradient, tuning
from tests.solvers.problems import Dense

KEYS = jax.random.split(jax.random.key(4), 4)
CANDIDATES = jnp.logspace(-4, 2, 13)
SIGMA = 0.1


def _posed(dtype="float64"):
    M = jax.random.normal(KEYS[0], (60, 30), dtype) @ jnp.diag(0.8 ** jnp.arange(30.0))
    truth = jax.random.normal(KEYS[1], (30,), dtype)
    noise = jax.random.normal(KEYS[2], (60,), dtype)
    parts = 2 if jnp.iscomplexobj(M) else 1  # E|z|² = 1 for a complex draw, σ is that of a part
    return M, truth, M @ truth + SIGMA * np.sqrt(parts) * noise


def _tikhonov(M):
    G, one = M.conj().T @ M, jnp.eye(M.shape[1])
    return lambda w, y: jnp.linalg.solve(G + w * one, M.conj().T @ y)


def _influence_trace(M, w):
    s2 = np.linalg.svd(np.asarray(M), compute_uv=False) ** 2
    real = 2 if np.iscomplexobj(M) else 1
    return real * np.sum(s2 / (s2 + float(w)))


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_sure_and_gcv_equal_their_formulas(dtype, x64):
    M, _, y = _posed(dtype)
    m = y.size * (2 if jnp.iscomplexobj(y) else 1)
    options = {"key": KEYS[3], "n_probes": 400}
    risk = tuning.sure(_tikhonov(M), Dense(M), y, SIGMA, CANDIDATES, **options)
    cross = tuning.gcv(_tikhonov(M), Dense(M), y, CANDIDATES, **options)
    for i, w in enumerate(CANDIDATES):
        misfit = float(jnp.sum(jnp.abs(M @ _tikhonov(M)(w, y) - y) ** 2))
        trace = _influence_trace(M, w)
        exact_risk = misfit / m - SIGMA**2 + 2 * SIGMA**2 * trace / m
        np.testing.assert_allclose(risk.scores[i], exact_risk, atol=0.03 * SIGMA**2)
        exact_gcv = misfit / m / (1 - trace / m) ** 2
        np.testing.assert_allclose(cross.scores[i], exact_gcv, rtol=0.05)


def test_choices_are_near_the_best(x64):
    """Within twice the prediction error of the best candidate, which needs the truth."""
    M, truth, y = _posed()
    error = lambda w: float(jnp.sum((M @ (_tikhonov(M)(w, y) - truth)) ** 2))  # noqa: E731
    best = min(error(w) for w in CANDIDATES)
    options = {"key": KEYS[3], "n_probes": 4}
    for choice in (
        tuning.sure(_tikhonov(M), Dense(M), y, SIGMA, CANDIDATES, **options),
        tuning.gcv(_tikhonov(M), Dense(M), y, CANDIDATES, **options),
    ):
        assert error(choice.parameter) < 2 * best
        assert not bool(choice.at_edge)


def test_the_choice_is_reproducible(x64):
    M, _, y = _posed()
    go = lambda key: tuning.gcv(_tikhonov(M), Dense(M), y, CANDIDATES, key=key).scores  # noqa: E731
    np.testing.assert_array_equal(go(KEYS[3]), go(KEYS[3]))
    assert not jnp.allclose(go(KEYS[3]), go(KEYS[0]))


def test_discrepancy_meets_the_noise(x64):
    M, _, y = _posed()
    choice = tuning.discrepancy(_tikhonov(M), Dense(M), y, SIGMA, (1e-4, 1e3), n_iter=40)
    misfit = jnp.sum((M @ _tikhonov(M)(choice.parameter, y) - y) ** 2)
    np.testing.assert_allclose(misfit, SIGMA**2 * y.size, rtol=1e-6)
    assert not bool(choice.at_edge)
    hopeless = tuning.discrepancy(_tikhonov(M), Dense(M), y, 100.0, (1e-4, 1e-3))
    assert bool(hopeless.at_edge)


def test_l_curve_of_a_known_corner(x64):
    """(t, 1/t)-like branches: x(w) built so that the corner lies at w = 1."""
    branch = lambda w: jnp.stack([1 + w**2, 1 + w**-2.0])  # noqa: E731
    A = Dense(jnp.array([[1.0, 0.0]]))
    candidates = jnp.logspace(-3, 3, 61)
    penalty = lambda x: x[1]  # noqa: E731
    choice = tuning.l_curve(lambda w, y: branch(w), A, jnp.zeros(1), penalty, candidates)
    np.testing.assert_allclose(choice.parameter, 1.0, rtol=1e-6)
    assert jnp.isnan(choice.scores[0])
    assert not bool(choice.at_edge)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_run_stops_at_the_discrepancy(dtype, x64):
    M, _, y = _posed(dtype)
    problem = Problem(((F.LeastSquares(y), Dense(M)),))
    rule = tuning.Discrepancy(SIGMA, 1.05)
    result = run(ConjugateGradient(), problem, n_iter=100, stop=rule).check()
    level = (1.05 * SIGMA) ** 2 * y.size * (2 if jnp.iscomplexobj(y) else 1)
    misfit = lambda n: jnp.sum(  # noqa: E731
        jnp.abs(M @ run(ConjugateGradient(), problem, n_iter=n).value - y) ** 2
    )
    assert misfit(int(result.n_iter)) <= level < misfit(int(result.n_iter) - 1)


def _same(w, y):
    return y


def _examples(n):
    """Ramps under noise, to be smoothed by ½‖x − y‖² + ½w‖Dx‖²."""
    keys = jax.random.split(KEYS[1], n)
    slopes = jax.vmap(lambda k: jax.random.normal(k, ()))(keys)
    truth = slopes[:, None] * jnp.linspace(-1, 1, 12)
    return truth + 0.3 * jax.random.normal(KEYS[2], truth.shape), truth


def _smoothing(weight, y):
    return Problem(((F.LeastSquares(y), identity(y)), (F.SquaredL2(weight), gradient(y))))


def test_tune_finds_the_best_weight(x64):
    data, truth = _examples(6)

    def error(w):
        D = jnp.diff(jnp.eye(12), axis=0)
        x = jnp.linalg.solve(jnp.eye(12) + w * D.T @ D, data.T).T
        return jnp.mean(jnp.sum((x - truth) ** 2, 1) / jnp.sum(truth**2, 1))

    grid = jnp.logspace(-2, 3, 2001)
    best = grid[jnp.argmin(jax.vmap(error)(grid))]
    options = {"algorithm": ProximalGradient(), "n_iter": 3000, "tol": 1e-10, "n_steps": 60}
    tuned = tuning.tune(_smoothing, jnp.asarray(1.0), (data, truth), **options)
    np.testing.assert_allclose(error(tuned.parameters), error(best), rtol=1e-4)
    np.testing.assert_allclose(tuned.losses[0], error(1.0), rtol=1e-6)
    np.testing.assert_array_equal(tuned.converged, 1.0)
    np.testing.assert_array_equal(tuned.skipped, False)


def test_a_gradient_that_failed_is_no_step(x64):
    hopeless = AdjointSolve(restart=1, n_restarts=1, accept=1e-12)
    options = {"algorithm": ProximalGradient(), "n_iter": 300, "tol": 1e-6, "n_steps": 2}
    start = jnp.asarray(1.5)
    tuned = tuning.tune(_smoothing, start, _examples(2), adjoint_solve=hopeless, **options)
    np.testing.assert_array_equal(tuned.skipped, True)
    np.testing.assert_allclose(tuned.parameters, 1.5)


def test_tune_on_batches_is_reproducible(x64):
    examples = _examples(5)
    options = {"algorithm": ProximalGradient(), "n_iter": 300, "tol": 1e-6, "n_steps": 4}

    def go(key):
        drawn = {"batch_size": 2, "key": key}
        return tuning.tune(_smoothing, jnp.asarray(1.0), examples, **drawn, **options).parameters

    assert go(KEYS[0]) == go(KEYS[0]) != go(KEYS[1])


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda e, o: tuning.tune(_smoothing, 1.0, e, batch_size=2, **o), "key"),
        (lambda e, o: tuning.tune(_smoothing, 1.0, e, batch_size=9, **o), "batch_size"),
        (lambda e, o: tuning.tune(_smoothing, -1.0, e, **o), "parameters"),
        (
            lambda e, o: tuning.gcv(lambda w, y: y, identity(e[0]), e[0], 1.0, key=KEYS[0]),
            "candidates",
        ),
    ],
)
def test_bad_arguments_are_named(call, name):
    options = {"algorithm": ProximalGradient(), "n_iter": 3, "tol": 1e-3}
    with pytest.raises(ValueError, match=f"`{name}`"):
        call(_examples(3), options)
