"""Posteriors of counts, of moduli, of nonlinear forward models: against quadrature in the plane."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import Problem, chain, identity, pointwise, run
from jaxrecon.functionals import Amplitude, LeastSquares, Poisson, Transmission
from jaxrecon.posterior import (
    DDRM,
    DPS,
    MALA,
    Diffusion,
    Gaussian,
    GaussianStep,
    GradientStep,
    InverseGamma,
    LangevinStep,
    PiGDM,
    PnPFlow,
    Posterior,
    ProximalStep,
    RangeNull,
    REDDiff,
    SplitGibbs,
    TweedieCovariance,
    TwistedParticles,
    UnknownNoise,
    flow_levels,
    geometric_levels,
    karras_levels,
    posterior,
    sample,
)
from tests.posterior.exact import KEYS, Comparison, compare
from tests.solvers.problems import Dense

TRUTH, MEAN, VARIANCE = np.array([1.2, 0.4]), np.array([1.0, 0.6]), 0.09
MATRIX = np.array([[1.0, 0.5], [0.3, -1.0], [0.7, 0.9]])


class Case(NamedTuple):
    """A target, the curvature of its likelihood, and the moments of its posterior."""

    target: Posterior
    problem: Problem
    curvature: float
    mean: np.ndarray
    covariance: np.ndarray


def case(name: str) -> Case:
    A, seen = Dense(jnp.asarray(MATRIX)), MATRIX @ TRUTH
    prior = Gaussian(jnp.asarray(MEAN), identity(jnp.zeros(2)), jnp.full(2, VARIANCE))
    if name == "counts":
        f, curvature = Poisson(jnp.round(10 * (seen + 1)) / 10 * 4, 4.0), 4.0
        target = Posterior(Problem(((f, 4 * A),)), prior)
    elif name == "transmission":
        f, curvature = Transmission(jnp.round(30 * jnp.exp(-seen)), 30.0), 60.0
        target = Posterior(Problem(((f, A),)), prior)
    elif name == "moduli":
        f, curvature = Amplitude(jnp.abs(seen) + 0.1, 1 / 0.2**2), 70.0
        target = Posterior(Problem(((f, A),)), prior)
    elif name == "unknown noise":
        f, curvature = UnknownNoise(jnp.asarray(seen) + 0.1, InverseGamma(1.0, 0.05)), 120.0
        target = Posterior(Problem(((f, A),)), prior)
    else:
        target = posterior(chain(pointwise(jnp.tanh, A.range), A), jnp.tanh(seen), 0.2, prior)
        curvature = 70.0
    log_prior = LeastSquares(prior.mean, jnp.full(2, 1 / VARIANCE)), prior.basis
    problem = Problem((*target.likelihood.terms, log_prior))
    return Case(target, problem, curvature, *moments(problem))


def moments(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Of exp(−U) on a fine grid."""
    axis = jnp.linspace(-1.5, 1.5, 201)
    x = jnp.stack(jnp.meshgrid(axis + MEAN[0], axis + MEAN[1]), -1).reshape(-1, 2)
    w = jax.nn.softmax(-jax.jit(jax.vmap(problem))(x))
    mean = w @ x
    return np.asarray(mean), np.asarray(jnp.einsum("s,si,sj->ij", w, x - mean, x - mean))


NAMES = ["counts", "transmission", "moduli", "unknown noise", "nonlinear operator"]


@functools.partial(jax.jit, static_argnames="n")
def many(algorithm, target, n=4000):
    if isinstance(algorithm, MALA):
        go = lambda k: run(algorithm, target, MEAN, n_iter=60, key=k).value  # noqa: E731
        return jax.vmap(go)(jax.random.split(KEYS[5], n))
    return sample(algorithm, target, KEYS[5], n_samples=n).value


def near(found: Comparison, accuracy: float) -> bool:
    return found.mean < accuracy and found.covariance < accuracy


