"""Closed forms, singular values, learned estimators and pseudo-inverses against dense solves."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import core
from jaxrecon.core import Circulant, diagonal, fft, gradient, identity, tree
from jaxrecon.solvers import linear
from tests.solvers.problems import Dense

KEYS = jax.random.split(jax.random.key(23), 8)
DTYPES = ["float64", "complex128"]


def dense_solution(M, y, w, weight):
    G = M.conj().T @ (w[:, None] * M) + weight * jnp.eye(M.shape[1])
    return jnp.linalg.solve(G, M.conj().T @ (w * y))


# --------------------------------------------------------------------------------- closed forms


def test_tikhonov_is_the_dense_solution(x64):
    x = jax.random.normal(KEYS[2], (4, 5))
    kernel = jnp.zeros((4, 5)).at[0, 0].set(0.5).at[0, 1].set(0.3).at[1, 0].set(0.2)
    blur = _blur(kernel)
    periodic = gradient(x, boundary="periodic")
    for A, R in ((blur, None), (blur, periodic), (diagonal(x > 0, x), None), (fft(x), periodic)):
        y = A(x) if R is None else A(x) + 1
        M = core.materialise(A)
        penalty = jnp.eye(20) if R is None else core.materialise(R).T @ core.materialise(R)
        G = (M.conj().T @ M).real + 0.3 * penalty
        expected = jnp.linalg.solve(G, (M.conj().T @ y.ravel()).real).reshape(4, 5)
        np.testing.assert_allclose(linear.tikhonov(A, y, 0.3, R), expected, rtol=1e-9, atol=1e-12)


def _blur(kernel):
    """A circular convolution that knows its gram's spectrum."""
    convolve = lambda h, x: jnp.fft.ifftn(jnp.fft.fftn(h) * jnp.fft.fftn(x)).real  # noqa: E731
    plain = core.from_function(convolve, kernel, kernel)
    spectrum = jnp.abs(jnp.fft.fftn(kernel)) ** 2
    return _WithSpectrum(plain, spectrum)


@core.operator
class _WithSpectrum(core.LinearOperator):
    inner: core.LinearOperator
    spectrum: jax.Array

    domain = property(lambda self: self.inner.domain)
    range = property(lambda self: self.inner.range)

    def forward(self, x):
        return self.inner.forward(x)

    def adjoint(self, y):
        return self.inner.adjoint(y)

    def gram_spectrum(self):
        return self.spectrum


def test_tikhonov_without_a_closed_form_names_the_alternative():
    A = Dense(jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"`A` \(Dense\).*lstsq"):
        linear.tikhonov(A, jnp.ones(3), 1.0)
    x = jnp.ones(4)
    with pytest.raises(ValueError, match=r"`regulariser` \(Gradient\)"):
        linear.tikhonov(identity(x), x, 1.0, gradient(x))


def test_wiener_is_the_gaussian_posterior_mean(x64):
    """With the prior's covariance a circulant matrix, against the dense formula."""
    kernel = jnp.zeros((4, 5)).at[0, 0].set(0.6).at[0, 1].set(0.4)
    A, S = _blur(kernel), linear.power_law((4, 5), 1.5)
    y = jax.random.normal(KEYS[3], (4, 5))
    C = core.materialise(Circulant(S, A.domain))
    M = core.materialise(A)
    expected = C @ M.T @ jnp.linalg.solve(M @ C @ M.T + 0.2 * jnp.eye(20), y.ravel())
    np.testing.assert_allclose(linear.wiener(A, y, 0.2, S), expected.reshape(4, 5), rtol=1e-9)
    with pytest.raises(ValueError, match="gram_spectrum"):
        linear.wiener(Dense(C), jnp.ones(20), 1.0)


def test_wiener_estimates_the_power_of_the_signal(x64):
    """The size of a power law comes back from blurred, noisy data of it, to its own scatter."""
    shape = (64, 63)
    kernel = jnp.zeros(shape).at[0, 0].set(0.6).at[0, 1].set(0.4)
    A, law = _blur(kernel), linear.power_law(shape)
    noise = jax.random.normal(KEYS[4], (2, *shape))
    x = Circulant(jnp.sqrt(3.0 * law), A.domain)(noise[0])
    y = A(x) + 0.5 * noise[1]
    np.testing.assert_allclose(linear.estimate_power(A, y, 0.25) / law, 3.0, rtol=0.4)
    error = lambda z: float(jnp.linalg.norm(z - x))  # noqa: E731
    by_truth = error(linear.wiener(A, y, 0.25, 3.0 * law))
    assert by_truth <= error(linear.wiener(A, y, 0.25)) < 1.02 * by_truth


