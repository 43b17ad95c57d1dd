"""Learned priors against dense matrices, Hessians, brute force and definitions."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from jaxrecon.core import Problem, diagonal, identity, norm, replace, run
from jaxrecon.functionals import LeastSquares
from jaxrecon.nets import priors
from jaxrecon.solvers.gradient import FISTA
from jaxrecon.solvers.splitting import PDHG
from tests import verbs
from tests.tolerances import relative_error

SIGMA = 0.2
SHAPE = (6, 5)


def image(shape=SHAPE, complex_values=False, seed=0):
    dtype = jnp.complex128 if complex_values else jnp.float64
    return jax.random.normal(jax.random.key(seed), shape, dtype)


def bank(complex_values=False, shape=SHAPE):
    keys = jax.random.split(jax.random.key(1))
    sizes = ((3, 5, 1, 2), (3, 3, 2, 3))
    kernels = [jax.random.normal(k, s, jnp.float64) for k, s in zip(keys, sizes, strict=True)]
    return priors.filter_bank(kernels, image(shape, complex_values))


def ridge_net(modulus, **options):
    """A network away from its initial values."""
    options = {"channels": (2, 4), "kernel": 3, "n_knots": 6, "n_levels": 3} | options
    net = priors.RidgeNet(modulus=modulus, param_dtype=jnp.float64, rngs=nnx.Rngs(0), **options)
    keys = iter(jax.random.split(jax.random.key(5), 20))
    return jax.tree.map(lambda a: a + 0.3 * jax.random.normal(next(keys), a.shape, a.dtype), net)


def hessian(f, x):
    n = x.size
    return jax.jacrev(lambda v: f.grad(v.reshape(x.shape)).ravel())(x.ravel()).reshape(n, n)


# ------------------------------------------------------------------------------- filters, splines


@pytest.mark.parametrize("complex_values", [False, True])
def test_a_filter_bank_has_an_exact_adjoint(x64, key, complex_values):
    A = bank(complex_values, (2, *SHAPE))
    for check in (verbs.check_adjoint, verbs.check_shapes, verbs.check_vmap, verbs.check_traces):
        check(A, key)


def test_a_filter_bank_has_exact_derivatives(x64, key):
    verbs.check_gradients(bank(), key)
    verbs.check_second_order(bank(), key)


def test_a_chain_is_the_correlation_with_its_composed_filters(x64):
    A, x = bank(), image()
    filters = np.asarray(priors.composed(A.kernels))
    assert filters.shape == (3, 5, 7)
    padded = np.pad(x, ((2, 2), (3, 3)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, filters.shape[1:])
    expected = np.einsum("yxij,cij->yxc", windows, filters)
    assert relative_error(A(x), expected) < 1e-13


def test_volumes_are_filtered_too(x64):
    kernel = jax.random.normal(jax.random.key(0), (3, 3, 3, 1, 2), jnp.float64)
    x = image((3, 4, 5))
    A = priors.filter_bank([kernel], x)
    np.testing.assert_allclose(A(x)[1, 1, 2], jnp.tensordot(x[:3, :3, 1:4], kernel[..., 0, :], 3))
    verbs.check_adjoint(A, jax.random.key(1))


def test_normalised_filters_have_no_mean_and_norm_close_to_one(x64):
    kernels = priors.normalised(bank().kernels)
    A = priors.filter_bank(kernels, image((40, 40)))
    size = norm(A, jax.random.key(0), n_iter=300, tol=1e-7).value
    assert 0.9 < size <= 1
    assert jnp.max(jnp.abs(jnp.sum(priors.composed(kernels), (1, 2)))) < 1e-14


def test_filter_banks_refuse_kernels_that_do_not_fit():
    with pytest.raises(ValueError, match="`kernels` has one of shape \\(3, 2, 1, 4\\)"):
        priors.filter_bank([jnp.ones((3, 2, 1, 4))], jnp.ones((5, 5)))
    with pytest.raises(ValueError, match="2 input channels"):
        priors.filter_bank([jnp.ones((3, 3, 1, 2)), jnp.ones((3, 3, 1, 2))], jnp.ones((5, 5)))
    with pytest.raises(ValueError, match="`like`"):
        priors.filter_bank([jnp.ones((3, 3, 1, 2))], jnp.ones(5))


def test_the_proximal_map_of_potentials_is_the_minimiser(x64):
    spacing = jnp.array([0.1, 0.3])
    f = priors.SplinePotentials(jnp.array([3.0, -0.9, 0.5, -0.9]), spacing, 0.7)
    x, step = jnp.array([[0.05, 0.4], [-0.7, 1.3], [0.0, -0.2]]), 1.2
    grid = jnp.linspace(-2, 2, 200_001)
    for i, j in np.ndindex(x.shape):
        one = replace(f, spacing=spacing[j])
        cost = jax.vmap(one)(grid) + (grid - x[i, j]) ** 2 / (2 * step)
        assert abs(f.prox(x, step)[i, j] - grid[jnp.argmin(cost)]) < 2e-5


# ------------------------------------------------------------------------------ ridge regularisers


def test_ridge_network_has_the_parameters_it_says():
    net = nnx.eval_shape(lambda: priors.RidgeNet(rngs=nnx.Rngs(0)))
    assert sum(leaf.size for leaf in jax.tree.leaves(net)) == 13_585


@pytest.mark.parametrize("complex_values", [False, True])
def test_the_gradient_of_a_ridge_prior_is_that_of_its_value(x64, complex_values):
    f, x = ridge_net(1.0).functional(SIGMA, 1.7), image(complex_values=complex_values)
    assert relative_error(f.grad(x), jnp.conj(jax.grad(f)(x))) < 1e-12


@pytest.mark.parametrize("modulus", [0.0, 1.0])
@pytest.mark.parametrize("size", [0.25, 1.0])
def test_convexity_and_curvature_hold_by_construction(x64, modulus, size):
    f = ridge_net(modulus).functional(SIGMA)
    x = size * image()
    curvatures = jnp.linalg.eigvalsh(hessian(f, x))
    assert -modulus - 1e-12 <= curvatures[0]
    assert modulus == 0 or size > 0.5 or curvatures[0] < -0.01  # the bound is not idle
    bound = f.curvature_root(identity(x)).gram
    dense = jax.vmap(lambda e: bound(e.reshape(x.shape)).ravel())(jnp.eye(x.size, dtype=x.dtype))
    assert jnp.linalg.eigvalsh(dense - hessian(f, x))[0] > -1e-10


@pytest.mark.parametrize("modulus", [0.0, 1.0])
def test_potentials_never_fall_and_slopes_keep_their_bound(x64, modulus):
    raw = 4 * image((50, 8))

    def slopes(raw):
        net = ridge_net(modulus, n_knots=8)
        net.raw_slopes[...] = raw
        return net.slopes()

    got = jax.vmap(slopes)(raw)
    heights = np.zeros(50)
    for k in range(8):
        new = np.maximum(heights + np.logaddexp(raw[:, k], 0) - modulus, 0)
        np.testing.assert_allclose(got[:, k], new - heights, atol=1e-12)
        heights = new
    assert np.min(got) >= -modulus - 1e-12


@pytest.mark.parametrize("complex_values", [False, True])
def test_the_denoiser_solves_its_optimality_condition(x64, complex_values):
    net = ridge_net(1.0, tol=1e-12, n_iter=3000)
    f, y = net.functional(SIGMA), image(complex_values=complex_values)
    x = net(y, SIGMA)
    assert relative_error(x + f.grad(x), y) < 1e-9
    assert relative_error(net(y, 0.0), y) == 0


def test_a_constant_scale_makes_the_denoiser_scale_with_the_noise(x64):
    net = ridge_net(1.0, tol=1e-12, n_iter=3000)
    net.log_scales[...] = jnp.broadcast_to(net.log_scales[...][0], (3, 4))
    y = image()
    assert relative_error(net(3 * y, 3 * SIGMA), 3 * net(y, SIGMA)) < 1e-9


def test_noise_levels_interpolate_the_scales(x64):
    net = ridge_net(1.0, max_sigma=0.4)
    low, middle, high = (net.spacing(s) / s for s in (0.2, 0.3, 0.4))
    assert relative_error(middle, jnp.sqrt(low * high)) < 1e-12
    assert relative_error(net.spacing(4.0) / 4.0, high) < 1e-12


def test_implicit_gradients_are_those_of_many_steps(x64):
    y, target = image(), image(seed=7)

    def loss(net, y):
        return jnp.sum((net(y, SIGMA) - target) ** 2)

    implicit = ridge_net(0.5, tol=1e-12, n_iter=2000)
    unrolled = ridge_net(0.5, gradient="unrolled", n_iter=300)
    settings = functools.partial(replace, implicit.functional(SIGMA), adjoint_tol=1e-10)
    grads = jax.grad(lambda y: jnp.sum((settings().prox(y, 1.0) - target) ** 2))(y)
    got = [*jax.tree.leaves(jax.grad(loss)(implicit, y)), grads]
    expected = jax.tree.leaves(jax.grad(loss, (0, 1))(unrolled, y))
    for a, b in zip(got, expected, strict=True):
        assert relative_error(a, b) < 3e-3
    assert relative_error(grads, expected[-1]) < 1e-6


def test_a_ridge_prior_serves_gradient_and_splitting_solvers(x64):
    prior = ridge_net(0.0).functional(SIGMA, 0.5)
    A = diagonal(jnp.linspace(0.5, 2.0, 30).reshape(SHAPE), image())
    fidelity = (LeastSquares(image(seed=3)), A)
    smooth = Problem((fidelity, (prior, identity(image()))))
    split = Problem((fidelity, prior.terms(image())))
    first = run(FISTA(), smooth, n_iter=2000, tol=1e-11).check().value
    second = run(PDHG(), split, n_iter=6000, tol=1e-11).check().value
    assert relative_error(first, second) < 1e-6


def test_training_a_ridge_network_lowers_its_loss():
    net: Any = priors.RidgeNet(channels=(2, 4), kernel=3, n_iter=30, rngs=nnx.Rngs(0))
    x = jnp.zeros((4, 12, 12)).at[:, 3:9, 4:].set(1)
    y = x + 0.2 * jax.random.normal(jax.random.key(0), x.shape)
    optimiser = optax.adam(0.03)

    @jax.jit
    def step(net, state):
        def loss(net):
            return jnp.mean((jax.vmap(lambda y: net(y, 0.2))(y) - x) ** 2)

        value, grads = jax.value_and_grad(loss)(net)
        updates, state = optimiser.update(grads, state, net)
        return optax.apply_updates(net, updates), state, value

    state, values = optimiser.init(net), []
    for _ in range(12):
        net, state, value = step(net, state)
        values.append(float(value))
    assert values[-1] < 0.75 * values[0]


@pytest.mark.parametrize(
    "options", [{"kernel": 4}, {"modulus": -1.0}, {"n_knots": 2}, {"n_levels": 1}]
)
def test_ridge_networks_refuse_what_makes_no_sense(options):
    with pytest.raises(ValueError, match=f"`{next(iter(options))}` is"):
        priors.RidgeNet(**options, rngs=nnx.Rngs(0))
