"""Samplers as programs: parametrisations, levels, keys, batches, gradients, refusals."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import Problem, identity, pytree, run
from jaxrecon.functionals import LeastSquares, Poisson
from jaxrecon.functionals.denoisers import score
from jaxrecon.posterior import (
    DPS,
    Diffusion,
    FromNoise,
    FromScore,
    FromVelocity,
    Gaussian,
    PiGDM,
    Posterior,
    ProximalStep,
    RangeNull,
    TweedieCovariance,
    Unconditional,
    flow_levels,
    gaussian_mixture,
    geometric_levels,
    karras_levels,
    mixture_posterior,
    noise_of,
    posterior,
    sample,
    velocity_of,
)
from tests.posterior.exact import KEYS, known

GUIDANCES = [Unconditional(), DPS(0.02), PiGDM(), TweedieCovariance(), ProximalStep(), RangeNull()]
LEVELS = (8.0, 2.0, 0.5, 0.0)


def mixture():
    return gaussian_mixture([1.0, 2.0], [[-1.0, 0.5], [1.0, 0.0]], [0.1 * np.eye(2), np.eye(2)])


@pytree
class Noise:
    """What a perfect network predicts of s(x₀ + σn) at a time of `signal`."""

    denoiser: Any
    signal: jax.Array

    def __call__(self, x, t):
        share = jnp.interp(t, jnp.arange(len(self.signal), dtype=float), self.signal)
        return noise_of(self.denoiser, x / jnp.sqrt(share), jnp.sqrt((1 - share) / share))


@pytree
class Velocity:
    denoiser: Any

    def __call__(self, x, t):
        return velocity_of(self.denoiser, x, t)


@pytree
class Score:
    denoiser: Any

    def __call__(self, x, sigma):
        return score(self.denoiser, x, sigma)


def test_parametrisations_are_one_denoiser(x64):
    """Each way there and back."""
    D, x = mixture(), jnp.array([0.3, -0.7])
    signal = jnp.linspace(0.999, 0.01, 20)
    for t in (2, 9, 17):  # at the network's own times
        sigma = jnp.sqrt((1 - signal[t]) / signal[t])
        for network in (
            FromNoise(Noise(D, signal), signal),
            FromVelocity(Velocity(D)),
            FromScore(Score(D)),
        ):
            np.testing.assert_allclose(network(x, sigma), D(x, sigma), rtol=1e-9)


def test_score_is_that_of_the_density(x64):
    """Tweedie's formula on a mixture, against the derivative of its log density."""
    D, sigma = mixture(), 0.7

    def log_density(x):
        widths = D.variances + sigma**2
        offsets = jnp.einsum("kij,ki->kj", D.vectors, x - D.means)
        fit = jnp.sum(offsets**2 / widths + jnp.log(widths), 1)
        return jax.nn.logsumexp(D.logits - fit / 2)

    x = jnp.array([0.2, -0.4])
    np.testing.assert_allclose(score(D, x, sigma), jax.grad(log_density)(x), rtol=1e-10)


@pytest.mark.parametrize("guidance", GUIDANCES, ids=lambda g: type(g).__name__)
def test_batches_keys_and_gradients(x64, guidance):
    """A batch is each sample alone, keys make the samples, and the data have derivatives."""
    target = known().target
    sampler = Diffusion(jnp.array(LEVELS), guidance, fresh=0.5)
    many = sample(sampler, target, KEYS[4], n_samples=3)
    assert bool(jnp.all(many.status.ok))
    assert many.n_iter.tolist() == [3, 3, 3]
    alone = [sample(sampler, target, k).value for k in jax.random.split(KEYS[4], 3)]
    np.testing.assert_allclose(many.value, jnp.stack(alone), rtol=1e-9)
    assert float(jnp.ptp(many.value, axis=0).min()) > 1e-3

    ((term, A),) = target.likelihood.terms

    def end(y):
        moved = Posterior(Problem(((LeastSquares(y, term.weights), A),)), target.denoiser)
        result = run(sampler, moved, n_iter=3, key=KEYS[5], gradient="unrolled")
        return jnp.sum(jnp.sin(result.value))

    go, along, step = jax.jit(jax.value_and_grad(end)), jnp.arange(1.0, 5), 1e-5
    ahead, behind = (go(term.data + d * along)[0] for d in (step, -step))
    slope = go(term.data)[1] @ along
    np.testing.assert_allclose(slope, (ahead - behind) / (2 * step), rtol=1e-4, atol=1e-7)