@pytest.mark.parametrize("dtype", DTYPES)
def test_singular_system_is_the_dense_one(dtype, x64):
    M = jax.random.normal(KEYS[5], (6, 4), dtype)
    y = jax.random.normal(KEYS[6], (6,), dtype)
    system = linear.svd(Dense(M))
    np.testing.assert_allclose(system.singular_values, np.linalg.svd(M)[1])
    np.testing.assert_allclose(system.pseudo_inverse(y), jnp.linalg.pinv(M) @ y)
    np.testing.assert_allclose(
        system.tikhonov(y, 0.7), dense_solution(M, y, jnp.ones(6), 0.7), rtol=1e-10
    )
    U, s, VH = np.linalg.svd(M)
    expected = sum(VH[i].conj() * (U[:, i].conj() @ y) / s[i] for i in range(2))
    np.testing.assert_allclose(system.truncated(y, 2), expected, rtol=1e-10)
    np.testing.assert_allclose(linear.svd(Dense(M), 2).pseudo_inverse(y), expected, rtol=1e-10)
    picard = system.picard(y)
    np.testing.assert_allclose(picard.data, np.abs(U[:, :4].conj().T @ y), rtol=1e-10)
    np.testing.assert_allclose(picard.solution * s, picard.data)
    hat = M @ jnp.linalg.solve(M.conj().T @ M + 0.7 * jnp.eye(4), M.conj().T)
    gcv = jnp.sum(jnp.abs(y - hat @ y) ** 2) / jnp.trace(jnp.eye(6) - hat).real ** 2
    np.testing.assert_allclose(system.gcv(y, system.tikhonov_factors(0.7)), gcv, rtol=1e-10)


def test_singular_system_of_a_real_image_with_complex_data(x64):
    """Half of k-space determines a real image: only the real vector space shows it."""
    x = jax.random.normal(KEYS[5], (6,))
    A = diagonal(jnp.array([1, 1, 1, 1, 0, 0.0]), fft(x).range) @ fft(x)
    system = linear.svd(A)
    assert system.pseudo_inverse(A(x)).dtype == x.dtype
    np.testing.assert_allclose(system.pseudo_inverse(A(x)), x, rtol=1e-9)


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_mmse_is_ridge_regression(dtype, x64):
    """More examples than measurements, and fewer."""
    for n, rho in ((30, 0.2), (4, 0.2), (30, 0.0)):
        X = jax.random.normal(KEYS[2], (n, 3), dtype)
        Y = jax.random.normal(KEYS[3], (n, 6), dtype) + X @ jnp.ones((3, 6)) + 2
        estimate = jax.jit(linear.linear_mmse)(X, Y, rho)
        Xc, Yc = X - X.mean(0), Y - Y.mean(0)
        C = Yc.T @ Yc.conj() / n
        shrunk = (1 - rho) * C + rho * jnp.trace(C).real / 6 * jnp.eye(6)
        K = (1 - rho) * (Xc.T @ Yc.conj() / n) @ jnp.linalg.inv(shrunk)
        np.testing.assert_allclose(core.materialise(estimate.gain), K, rtol=1e-7, atol=1e-10)
        expected = X.mean(0) + K @ (Y[0] - Y.mean(0))
        np.testing.assert_allclose(estimate(Y[0]), expected, rtol=1e-7)
        assert core.adjointness(estimate.gain, KEYS[0]) < 1e-12


def test_linear_mmse_tends_to_the_gaussian_posterior_mean(x64):
    M = jax.random.normal(KEYS[4], (4, 3))
    X = jax.random.normal(KEYS[5], (40000, 3)) * jnp.array([1.0, 2.0, 0.5]) + 1
    Y = X @ M.T + 0.3 * jax.random.normal(KEYS[6], (40000, 4))
    estimate = jax.jit(linear.linear_mmse)(X, Y)
    C = jnp.diag(jnp.array([1.0, 4.0, 0.25]))
    K = C @ M.T @ jnp.linalg.inv(M @ C @ M.T + 0.09 * jnp.eye(4))
    exact = X[:9].mean() * 0 + 1 + (Y[:9] - M.sum(1)) @ K.T
    np.testing.assert_allclose(jax.vmap(estimate)(Y[:9]), exact, atol=0.03)


