"""DDRM and what it decomposes, RED-diff, PnP-Flow, the flow's guided equation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import Circulant, diagonal, fft, identity, materialise, tree
from jaxrecon.physics import optics
from jaxrecon.posterior import (
    DDRM,
    Diffusion,
    FromVelocity,
    Gaussian,
    PiGDM,
    PnPFlow,
    REDDiff,
    flow_levels,
    karras_levels,
    posterior,
    sample,
)
from jaxrecon.posterior.annealed._spectrum import closed_spectrum, spectrum
from tests.posterior.exact import KEYS, N, compare, known, matrix
from tests.posterior.test_samplers import Velocity
from tests.solvers.problems import Dense

IMAGE, COMPLEX = np.zeros((4, 4)), np.zeros((4, 4), complex)
MASK = np.random.default_rng(0).random((4, 4)) < 0.5
OPERATORS = {
    "identity": lambda: 2.0 * identity(IMAGE),
    "mask": lambda: optics.inpaint(MASK, IMAGE),
    "weights": lambda: diagonal(jnp.arange(16.0).reshape(4, 4), IMAGE),
    "blur": lambda: 3.0 * optics.blur(optics.gaussian_kernel((3, 3), 0.8), IMAGE),
    "filter": lambda: Circulant(
        jnp.array([[0.0, 1, 2, 1]] * 4), jax.ShapeDtypeStruct((4, 4), float)
    ),
    "single pixel": lambda: optics.single_pixel(IMAGE, 6),
    "masked Fourier": lambda: masked_fourier(COMPLEX),
}


def masked_fourier(image):
    F = fft(image)
    return diagonal(jnp.asarray(MASK), F.range) @ F


@pytest.mark.parametrize("name", OPERATORS)
def test_a_spectrum_makes_the_gram(x64, name):
    """Vᴴ diag(g) V = AᴴA for structures, and rows of a matrix for everything small."""
    A = OPERATORS[name]()
    found = closed_spectrum(A)
    assert found is not None
    x = jax.random.normal(KEYS[1], (4, 4), A.domain.dtype)
    for V, g in (found, decomposed(A)):
        np.testing.assert_allclose(V.H(g * V(x)), A.H(A(x)), atol=1e-12)
    np.testing.assert_allclose(found.basis.H(found.basis(x)), x, atol=1e-12)


def test_small_operators_are_decomposed_densely(x64):
    """Real Fourier data of a real image too: no mask of coefficients stands for them."""
    for A in (Dense(jax.random.normal(KEYS[1], (4, N))), masked_fourier(IMAGE)):
        assert closed_spectrum(A) is None
        V, g = decomposed(A)
        np.testing.assert_allclose(materialise(V.H @ diagonal(g, V.range) @ V), gram(A), atol=1e-12)
        np.testing.assert_allclose(materialise(V @ V.H), np.eye(len(g)), atol=1e-12)


def decomposed(A):
    found = spectrum(A)
    assert found is not None
    return found


def gram(A):
    M = materialise(A)
    return np.real(M.conj().T @ M)


def test_ddrm_steps_by_its_equations(x64):
    """One step from a known x_σ for a weighted identity, coefficient by coefficient."""
    weights, y, s, now, later = jnp.array([2.0, 0.1, 0.0]), jnp.array([1.0, 2, 0]), 0.3, 2.0, 0.5
    prior = Gaussian(jnp.zeros(3), identity(jnp.zeros(3)), jnp.ones(3))
    target = posterior(diagonal(weights, jnp.zeros(3)), y, s, prior)
    sampler = DDRM(jnp.array([now, later, 0.0]), eta=0.6, eta_data=0.9)
    prepared = sampler.prepare(target)
    states = jax.vmap(lambda k: sampler.init(prepared, jnp.zeros(3), key=k))(
        jax.random.split(KEYS[0], 20_000)
    )
    # Both data are better than the first level of noise or worse, whatever x is.
    r = np.array([0.15, 3.0])
    np.testing.assert_allclose(jnp.mean(states.x, 0), [0.5, 0, 0], atol=0.06)
    np.testing.assert_allclose(jnp.std(states.x, 0), [np.sqrt(4 - r[0] ** 2), 2, 2], rtol=0.02)
    x = jnp.array([1.0, -2.0, 3.0])
    moved = jax.vmap(lambda state: sampler.step(prepared, state._replace(x=x), None)[0].x)(states)
    m = np.asarray(x) / (1 + now**2)
    mean = [
        0.1 * m[0] + 0.9 * 0.5,
        m[1] + 0.8 * later * (20 - m[1]) / r[1],
        m[2] + 0.8 * later * (3 - m[2]) / now,
    ]
    deviation = [np.sqrt(later**2 - 0.81 * r[0] ** 2), 0.6 * later, 0.6 * later]
    np.testing.assert_allclose(jnp.mean(moved, 0), mean, atol=0.01)
    np.testing.assert_allclose(jnp.std(moved, 0), deviation, rtol=0.02)


@pytest.mark.parametrize(
    ("sampler", "mean", "covariance"),
    [
        (DDRM(karras_levels(30, high=80.0, low=1e-3), eta=1.0), 0.3, (0.2, 0.5)),
        (REDDiff(karras_levels(150, high=20.0, low=1e-2), 10.0, 0.05), 0.35, (0.7, 1.0)),
        (PnPFlow(flow_levels(60), 1 / 39), 0.5, (0.3, 0.8)),
    ],
    ids=["DDRM", "REDDiff", "PnPFlow"],
)
def test_how_far_from_the_posterior(x64, sampler, mean, covariance):
    """None is exact: means err by parts of a deviation, covariances by half of themselves."""
    target, *moments = known()
    go = jax.jit(lambda key: sample(sampler, target, key, n_samples=3000).value)
    found = compare(go(KEYS[4]), *moments)
    assert not found.exact
    assert found.mean < mean, found
    assert covariance[0] < found.covariance < covariance[1], found


def test_red_diff_finds_the_mode_of_a_white_prior(x64):
    """Where μ − D(μ + σn) is on average μ σ²/(1 + σ²): ridge regression, at one level."""
    A, y = Dense(jax.random.normal(KEYS[1], (4, 3))), jnp.arange(4.0)
    prior = Gaussian(jnp.zeros(3), identity(jnp.zeros(3)), jnp.ones(3))
    levels = jnp.append(jnp.full(4000, 1.0), 0.0)
    sampler = REDDiff(levels, 4.0, 0.003, decays=(0.9, 0.999))
    found = sample(sampler, posterior(A, y, 1.0, prior), KEYS[2]).value
    M = np.asarray(A.matrix)
    expected = np.linalg.solve(M.T @ M + 4.0 * 0.5 * np.eye(3), M.T @ np.asarray(y))
    np.testing.assert_allclose(found, expected, atol=0.05)


def test_pnp_flow_is_its_recursion(x64):
    """In the paper's variables: t to one, z = x − γₜ∇f(x), D_t at (1 − t)ε + t z; ε averaged."""
    prior = Gaussian(jnp.zeros(2), identity(jnp.zeros(2)), jnp.ones(2))
    A, y = Dense(jnp.array([[1.0, 2.0]])), jnp.array([1.0])
    target = posterior(A, y, 0.5, prior)
    network = Velocity(prior)
    sampler = PnPFlow(flow_levels(5), 0.02, decay=0.7, n_draws=4000)
    found = sample(sampler, posterior(A, y, 0.5, FromVelocity(network)), KEYS[0]).value
    x = jnp.zeros(2)
    for left in np.linspace(0.99, 0, 6)[:-1]:
        z = x - 0.02 * left**0.7 * target.value_and_grad(x)[1]
        # This denoiser is linear, so that the mean over ε is that at ε = 0.
        x = (1 - left) * z - left * network((1 - left) * z, left)
    np.testing.assert_allclose(found, x, atol=0.02)


