"""What all denoisers must do, and each against another program or its definition."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, signal
from skimage import restoration

from jaxrecon.functionals import denoisers as dn
from jaxrecon.functionals.denoisers._shrinkage import _sure
from tests.denoisers.cases import CASES, GOOD, SCALE_COVARIANT, VARIANTS

SHAPE, SIGMA = (18, 23), 0.15
DENOISE = jax.jit(lambda D, x, sigma: D(x, sigma))
PULL = jax.jit(jax.grad(lambda D, x, sigma, w: jnp.vdot(w, D(x, sigma)), (1, 2)))


def scene(shape=SHAPE, dtype="float32"):
    """A disc on a slope."""
    y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    return jnp.asarray((x**2 + y**2 < 0.5) + 0.2 * x, dtype)


def noisy(shape=SHAPE, dtype="float32", seed=0):
    rng = np.random.default_rng(seed)
    return scene(shape, dtype) + jnp.asarray(SIGMA * rng.standard_normal(shape), dtype)


ALL = CASES | VARIANTS
every = pytest.mark.parametrize("name", CASES)


@every
def test_jit_and_eager_and_types(name):
    D, x = CASES[name], noisy()
    compiled = DENOISE(D, x, SIGMA)
    assert isinstance(D, dn.Denoiser)
    assert compiled.shape == x.shape
    assert compiled.dtype == x.dtype
    np.testing.assert_allclose(compiled, D(x, SIGMA), atol=2e-5)


@every
def test_vmap_is_a_loop_also_over_sigma(name):
    D, x = CASES[name], jnp.stack([noisy(), noisy(seed=1)])
    sigmas = jnp.array([SIGMA, 0.5 * SIGMA])
    batch = jax.jit(jax.vmap(lambda x, s: D(x, s)))(x, sigmas)
    for one, image, sigma in zip(batch, x, sigmas, strict=True):
        np.testing.assert_allclose(one, DENOISE(D, image, sigma), atol=2e-5)


@every
def test_no_noise_changes_nothing(name):
    """Also on a constant image, where ratios of variances are 0/0; derivatives stay finite."""
    D, weights = CASES[name], jnp.ones(SHAPE)
    for x in (noisy(), jnp.full(SHAPE, 0.3)):
        np.testing.assert_allclose(DENOISE(D, x, 0.0), x, atol=3e-6)
        slopes = [PULL(D, x, sigma, weights) for sigma in (0.0, SIGMA)]
        assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(slopes))


@pytest.mark.parametrize("name", SCALE_COVARIANT)
def test_units_do_not_matter(name):
    D, x, unit = CASES[name], noisy(), 1e-3
    expected = unit * DENOISE(D, x, SIGMA)
    np.testing.assert_allclose(DENOISE(D, unit * x, unit * SIGMA), expected, atol=3e-7)


@pytest.mark.parametrize("name", GOOD)
def test_it_denoises(name):
    error = lambda x: float(jnp.mean((x - scene()) ** 2))  # noqa: E731
    assert error(DENOISE(ALL[name], noisy(), SIGMA)) < 0.6 * error(noisy())


@every
def test_derivatives_are_finite_differences(name, x64):
    D, x, h = CASES[name], noisy(dtype="float64"), 1e-6
    rng = np.random.default_rng(3)
    direction, weights = jnp.asarray(rng.standard_normal((2, *SHAPE)))
    slope, slope_sigma = PULL(D, x, SIGMA, weights)
    for dx, ds, expected in ((direction, 0.0, jnp.vdot(slope, direction)), (0.0, 1.0, slope_sigma)):
        ahead, behind = (DENOISE(D, x + k * dx, SIGMA + k * ds) for k in (h, -h))
        numeric = jnp.vdot(weights, ahead - behind) / (2 * h)
        np.testing.assert_allclose(expected, numeric, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["non-local means", "wiener", "dct", "wavelet"])
def test_volumes(name):
    """What is constant along an axis stays so; it is denoised nevertheless."""
    x = jnp.broadcast_to(noisy((8, 10))[None], (8, 8, 10))
    y = DENOISE(CASES[name], x, SIGMA)
    assert jnp.std(y - x) > 0.01
    np.testing.assert_allclose(jnp.ptp(y, 0), 0, atol=1e-6)


def window_average(x, search, radius, weigh):
    """A weighted mean over a window, pixel by pixel; `weigh(patch, other patch, offset)`."""
    padded = np.pad(x, search + radius, mode="reflect")
    offsets = list(itertools.product(range(-search, search + 1), repeat=2))
    result = np.zeros_like(x)
    for i, j in np.ndindex(*x.shape):
        patches = np.array([_patch(padded, i + a, j + b, search, radius) for a, b in offsets])
        own = _patch(padded, i, j, search, radius)
        weights = np.array(
            [weigh(own, p, np.array(o)) for p, o in zip(patches, offsets, strict=True)]
        )
        result[i, j] = weights @ patches[:, radius, radius] / weights.sum()
    return result


def _patch(padded, i, j, search, radius):
    side = 2 * radius + 1
    return padded[i + search : i + search + side, j + search : j + search + side]


def test_non_local_means_is_its_definition(x64):
    x, h = noisy((9, 11), "float64"), 0.8 * SIGMA

    def weigh(own, other, offset):
        return np.exp(-max(np.mean((own - other) ** 2) - 2 * SIGMA**2, 0) / h**2)

    expected = window_average(np.asarray(x), 3, 1, weigh)
    np.testing.assert_allclose(dn.NonLocalMeans(0.8, 3, 3)(x, SIGMA), expected, atol=1e-12)


def test_bilateral_is_its_definition(x64):
    x, h = noisy((9, 11), "float64"), 2 * SIGMA

    def weigh(own, other, offset):
        place = np.sum(offset**2) / (2 * 1.2**2)
        return np.exp(-place - np.sum((own - other) ** 2) / (2 * h**2))

    expected = window_average(np.asarray(x), 3, 0, weigh)
    np.testing.assert_allclose(dn.Bilateral(2.0, 1.2, 3)(x, SIGMA), expected, atol=1e-12)


@pytest.mark.parametrize("window", [3, (5, 3), (7, 5), 1])
def test_median_equals_scipy(window):
    x = noisy()
    expected = ndimage.median_filter(np.asarray(x), window, mode="reflect")
    np.testing.assert_array_equal(dn.Median(window)(x, SIGMA), expected)


def test_gaussian_equals_scipy(x64):
    x = noisy(dtype="float64")
    expected = ndimage.gaussian_filter(np.asarray(x), (1.3, 0.7), mode="reflect", radius=4)
    np.testing.assert_allclose(dn.Gaussian((1.3, 0.7))(x, SIGMA), expected, atol=1e-12)


def test_wiener_equals_scipy(x64):
    x = noisy(dtype="float64")
    inside = (slice(2, -2),) * 2
    expected = signal.wiener(np.asarray(x), 5, SIGMA**2)[inside]
    np.testing.assert_allclose(dn.Wiener(5)(x, SIGMA)[inside], expected, atol=1e-10)


@pytest.mark.parametrize(
    ("rule", "theirs"), [("bayes", "BayesShrink"), ("universal", "VisuShrink")]
)
def test_wavelet_shrinkage_equals_scikit_image(rule, theirs, x64):
    x = noisy((32, 16), "float64")
    D = dn.WaveletShrinkage(rule=rule, name="haar", levels=2, spins=1)
    options = {"sigma": SIGMA, "wavelet": "haar", "mode": "soft", "wavelet_levels": 2}
    expected = restoration.denoise_wavelet(
        np.asarray(x), method=theirs, rescale_sigma=False, **options
    )
    np.testing.assert_allclose(DENOISE(D, x, SIGMA), expected, atol=1e-10)


def test_sure_threshold_has_the_least_estimated_risk(x64):
    band = np.random.default_rng(0).standard_normal(50) + 2 * (np.arange(50) < 10)
    risk = lambda t: 50 - 2 * np.sum(np.abs(band) <= t) + np.sum(np.minimum(band**2, t**2))  # noqa: E731
    best = min(np.abs(band), key=risk)
    np.testing.assert_allclose(_sure(jnp.asarray(0.3 * band), jnp.asarray(0.3), 50), 0.3 * best)


def test_dct_denoiser_is_its_definition(x64):
    """Every patch of the reflected image, one by one."""
    from scipy.fft import dctn, idctn

    x, n, t = noisy((9, 7), "float64"), 4, 2.7 * SIGMA
    padded = np.pad(np.asarray(x), n - 1, mode="symmetric")
    total, weights = np.zeros_like(padded), np.zeros_like(padded)
    for i in range(padded.shape[0] - n + 1):
        for j in range(padded.shape[1] - n + 1):
            patch = (slice(i, i + n), slice(j, j + n))
            spectrum = np.asarray(dctn(padded[patch], norm="ortho"))
            kept = np.abs(spectrum) > t
            kept[0, 0] = True
            total[patch] += np.asarray(idctn(spectrum * kept, norm="ortho")) / kept.sum()
            weights[patch] += 1 / kept.sum()
    expected = (total / weights)[n - 1 : 1 - n, n - 1 : 1 - n]
    np.testing.assert_allclose(dn.DCTDenoiser(patch=n)(x, SIGMA), expected, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: dn.Median(4)(noisy(), 1.0), "`window`"),
        (lambda: dn.NonLocalMeans(patch=4)(noisy(), 1.0), "`patch`"),
        (lambda: dn.NonLocalMeans(search=30)(noisy(), 1.0), "at least 33"),
        (lambda: dn.WaveletShrinkage(rule="hard")(noisy(), 1.0), "`rule`"),
        (lambda: dn.BM3D()(jnp.zeros((3, 20, 20)), 1.0), "Channels"),
        (lambda: dn.BM3D()(jnp.zeros((20, 20), complex), 1.0), "Complex"),
        (lambda: dn.BM3D()(jnp.zeros((7, 20)), 1.0), "at least 8"),
        (lambda: dn.BM3D(group=(12, 32))(noisy(), 1.0), "`group`"),
        (lambda: dn.Complex(dn.Median(), "polar")(noisy(), 1.0), "`mode`"),
        (lambda: dn.Tiled(dn.Median(), (20, 20))(noisy(), 1.0), "`tile`"),
        (lambda: dn.DenoiserPrior(dn.Median())(noisy()), "no value"),
        (lambda: dn.conv_norm(jnp.ones((3, 3, 1)), (8, 8)), "`kernel`"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