def test_ledoit_wolf_is_the_brute_force_formula(x64):
    Y = jax.random.normal(KEYS[7], (9, 5)) * jnp.arange(1.0, 6)
    rho = linear.linear_mmse(Y[:, :2], Y).shrinkage
    Yc = np.asarray(Y - Y.mean(0))
    S = Yc.T @ Yc / 9
    distance = np.sum((S - np.trace(S) / 5 * np.eye(5)) ** 2)
    error = sum(np.sum((np.outer(v, v) - S) ** 2) for v in Yc) / 81
    np.testing.assert_allclose(rho, min(error / distance, 1), rtol=1e-10)


def test_linear_mmse_sees_both_parts_of_complex_data(x64):
    """A real image behind data that are purely imaginary, as a pytree."""
    X = jax.random.normal(KEYS[2], (50, 3))
    estimate = linear.linear_mmse((X,), {"k": 1j * X}, 0.0)
    (x,) = estimate({"k": 1j * X[3]})
    np.testing.assert_allclose(x, X[3], rtol=1e-8)
    with pytest.raises(ValueError, match=r"`images`.*`measurements`"):
        linear.linear_mmse(X, X[:5])


# ------------------------------------------------------------------------------- pseudo-inverse


def _operators(dtype):
    x = jax.random.normal(KEYS[2], (6,), dtype)
    mask = diagonal(jnp.array([1.0, 0, 2, 0, 0.5, 3]), fft(x).range) @ fft(x)
    low = jax.random.normal(KEYS[3], (5, 2), dtype) @ jax.random.normal(KEYS[4], (2, 6), dtype)
    return {
        "fft": fft(x),
        "scaled adjoint of an isometry": 3.0 * core.pad(x, (9,)).H,
        "mask of k-space": mask,
        "circulant": Circulant(jnp.array([1.0, 2, 0, 3, 0, 2]), jax.eval_shape(lambda: x)),
        "dense, rank two": Dense(low),
        "adjoint": Dense(low).H,
        "blocks": core.block_diagonal([fft(x), 2.0 * identity(x)]),
    }


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("fft", "float64"),
        ("scaled adjoint of an isometry", "float64"),
        ("mask of k-space", "float64"),
        ("mask of k-space", "complex128"),
        ("circulant", "complex128"),
        ("dense, rank two", "complex128"),
        ("adjoint", "float64"),
        ("blocks", "complex128"),
    ],
)
def test_pseudo_inverse_is_that_of_the_matrix(name, dtype, x64):
    """In the real vector space, where an operator from real images to complex data has one."""
    A = _operators(dtype)[name]
    P = linear.pseudo_inverse(A, tol=1e-13)
    flat = lambda B: np.asarray(jax.jit(_real_matrix)(B))  # noqa: E731
    np.testing.assert_allclose(flat(P), np.linalg.pinv(flat(A), rcond=1e-10), atol=1e-9)
    np.testing.assert_allclose(flat(P.H), flat(P).T, atol=1e-9)


def _real_matrix(A):
    zeros, rebuild = jax.flatten_util.ravel_pytree(tree.to_real(tree.zeros(A.domain)))
    like = tree.zeros(A.domain)

    def column(e):
        y = A(tree.from_real(rebuild(e), like))
        return jax.flatten_util.ravel_pytree(tree.to_real(y))[0]

    return jax.vmap(column, out_axes=1)(jnp.eye(zeros.size))


@pytest.mark.parametrize("shape", [(6, 4), (4, 6)])
def test_pseudo_inverse_gradient_is_that_of_the_matrix(shape, x64):
    M = jax.random.normal(KEYS[2], shape, "complex128")
    y = jax.random.normal(KEYS[3], shape[:1], "complex128")
    through = lambda M, y: linear.pseudo_inverse(Dense(M), tol=1e-14)(y)  # noqa: E731
    direct = lambda M, y: jnp.linalg.pinv(M) @ y  # noqa: E731
    slopes = [
        jax.jit(jax.grad(lambda M, y, f=f: tree.sum_of_squares(f(M, y)) ** 2, (0, 1)))(M, y)
        for f in (through, direct)
    ]
    for a, b in zip(*slopes, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-7, atol=1e-9)