@pytest.mark.parametrize("name", NAMES[1:])
def test_mala_is_exact(x64, name):
    """For everything that a `Problem` can hold and has a gradient."""
    known = case(name)
    step = 0.5 / (known.curvature + 1 / VARIANCE)
    found = compare(many(MALA(step), known.problem), known.mean, known.covariance)
    assert near(found, 0.06), found


@pytest.mark.parametrize("name", ["counts", "nonlinear operator"])
def test_split_gibbs_takes_any_likelihood(x64, name):
    known = case(name)
    likelihood = LangevinStep(known.curvature, share=0.7, n_inner=4, adjusted=True)
    levels = geometric_levels(80, high=0.5, low=0.05)
    sampler = SplitGibbs(levels, likelihood, 3, VARIANCE, low=0.2)
    found = compare(many(sampler, known.target, 4000), known.mean, known.covariance)
    assert near(found, 0.1), found


@pytest.mark.parametrize(
    "make",
    [
        lambda c: Diffusion(karras_levels(30, high=5.0, low=1e-2), DPS(0.01)),
        lambda c: Diffusion(
            karras_levels(30, high=5.0, low=1e-2), GradientStep(1 / c), fresh=1.0, renoise=True
        ),
        lambda c: PnPFlow(flow_levels(40), 0.5 / c, 0.3),
        lambda c: REDDiff(karras_levels(80, high=2.0, low=1e-2), 1 / VARIANCE, 0.03),
    ],
    ids=["DPS", "GradientStep", "PnPFlow", "REDDiff"],
)
def test_gradient_methods_take_any_likelihood(x64, make):
    """They come nearer to the posterior's mean than the prior's, and their spread is wrong."""
    known = case("moduli")
    found = compare(many(make(known.curvature), known.target, 500), known.mean, known.covariance)
    alone = np.linalg.norm(MEAN - known.mean) / np.sqrt(np.trace(known.covariance))
    assert found.mean < 0.6 * alone, (found, alone)
    assert found.covariance > 0.2, found


@pytest.mark.parametrize("name", ["counts", "nonlinear operator"])
def test_the_others_refuse(x64, name):
    known, levels = case(name), jnp.array([1.0, 0.0])
    message = "Poisson" if name == "counts" else "not linear"
    for sampler in (
        *(Diffusion(levels, g) for g in (PiGDM(), TweedieCovariance(), ProximalStep())),
        *(Diffusion(levels, g) for g in (RangeNull(), GaussianStep())),
        DDRM(levels),
        TwistedParticles(levels, 2),
        SplitGibbs(levels),
    ):
        with pytest.raises(ValueError, match=f"`likelihood`.*{message}.*`LangevinStep`"):
            sample(sampler, known.target, KEYS[0])


def test_mala_needs_a_value(x64):
    with pytest.raises(ValueError, match="`problem` is a Posterior, whose prior is known by its"):
        run(MALA(0.1), case("counts").target, n_iter=1, key=KEYS[0])
    with pytest.raises(ValueError, match="`key` is None; a chain needs one"):
        run(MALA(0.1), case("counts").problem, n_iter=1)


def test_mala_does_not_go_where_the_density_ends(x64):
    """Counts forbid x ≤ −b: proposals there are refused, and none of the values is infinite."""
    A = identity(jnp.zeros(1))
    problem = Problem(((Poisson(jnp.array([1.0])), A),))  # Gamma(2, 1)
    go = lambda k: run(MALA(1.0), problem, jnp.ones(1), n_iter=60, key=k)  # noqa: E731
    result = jax.jit(jax.vmap(go))(jax.random.split(KEYS[4], 6000))
    assert bool(jnp.all(result.value > 0))
    assert bool(jnp.all(result.status.ok))
    assert 0.3 < float(jnp.mean(result.info.acceptance)) < 0.95
    np.testing.assert_allclose(jnp.mean(result.value), 2, rtol=0.04)
    np.testing.assert_allclose(jnp.var(result.value), 2, rtol=0.1)