def test_path_start_and_count():
    """Records are kept of every step, from x0 on; what is asked of the denoiser is counted."""
    target = known().target
    x0 = jnp.full(6, 5.0)
    levels = jnp.array([1e-3, 5e-4, 0.0])
    done = sample(Diffusion(levels, order=2), target, KEYS[0], x0=x0, record=lambda target, x: x)
    assert done.record.shape == (2, 6)
    assert int(done.info.n_estimates.sum()) == 4
    np.testing.assert_allclose(done.record[0], x0, atol=0.01)
    np.testing.assert_array_equal(done.record[-1], done.value)
    np.testing.assert_allclose(done.info.sigma, levels[1:])


def test_likelihoods_of_counts():
    """DPS takes any likelihood: samples of a flat prior come nearer to the counts."""
    A, counts = identity(jnp.zeros(4)), jnp.array([5.0, 50.0, 20.0, 10.0])
    flat = Gaussian(jnp.full(4, 20.0), A, jnp.full(4, 400.0))
    target = Posterior(Problem(((Poisson(counts, 1.0), A),)), flat)
    levels = geometric_levels(60, high=100.0, low=0.1)
    ends = [
        jnp.mean(sample(Diffusion(levels, g), target, KEYS[1], n_samples=50).value, 0)
        for g in (Unconditional(), DPS(6.0))
    ]
    far = [float(jnp.linalg.norm(end - counts)) for end in ends]
    assert far[1] < far[0] / 2


def test_levels_fall_to_zero():
    for levels in (
        karras_levels(5, high=10.0, low=0.1),
        geometric_levels(5, high=10.0, low=0.1),
        flow_levels(5),
    ):
        assert levels.shape == (6,)
        assert float(levels[-1]) == 0
        assert bool(jnp.all(jnp.diff(levels) < 0))
    with pytest.raises(ValueError, match="`n` is 1, expected at least 2 steps"):
        karras_levels(1, high=1.0, low=0.1)


def test_refusals_name_what_is_wrong():
    target = known().target
    sampler = Diffusion(jnp.array(LEVELS))
    A, D = identity(jnp.zeros(2)), mixture()
    counts = Posterior(Problem(((Poisson(jnp.ones(2)), A),)), D)
    for go, message in (
        (lambda: sample(sampler, target, KEYS[0], n_samples=0), "`n_samples` is 0"),
        (lambda: sample(Diffusion(jnp.ones(3)), target, KEYS[0]), "`levels` do not fall to zero"),
        (lambda: sample(Diffusion(jnp.ones(1)), target, KEYS[0]), "`levels` has shape"),
        (lambda: sample(Diffusion(sampler.levels, order=3), target, KEYS[0]), "`order` is 3"),
        (
            lambda: sample(Diffusion(sampler.levels, PiGDM()), counts, KEYS[0]),
            "`likelihood` is Poisson; this one takes one LeastSquares",
        ),
        (lambda: posterior(A, jnp.ones(3), 1.0, D), r"`y` has shape \(3,\), expected \(2,\)"),
        (lambda: posterior(A, jnp.ones(2), 0.0, D), "`noise` is not positive"),
        (lambda: gaussian_mixture([1.0], [[0.0]], [[[-1.0]]]), "`covariances` holds a matrix"),
        (lambda: gaussian_mixture([1.0], [0.0], [[[1.0]]]), "`means` has shape"),
        (lambda: gaussian_mixture([-1.0], [[0.0]], [[[1.0]]]), "`weights` are not all positive"),
        (lambda: mixture_posterior(target), "expected a GaussianMixture prior"),
    ):
        with pytest.raises(ValueError, match=message):
            go()
