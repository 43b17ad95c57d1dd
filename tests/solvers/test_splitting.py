"""Splitting methods against textbook iterations in numpy, closed forms and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import functionals as F
from jaxrecon.core import Circulant, Problem, fft, gradient, identity, run
from jaxrecon.solvers.splitting import (
    ADMM,
    HQS,
    PD3O,
    PDHG,
    SPDHG,
    CondatVu,
    ConsensusEquilibrium,
    DouglasRachford,
    LinearisedADMM,
    data_step,
)
from jaxrecon.solvers.splitting._data_step import FourierStep, KrylovStep, ShiftedStep
from tests.solvers.problems import KEYS, Dense

WEIGHT = 3.0


@pytest.fixture(params=["float64", "complex128"])
def lasso(request, x64):
    """The problem beside its matrix and data for numpy."""
    M = jax.random.normal(KEYS[0], (12, 7), request.param)
    y = jax.random.normal(KEYS[1], (12,), request.param)
    A = Dense(M)
    problem = Problem(((F.LeastSquares(y), A), (F.L1(WEIGHT), identity(A.domain))))
    return problem, np.asarray(M), np.asarray(y)


def soft(x, t):
    return x * np.maximum(1 - t / np.maximum(np.abs(x), 1e-300), 0)


def value(algorithm, problem, n_iter, **options):
    return np.asarray(run(algorithm, problem, n_iter=n_iter, **options).value)


@pytest.mark.parametrize("relaxation", [1.0, 1.7])
def test_admm_is_boyds(lasso, relaxation):
    problem, M, y = lasso
    mu = 2.0
    G = np.linalg.inv(M.conj().T @ M + mu * np.eye(7))
    z = u = np.zeros(7, M.dtype)
    for _ in range(9):
        x = G @ (M.conj().T @ y + mu * (z - u))
        h = relaxation * x + (1 - relaxation) * z
        z, u = soft(h + u, WEIGHT / mu), h + u - soft(h + u, WEIGHT / mu)
    admm = ADMM(penalty=mu, relaxation=relaxation, adaptive=False, n_inner=9)
    np.testing.assert_allclose(value(admm, problem, 9), z, rtol=1e-9, atol=1e-12)


def test_admm_penalties_are_inputs(lasso):
    problem, M, y = lasso
    penalties = np.geomspace(0.5, 4.0, 8)
    z = dual = np.zeros(7, M.dtype)
    for mu in penalties:
        G = np.linalg.inv(M.conj().T @ M + mu * np.eye(7))
        x = G @ (M.conj().T @ y + mu * z - dual)
        w = x + dual / mu
        z, dual = soft(w, WEIGHT / mu), mu * (w - soft(w, WEIGHT / mu))
    admm = ADMM(relaxation=1.0, n_inner=9)
    got = value(admm, problem, 8, inputs={"penalty": jnp.asarray(penalties)})
    np.testing.assert_allclose(got, z, rtol=1e-9, atol=1e-12)


def test_half_quadratic_splitting_is_the_textbook_one(lasso):
    problem, M, y = lasso
    penalties = np.geomspace(0.5, 40.0, 8)
    z = np.zeros(7, M.dtype)
    for mu in penalties:
        x = np.linalg.solve(M.conj().T @ M + mu * np.eye(7), M.conj().T @ y + mu * z)
        z = soft(x, WEIGHT / mu)
    got = value(HQS(n_inner=9), problem, 8, inputs={"penalty": jnp.asarray(penalties)})
    np.testing.assert_allclose(got, z, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("relaxation", [1.0, 1.6])
def test_douglas_rachford_is_lions_and_merciers(lasso, relaxation):
    problem, M, y = lasso
    mu = 2.0
    v = np.zeros(7, M.dtype)
    for _ in range(9):
        x = np.linalg.solve(M.conj().T @ M + mu * np.eye(7), M.conj().T @ y + mu * v)
        z = soft(2 * x - v, WEIGHT / mu)
        v = v + relaxation * (z - x)
    drs = DouglasRachford(penalty=mu, relaxation=relaxation, n_inner=9)
    np.testing.assert_allclose(value(drs, problem, 9), z, rtol=1e-9, atol=1e-12)


def test_consensus_of_two_equal_agents_is_douglas_rachford(lasso):
    """ρ = ½ and equal weights: the same map, hence the same limit."""
    problem, _, _ = lasso
    drs = value(DouglasRachford(relaxation=1.0, n_inner=12), problem, 1500)
    mace = value(ConsensusEquilibrium(relaxation=0.5, n_inner=12, penalty=2.0), problem, 1500)
    np.testing.assert_allclose(mace, drs, rtol=1e-6, atol=1e-8)


def test_pdhg_is_chambolle_and_pocks(lasso):
    problem, M, y = lasso
    state = PDHG(balance=1.0).init(problem, jnp.zeros(7, M.dtype))
    tau, sigma = float(state.scales.primal), float(state.scales.dual[0])
    x, dual = np.zeros(7, M.dtype), np.zeros(12, M.dtype)
    for _ in range(9):
        new = soft(x - tau * M.conj().T @ dual, tau * WEIGHT)
        dual = (dual + sigma * (M @ (2 * new - x) - y)) / (1 + sigma)
        x = new
    got = value(PDHG(adaptive=False, relaxation=1.0), problem, 9)
    np.testing.assert_allclose(got, x, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("corrected", [False, True])
def test_three_operator_methods_are_the_textbook_ones(lasso, corrected):
    """Condat and Vũ; Yan, in his own variables z and s."""
    problem, M, y = lasso
    D = gradient(problem.domain)
    problem = Problem((*problem.terms, (F.L1(0.5), D)))
    K = np.diff(np.eye(7), axis=0)
    tau = 1.0 / np.linalg.norm(M, 2) ** 2
    algorithm = (PD3O if corrected else CondatVu)(steps=(tau, 2.0 / tau / 10))
    state = algorithm.init(problem, jnp.zeros(7, M.dtype))
    sigma = float(state.sigmas[0])
    slope = lambda x: M.conj().T @ (M @ x - y)  # noqa: E731
    clip = lambda s: s - soft(s, 0.5)  # noqa: E731
    x, s = np.zeros(7, M.dtype), np.zeros(6, M.dtype)
    for _ in range(9):
        z = x - tau * slope(x) - tau * K.T @ s
        new = soft(z, tau * WEIGHT)
        if corrected:
            s = clip(s - tau * sigma * K @ (K.T @ s) + sigma * K @ (2 * new - z - tau * slope(new)))
        else:
            s = clip(s + sigma * K @ (2 * new - x))
        x = new
    np.testing.assert_allclose(value(algorithm, problem, 9), x, rtol=1e-8, atol=1e-10)


def test_acceleration_reaches_one_over_n_squared(x64):
    y = jax.random.normal(KEYS[2], (9, 8))
    problem = Problem(((F.LeastSquares(y), identity(y)), (F.L21(0.7), gradient(y))))
    best = value(PDHG(), problem, 6000)
    counts = np.array([50, 100, 200, 400])
    errors = [
        np.linalg.norm(value(PDHG(balance=1e-3, primal_convexity=1.0), problem, int(n)) - best)
        for n in counts
    ]
    assert np.polyfit(np.log(counts), np.log(errors), 1)[0] < -1.0  # of the error, not its square


def test_over_relaxation_and_balance_pay(lasso):
    problem, _, _ = lasso
    counts = [
        int(run(PDHG(relaxation=r), problem, n_iter=3000, tol=1e-8).n_iter) for r in (1.0, 1.9)
    ]
    assert counts[1] < 0.8 * counts[0]


def test_units_do_not_matter(x64):
    """The image in other units, operators and functionals with it: the same iterates."""
    y = jax.random.normal(KEYS[2], (6, 5))
    for algorithm in (ADMM(), PDHG(), LinearisedADMM(), DouglasRachford(), HQS()):
        values = []
        for c in (1.0, 1000.0):
            fidelity = F.LeastSquares(c * y, jnp.full(y.shape, c**-2)), c * identity(y)
            problem = Problem((fidelity, (F.L21(0.4 / c), c * gradient(y))))
            values.append(value(algorithm, problem, 25))
        np.testing.assert_allclose(*values, rtol=1e-5, atol=1e-7)


def test_data_steps_agree(x64):
    """Fourier, shifted and Krylov steps, and a dense solve, of one deblurring problem."""
    shape = (6, 5)
    kernel = jnp.zeros(shape).at[0, 0].set(0.6).at[0, 1].set(0.2).at[0, -1].set(0.2)
    blur = Circulant(jnp.fft.fftn(kernel).real, jax.ShapeDtypeStruct(shape, kernel.dtype))
    y = jax.random.normal(KEYS[3], shape)
    term = F.LeastSquares(y), blur
    D, C = gradient(y, boundary="periodic"), identity(y)
    v = jax.random.normal(KEYS[4], shape)
    exact = [data_step((term,), (C, D), (1.0, 0.5)), data_step((term,), (C,), (1.0,))]
    assert all(isinstance(step, FourierStep) for step in exact)
    krylov = KrylovStep(exact[0].rhs, blur.gram, C.gram + 0.5 * D.gram, None, 30)
    np.testing.assert_allclose(krylov(0.7, v, 0 * v), exact[0](0.7, v, v), rtol=1e-9)
    solved = exact[0](0.7, v, v)
    np.testing.assert_allclose(krylov.towards(0.7, v, solved), solved, rtol=1e-9)
    shifted = ShiftedStep(exact[1].rhs, blur, 0.0, 1.0)
    np.testing.assert_allclose(shifted(0.7, v, v), exact[1](0.7, v, v), rtol=1e-9)


def test_spdhg_with_importance_reaches_pdhg(x64):
    """A regulariser block beside the subsets, and a constraint."""
    M = (
        jnp.abs(jax.random.normal(KEYS[0], (12, 7)))
        * jnp.tile(jnp.array([1.0, 1.0, 4.0]), 4)[:, None]
    )
    y = jax.random.normal(KEYS[1], (12,)) + 2.0
    A = Dense(M)
    terms = (F.LeastSquares(y), A), (F.L1(0.3), gradient(A.domain))
    problem = Problem((*terms, (F.non_negative(), identity(A.domain))))
    best = value(PDHG(), problem, 20000)
    algorithm = SPDHG(n_subsets=3, importance=True)
    got = value(algorithm, problem, 30000, key=KEYS[5])
    np.testing.assert_allclose(got, best, atol=1e-5)


def test_adaptive_penalty_rescues_a_bad_one(lasso):
    problem, _, _ = lasso
    counts = [
        int(run(ADMM(penalty=1e4, adaptive=a, n_inner=9), problem, n_iter=5000, tol=1e-9).n_iter)
        for a in (False, True)
    ]
    assert counts[1] < counts[0] / 5


def test_problems_that_do_not_fit_are_refused(x64):
    x = jnp.zeros((4, 3))
    fidelity, variation = (F.LeastSquares(x), identity(x)), (F.L21(1.0), gradient(x))
    for algorithm, terms, words in (
        (ADMM(), (fidelity,), "nothing to split"),
        (CondatVu(), (variation,), "PDHG"),
        (PD3O(), (fidelity,), "FISTA"),
        (LinearisedADMM(), (fidelity,), "ProximalGradient"),
        (ConsensusEquilibrium(), (fidelity, variation), "L21 behind Gradient"),
        (ConsensusEquilibrium(weights=(1.0,)), (fidelity, (F.L1(), identity(x))), "`weights`"),
        (SPDHG(n_subsets=2), (fidelity, variation), "`key`"),
        (
            PDHG(diagonal=True),
            ((F.LeastSquares(x + 0j), fft(x)), (F.L1(), identity(x))),
            "diagonal",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            run(algorithm, Problem(terms), n_iter=1)
