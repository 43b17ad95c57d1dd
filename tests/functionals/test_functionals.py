"""Functionals: proximal maps against brute force and optimality, gradients, transformations."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import pywt

from jaxrecon import functionals as F
from jaxrecon.core import identity, tree

SHAPE = (4, 6)
WAVELET = pywt.Wavelet  # pyright: ignore[reportAttributeAccessIssue]
KEY = jax.random.key(8)


def _normal(dtype, shape=SHAPE, fold=0):
    return jax.random.normal(jax.random.fold_in(KEY, fold), shape, dtype)


def _weights():
    return jnp.abs(_normal("float64", fold=5)) + 0.1


CASES = {
    "least squares": (lambda d: F.LeastSquares(_normal(d, fold=1)), True),
    "weighted": (lambda d: F.LeastSquares(_normal(d, fold=1), _weights()), True),
    "squared l2": (lambda d: F.SquaredL2(0.7), True),
    "l1": (lambda d: F.L1(0.6), True),
    "l1 weights": (lambda d: F.L1(_weights()), True),
    "l21": (lambda d: F.L21(0.9), True),
    "l21 axis": (lambda d: F.L21(0.9, axis=-1), True),
    "non-negative": (lambda d: F.non_negative(), False),
    "box": (lambda d: F.Box(-0.3, 0.4), False),
    "tv": (lambda d: F.TV(0.3, n_iter=3000), True),
    "tv anisotropic": (lambda d: F.TV(0.3, isotropic=False, spacing=0.5, n_iter=3000), True),
    "tv one axis": (lambda d: F.TV(0.3, axes=(1,), n_iter=3000), True),
    "wavelet": (lambda d: F.WaveletL1(0.4, F.wavelet(_normal(d), "db2", levels=1)), True),
    "wavelet shifted": (
        lambda d: F.WaveletL1(0.4, F.wavelet(_normal(d), "haar", levels=1), jnp.array([1, 1])),
        True,
    ),
}
FUNCTIONALS = [
    pytest.param(make, dtype, id=f"{name}, {dtype}")
    for name, (make, on_complex) in CASES.items()
    for dtype in (("float64", "complex128") if on_complex else ("float64",))
]


@pytest.mark.parametrize(("make", "dtype"), FUNCTIONALS)
def test_prox_is_the_minimiser(make, dtype, x64):
    """No direction, small or large, improves on the proximal point."""
    f, x, step = make(dtype), _normal(dtype, fold=2), 0.8
    p = jax.jit(f.prox)(x, step)
    objective = jax.jit(lambda u: f(u) + tree.sum_of_squares(tree.sub(u, x)) / (2 * step))
    best = float(objective(p))
    for i in range(60):
        d = _normal(dtype, fold=100 + i) * 10.0 ** -(i % 6)
        assert float(objective(p + d)) >= best - 1e-9
    # Towards the natural rivals too: the point itself, zero.
    for rival in (x, jnp.zeros_like(x)):
        for t in (1e-3, 1e-2, 0.1, 1.0):
            assert float(objective((1 - t) * p + t * rival)) >= best - 1e-9


@pytest.mark.parametrize(("make", "dtype"), FUNCTIONALS)
def test_moreau(make, dtype, x64):
    """Prox of f and of its conjugate decompose x; the conjugate's is that of the envelope."""
    f, x, step = make(dtype), _normal(dtype, fold=3), 0.8
    parts = f.prox(x, step) + step * f.conjugate_prox(x / step, 1 / step)
    np.testing.assert_allclose(parts, x, rtol=1e-12)


@pytest.mark.parametrize(("make", "dtype"), FUNCTIONALS)
def test_prox_under_jit_and_vmap(make, dtype, x64):
    f = make(dtype)
    batch = jnp.stack([_normal(dtype, fold=i) for i in (10, 11)])
    loop = jnp.stack([f.prox(x, 0.5) for x in batch])
    np.testing.assert_allclose(jax.jit(jax.vmap(lambda x: f.prox(x, 0.5)))(batch), loop, rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "dtype"),
    [p for p in FUNCTIONALS if any(w in str(p.id) for w in ("squares", "weighted", "squared"))],
)
def test_gradient_is_the_steepest_ascent(make, dtype, x64):
    f, x, d, h = make(dtype), _normal(dtype, fold=4), _normal(dtype, fold=5), 1e-6
    numeric = (f(x + h * d) - f(x - h * d)) / (2 * h)
    np.testing.assert_allclose(tree.dot(f.grad(x), d), numeric, rtol=1e-8)
    np.testing.assert_allclose(f.grad(x), jnp.conj(jax.grad(f)(x)), rtol=1e-12)
    G, b = f.normal(identity(x))
    np.testing.assert_allclose(G(x) - b, f.grad(x), rtol=1e-12)
    root = f.curvature_root(identity(x))
    np.testing.assert_allclose(root.gram(x), G(x), rtol=1e-12)


