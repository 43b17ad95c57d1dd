"""Denoisers in place of proximal maps, against recursions written out and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import functionals as F
from jaxrecon.core import Problem, diagonal, identity, pytree, run
from jaxrecon.functionals.denoisers import RED, DenoiserPrior, ProxDenoiser
from jaxrecon.solvers import ADMM, FISTA, HQS, DouglasRachford, ProximalGradient
from jaxrecon.solvers.plug_and_play import diagnose, dpir, dpir_schedule
from jaxrecon.solvers.plug_and_play import plug_and_play as pnp

SHAPE = (6, 5)
KEYS = jax.random.split(jax.random.key(2), 4)


@pytree
class Linear:
    """D(x, σ) = x + g σ (M − 1)x with M the mean of both neighbours: an average for small g σ."""

    gain: float

    def __call__(self, x, sigma):
        mean = (jnp.roll(x, 1, 0) + jnp.roll(x, -1, 0)) / 2
        return x + self.gain * sigma * (mean - x)


def _posed():
    weights = jnp.abs(jax.random.normal(KEYS[0], SHAPE)) + 0.2
    A = diagonal(weights, weights)
    y = jax.random.normal(KEYS[1], SHAPE)
    return A, weights, F.LeastSquares(y)


def test_schedule():
    schedule = dpir_schedule(0.02, 5, start=0.3, factor=0.5)
    np.testing.assert_allclose(schedule.sigmas, np.geomspace(0.3, 0.02, 5), rtol=1e-5)
    np.testing.assert_allclose(schedule.penalty[-1], 0.5, rtol=1e-5)  # λ s²/σ² at σ = s
    np.testing.assert_allclose(dpir_schedule(0.02, 3, stop=0.1).sigmas[-1], 0.1, rtol=1e-5)


def test_dpir_is_its_recursion(x64):
    A, w, f = _posed()
    noise, n_iter, factor = 0.1, 4, 0.4
    result = dpir(Linear(0.9), f, A, noise=noise, n_iter=n_iter, start=0.5, factor=factor)
    z = w * f.data
    for sigma in np.geomspace(0.5, noise, n_iter):
        mu = factor * noise**2 / sigma**2
        x = (w * f.data + mu * z) / (w**2 + mu)
        z = Linear(0.9)(x, sigma)
    np.testing.assert_allclose(result.value, z, rtol=1e-10)


ALGORITHMS = {
    "pgd": ProximalGradient(step_size=0.2),
    "fista": FISTA(step_size=0.2),
    "admm": ADMM(penalty=5.0, adaptive=False),
    "drs": DouglasRachford(),
    "hqs": HQS(growth=1.02),
}


@pytest.mark.parametrize("name", ALGORITHMS)
def test_with_a_proximal_map_it_solves_the_problem(name, x64):
    """Given the proximal map of w‖·‖₁ as a denoiser of strength √t, it is that prior."""
    A, _, f = _posed()
    prior = DenoiserPrior(ProxDenoiser(F.L1(0.3)))
    results = [
        run(ALGORITHMS[name], Problem(((f, A), (g, identity(A.domain)))), n_iter=300).value
        for g in (prior, F.L1(0.3))
    ]
    np.testing.assert_allclose(*results, rtol=1e-9, atol=1e-12)


def test_pgd_ends_at_the_equilibrium(x64):
    """x = D(x − t∇f(x), σ): the fixed point, found by a linear solve for a linear denoiser."""
    A, w, f = _posed()
    D, sigma, t = Linear(0.5), 1.0, 0.2
    options = {"algorithm": ProximalGradient(step_size=t), "n_iter": 5000, "tol": 1e-14}
    result = pnp(D, f, A, sigma=sigma, **options).check()
    step = lambda x: D(x - t * w * (w * x - f.data), sigma)  # noqa: E731
    np.testing.assert_allclose(result.value, step(result.value), atol=1e-11)
    constant = step(jnp.zeros(SHAPE))
    columns = jax.vmap(lambda e: (step(e.reshape(SHAPE)) - constant).ravel())(jnp.eye(w.size))
    solution = jnp.linalg.solve(jnp.eye(w.size) - columns.T, constant.ravel()).reshape(SHAPE)
    np.testing.assert_allclose(result.value, solution, rtol=1e-8)


def test_red_minimises_its_potential(x64):
    """For a symmetric linear denoiser RED's potential is quadratic: ½⟨x, x − D x⟩."""
    A, w, f = _posed()
    D = Linear(0.5)
    problem = Problem(((f, A), (RED(D, 1.0, 2.0), identity(A.domain))))
    result = run(FISTA(), problem, n_iter=3000, tol=1e-14).check()
    slope = lambda x: w * (w * x - f.data) + 2.0 * (x - D(x, 1.0))  # noqa: E731
    np.testing.assert_allclose(slope(result.value), 0, atol=1e-10)


@pytest.mark.parametrize(("gain", "expansive"), [(0.5, False), (1.2, True)])
def test_an_expansive_denoiser_is_reported(gain, expansive, x64):
    """The eigenvalues of D are 1 − gain (1 − cos ω): down to 1 − 2 gain."""
    A, _, f = _posed()
    options = {"algorithm": ProximalGradient(step_size=0.2), "n_iter": 5, "sigma": 1.0}
    result = pnp(Linear(gain), f, A, **options)
    found = diagnose(result, Linear(gain), 1.0, n_iter=200)
    np.testing.assert_allclose(found.lipschitz, max(1.0, abs(1 - 2 * gain)), rtol=1e-3)
    np.testing.assert_allclose(found.residual_lipschitz, 2 * gain, rtol=1e-3)
    assert bool(result.status.ok)
    if not expansive:
        assert "denoiser" not in result.status.advice
        result.check()
        return
    with pytest.warns(UserWarning, match="moves nearby images apart"):
        result.check()


def test_a_failed_run_is_worse_than_an_expansive_denoiser(x64):
    A, _, f = _posed()
    options = {"algorithm": ProximalGradient(step_size=0.2), "n_iter": 3, "tol": 1e-14}
    result = pnp(Linear(1.2), f, A, sigma=1.0, **options)
    assert "iteration limit" in result.status.advice


def test_the_gradient_of_the_equilibrium(x64):
    """Implicit, through the denoiser's own parameters, against central differences."""
    A, _, f = _posed()

    def energy(gain, gradient="none"):
        prior = DenoiserPrior(Linear(gain), sigma=1.0)
        problem = Problem(((f, A), (prior, identity(A.domain))))
        options = {"n_iter": 4000, "tol": 1e-14, "gradient": gradient}
        return jnp.sum(run(ProximalGradient(step_size=0.2), problem, **options).value ** 2)

    numeric = (energy(0.4 + 1e-5) - energy(0.4 - 1e-5)) / 2e-5
    np.testing.assert_allclose(jax.grad(energy)(0.4, "implicit"), numeric, rtol=1e-6)


def test_batches(x64):
    A, _, f = _posed()
    go = lambda y: dpir(Linear(0.9), F.LeastSquares(y), A, noise=0.1).value  # noqa: E731
    batch = jnp.stack([f.data, 2 * f.data])
    np.testing.assert_allclose(jax.vmap(go)(batch)[1], go(batch[1]), rtol=1e-10)


def test_a_plugged_in_denoiser_has_no_value():
    A, _, f = _posed()
    problem = Problem(((f, A), (DenoiserPrior(Linear(0.5), sigma=1.0), identity(A.domain))))
    with pytest.raises(ValueError, match="no value"):
        problem(jnp.zeros(SHAPE))
