"""The laws of the adapters, and the diagnostics against dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import Problem, identity, materialise, pytree, run
from jaxrecon.functionals import L1, LeastSquares, SquaredL2
from jaxrecon.functionals import denoisers as dn
from jaxrecon.solvers import ProximalGradient

KEY = jax.random.key(4)


def image(shape=(14, 17), dtype="float64", fold=0):
    return jax.random.normal(jax.random.fold_in(KEY, fold), shape, dtype)


@pytree
class Linear:
    """D(x, σ) = x − σ M x, for the diagnostics."""

    matrix: jax.Array

    def __call__(self, x, sigma):
        return x - sigma * self.matrix @ x


@pytree
class Pointwise:
    """A cheap denoiser that is neither linear nor homogeneous."""

    def __call__(self, x, sigma):
        return x - sigma * jnp.tanh(x)


POINTWISE = Pointwise()


@pytree
class Lopsided:
    """A denoiser that no flip or turn commutes with."""

    def __call__(self, x, sigma):
        return POINTWISE(x, sigma) + 0.1 * sigma * jnp.roll(x, (1, 2), (-2, -1))


@pytree
class Quartic:
    """g(x, σ) = σ/4 Σ |x|⁴, whose gradient is σ |x|² x."""

    def __call__(self, x, sigma):
        return sigma / 4 * jnp.sum((x.real**2 + x.imag**2) ** 2)


def test_complex_parts_magnitude_stacked(x64):
    x = image(dtype="complex128")
    parts = POINTWISE(x.real, 0.3) + 1j * POINTWISE(x.imag, 0.3)
    np.testing.assert_allclose(dn.Complex(POINTWISE)(x, 0.3), parts, atol=1e-12)
    kept = dn.Complex(POINTWISE, "magnitude")(x, 0.3)
    np.testing.assert_allclose(kept, POINTWISE(jnp.abs(x), 0.3) * x / jnp.abs(x), atol=1e-12)
    stacked = dn.Complex(dn.Channels(POINTWISE), "stacked")(x, 0.3)
    np.testing.assert_allclose(stacked, parts, atol=1e-12)
    np.testing.assert_array_equal(dn.Complex(POINTWISE)(x.real, 0.3), POINTWISE(x.real, 0.3))
    slope = jax.grad(lambda s: jnp.abs(dn.Complex(POINTWISE, "magnitude")(0 * x, s)).sum())(0.3)
    assert jnp.isfinite(slope)


def test_channels_one_by_one_and_mixed(x64):
    x = image((3, 8, 9))
    sigmas = jnp.array([0.1, 0.2, 0.3])
    expected = jnp.stack([POINTWISE(c, s) for c, s in zip(x, sigmas, strict=True)])
    np.testing.assert_allclose(dn.Channels(POINTWISE)(x, sigmas), expected, atol=1e-12)
    mixing = jnp.linalg.qr(image((3, 3)))[0]
    mixed = jnp.einsum("ij,jyx->iyx", mixing, x)
    expected = jnp.einsum("ij,iyx->jyx", mixing, dn.Channels(POINTWISE)(mixed, 0.2))
    np.testing.assert_allclose(dn.Channels(POINTWISE, mixing)(x, 0.2), expected, atol=1e-12)


def test_scaled_sees_zero_to_one(x64):
    x = 50 + 10 * image()
    D = dn.Scaled(dn.ProxDenoiser(L1()))
    unit = (x - x.min()) / jnp.ptp(x)
    expected = x.min() + jnp.ptp(x) * dn.ProxDenoiser(L1())(unit, 3 / jnp.ptp(x))
    np.testing.assert_allclose(D(x, 3.0), expected)
    np.testing.assert_array_equal(D(jnp.full((4, 4), 7.0), 1.0), 7.0)


@pytest.mark.parametrize("shape", [(40, 53), (20, 9), (2, 33, 31)])
def test_tiles_of_a_local_denoiser_do_not_show(shape, x64):
    """Also at the image's borders; and short axes are taken whole."""
    local = dn.Median(3) if len(shape) == 2 else dn.Channels(dn.Median(3))
    tiled = dn.Tiled(local, (16, 20), margin=2, blend=5)
    x = image(shape)
    np.testing.assert_allclose(jax.jit(tiled)(x, 0.5), local(x, 0.5), atol=1e-12)


def test_equivariant_average_commutes_with_flips_and_turns(x64):
    lopsided = Lopsided()
    D, x = jax.jit(dn.Equivariant(lopsided)), image()
    for turn in (lambda x: x[::-1], lambda x: x[:, ::-1], jnp.transpose):
        np.testing.assert_allclose(D(turn(x), 0.5), turn(D(x, 0.5)), atol=1e-12)
        assert jnp.abs(lopsided(turn(x), 0.5) - turn(lopsided(x, 0.5))).max() > 1e-3
    one = jax.jit(lambda member: dn.Equivariant(lopsided, member)(x, 0.5))
    members = [one(jnp.asarray(m)) for m in range(8)]
    np.testing.assert_allclose(sum(members) / 8, D(x, 0.5), atol=1e-12)
    prior = dn.DenoiserPrior(dn.Equivariant(lopsided), sigma=0.5)
    drawn = prior.randomised(KEY).prox(x, 1.0)
    assert min(float(jnp.abs(drawn - m).max()) for m in members) < 1e-12


