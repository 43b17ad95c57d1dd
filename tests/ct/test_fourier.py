"""Projections through the NUFFT: smooth objects, formulas, ellipses, static ranges, derivatives."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon import data
from jaxrecon.core import materialise, replace
from jaxrecon.physics import ct
from jaxrecon.physics.nufft import _dense
from tests.devices import run_on_devices

ANGLES = np.concatenate([np.linspace(0.1, 6.2, 9), [0.0, np.pi / 4, np.pi / 2, -np.pi]])
MODELS = [(p, b) for p in ("average", "point") for b in ("average", "point")]


def fourier(angles, shape, n_bins, **options: Any) -> ct.FourierParallel:
    """By default through the exact transform, which compiles fastest."""
    return ct.parallel_beam(
        angles, shape, n_bins, method="fourier", **{"backend": "dft", "eps": 1e-6} | options
    )


def grid(n, step):
    return (np.arange(n) - (n - 1) / 2) * step


def relative(got, expected):
    return np.linalg.norm(np.asarray(got) - expected) / np.linalg.norm(expected)


class Blob:
    """A Gaussian off the centre, its image and its projections, at points or averaged."""

    x, y, sigma = 2.1, -1.3, 1.5

    def profile(self, distance, width):
        if width:
            low, high = (distance + side * width / 2 for side in (-1, 1))
            erf = np.vectorize(math.erf)
            scale = math.sqrt(2) * self.sigma
            area = self.sigma * math.sqrt(math.pi / 2)
            return area * (erf(high / scale) - erf(low / scale)) / width
        return np.exp(-((distance / self.sigma) ** 2) / 2)

    def image(self, shape, pixel, model):
        y, x = (grid(n, pixel) - c for n, c in zip(shape, (self.y, self.x)))
        width = pixel if model == "average" else 0
        return jnp.asarray(np.outer(self.profile(y, width), self.profile(x, width)))

    def distances(self, angles, n_bins, pitch, offset):
        centre = self.x * np.cos(angles) + self.y * np.sin(angles)
        return (
            grid(n_bins, 1) * np.reshape(pitch, (-1, 1))
            + np.reshape(offset, (-1, 1))
            - centre[:, None]
        )

    def sinogram(self, angles, n_bins, pitch, offset, model):
        distance = self.distances(angles, n_bins, pitch, offset)
        chord = math.sqrt(2 * math.pi) * self.sigma
        return chord * self.profile(distance, pitch if model == "average" else 0)


@pytest.mark.parametrize(
    ("models", "shape", "n_bins", "pitch", "offset"),
    [
        (MODELS[0], (36, 41), 47, 0.7, 0.0),
        (MODELS[3], (41, 38), 50, 0.45, 1.9),
        (MODELS[2], (36, 38), 15, 1.7, -2.3),
        (MODELS[1], (41, 41), 30, 0.9 + 0.6 * np.sin(ANGLES), 0.6 * np.cos(ANGLES)),
    ],
)
def test_a_gaussian_is_exact(models, shape, n_bins, pitch, offset, x64):
    blob, (pixel_model, bin_model) = Blob(), models
    A = fourier(
        ANGLES,
        shape,
        n_bins,
        pixel=0.7,
        bin_pitch=pitch,
        offset=offset,
        pixel_model=pixel_model,
        bin_model=bin_model,
    )
    truth = blob.sinogram(ANGLES, n_bins, pitch, offset, bin_model)
    assert relative(A(blob.image(shape, 0.7, pixel_model)), truth) < 1e-8


def test_the_right_models_are_needed(x64):
    """Another model of pixels or bins is not exact: the test above can fail."""
    blob = Blob()
    truth = blob.sinogram(ANGLES, 47, 1.0, 0.0, "average")
    for pixel_model, bin_model in [*MODELS[1:], ("square", "average")]:
        A = fourier(
            ANGLES,
            (36, 41),
            47,
            pixel=0.7,
            bin_pitch=1.0,
            pixel_model=pixel_model,
            bin_model=bin_model,
        )
        assert relative(A(blob.image((36, 41), 0.7, "average")), truth) > 5e-3


@pytest.mark.parametrize(
    ("pixel_model", "pitch"), [("average", 0.5), ("average", 4.5), ("point", 0.9), ("square", 0.9)]
)
def test_matrix_is_the_formula(pixel_model, pitch, x64):
    """Equations (1) and (2) as plain sums over both signs of the frequency."""
    angles, pixel, (n_y, n_x), n_bins = ANGLES[[2, 9, 10]], 0.8, (5, 4), 7
    A = fourier(
        angles,
        (n_y, n_x),
        n_bins,
        pixel=pixel,
        bin_pitch=pitch,
        offset=0.3,
        pixel_model=pixel_model,
    )
    period = A.padded_bins * pitch
    y, x = (a.ravel() for a in np.meshgrid(grid(n_y, pixel), grid(n_x, pixel), indexing="ij"))
    k = np.arange(-3 * A.n_frequencies, 3 * A.n_frequencies + 1)[:, None]
    power = {"average": -1, "point": 0, "square": 1}[pixel_model]
    matrix = []
    for c, s in zip(np.cos(angles), np.sin(angles), strict=True):
        last = period / (2 * pixel * max(abs(c), abs(s)))
        f = k / period
        with np.errstate(divide="ignore"):
            weight = np.clip(last + 0.5 - abs(k), 0, 1) * np.sinc(k / A.padded_bins)
            weight *= np.where(
                weight, (np.sinc(f * c * pixel) * np.sinc(f * s * pixel)) ** power, 0
            )
        spectrum = pixel**2 / period * weight * np.exp(-2j * np.pi * f * (x * c + y * s))
        waves = np.exp(2j * np.pi * f.T * (grid(n_bins, pitch)[:, None] + 0.3))
        matrix.append(np.real(waves @ spectrum))
    truth = np.concatenate(matrix)
    assert relative(materialise(A), truth) < 1e-10
    assert relative(materialise(A.H), truth.T) < 1e-10


def test_views_along_the_axes_sum_rows_and_columns(key):
    """Interpolated at its own samples a row of pixels is itself, whatever rounding says of θ."""
    for shape in ((8, 8), (9, 9)):
        image = jax.random.normal(key, shape)
        angles = np.array([0, np.pi / 2, np.pi, -np.pi / 2], np.float32)
        A = fourier(angles, shape, shape[0], pixel=0.5, pixel_model="point", bin_model="point")
        columns, rows = 0.5 * image.sum(0), 0.5 * image.sum(1)
        truth = np.stack([columns, rows, columns[::-1], rows[::-1]])
        np.testing.assert_allclose(A(image), truth, atol=1e-4)


def test_agrees_with_joseph_on_a_smooth_image():
    shape = (60, 72)
    options: dict[str, Any] = {"pixel": 0.5, "bin_pitch": 0.4, "offset": 1.1}
    y, x = np.meshgrid(grid(60, 0.5), grid(72, 0.5), indexing="ij")
    image = np.exp(-((x - 5) ** 2) / 18 - (y + 2) ** 2 / 30) + np.exp(-((x + 6) ** 2 + y**2) / 12)
    image = jnp.asarray(image, jnp.float32)
    truth = np.asarray(ct.parallel_beam(ANGLES, shape, 120, **options)(image))
    assert relative(fourier(ANGLES, shape, 120, **options)(image), truth) < 3e-3


@pytest.mark.parametrize("backend", ["xla", "finufft"])
def test_a_head_of_ellipses(backend):
    """The figure by which projectors are compared; ASTRA has 0.0070 (linear) and 0.0076 (strip)."""
    if backend == "finufft":
        pytest.importorskip("jax_finufft", reason="jax-finufft is not installed")
    head = data.modified_shepp_logan(half_width=128.0)
    image = data.rasterise(head, (2048, 2048), pixel=1 / 8).reshape(256, 8, 256, 8).mean((1, 3))
    angles = jnp.arange(180) * (np.pi / 180)
    truth = np.asarray(data.bin_averages(head, angles, jnp.asarray(grid(363, 1.0)), 1.0))
    A = fourier(angles, (256, 256), 363, eps=1e-4, backend=backend)
    assert relative(A(image), truth) < 0.0055


def test_offset_of_one_bin_moves_the_sinogram(key):
    """Views may have offsets of their own; a bin at the same place measures the same."""
    image = jax.random.normal(key, (12, 11))
    plain = fourier(ANGLES, (12, 11), 30, bin_pitch=0.8)
    bins = np.arange(len(ANGLES)) % 4
    moved = fourier(ANGLES, (12, 11), 26, bin_pitch=0.8, offset=0.8 * (bins - 2))
    expected = np.stack([row[b : b + 26] for row, b in zip(plain(image), bins, strict=True)])
    # The image's tails have other copies where the periods differ.
    assert relative(moved(image), expected) < 0.02
    same = replace(moved, padded_bins=plain.padded_bins, n_frequencies=plain.n_frequencies)
    assert relative(same(image), expected) < 1e-5


def test_derivatives_are_those_of_the_gaussian(x64):
    """In angles, offsets and pitches, against the analytic ones."""
    blob, shape, n_bins, pitch, offset = Blob(), (41, 38), 50, 0.6, 0.4
    image = blob.image(shape, 0.7, "point")
    models = {"pixel_model": "point", "bin_model": "point"}
    A = fourier(ANGLES, shape, n_bins, pixel=0.7, bin_pitch=pitch, offset=offset, **models)
    weights = np.random.default_rng(4).normal(size=A.range.shape)
    gradient = jax.jit(jax.grad(lambda A: jnp.sum(A(image) * weights)))(A)
    distance = blob.distances(ANGLES, n_bins, pitch, offset)
    slope = blob.sinogram(ANGLES, n_bins, pitch, offset, "point") * -distance / blob.sigma**2
    turning = blob.x * np.sin(ANGLES) - blob.y * np.cos(ANGLES)
    expected = {"angles": turning[:, None], "offset": 1.0, "bin_pitch": grid(n_bins, 1)}
    for name, factor in expected.items():
        truth = np.sum(weights * slope * factor, 1)
        assert relative(getattr(gradient, name), truth) < 1e-7, name


def test_through_the_factory(x64):
    """Angles and offsets that are traced; the detector's reach is then that of any offset."""
    image = Blob().image((14, 15), 0.7, "point")
    weights = np.random.default_rng(6).normal(size=(9, 17))

    @jax.jit
    def loss(p):
        A = fourier(ANGLES[:9] + p[0], (14, 15), 17, offset=p[1])
        return jnp.sum(A(image) * weights)

    gradient = jax.grad(loss)(jnp.zeros(2))
    for k in range(2):
        h = 1e-6 * jnp.eye(2)[k]
        np.testing.assert_allclose(gradient[k], (loss(h) - loss(-h)) / 2e-6, rtol=1e-5)


