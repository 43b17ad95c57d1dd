"""Samplers against posteriors in closed form."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from jaxrecon.core import Problem, diagonal, fft, identity, materialise
from jaxrecon.functionals import LeastSquares
from jaxrecon.posterior import (
    DDRM,
    DPS,
    Diffusion,
    Gaussian,
    PiGDM,
    Posterior,
    ProximalStep,
    RangeNull,
    TweedieCovariance,
    gaussian_mixture,
    gaussian_posterior_sample,
    karras_levels,
    mixture_posterior,
    posterior,
    sample,
)
from tests.posterior.exact import KEYS, N_DATA, NOISE, N, compare, known
from tests.solvers.problems import Dense

N_SAMPLES = 20_000


@functools.partial(jax.jit, static_argnames="n_samples")
def draw(sampler, target, key, n_samples=N_SAMPLES):
    return sample(sampler, target, key, n_samples=n_samples).value


def levels(n):
    return karras_levels(n, high=80.0, low=1e-3)


def test_perturbed_optimisation_is_exact(x64):
    target, *moments = known()
    go = jax.jit(jax.vmap(lambda key: gaussian_posterior_sample(target, key)))
    assert compare(go(jax.random.split(KEYS[4], N_SAMPLES)), *moments).exact


def test_tweedies_covariance_is_exact_for_gaussians(x64):
    target, *moments = known()
    sampler = Diffusion(levels(40), TweedieCovariance(n_inner=N_DATA), order=2)
    found = compare(draw(sampler, target, KEYS[4]), *moments)
    assert found.exact, found


@pytest.mark.parametrize(
    "guidance", [PiGDM(), ProximalStep(), DPS(0.02), RangeNull()], ids=lambda g: type(g).__name__
)
def test_approximate_guidances_are_seen_to_be_so(x64, guidance):
    """The comparison can tell: none of these is exact for a prior with correlations."""
    target, *moments = known()
    assert not compare(draw(Diffusion(levels(30), guidance), target, KEYS[4]), *moments).exact


def test_white_priors_are_exact_for_pigdm(x64):
    """Also where the variance is not one, and with noise of its own in every datum."""
    A = Dense(jax.random.normal(KEYS[1], (3, N)) / 2)
    noise = jnp.array([0.1, 0.5, 1.0])
    prior = Gaussian(jnp.ones(N), identity(jnp.zeros(N)), jnp.full(N, 0.5))
    target = posterior(A, jnp.array([1.0, -1.0, 2.0]), noise, prior)
    M = np.asarray(A.matrix)
    gain = 0.5 * M.T @ np.linalg.inv(0.5 * M @ M.T + np.diag(noise**2))
    moments = 1 + gain @ (np.array([1.0, -1.0, 2.0]) - M @ np.ones(N)), 0.5 * (np.eye(N) - gain @ M)
    found = compare(draw(Diffusion(levels(40), PiGDM(0.5), order=2), target, KEYS[4]), *moments)
    assert found.exact, found


def test_noise_of_complex_images_counts_in_both_parts(x64):
    """A masked Fourier transform of a white complex prior: samples and posterior in both parts."""
    s, kept = 0.3, jnp.array([1.0, 1.0, 0.0, 1.0])
    F = fft(jnp.zeros(4, complex))
    A = diagonal(kept.astype(complex), F.range) @ F
    prior = Gaussian(jnp.zeros(4, complex), identity(jnp.zeros(4, complex)), jnp.ones(4))
    y = A(prior.sample(KEYS[0]))
    target = posterior(A, y, s, prior)
    exact = jax.jit(jax.vmap(lambda key: gaussian_posterior_sample(target, key)))
    keys = jax.random.split(KEYS[4], N_SAMPLES)
    sampler = Diffusion(levels(40), TweedieCovariance(), order=2)
    M = np.asarray(materialise(A))
    precision = np.eye(4) + np.real(M.conj().T @ M) / s**2
    mean = np.linalg.solve(precision, M.conj().T @ np.asarray(y) / s**2)
    for samples in (exact(keys), draw(sampler, target, KEYS[5])):
        for part in (np.real, np.imag):
            x = np.asarray(part(samples))
            assert compare(jnp.asarray(x), part(mean), np.linalg.inv(precision)).exact


def test_a_mixtures_posterior_by_importance(x64):
    """Mean and spread of the mixture that is the posterior, against weighted draws of the prior."""
    rng = np.random.default_rng(1)
    roots = rng.standard_normal((3, 2, 2)) / 2
    prior = gaussian_mixture([0.2, 0.5, 0.3], 2 * rng.standard_normal((3, 2)), roots @ roots.mT)
    A = Dense(jnp.array([[1.0, 0.5]]))
    target = posterior(A, jnp.array([0.7]), 0.5, prior)
    draws = jax.jit(jax.vmap(prior.sample))(jax.random.split(KEYS[0], 400_000))
    weights = jax.nn.softmax(-jax.vmap(target)(draws))
    mean, covariance = mixture_posterior(target).moments
    np.testing.assert_allclose(weights @ draws, mean, atol=0.01)
    spread = jnp.einsum("s,si,sj->ij", weights, draws - mean, draws - mean)
    np.testing.assert_allclose(spread, covariance, atol=0.02)


def test_samples_of_a_mixture_have_its_law(x64):
    """Kolmogorov's distance in both coordinates, without guidance, from the exact posterior."""
    roots = np.array([[[0.3, 0.0], [0.2, 0.1]], [[0.1, 0.0], [0.0, 0.4]]])
    prior = gaussian_mixture([0.3, 0.7], [[-1.0, 0.0], [1.0, 1.0]], roots @ roots.mT)
    target = posterior(Dense(jnp.array([[0.3, 1.0]])), jnp.array([0.6]), 0.4, prior)
    known_law = mixture_posterior(target)
    alone = Posterior(target.likelihood, known_law)
    exact = jax.vmap(known_law.sample)(jax.random.split(KEYS[1], N_SAMPLES))
    found = draw(Diffusion(levels(40), order=2), alone, KEYS[2])
    others = draw(Diffusion(levels(40), order=2), target, KEYS[2])
    for i in range(2):
        same, other = (_p_value(a[:, i], exact[:, i]) for a in (found, others))
        assert same > 1e-3
        assert other < 1e-6  # the prior's own law


