"""Split Gibbs sampling, and the draws from which it and DAPS are made."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import Problem, identity
from jaxrecon.functionals import LeastSquares
from jaxrecon.posterior import (
    Diffusion,
    Gaussian,
    GaussianStep,
    InverseGamma,
    LangevinStep,
    Posterior,
    SplitGibbs,
    UnknownNoise,
    geometric_levels,
    karras_levels,
    posterior,
    sample,
)
from tests.posterior.exact import KEYS, N_DATA, NOISE, N, compare, known, matrix
from tests.solvers.problems import Dense

N_SAMPLES = 20_000
RHO, SMALL = 0.1, {"noise": 0.5, "n": 3, "n_data": 2}


def moved(sampler, target, x0, keys):
    return jax.jit(jax.vmap(lambda x0, key: sample(sampler, target, key, x0=x0)))(x0, keys)


def held(n):
    return jnp.append(jnp.full(n, RHO), 0.0)


@pytest.mark.parametrize(
    ("likelihood", "variance"),
    [
        (GaussianStep(n_inner=3), 1.0),
        (LangevinStep(5.5, share=0.8, n_inner=4, adjusted=True), 1.0),
        (GaussianStep(n_inner=3), 1e-3),
    ],
    ids=["exact", "adjusted", "wrong prior"],
)
def test_split_gibbs_keeps_the_posterior(x64, request, likelihood, variance):
    """From draws of the posterior on; and it is seen if the prior's steps lack their noise."""
    target, mean, covariance = known(**SMALL)
    starts = np.random.default_rng(0).multivariate_normal(mean, covariance, size=N_SAMPLES)
    sampler = SplitGibbs(held(40), likelihood, 3, variance, low=0.2)
    keys = jax.random.split(KEYS[6], N_SAMPLES)
    found = compare(moved(sampler, target, jnp.asarray(starts), keys).value, mean, covariance)
    assert found.exact != ("wrong" in request.node.callspec.id), found


def test_split_gibbs_comes_to_the_posterior(x64):
    """From one point for all, by falling levels."""
    target, *moments = known(**SMALL)
    sampler = SplitGibbs(geometric_levels(60, high=3.0, low=RHO), GaussianStep(n_inner=3), 3)
    found = compare(draws(sampler, target, 4000), *moments)
    assert found.mean < 0.1, found
    assert found.covariance < 0.1, found


def draws(sampler, target, n):
    return jax.jit(lambda key: sample(sampler, target, key, n_samples=n).value)(KEYS[1])


def test_draws_are_of_the_conditional(x64):
    """exp(−f(u)/κ − ‖u − v‖²/2ρ²) in closed form; without the accept step there is a bias."""
    target, *_ = known()
    M = matrix(target)
    y, v, rho, kappa = np.asarray(target.likelihood.terms[0][0].data), np.ones(N), 0.3, 2.0
    precision = M.T @ M / (kappa * NOISE**2) + np.eye(N) / rho**2
    mean = np.linalg.solve(precision, M.T @ y / (kappa * NOISE**2) + v / rho**2)
    curvature = np.linalg.norm(M / NOISE, 2) ** 2
    steps = {
        "perturbed": GaussianStep(n_inner=N_DATA + 1),
        "adjusted": LangevinStep(curvature, share=0.8, n_inner=40, adjusted=True),
        "Langevin": LangevinStep(curvature, share=0.8, n_inner=40),
    }

    def drawn(step):
        prepared = step.prepare(target)
        go = lambda key: step.draw(prepared, jnp.asarray(v), rho, key, kappa)  # noqa: E731
        return jax.jit(jax.vmap(go))(jax.random.split(KEYS[4], 20_000))

    found = {k: compare(drawn(s), mean, np.linalg.inv(precision)) for k, s in steps.items()}
    assert found["perturbed"].exact, found
    assert found["adjusted"].exact, found
    assert not found["Langevin"].exact, found


def test_decoupled_annealing_is_exact_for_white_priors(x64):
    """DAPS with the deviation that x₀ given x_σ has; with σ for it, as published, it is not."""
    A = Dense(jax.random.normal(KEYS[1], (3, N)) / 2)
    prior = Gaussian(jnp.ones(N), identity(jnp.zeros(N)), jnp.full(N, 0.5))
    target = posterior(A, jnp.array([1.0, -1.0, 2.0]), 0.3, prior)
    M = np.asarray(A.matrix)
    gain = 0.5 * M.T @ np.linalg.inv(0.5 * M @ M.T + 0.09 * np.eye(3))
    moments = 1 + gain @ (np.array([1.0, -1, 2]) - M @ np.ones(N)), 0.5 * (np.eye(N) - gain @ M)
    found = [
        compare(
            daps(GaussianStep(variance=v, n_inner=4), target, 5, N_SAMPLES),
            *moments,
        )
        for v in (0.5, jnp.inf)
    ]
    assert found[0].exact, found
    assert not found[1].exact, found


@pytest.mark.parametrize(
    ("guidance", "bounds"),
    [
        (GaussianStep(n_inner=N_DATA + 1), (0.35, 0.9)),
        (LangevinStep(39.0, share=0.5, n_inner=20), (0.35, 0.6)),
    ],
)
def test_decoupled_annealing_is_near_for_others(x64, guidance, bounds):
    target, *moments = known()
    found = compare(daps(guidance, target, 20, 4000), *moments)
    assert not found.exact
    assert found.mean < bounds[0], found
    assert found.covariance < bounds[1], found


def daps(guidance, target, n_levels, n_samples):
    levels = karras_levels(n_levels, high=80.0, low=1e-2)
    return draws(Diffusion(levels, guidance, fresh=1.0, renoise=True), target, n_samples)