def test_complex_images_and_bfloat16(key):
    A = fourier(ANGLES, (9, 12), 17)
    re, im = jax.random.normal(key, (2, 9, 12))
    result = A(jax.lax.complex(re, im))
    np.testing.assert_allclose(result, A(re) + 1j * A(im), atol=1e-4)
    np.testing.assert_allclose(A.H(result).imag, A.H(A(im)), atol=1e-3)
    low = A(re.astype(jnp.bfloat16))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, A(re.astype(jnp.bfloat16).astype(jnp.float32)), atol=1e-5)


def test_slices_share_one_pass(monkeypatch, key):
    batches = []
    true_forward = _dense.forward

    def counted(plan, points, images):
        batches.append(images.shape[0])
        return true_forward(plan, points, images)

    monkeypatch.setattr(_dense, "forward", counted)
    jax.clear_caches()
    A = fourier(ANGLES, (6, 5), 9)
    x = jax.random.normal(key, (2, 3, 6, 5))
    y = jax.vmap(jax.vmap(A))(x)
    assert batches[-1] == 6  # earlier entries are traces that vmap transforms
    np.testing.assert_allclose(y[1, 2], A(x[1, 2]), atol=1e-5)
    scans = jax.tree.map(lambda a: jnp.stack([a, 1.01 * a]), A)
    both = jax.vmap(lambda A, x: A(x))(scans, x[:, 0])
    np.testing.assert_allclose(both[0], y[0, 0], atol=1e-5)
    jax.clear_caches()