def test_prior_of_a_proximal_map_is_that_map(x64):
    x, f = image(), L1(0.7)
    prior = dn.DenoiserPrior(dn.ProxDenoiser(f, 2.0), weight=3.0)
    np.testing.assert_allclose(prior.prox(x, 0.1), f.prox(x, 2 * 3 * 0.1), atol=1e-12)
    constant = dn.DenoiserPrior(dn.ProxDenoiser(f), sigma=0.5)
    np.testing.assert_allclose(constant.prox(x, 123.0), f.prox(x, 0.25), atol=1e-12)
    assert jnp.isfinite(jax.grad(lambda t: prior.prox(x, t).sum())(0.0))


def test_red_of_a_linear_denoiser_is_quadratic(x64):
    """Value, gradient, proximal map and the solver's fixed point in closed form."""
    M = jnp.asarray(np.diag([0.2, 0.5, 0.9]))
    x, y, w = image((3,)), image((3,), fold=1), 1.5
    f = dn.RED(Linear(M), 1.0, w, n_iter=100)
    np.testing.assert_allclose(f(x), 0.5 * w * x @ M @ x)
    np.testing.assert_allclose(f.grad(x), jax.grad(f)(x))
    np.testing.assert_allclose(f.prox(x, 0.4), jnp.linalg.solve(jnp.eye(3) + 0.4 * w * M, x))
    problem = Problem(((LeastSquares(y), identity(x)), (f, identity(x))))
    result = run(ProximalGradient(step_size=0.3), problem, n_iter=200)
    np.testing.assert_allclose(result.value, jnp.linalg.solve(jnp.eye(3) + w * M, y), atol=1e-9)
    norm = materialise(f.curvature_root(identity(x)))
    np.testing.assert_allclose(norm.T @ norm, 2 * w * jnp.eye(3))


def test_score_of_gaussians_exact_denoiser(x64):
    """The prior N(0, v): D(x) = v/(v + σ²) x, the noisy images' score −x/(v + σ²)."""
    x, v, sigma = image(), 2.5, 0.7
    D = dn.ProxDenoiser(SquaredL2(1 / v))
    np.testing.assert_allclose(dn.score(D, x, sigma), -x / (v + sigma**2), atol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "complex128"])
def test_gradient_step(dtype, x64):
    x = image(dtype=dtype)
    D = dn.GradientStep(Quartic())
    np.testing.assert_allclose(D(x, 0.1), x - 0.1 * jnp.abs(x) ** 2 * x, atol=1e-12)
    assert dn.asymmetry(D, x, 0.1, KEY) < 1e-12
    fixed = dn.FixedStrength(D, 0.1)
    np.testing.assert_array_equal(fixed(x, 77.0), D(x, 0.1))


def test_diagnostics_of_a_matrix(x64):
    M, x = image((6, 6)), image((6,))
    D, J = Linear(M), np.eye(6) - 0.3 * np.asarray(M)
    options = {"n_iter": 3000, "tol": 1e-12}
    result = dn.lipschitz(D, x, 0.3, KEY, **options)
    np.testing.assert_allclose(result.check().value, np.linalg.norm(J, 2), rtol=1e-6)
    residual = dn.residual_lipschitz(D, x, 0.3, KEY, **options).value
    np.testing.assert_allclose(residual, 0.3 * np.linalg.norm(M, 2), rtol=1e-6)
    expected = np.linalg.norm(J - J.T) / np.linalg.norm(J)
    np.testing.assert_allclose(dn.asymmetry(D, x, 0.3, KEY, n_probes=4000), expected, rtol=0.05)


def test_proximal_maps_are_nonexpansive_and_symmetric(x64):
    x = image((6, 7))
    D = dn.total_variation(n_iter=100)
    assert dn.lipschitz(D, x, 0.5, KEY).value < 1 + 1e-3
    assert dn.residual_lipschitz(D, x, 0.5, KEY).value < 1 + 1e-3
    assert dn.asymmetry(dn.NonLocalMeans(patch=3, search=2), x, 0.5, KEY) > 0.01


def test_conv_norm_is_that_of_the_dense_matrix(x64):
    kernel, shape = image((3, 2, 2, 3)), (5, 4)

    def convolve(x):  # circular, (y, x, in) to (y, x, out)
        spectrum = jnp.fft.fftn(x.reshape(*shape, 2), axes=(0, 1))
        response = jnp.fft.fftn(kernel, shape, axes=(0, 1))
        return jnp.fft.ifftn(jnp.einsum("yxi,yxio->yxo", spectrum, response), axes=(0, 1)).real

    dense = jax.jacobian(convolve)(jnp.zeros(40)).reshape(-1, 40)
    np.testing.assert_allclose(dn.conv_norm(kernel, shape), jnp.linalg.norm(dense, 2), rtol=1e-10)
