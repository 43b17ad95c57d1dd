"""Errors against an explicit Fourier sum: below 10 eps, or float32's rounding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import core
from jaxrecon.physics import nufft
from tests.nufft import dft
from tests.nufft.test_mesh import BACKENDS

# Values and point derivatives cannot be better than rounding of the points: at 256² it is measured.
FLOOR = {"float32": (2e-5, 5e-5), "float64": (1e-12, 1e-11)}
SHAPES = [(31,), (64,), (30, 21), (16, 16), (9, 12, 10)]


def promised(eps, dtype):
    values, slopes = FLOOR[dtype]
    return max(10 * eps, values), max(10 * eps, slopes)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("oversampling", [1.25, 2.0])
@pytest.mark.parametrize(
    ("eps", "dtype"),
    [
        (1e-1, "float32"),
        (1e-3, "float32"),
        (1e-6, "float32"),
        (1e-7, "float64"),
        (1e-13, "float64"),
    ],
)
def test_xla_keeps_its_promise(shape, oversampling, eps, dtype, x64):
    if (eps, oversampling) == (1e-13, 1.25):
        pytest.skip("refused: the kernel would be too wide")
    check_error(shape, eps, dtype, "xla", oversampling)


@pytest.mark.parametrize(("eps", "dtype"), [(1e-4, "float32"), (1e-8, "float64")])
def test_the_chosen_oversampling_keeps_the_adjoint_exact(eps, dtype, x64):
    points, _, _ = dft.draws((33, 40, 36), 200, dtype)
    A = nufft.nufft(points, (33, 40, 36), eps=eps, backend="xla")
    error = core.adjointness(A, jax.random.key(0))
    assert error < {"float32": 1e-6, "float64": 1e-14}[dtype]


@pytest.mark.parametrize("eps", [1e-3, 1e-6])
def test_the_chosen_oversampling_lets_no_rounding_through(eps):
    """In single precision a coarse grid's deapodisation would, in three dimensions."""
    check_error((24, 20, 17), eps, "float32", "xla", None)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("backend", BACKENDS[1:])
@pytest.mark.parametrize(("eps", "dtype"), [(1e-5, "float32"), (1e-12, "float64")])
def test_other_back_ends_keep_it(shape, backend, eps, dtype, x64):
    check_error(shape, eps, dtype, backend, None)


def check_error(shape, eps, dtype, backend, oversampling):
    points, image, data = dft.draws(shape, 70, dtype)
    A = nufft.nufft(points, shape, eps=eps, backend=backend, oversampling=oversampling)
    E = dft.matrix(points, shape)
    allowed, _ = promised(eps, dtype)
    assert dft.error(A(image), E @ np.asarray(image).ravel()) < allowed
    assert dft.error(A.H(data), E.conj().T @ np.asarray(data)) < allowed


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gradients_of_a_loss(backend, dtype, x64):
    """Gradients in image, data and points, of the forward and the adjoint."""
    eps = {"float32": 1e-6, "float64": 1e-12}[dtype]
    shape = (12, 15)
    points, image, data = dft.draws(shape, 40, dtype, batch=(2,))
    axes = [(jnp.arange(n) - n // 2) / n for n in shape]
    places = jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)

    def sums(points):
        return jnp.exp(-2j * jnp.pi * points @ places.T) / np.sqrt(np.prod(shape))

    def forward(points, image):
        return jnp.einsum("jn,bn->bj", sums(points), image.reshape(2, -1))

    def adjoint(points, data):
        return jnp.einsum("jn,bj->bn", sums(points).conj(), data).reshape(2, *shape)

    def losses(forward, adjoint):
        def one(p, x, y):  # asymmetric in its entries, so that no error cancels
            return jnp.sum(jnp.abs(forward(p, x) - y) ** 2 * jnp.arange(40))

        def two(p, x, y):
            return jnp.sum(jnp.abs(adjoint(p, y) - x) ** 4)

        return one, two

    def build(p):
        return nufft.nufft(p, shape, batch=(2,), eps=eps, backend=backend)

    ours = losses(lambda p, x: build(p)(x), lambda p, y: build(p).H(y))
    exact = [jnp.asarray(a, jnp.result_type(a.dtype, jnp.float64)) for a in (points, image, data)]
    for f, g in zip(ours, losses(forward, adjoint), strict=True):
        got = jax.jit(jax.grad(f, (0, 1, 2)))(points, image, data)
        expected = jax.grad(g, (0, 1, 2))(*exact)
        for a, b in zip(got, expected, strict=True):
            assert dft.error(a, b) < {"float32": 5e-5, "float64": 1e-10}[dtype]


@pytest.mark.parametrize("backend", BACKENDS)
def test_period(backend, x64):
    """Points outside ±N/2 are those a whole number of periods inside."""
    points, image, data = dft.draws((8, 9), 30, "float64")
    outside = points + jnp.array([8.0, -18.0])
    A, B = (nufft.nufft(p, (8, 9), eps=1e-12, backend=backend) for p in (points, outside))
    assert dft.error(B(image), A(image)) < 1e-11
    assert dft.error(B.H(data), A.H(data)) < 1e-11


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_point_that_is_not_finite_is_loud(backend):
    points, image, data = dft.draws((8, 9), 30, "float32")
    A = nufft.nufft(points, (8, 9), backend=backend)
    broken = jax.jit(lambda p: nufft.nufft(p, (8, 9), backend=backend))(
        points.at[3, 1].set(jnp.nan)
    )
    assert np.isnan(broken(image)[3])
    np.testing.assert_allclose(np.delete(broken(image), 3), np.delete(A(image), 3), rtol=1e-5)
    assert np.isnan(broken.H(data)).all()
    gradient = jax.grad(lambda A: jnp.sum(jnp.abs(A(image)) ** 2), allow_int=True)(broken)
    assert np.isnan(gradient.trajectory[3]).all()


def test_256_squared_in_single_precision():
    """The floor of float32 at the size that counts."""
    shape = (256, 256)
    points, image, data = dft.draws(shape, 60, "float32")
    A = nufft.nufft(points, shape, eps=1e-6, backend="xla")
    E = dft.matrix(points, shape)
    assert dft.error(A(image), E @ np.asarray(image).ravel()) < 3e-5
    assert dft.error(A.H(data), E.conj().T @ np.asarray(data)) < 3e-5
    y = E @ np.asarray(image).ravel()
    places = np.stack(np.meshgrid(*[(np.arange(n) - n // 2) / n for n in shape], indexing="ij"), -1)
    slopes = E @ (-2j * np.pi * places.reshape(-1, 2) * np.asarray(image).reshape(-1, 1))
    expected = 2 * np.real(y.conj()[:, None] * slopes)
    gradient = jax.grad(lambda A: jnp.sum(jnp.abs(A(image)) ** 2))(A)
    assert dft.error(gradient.trajectory, expected) < 5e-5
