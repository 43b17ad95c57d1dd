"""Markov chains and particles against the known posterior."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import identity, materialise, run
from jaxrecon.posterior import (
    SKROCK,
    Diffusion,
    Gaussian,
    Langevin,
    TwistedParticles,
    posterior,
)
from jaxrecon.posterior.annealed._particles import systematic
from tests.posterior.exact import KEYS, NOISE, N, compare, known

EPSILON, N_CHAINS = 0.02, 20_000


@functools.partial(jax.jit, static_argnames=("n_iter", "n"))
def chains(chain, target, n_iter, n=N_CHAINS):
    go = lambda key: run(chain, target, n_iter=n_iter, key=key).value  # noqa: E731
    return jax.vmap(go)(jax.random.split(KEYS[6], n))


def hessian(target):
    """Of U, which is quadratic here; the blurred prior has the covariance C + ε²."""
    ((term, A),) = target.likelihood.terms
    M, C = (
        np.asarray(materialise(B)) for B in (term.curvature_root(A), target.denoiser.covariance)
    )
    return M.T @ M + np.linalg.inv(C + EPSILON**2 * np.eye(N))


def test_langevin_has_the_covariance_of_its_step(x64):
    """H⁻¹(1 − δH/2)⁻¹ for a quadratic U: the bias is the one that theory says, and no other."""
    target, mean, covariance = known()
    H = hessian(target)
    step = 0.5 / np.linalg.norm(H, 2)
    biased = np.linalg.inv(H) @ np.linalg.inv(np.eye(N) - step / 2 * H)
    # From the posterior on: only what the step changes has to settle.
    root = np.linalg.cholesky(covariance)
    starts = mean + jax.random.normal(KEYS[7], (N_CHAINS, N)) @ root.T
    chain = Langevin(step, EPSILON)
    go = lambda x0, key: run(chain, target, x0, n_iter=150, key=key).value  # noqa: E731
    samples = jax.jit(jax.vmap(go))(starts, jax.random.split(KEYS[6], N_CHAINS))
    found = compare(samples, mean, biased)
    assert found.exact, found
    assert compare(samples, mean, covariance).covariance > found.covariance


def test_skrock_goes_further_than_langevin(x64):
    """At a step that Langevin's equation does not survive."""
    target, mean, covariance = known()
    step = 8 / np.linalg.norm(hessian(target), 2)
    assert not bool((jnp.abs(chains(Langevin(step, EPSILON), target, 200, 2)) < 1e6).all())
    found = compare(chains(SKROCK(step, EPSILON), target, 250), mean, covariance)
    assert found.mean < 0.03
    assert found.covariance < 0.06
    assert abs(found.within_90 - 0.9) < 0.01


def test_the_box_holds_chains():
    """Without data and with a flat prior they would leave."""
    A = identity(jnp.zeros(3))
    flat = Gaussian(jnp.zeros(3), A, jnp.full(3, 1e6))
    target = posterior(A, jnp.zeros(3), 1e3, flat)
    held, free = (
        chains(Langevin(0.01, 0.1, box=box), target, 500, 200) for box in ((0.0, 1.0), None)
    )
    assert float(jnp.mean((held > -0.5) & (held < 1.5))) > 0.98
    assert float(jnp.std(free)) > 2


def test_particles_are_exact(x64):
    """Where the same drift without weights is not (`test_exact.py`)."""
    target, *moments = known()
    levels = jnp.append(jnp.geomspace(30.0, 0.02, 100), 0.0)
    sampler = TwistedParticles(levels, 5000)

    @jax.jit
    def go(keys):
        return jax.vmap(lambda k: run(sampler, target, n_iter=sampler.n_steps, key=k))(keys)

    result = go(jax.random.split(KEYS[5], 4))
    found = compare(result.value.reshape(-1, N), *moments)
    assert found.exact, found
    assert bool((result.info.effective > 0.3).all())


def test_systematic_resampling_keeps_expectations():
    weights = jax.nn.softmax(jax.random.normal(KEYS[0], (50,)))
    many = jax.vmap(lambda k: systematic(k, weights))(jax.random.split(KEYS[1], 2000))
    counts = jnp.mean(many[:, :, None] == jnp.arange(50), (0, 1))
    np.testing.assert_allclose(counts, weights, atol=2e-3)


def test_refusals_name_what_is_wrong():
    target = known().target
    for algorithm, key, message in (
        (Langevin(0.1, NOISE), None, "`key` is None; a chain needs one"),
        (SKROCK(0.1, NOISE, n_stages=1), KEYS[0], "`n_stages` is 1, expected at least 2"),
        (TwistedParticles(jnp.array([1.0, 0.0]), 1), KEYS[0], "`n_particles` is 1"),
        (TwistedParticles(jnp.array([1.0, 0.0]), 2), None, "`key` is None; a sampler needs one"),
        (Diffusion(jnp.array([1.0, 0.0])), None, "`key` is None; a sampler needs one"),
    ):
        with pytest.raises(ValueError, match=message):
            run(algorithm, target, n_iter=1, key=key)