def test_approximate_gram(x64):
    """Near enough for a smooth object inside of the detector's view, whatever the weights."""
    blob, shape = Blob(), (33, 30)
    A = fourier(ANGLES, shape, 60, pixel=0.7, bin_pitch=0.45)
    image = blob.image(shape, 0.7, "average") * (1 - 0.5j)
    weights = 1 + np.arange(len(ANGLES)) / 5
    for given, G in ((np.ones(13), A.approximate_gram()), (weights, A.approximate_gram(weights))):
        direct = A.weighted_gram(jnp.asarray(given)[:, None])
        assert relative(G(image), direct(image)) < 1e-6
        assert G.domain == A.domain
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, *shape)))
    assert relative(jnp.vdot(x[0], G(x[1])), jnp.vdot(G(x[0]), x[1])) < 1e-12


def test_gram_is_no_convolution(x64):
    """Why `gram` is not the Toeplitz one: they differ by more than `eps` on random images."""
    x = jnp.asarray(np.random.default_rng(1).normal(size=(9, 8)))
    A = fourier(ANGLES, (9, 8), 20)
    assert relative(A.approximate_gram()(x), np.asarray(A.gram(x))) > 1e-2


def test_sizes_that_do_not_suffice_are_nan():
    x, y = jnp.ones((9, 12)), jnp.ones((13, 17))
    A = fourier(ANGLES, (9, 12), 17, offset=0.5, eps=1e-4)
    for pitch, offset in ((1.02, 0.5), (0.98, 0.5), (1.0, -0.6)):
        B = replace(A, bin_pitch=pitch * A.bin_pitch, offset=offset + 0 * A.offset)
        assert jnp.isfinite(B(x)).all()
        assert jnp.isfinite(B.H(y)).all()
    for pitch, offset in ((2.0, 0.5), (0.5, 0.5), (1.0, 9.0)):
        B = replace(A, bin_pitch=pitch * A.bin_pitch, offset=offset + 0 * A.offset)
        assert jnp.isnan(B(x)).all()
        assert jnp.isnan(B.H(y)).all()
    blind = replace(A, offset=A.offset.at[0].set(1e3))
    assert (blind(x)[0] == 0).all()
    np.testing.assert_allclose(blind(x)[1:], A(x)[1:], atol=1e-4)


