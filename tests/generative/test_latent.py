"""Search and chains in latent space where the answer is known: linear generators, mostly."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxrecon.core import Problem, adjointness, identity, materialise, run
from jaxrecon.functionals import L1, LeastSquares, Poisson, SquaredL2, Zero
from jaxrecon.posterior import MALA
from jaxrecon.posterior.latent import (
    Layers,
    Sphere,
    generated,
    latent_problem,
    search,
    search_layers,
    search_with_deviation,
)
from tests.posterior.exact import compare
from tests.solvers.problems import Dense

N_LATENT, N_IMAGE, N_DATA, NOISE = 3, 6, 5, 0.3
pytestmark = pytest.mark.usefixtures("quick")
KEYS = jax.random.split(jax.random.key(71), 8)


def normal(i, *shape, dtype: type = float):
    return jax.random.normal(KEYS[i], shape, dtype)


def linear(dtype=float):
    """A linear generator, a matrix, data, and the problem with the true scale of its noise."""
    G = Partial(jnp.dot, normal(0, N_IMAGE, N_LATENT, dtype=dtype))
    A = Dense(normal(1, N_DATA, N_IMAGE, dtype=dtype))
    y = A(G(normal(2, N_LATENT, dtype=dtype))) + NOISE * normal(3, N_DATA, dtype=dtype)
    weights = jnp.full(N_DATA, 1 / NOISE**2)
    return G, A, y, Problem(((LeastSquares(y, weights), A),))


def matrices():
    G, A, y, _ = linear()
    return np.asarray(materialise(A)) @ np.asarray(G.args[0]), np.asarray(y)


def bent(z):
    """A nonlinear generator of complex images."""
    return jnp.tanh(z[0]) * jnp.exp(1j * z[1]) + z[0] ** 2


def test_a_generator_is_an_operator_with_its_derivative(x64):
    z = normal(4, 2, 4)
    move, data = normal(5, 2, 4), normal(6, 4, dtype=complex)
    A = generated(bent, z)
    image, derivative = A.linearise(z)
    np.testing.assert_allclose(image, bent(z))
    slope = jax.jvp(bent, (z,), (move,))[1]
    np.testing.assert_allclose(derivative(move), slope, rtol=1e-12)
    assert adjointness(derivative, KEYS[7]) < 1e-12
    expected = jax.grad(lambda z: jnp.sum((jnp.conj(data) * bent(z)).real))(z)
    np.testing.assert_allclose(derivative.H(data), expected, rtol=1e-12)


@pytest.mark.parametrize("dtype", [float, complex])
def test_search_of_a_linear_generator_is_ridge_regression(dtype, x64):
    G, A, y, problem = linear(dtype)
    like = jnp.zeros(N_LATENT, dtype)
    found = search(problem, G, like, key=KEYS[4], n_starts=2, tol=1e-10)
    M = np.asarray(A.matrix) @ np.asarray(G.args[0])
    normal_matrix = M.conj().T @ M / NOISE**2 + np.eye(N_LATENT)
    expected = np.linalg.solve(normal_matrix, M.conj().T @ np.asarray(y) / NOISE**2)
    np.testing.assert_allclose(found.latent, expected, rtol=1e-6)
    np.testing.assert_allclose(found.image, G(expected), rtol=1e-6)
    assert bool(found.status.ok.all())


def test_the_best_of_the_starts_is_taken(x64):
    """A generator whose misfit has two valleys, of which one is lower; and a start that fails."""
    y = jnp.array([1.0])
    problem = Problem(((LeastSquares(y), identity(y)),))
    valley = lambda z: jnp.where(z > 0, z + 0.5 * (z - 1) ** 2, 0.8 - 0.1 * (z + 1) ** 2)  # noqa: E731
    starts = jnp.array([[-0.5], [0.6], [jnp.nan]])
    found = search(problem, valley, y, key=KEYS[0], starts=starts, prior=Zero())
    np.testing.assert_allclose(found.misfit[:2], [0.5 * 0.2**2, 0], atol=1e-6)
    np.testing.assert_allclose(valley(found.latent), y, atol=1e-5)
    assert not np.isfinite(found.misfit[2])


def test_the_sphere_has_the_solution_of_its_secular_equation(x64):
    G, _, _, problem = linear()
    M, b = matrices()
    M, b = M / NOISE, b / NOISE
    found = search(problem, G, jnp.zeros(N_LATENT), key=KEYS[4], prior=Sphere(), n_iter=1000)
    # (MᵀM + λ) z = Mᵀb with ‖z‖² = 3, λ above −(the least eigenvalue): there ‖z‖ falls with λ.
    values, vectors = np.linalg.eigh(M.T @ M)
    low, high, c = -values[0] + 1e-9, 1e9, vectors.T @ M.T @ b
    for _ in range(200):
        middle = 0.5 * (low + high)
        longer = np.sum((c / (values + middle)) ** 2) > N_LATENT
        low, high = (middle, high) if longer else (low, middle)
    expected = vectors @ (c / (values + low))
    np.testing.assert_allclose(found.latent, expected, rtol=1e-4)
    assert float(Sphere()(found.latent)) == 0
    assert not np.isfinite(Sphere()(0.9 * found.latent))
    complex_point = Sphere().prox(normal(5, 4, dtype=complex), 1.0)
    np.testing.assert_allclose(jnp.linalg.norm(complex_point), np.sqrt(8))


def test_inner_layers_are_searched_within_their_balls(x64):
    """The data lie outside the range of the whole generator, but within that of its last layer."""
    first = Partial(jnp.dot, normal(0, 4, 2))
    second = Partial(jnp.dot, normal(1, N_IMAGE, 4))
    moved = first(jnp.array([1.0, -1.0])) + jnp.array([0.0, 0.6, 0.0, 0.0])
    y = second(moved)
    problem = Problem(((LeastSquares(y), identity(y)),))
    options = {"key": KEYS[3], "n_starts": 2, "prior": Zero(), "n_iter": 2000, "tol": 1e-9}
    layers, like = (first, second), jnp.zeros(2)
    outside = search_layers(problem, layers, like, radii=(), **options)
    small = search_layers(problem, layers, like, radii=(0.1,), **options)
    large = search_layers(problem, layers, like, radii=(5.0,), **options)
    assert outside.misfit.min() > small.misfit.min() > large.misfit.min()
    np.testing.assert_allclose(large.image, y, atol=1e-5)
    centre = first(outside.latent)
    np.testing.assert_allclose(jnp.sum(jnp.abs(small.latent - centre)), 0.1, rtol=1e-6)
    np.testing.assert_allclose(Layers(layers)(like + 1), second(first(like + 1)))
    with pytest.raises(ValueError, match="`radii` has 2 entries"):
        search_layers(problem, layers, like, radii=(1.0, 1.0), key=KEYS[3])


def test_a_sparse_deviation_satisfies_the_conditions_of_its_minimum(x64):
    """Convex for a linear generator: the subgradient of ν and the gradient of z vanish."""
    G, A, y, problem = linear()
    weight = 2.0
    like = jnp.zeros(N_LATENT)
    options = {"deviation": L1(weight), "n_starts": 1, "n_iter": 5000, "tol": 1e-12}
    found = search_with_deviation(problem, G, like, key=KEYS[3], **options)
    z, deviation = found.latent
    np.testing.assert_allclose(found.image, G(z) + deviation)
    pull = A.H((A(found.image) - y) / NOISE**2)
    np.testing.assert_allclose(G.args[0].T @ pull + z, 0, atol=1e-5)
    on = np.abs(deviation) > 1e-8
    assert 0 < on.sum() < N_IMAGE
    np.testing.assert_allclose(pull[on], -weight * np.sign(deviation)[on], atol=1e-5)
    assert (np.abs(pull) <= weight + 1e-5).all()


@functools.partial(jax.jit, static_argnames="n_iter")
def chains(chain, problem, key, starts, n_iter):
    go = lambda z, k: run(chain, problem, z, n_iter=n_iter, key=k)  # noqa: E731
    return jax.vmap(go)(starts, jax.random.split(key, len(starts)))


def gaussian_posterior():
    M, y = matrices()
    covariance = np.linalg.inv(M.T @ M / NOISE**2 + np.eye(N_LATENT))
    return covariance @ M.T @ y / NOISE**2, covariance


def test_chains_through_a_linear_generator_keep_the_posterior(x64):
    """20 000 of them start there and stay, at a step where those that refuse nothing leave."""
    G, _, _, problem = linear()
    mean, covariance = gaussian_posterior()
    within = latent_problem(problem, G, jnp.zeros(N_LATENT))
    step = 1.2 * np.linalg.eigvalsh(covariance)[0]
    starts = mean + normal(7, 20_000, N_LATENT) @ np.linalg.cholesky(covariance).T
    exact = chains(MALA(step), within, KEYS[4], starts, 30)
    assert compare(exact.value, mean, covariance).exact
    images, root = jax.vmap(G)(exact.value), np.asarray(G.args[0])
    assert compare(images, root @ mean, root @ covariance @ root.T).exact
    free = chains(MALA(step, adjusted=False), within, KEYS[4], starts, 30)
    assert compare(free.value, mean, covariance).covariance > 0.1
    assert 0.4 < float(jnp.mean(exact.info.acceptance)) < 0.9
    moved = exact.value - starts
    assert float(jnp.mean(moved**2)) > 0.5 * np.trace(covariance) / N_LATENT


def test_the_step_settles_and_then_stays(x64):
    G, _, _, problem = linear()
    within = latent_problem(problem, G, jnp.zeros(N_LATENT))
    starts = jnp.zeros((20, N_LATENT))
    info = chains(MALA(1e-6, n_adapt=300), within, KEYS[5], starts, 600).info
    assert abs(float(jnp.mean(info.acceptance[:, 300:])) - 0.574) < 0.1
    assert bool((info.step[:, 301:] == info.step[:, -1:]).all())


def test_moves_to_where_there_is_no_density_are_refused():
    """Counts of a generator that also makes negative images: their likelihood is zero."""
    counts = jnp.array([3.0, 5.0])
    problem = Problem(((Poisson(counts), identity(counts)),))
    within = latent_problem(problem, lambda z: z, counts, prior=SquaredL2(0.1))
    go = lambda k: run(MALA(2.0), within, counts, n_iter=300, key=k, record=lambda p, z: z)  # noqa: E731
    seen = jax.jit(jax.vmap(go))(jax.random.split(KEYS[6], 8)).record
    assert bool((seen > 0).all())
    with pytest.raises(ValueError, match="`key` is None"):
        run(MALA(1.0), within, counts, n_iter=1)
    with pytest.raises(ValueError, match="`n_starts` is 0"):
        search(problem, lambda z: z, counts, key=KEYS[0], n_starts=0)