def test_tv_prox_gradient_in_the_weight(x64):
    x = _normal("float64")
    loss = lambda w: jnp.sum(F.TV(w, n_iter=2000).prox(x, 1.0) ** 2)  # noqa: E731
    numeric = (loss(0.3 + 1e-6) - loss(0.3 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(loss)(0.3), numeric, rtol=1e-4)


def test_tv_in_three_dimensions(x64):
    x = _normal("float64", (3, 4, 5))
    assert float(F.TV(1.0)(x)) > 0
    flat = F.TV(2.0, n_iter=3000).prox(x, 50.0)
    np.testing.assert_allclose(flat, jnp.full_like(x, x.mean()), atol=1e-3)


@pytest.mark.parametrize("n", [1, 2, 4, 8, 20])
def test_daubechies_taps(n):
    np.testing.assert_allclose(F.daubechies(n), WAVELET(f"db{n}").rec_lo, atol=1e-11)


@pytest.mark.parametrize("n", [1, 3])
def test_wavelet_equals_pywavelets(n, x64):
    """One level; PyWavelets starts its periodic filters at another sample of the same parity."""
    x = _normal("float64", (16,))
    low, high = pywt.dwt(np.array(x), WAVELET(f"db{n}"), "periodization")
    ours = np.asarray(F.wavelet(x, f"db{n}", levels=1)(x))
    for part, expected in ((ours[:8], low), (ours[8:], high)):
        # The reversed filter bank is equally a Daubechies one; magnitudes up to a cyclic shift.
        errors = [np.abs(np.abs(np.roll(part, s)) - np.abs(expected)).max() for s in range(8)]
        assert min(errors) < 1e-10


def test_wavelet_of_any_size_is_an_isometry(x64):
    x = _normal("complex128", (7, 13, 3))
    W = F.wavelet(x, "db4", levels=1)
    assert W.range.shape == (8, 14, 4)
    np.testing.assert_allclose(W.H(W(x)), x, rtol=1e-12)


def test_cycle_spinning(x64):
    x = _normal("float64", (8, 8))
    f = F.WaveletL1(0.5, F.wavelet(x, "haar", levels=2))
    shifts = jnp.stack(jnp.meshgrid(jnp.arange(4), jnp.arange(4)), -1).reshape(-1, 2)
    spun = F.CycleSpin(f, shifts)
    # Averaging over all shifts commutes with shifting, which a single transform does not.
    moved = jnp.roll(spun.prox(x, 1.0), (1, 3), (0, 1))
    np.testing.assert_allclose(spun.prox(jnp.roll(x, (1, 3), (0, 1)), 1.0), moved, atol=1e-12)
    single = jnp.roll(f.prox(x, 1.0), (1, 3), (0, 1))
    assert jnp.abs(f.prox(jnp.roll(x, (1, 3), (0, 1)), 1.0) - single).max() > 1e-3
    draws = jax.vmap(lambda k: f.randomised(k).prox(x, 1.0))(jax.random.split(KEY, 4000))
    np.testing.assert_allclose(draws.mean(0), spun.prox(x, 1.0), atol=0.05)


def test_soft_threshold_gradient_is_finite_at_zero():
    for dtype in ("float32", "complex64"):
        total = lambda x: jnp.sum(jnp.abs(F.soft_threshold(x, 0.5)) ** 2)  # noqa: E731
        assert jnp.all(jnp.isfinite(jax.grad(total)(jnp.zeros(3, dtype))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: F.L1().grad(jnp.ones(2)), "not smooth"),
        (lambda: F.Box(0.0).prox(jnp.ones(2, complex), 1.0), "complex"),
        (lambda: F.wavelet(jnp.zeros((8, 8)), "sym4"), "`name`"),
        (lambda: F.wavelet(jnp.zeros((8, 8)), levels=9), "`levels`"),
        (lambda: F.LeastSquares(jnp.ones(5)).subset(0, 2), "does not divide"),
        (lambda: F.L1().curvature_root(identity(jnp.ones(2))), "pass `step_size`"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