def test_a_guess_down_the_flow_is_a_point_of_the_prior():
    """With several steps DAPS starts at the flow's end, which has the spread that D has not."""
    prior = Gaussian(jnp.zeros(1), identity(jnp.zeros(1)), jnp.full(1, 0.25))
    target = posterior(identity(jnp.zeros(1)), jnp.zeros(1), 1e3, prior)
    x = 3.0 * jax.random.normal(KEYS[0], (2000, 1))

    def spread(n):
        step = GaussianStep(width=1e-3, n_denoise=n)
        go = lambda x: step.estimate(step.prepare(target), x, 3.0, KEYS[1]).mean  # noqa: E731
        return float(jnp.std(jax.vmap(go)(x)))

    assert spread(1) == pytest.approx(0.25 / 9.25 * 3, rel=0.05)
    # The flow of a Gaussian is a scaling; Euler's steps have an error of first order.
    end = 0.5 / np.sqrt(9.25) * float(jnp.std(x))
    errors = [end - spread(n) for n in (10, 20)]
    assert 0.4 < errors[1] / errors[0] < 0.6
    assert 0 < errors[1] < 0.15 * end


def noisy(prior, n_grid=400):
    """As `known` with relative noise: target, mean and covariance of x, grid and law of log s²."""
    target = known(**SMALL).target
    ((term, A),) = target.likelihood.terms
    image, M = target.denoiser, matrix(target)
    basis, y, m = (np.asarray(a) for a in (image.basis.matrix, term.data, image.mean))
    C = basis.T @ np.diag(image.variances) @ basis
    logs = np.linspace(-6, 5, n_grid)
    weights, means, covariances = [], [], []
    for log in logs:
        S, misfit = M @ C @ M.T + np.exp(log) * np.eye(len(y)), y - M @ m
        fit = misfit @ np.linalg.solve(S, misfit) + np.linalg.slogdet(S)[1]
        weights.append(-fit / 2 - prior.shape * log - prior.scale * np.exp(-log))
        gain = np.linalg.solve(S, M @ C).T
        means.append(m + gain @ misfit)
        covariances.append(C - gain @ M @ C)
    w, means = np.exp(np.array(weights) - max(weights)), np.array(means)
    w /= w.sum()
    mean = w @ means
    between = np.einsum("k,ki,kj->ij", w, means - mean, means - mean)
    covariance = np.einsum("k,kij->ij", w, np.array(covariances)) + between
    relative = Posterior(Problem(((LeastSquares(term.data), A),)), image)
    return relative, mean, covariance, logs, w


def test_unknown_noise_is_drawn(x64):
    """Against quadrature over the noise's variance, of which the image's law is a mixture."""
    prior = InverseGamma(3.0, 1.0)
    target, mean, covariance, logs, w = noisy(prior)
    starts = np.random.default_rng(0).multivariate_normal(mean, covariance, size=10_000)
    sampler = SplitGibbs(held(40), GaussianStep(n_inner=3), 3, 1.0, prior, 0.2)
    keys = jax.random.split(KEYS[6], len(starts))
    result = moved(sampler, target, jnp.asarray(starts), keys)
    found = compare(result.value, mean, covariance)
    assert found.mean < 0.03, found
    assert found.covariance < 0.04, found
    log = 2 * np.log(np.asarray(result.info.noise[:, -1]))
    spread = np.sqrt(w @ (logs - w @ logs) ** 2)
    assert np.mean(log) == pytest.approx(w @ logs, abs=0.03)
    assert np.std(log) == pytest.approx(spread, rel=0.05)


def test_unknown_noise_is_integrated_out(x64):
    """The functional is the logarithm of the integral, up to a constant; masks count their data."""
    y, prior = jnp.array([1.0, 2.0, 0.5]), InverseGamma(1.5, 0.2)
    f = UnknownNoise(y, prior)
    s2 = np.exp(np.linspace(-12, 12, 20_001))

    def brute(x):
        misfit = 0.5 * np.sum((np.asarray(x) - np.asarray(y)) ** 2)
        log = -(misfit + 0.2) / s2 - (1.5 + 1.5) * np.log(s2)  # ds²/s² in the logarithm
        return -np.log(np.sum(np.exp(log)))

    a, b = jnp.zeros(3), jnp.array([1.0, -1.0, 3.0])
    np.testing.assert_allclose(f(a) - f(b), brute(a) - brute(b), rtol=1e-8)
    np.testing.assert_allclose(f.grad(b), jax.grad(f)(b), rtol=1e-10)
    fewer = UnknownNoise(y, InverseGamma(1.5, 0.2, n_data=1))
    np.testing.assert_allclose(fewer(b) / f(b), 2 / 3)
    complex_data = UnknownNoise(y + 0j, prior)
    np.testing.assert_allclose(complex_data(a) / f(a), 4.5 / 3)


def test_refusals_name_what_is_wrong():
    A = identity(jnp.zeros(2))
    target = Posterior(Problem(((UnknownNoise(jnp.ones(2), InverseGamma(1.0, 1.0)), A),)), None)
    levels = geometric_levels(3, high=1.0, low=0.1)
    with pytest.raises(ValueError, match="`likelihood` is UnknownNoise; this one takes one Least"):
        sample(SplitGibbs(levels), target, KEYS[0])
    noise = InverseGamma(1.0, 1.0)
    with pytest.raises(ValueError, match="`likelihood` is UnknownNoise"):
        sample(SplitGibbs(levels, LangevinStep(1.0), noise=noise), target, KEYS[0])
