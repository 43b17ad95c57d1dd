"""Regularisers against other programs, closed forms and textbook loops."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import pywt

from jaxrecon.core import component, gradient, identity, materialise, replace, tree
from jaxrecon.functionals import priors as P
from tests.functionals.draws import normal, positive

WAVELET = pywt.Wavelet  # pyright: ignore[reportAttributeAccessIssue]
KEY = jax.random.key(8)


def _struct(shape, dtype="float64"):
    return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype))


# --------------------------------------------------------------------------------- total variation


def test_tv_prox_gradient_in_the_weight(x64):
    x = normal("float64")
    loss = lambda w: jnp.sum(P.TV(w, n_iter=800).prox(x, 1.0) ** 2)  # noqa: E731
    numeric = (loss(0.3 + 1e-6) - loss(0.3 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(loss)(0.3), numeric, rtol=1e-4)


def test_tv_in_three_dimensions(x64):
    x = normal("float64", (3, 4, 5))
    flat = P.TV(2.0, n_iter=2000).prox(x, 50.0)
    np.testing.assert_allclose(flat, jnp.full_like(x, x.mean()), atol=1e-3)


def test_tv_is_scaled_per_axis(x64):
    """A weight of an axis is one over its spacing; a weight of zero leaves frames independent."""
    x = normal("float64", (3, 4))
    weighted = P.TV(0.5, axis_weights=jnp.array([2.0, 0.25]))
    spaced = P.TV(0.5, spacing=(0.5, 4.0))
    np.testing.assert_allclose(weighted(x), spaced(x), rtol=1e-12)
    np.testing.assert_allclose(weighted.prox(x, 0.7), spaced.prox(x, 0.7), rtol=1e-12)
    frames = P.TV(0.5, axis_weights=jnp.array([0.0, 1.0]), n_iter=800).prox(x, 0.7)
    alone = P.TV(0.5, n_iter=800).prox(x[1], 0.7)
    np.testing.assert_allclose(frames[1], alone, atol=1e-6)


def test_tv_of_two_pixels_in_closed_form(x64):
    """Two pixels approach each other by step·weight each, until they meet."""
    f = P.TV(0.5, n_iter=300)
    np.testing.assert_allclose(f.prox(jnp.array([0.0, 3.0]), 0.8), [0.4, 2.6], atol=1e-9)
    np.testing.assert_allclose(f.prox(jnp.array([0.0, 0.6]), 0.8), [0.3, 0.3], atol=1e-9)
    np.testing.assert_allclose(f.prox(jnp.array([0.0, 3.0]), 0.0), [0.0, 3.0], atol=1e-12)


@pytest.mark.parametrize("huber", [False, True])
def test_smooth_tv_is_within_delta_of_tv(huber, x64):
    x = normal("complex128")
    for delta in (0.1, 1e-3):
        gap = P.TV()(x) - P.SmoothTV(delta=delta, huber=huber)(x)
        assert 0 < gap < delta * x.size


# --------------------------------------------------------------------------------------------- TGV


def _affine(shape):
    grids = jnp.meshgrid(*(jnp.arange(n, dtype="float64") for n in shape), indexing="ij")
    return sum(((a + 1) * g for a, g in enumerate(grids)), start=jnp.zeros(shape))


@pytest.mark.parametrize("shape", [(6,), (4, 5), (3, 4, 3)])
def test_tgv_of_affine_images_is_zero(shape, x64):
    x = _affine(shape)
    assert float(P.TGV(n_iter=1)(x)) < 1e-12
    np.testing.assert_allclose(P.TGV(0.5, 1.0, n_iter=3000).prox(x, 0.7), x, atol=1e-4)


def test_tgv_grows_with_alpha0_and_is_at_most_tv(x64):
    x = normal("float64")
    total = float(P.TV(0.5)(x))
    assert float(P.TGV(0.5, 0.1, n_iter=500)(x)) < 0.8 * total
    values = [float(P.TGV(0.5, a, n_iter=500)(x)) for a in (0.3, 1.0, 1e3)]
    assert values[0] < values[1] <= values[2] <= total * (1 + 1e-9)


def test_symmetric_gradient_is_frobenius(x64):
    """Away from borders: ½(J + Jᵀ) of a linear field, its norm counting both off-diagonals."""
    J = np.array([[1.0, 2.0], [-0.5, 3.0]])
    y, x = np.mgrid[:5, :6].astype(float)
    field = jnp.asarray([J[i, 0] * y + J[i, 1] * x for i in range(2)])
    inner = np.asarray(P.symmetric_gradient(y)(field))[:, 2, 2]
    symmetric = (J + J.T) / 2
    np.testing.assert_allclose(inner[[0, 2]], np.diag(symmetric), rtol=1e-12)
    np.testing.assert_allclose(np.sum(inner**2), np.sum(symmetric**2), rtol=1e-12)


def _tgv_denoising(D, E, x, step, alpha1, alpha0, n_iter=8000):
    """Textbook primal-dual in numpy with dense matrices."""
    n, m = x.size, D.shape[0]
    K = np.block([[D, -np.eye(m)], [np.zeros((E.shape[0], n)), E]])
    tau = 0.99 / np.linalg.norm(K, 2)
    z, dual = np.zeros(n + m), np.zeros(K.shape[0])
    bar = z.copy()
    project = lambda p, r, parts: (  # noqa: E731
        p.reshape(parts, -1) / np.maximum(1, np.linalg.norm(p.reshape(parts, -1), axis=0) / r)
    ).ravel()
    for _ in range(n_iter):
        dual = dual + tau * K @ bar
        dual = np.r_[project(dual[:m], alpha1, m // n), project(dual[m:], alpha0, E.shape[0] // n)]
        new = z - tau * K.T @ dual
        new[:n] = (new[:n] * step + tau * x) / (step + tau)
        bar, z = 2 * new - z, new
    return z[:n]


def test_tgv_prox_against_a_dense_reference(x64):
    x, step, alpha1, alpha0 = normal("float64", (3, 4)), 0.8, 0.3, 0.4
    D = np.asarray(materialise(gradient(x)))
    E = np.asarray(materialise(P.symmetric_gradient(x)))
    expected = _tgv_denoising(D, E, np.asarray(x).ravel(), step, alpha1, alpha0)
    got = P.TGV(alpha1, alpha0, n_iter=8000).prox(x, step)
    np.testing.assert_allclose(got.ravel(), expected, atol=1e-6)


def test_tgv_terms_add_up_to_tgv(x64):
    """Minimising the two terms over w is the functional; (x, 0) gives total variation."""
    x = normal("float64")
    terms = P.tgv_terms(x, 0.5, 0.7)
    joint = lambda w: sum(f(A((x, w))) for f, A in terms)  # noqa: E731
    zero = jnp.zeros((2, *x.shape))
    np.testing.assert_allclose(joint(zero), P.TV(0.5)(x), rtol=1e-12)
    least = P.TGV(0.5, 0.7, n_iter=3000)(x)
    for i in range(10):
        assert joint(normal("float64", zero.shape, i) * 10.0 ** -(i % 4)) >= least
    lift = component(terms[0][1].domain, 0)
    np.testing.assert_array_equal(lift((x, zero)), x)


# ----------------------------------------------------------------------------------------- low rank


def _shrunk(M, t):
    U, s, V = np.linalg.svd(np.asarray(M), full_matrices=False)
    return (U * np.maximum(s - t, 0)) @ V


@pytest.mark.parametrize("shape", [(4, 4), (7, 3), (3, 9)])
def test_shrinking_singular_values_equals_numpy(shape, x64):
    M = normal("complex128", (2, *shape))
    got = P.shrink_singular_values(M, 0.9)
    np.testing.assert_allclose(got, np.stack([_shrunk(m, 0.9) for m in M]), atol=1e-12)


def test_shrinking_equal_and_zero_singular_values_is_differentiable(x64):
    """Where eigenvectors are not: against the shrunk identity and differences at low rank."""
    t = 0.4
    M = jnp.eye(4)[:, :3]
    d = normal("float64", (4, 3))
    _, got = jax.jvp(lambda M: P.shrink_singular_values(M, t), (M,), (d,))
    numeric = (_shrunk(M + 1e-6 * d, t) - _shrunk(M - 1e-6 * d, t)) / 2e-6
    np.testing.assert_allclose(got, numeric, atol=1e-8)
    low = jnp.outer(jnp.arange(1.0, 5.0), jnp.array([1.0, -2.0, 0.5]))
    _, got = jax.jvp(lambda M: P.shrink_singular_values(M, t), (low,), (d,))
    numeric = (_shrunk(low + 1e-6 * d, t) - _shrunk(low - 1e-6 * d, t)) / 2e-6
    np.testing.assert_allclose(got, numeric, atol=1e-8)
    gradient = jax.grad(lambda M: jnp.sum(P.shrink_singular_values(M, t) ** 2))(jnp.zeros((4, 3)))
    np.testing.assert_array_equal(gradient, 0)


def test_nuclear_norm_of_chosen_axes(x64):
    x = normal("complex128", (3, 4, 5, 2))
    f = P.NuclearNorm(0.7, rows=(0, -1))
    M = np.asarray(x).transpose(0, 3, 1, 2).reshape(6, 20)
    np.testing.assert_allclose(f(x), 0.7 * np.linalg.norm(M, "nuc"), rtol=1e-12)
    expected = _shrunk(M, 0.7 * 1.5).reshape(3, 2, 4, 5).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(f.prox(x, 1.5), expected, atol=1e-12)


def test_locally_low_rank_block_by_block(x64):
    x = normal("float64", (3, 5, 7))
    f = P.LocallyLowRank(0.5, (2, 3), shift=jnp.array([1, 2]))
    shifted, expected, value = np.roll(x, (1, 2), (1, 2)), np.zeros(x.shape), 0.0
    for r, c in itertools.product(range(0, 5, 2), range(0, 7, 3)):
        block = shifted[:, r : r + 2, c : c + 3]
        M = block.reshape(3, -1)
        value += 0.5 * np.linalg.norm(M, "nuc")
        expected[:, r : r + 2, c : c + 3] = _shrunk(M, 0.5).reshape(block.shape)
    np.testing.assert_allclose(f(x), value, rtol=1e-12)
    np.testing.assert_allclose(f.prox(x, 1.0), np.roll(expected, (-1, -2), (1, 2)), atol=1e-12)
    assert f.randomised(KEY).shift.shape == (2,)
    spun = P.CycleSpin(f, jnp.array([[0, 0], [1, 2]])).prox(x, 1.0)
    both = [replace(f, shift=jnp.array(s)).prox(x, 1.0) for s in ([0, 0], [1, 2])]
    np.testing.assert_allclose(spun, sum(both) / 2, rtol=1e-12)


# --------------------------------------------------------------------------------------- neighbours


def _loop(x, potential, diagonals, spacing, kappa):
    """Σ over unordered pairs by comparing every pixel with every other."""
    places = list(np.ndindex(x.shape))
    total = 0.0
    for i, j in itertools.combinations(range(len(places)), 2):
        offset = np.subtract(places[i], places[j])
        if np.abs(offset).max() > 1 or (np.abs(offset).sum() > 1 and not diagonals):
            continue
        weight = kappa[places[i]] * kappa[places[j]] / np.linalg.norm(offset * spacing)
        total += weight * potential(x[places[i]], x[places[j]])
    return total


def _rdp(a, b):
    return (a - b) ** 2 / (a + b + 1.5 * abs(a - b) + 0.1)


def _qggmrf(a, b):
    p, sigma, T = 1.2, 0.3, 0.7
    r = abs((a - b) / (T * sigma)) ** (2 - p)
    return abs(a - b) ** p / (p * sigma**p) * r / (1 + r)


@pytest.mark.parametrize("diagonals", [False, True])
@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 2)])
def test_neighbour_penalties_against_loops(shape, diagonals, x64):
    spacing = (1.0, 0.5, 2.0)[: len(shape)]
    x, kappa = positive("float64", shape), positive("float64", shape, 3)
    neighbours = P.Neighbourhood(diagonals, spacing=spacing, kappa=kappa)
    n_offsets = (2, 4) if len(shape) == 2 else (3, 13)
    assert len(neighbours.offsets(len(shape))) == n_offsets[diagonals]
    for f, potential in (
        (P.RelativeDifference(0.8, 1.5, 0.1, neighbours), _rdp),
        (P.QGGMRF(0.8, 0.3, 1.2, 0.7, neighbours), _qggmrf),
    ):
        expected = 0.8 * _loop(np.asarray(x), potential, diagonals, spacing, np.asarray(kappa))
        np.testing.assert_allclose(f(x), expected, rtol=1e-12)


def test_neighbours_along_some_axes_and_given_edges(x64):
    x = positive("float64", (3, 4))
    rows = P.QGGMRF(neighbours=P.Neighbourhood(axes=(-1,)))
    np.testing.assert_allclose(rows(x), sum(P.QGGMRF()(row) for row in x), rtol=1e-12)
    zero_and_two = P.QGGMRF(neighbours=P.Neighbourhood(edges=jnp.array([2.0, 0.0])))
    assert P.Neighbourhood().offsets(2) == [(0, 1), (1, 0)]
    np.testing.assert_allclose(zero_and_two(x), 2 * rows(x), rtol=1e-12)
    blocked = jnp.ones((2, 3, 4)).at[0, :, 1].set(0)  # no penalty between columns 1 and 2
    f = P.QGGMRF(neighbours=P.Neighbourhood(axes=(1,), edges=blocked[:1]))
    halves = P.QGGMRF(neighbours=P.Neighbourhood(axes=(1,)))
    np.testing.assert_allclose(f(x), halves(x[:, :2]) + halves(x[:, 2:]), rtol=1e-12)


def test_curvature_of_relative_differences_bounds_the_hessian(x64):
    f = P.RelativeDifference(0.8, 1.5, 0.1, P.Neighbourhood(diagonals=True))
    for i in range(5):
        x = 2 * positive("float64", (3, 4), i) - 0.2
        H = jax.hessian(f)(x).reshape(12, 12)
        assert np.linalg.eigvalsh(H).min() > -1e-9, "not convex"
        margin = np.diag(np.asarray(f.curvature(x)).ravel()) - H
        assert np.linalg.eigvalsh(margin).min() > -1e-9


def test_curvature_of_qggmrf_majorises(x64):
    f = P.QGGMRF(0.8, 0.3, 1.2, 0.7, P.Neighbourhood(diagonals=True))
    x = normal("complex128")
    for i in range(12):
        d = normal("complex128", fold=20 + i) * 10.0 ** (1 - i % 4)
        quadratic = f(x) + tree.dot(f.grad(x), d) + 0.5 * jnp.sum(f.curvature(x) * jnp.abs(d) ** 2)
        assert f(x + d) <= quadratic + 1e-12


@pytest.mark.parametrize("p", [1.0, 1.2, 1.7, 2.0])
def test_qggmrf_is_convex(p, x64):
    f = lambda d: P.QGGMRF(p=p)(jnp.stack([d, jnp.zeros_like(d)]))  # noqa: E731
    t = jnp.linspace(-8, 8, 1001)
    values = jax.vmap(f)(t)
    assert jnp.diff(values, 2).min() > -1e-12


def test_neighbour_penalties_of_flat_images_have_finite_gradients(x64):
    for f in (P.RelativeDifference(epsilon=0.0), P.QGGMRF()):
        for x in (jnp.zeros((3, 4)), jnp.ones((3, 4))):
            np.testing.assert_array_equal(f.grad(x), 0)
            gradients = jax.grad(lambda f, x=x: f(x), allow_int=True)(f)
            assert all(jnp.all(jnp.isfinite(g)) for g in jax.tree.leaves(gradients))
    assert jnp.all(jnp.isfinite(jax.hessian(P.QGGMRF())(jnp.zeros((2, 2)))))


# -------------------------------------------------------------------------------------------- ridge


def _small_ridge(**options):
    return P.ridge(KEY, n_filters=3, kernel=(3, 2), n_knots=5, dtype="float64", **options)


def test_ridge_against_a_loop(x64):
    x, slopes = normal("float64"), normal("float64", (3, 5))
    R = replace(_small_ridge(weight=0.7, scale=1.3), slopes=slopes, spacing=0.2)
    knots = 0.2 * np.arange(6)
    total = 0.0
    for h, s in zip(np.asarray(R.filters), np.asarray(slopes), strict=True):
        heights = np.concatenate([[0], np.cumsum(0.2 * s)])
        for r, c in np.ndindex(4 - 2, 6 - 1):
            t = 1.3 * abs(np.sum(h * np.asarray(x)[r : r + 3, c : c + 2]))
            grid = np.linspace(0, t, 4001)
            total += np.trapezoid(np.interp(grid, knots, heights), grid)
    np.testing.assert_allclose(R(x), 0.7 / 1.3 * total, rtol=1e-5)


def test_ridge_constraints(x64):
    R = _small_ridge(modulus=0.3)
    wild = replace(R, filters=5 * R.filters + 1, slopes=10 * normal("float64", (3, 5)))
    kept = P.project_ridge(wild)
    np.testing.assert_allclose(kept.filters.sum((1, 2)), 0, atol=1e-12)
    assert -0.3 <= float(kept.slopes.min()) < 0 < float(kept.slopes.max()) <= 1
    again = P.project_ridge(kept)
    np.testing.assert_allclose(again.filters, kept.filters, rtol=1e-12)
    # The gradient is Lipschitz with constant λμ, and adding m λ μ/2 ‖x‖² makes it monotone.
    for i in range(10):
        x, y = normal("float64", (9, 9), i), normal("float64", (9, 9), i + 50)
        y = x + 10.0 ** -(i % 3) * y
        slope = kept.grad(x) - kept.grad(y)
        assert tree.norm(slope) <= tree.norm(x - y) * (1 + 1e-12)
        assert tree.dot(slope, x - y) >= -0.3 * tree.sum_of_squares(x - y)


@pytest.mark.parametrize("kernel", [(3, 3), (5, 2), (2, 3, 2)])
def test_filter_norm_is_a_tight_bound(kernel, x64):
    filters = normal("float64", (4, *kernel))
    spectrum = np.fft.fftn(np.asarray(filters), [96] * len(kernel), axes=range(1, len(kernel) + 1))
    truth = np.sqrt((np.abs(spectrum) ** 2).sum(0).max())
    assert truth <= P.filter_norm(filters) <= 1.07 * truth


def test_ridge_of_batches_and_volumes(x64):
    R = _small_ridge()
    x = normal("complex128", (2, 4, 6))
    np.testing.assert_allclose(R(x), R(x[0]) + R(x[1]), rtol=1e-12)
    np.testing.assert_allclose(R.grad(x)[1], R.grad(x[1]), rtol=1e-12)
    R3 = P.ridge(KEY, n_filters=2, kernel=(2, 3, 2), dtype="float64")
    v = normal("float64", (3, 4, 3))
    np.testing.assert_allclose(R3.grad(v), jax.grad(R3)(v), rtol=1e-9)
    np.testing.assert_allclose(R3.grad(jnp.ones_like(v)), 0, atol=1e-14)


# ------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: P.wavelet(jnp.zeros((8, 8)), "coif4"), "`name`"),
        (lambda: P.wavelet(jnp.zeros((8, 8)), "sym1"), "`name`"),
        (lambda: P.wavelet(jnp.zeros((8, 8)), levels=9), "`levels`"),
        (lambda: P.undecimated_wavelet(jnp.zeros((8, 8)), levels=9), "`levels`"),
        (lambda: P.dct(jnp.zeros((8, 8)), block=3), "`block`"),
        (lambda: P.TransformL1(1.0, gradient(jnp.ones(3))).prox(jnp.ones(3), 1.0), "`transform`"),
        (lambda: P.RelativeDifference()(jnp.ones(3, complex)), "complex"),
        (lambda: P.ridge(KEY, kernel=(1, 1)), "`kernel`"),
        (lambda: P.QGGMRF().prox(jnp.ones(3), 1.0), "no proximal map"),
        (lambda: P.TV().curvature_root(identity(jnp.ones(2))), "pass `step_size`"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