def test_the_guided_flow_goes_in_even_steps_of_t(x64):
    """x_t along v − t ∇ log p(y|x_t)/(1 − t) by Euler equals the sampler with `flow_levels`."""
    target = known().target
    flow, n = posterior(*_parts(target), FromVelocity(Velocity(target.denoiser))), 12
    sampler = Diffusion(flow_levels(n), PiGDM(0.7, n_inner=8))
    found = sample(sampler, flow, KEYS[0], record=lambda target, x: x)
    _, y, s = _parts(target)
    M, t = matrix(target), np.linspace(0.99, 0, n + 1)
    first = jax.random.split(KEYS[0])[1]
    x = 0.99 * np.asarray(tree.standard_noise(first, target.domain))
    for now, later in itertools.pairwise(t):
        v, pull = jax.vjp(lambda x, now=now: flow.denoiser.network(x, now), jnp.asarray(x))
        mean, sigma = x - now * v, now / (1 - now)
        r2 = sigma**2 * 0.7 / (sigma**2 + 0.7)
        z = M.T @ np.linalg.solve(r2 * M @ M.T + s**2 * np.eye(len(y)), y - M @ mean)
        slope = z - now * pull(jnp.asarray(z))[0]  # of x_t, in x_t
        x = x + (later - now) * (v - now / (1 - now) * slope)
    np.testing.assert_allclose(found.value, x, rtol=1e-6)


def _parts(target):
    ((term, A),) = target.likelihood.terms
    return A, term.data, 1 / jnp.sqrt(term.weights)


def test_refusals_name_what_is_wrong():
    large = posterior(
        optics.blur(jnp.ones((3, 3)), jnp.zeros((40, 40)), padding="valid"),
        jnp.zeros((38, 38)),
        1.0,
        None,
    )
    with pytest.raises(ValueError, match=r"whose spectrum is not known: use `RangeNull`"):
        sample(DDRM(jnp.array([1.0, 0.0])), large, KEYS[0])
    with pytest.raises(ValueError, match="`n_draws` is 0, expected at least 1"):
        sample(PnPFlow(jnp.array([1.0, 0.0]), 1.0, n_draws=0), large, KEYS[0])
    for sampler in (REDDiff(jnp.array([1.0, 0.0]), 1.0, 1.0), PnPFlow(jnp.array([1.0, 0.0]), 1.0)):
        with pytest.raises(ValueError, match="`key` is None; a sampler needs one"):
            sampler.init(large, jnp.zeros((40, 40)))