def _p_value(a: Any, b: Any) -> float:
    result: Any = stats.ks_2samp(a, b)
    return float(result.pvalue)


FINE = (80.0, 8.0, 0.8, 0.08, 8e-3, 8e-4, 8e-5, 8e-6, 8e-7, 0.0)  # to less than the data's noise


def by(guidance):
    return Diffusion(levels(15), guidance, fresh=0.5, renoise=True)


@pytest.mark.parametrize(
    "sampler",
    [by(RangeNull(60)), by(ProximalStep(n_inner=20)), by(PiGDM(n_inner=20)), DDRM(jnp.array(FINE))],
    ids=["DDNM", "DiffPIR", "PiGDM", "DDRM"],
)
def test_complete_data_without_noise_are_returned(x64, sampler):
    """Whatever the prior says."""
    M = jax.random.normal(KEYS[1], (N, N)) + 3 * jnp.eye(N)
    x = jax.random.normal(KEYS[2], (N,))
    prior = Gaussian(jnp.zeros(N), identity(jnp.zeros(N)), jnp.ones(N))
    target = posterior(Dense(M), M @ x, 1e-6, prior)
    np.testing.assert_allclose(draw(sampler, target, KEYS[3], 2), jnp.stack([x, x]), rtol=1e-4)


def test_posterior_is_the_likelihood_of_weighted_data():
    A = identity(jnp.zeros(3))
    target = posterior(A, jnp.ones(3), NOISE, None)
    same = Problem(((LeastSquares(jnp.ones(3), jnp.full(3, 1 / NOISE**2)), A),))
    x = jnp.array([0.0, 1.0, 2.0])
    np.testing.assert_allclose(target(x), same(x), rtol=1e-6)
    value, slope = target.value_and_grad(x)
    np.testing.assert_allclose(value, target(x))
    np.testing.assert_allclose(slope, jax.grad(target)(x), rtol=1e-6)