def test_subsets_are_interleaved_views(key):
    A = fourier(np.linspace(0, 3, 12), (9, 12), 17)
    x = jax.random.normal(key, (9, 12))
    part = jax.jit(lambda A, i, x: A.subset(i, 3)(x))(A, 1, x)
    np.testing.assert_allclose(part, A(x)[1::3], atol=1e-4)
    with pytest.raises(ValueError, match="`n` is 5"):
        A.subset(0, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "radon"}, "`method` is 'radon'"),
        ({"taps": 3}, "`taps` is 3, but it is an option of method='joseph'"),
        ({"method": "joseph", "eps": 1e-3}, "`eps` is 0.001, but it is an option of method='four"),
        ({"pixel_model": "strip"}, "`pixel_model` is 'strip'"),
        ({"bin_model": "square"}, "`bin_model` is 'square'"),
        ({"eps": 0.0}, "`eps` is 0.0"),
        ({"backend": "cufft"}, "`backend` is 'cufft'"),
        ({"backend": "xla", "oversampling": 9.0}, "`oversampling` is 9.0"),
        ({"bin_pitch": 0.0}, "`bin_pitch`"),
        ({"bin_pitch": [1.0, -1.0]}, "`bin_pitch`"),
        ({"angles": [0.0, np.nan]}, "`angles` holds values"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments: dict[str, Any] = {
        "angles": [0.0, 1.0],
        "image_shape": (4, 4),
        "n_bins": 6,
        "method": "fourier",
    }
    with pytest.raises(ValueError, match=message):
        ct.parallel_beam(**arguments | change)


def test_a_traced_pitch_is_refused_with_a_way_out(x64):
    image = Blob().image((9, 8), 0.7, "point")

    def refused(pitch):
        return fourier(ANGLES, (9, 8), 12, bin_pitch=pitch)(image).sum()

    with pytest.raises(ValueError, match="`bin_pitch` is traced"):
        jax.grad(refused)(1.0)

    def accepted(pitch):
        A = fourier(ANGLES, (9, 8), 12, bin_pitch=1.0)
        return jnp.sum(replace(A, bin_pitch=pitch * jnp.ones(13))(image) ** 2)

    slope = (accepted(1.0 + 1e-6) - accepted(1.0 - 1e-6)) / 2e-6
    np.testing.assert_allclose(jax.grad(accepted)(1.0), slope, rtol=1e-6)


SHARDED_VIEWS = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, PartitionSpec as P
from jaxrecon.physics import ct
jax.config.update("jax_enable_x64", True)
mesh = jax.make_mesh((4,), ("views",), axis_types=(AxisType.Auto,))
A = ct.parallel_beam(np.linspace(0.1, 3, 8), (9, 8), 14, method="fourier", backend="dft")
rng = np.random.default_rng(0)
x, y = jnp.asarray(rng.normal(size=(9, 8))), jnp.asarray(rng.normal(size=(8, 14)))

def misfit(A, x, y):
    return jnp.sum(y * jnp.sin(A(x))) + jnp.sum(x * A.H(y))

def sharded(A, x, y):
    parts = jax.tree.map(lambda _: P("views"), A)
    total = lambda *a: jax.lax.psum(misfit(*a), "views")
    specs = (parts, P(), P("views"))
    return jax.shard_map(total, mesh=mesh, in_specs=specs, out_specs=P())(A, x, y)

for f, g in ((sharded, misfit), *(map(lambda h: jax.grad(h, (0, 1, 2)), (sharded, misfit)),)):
    results = jax.jit(f)(A, x, y), jax.jit(g)(A, x, y)
    for a, b in zip(*map(jax.tree.leaves, results)):
        assert float(jnp.linalg.norm(a - b) / jnp.linalg.norm(b)) < 1e-12
"""


def test_views_over_devices():
    """Value, adjoint and gradients in image, data and geometry, as on a single device."""
    run_on_devices(SHARDED_VIEWS, 4)
