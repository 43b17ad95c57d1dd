"""Joseph's projector: a dense matrix, adjointness, chords, batches, dtypes, static ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import materialise, replace
from jaxrecon.physics import ct

ANGLES = np.linspace(0.1, 6.2, 13)


def parallel(pitch=1.0, shape=(9, 12), **options):
    return ct.parallel_beam(ANGLES, shape, 17, bin_pitch=pitch, offset=0.3, **options)


def fan(pitch=1.7, shape=(9, 12), far=1.0, **options):
    distances = {"source_origin": 30.0 * far, "origin_detector": 15.0 * far}
    return ct.fan_beam(ANGLES, shape, 17, bin_pitch=pitch, **distances, **options)


def joseph_matrix(A):
    """Joseph's method ray by ray as it is in the paper, in float64 and plain loops."""
    lines = np.asarray(A.lines, np.float64)
    n_y, n_x = A.image_shape
    matrix = np.zeros((len(lines), A.n_bins, n_y, n_x))
    for v, (first, second) in enumerate(lines):
        for i in range(A.n_bins):
            lx, ly, lw = first + (i - (A.n_bins - 1) / 2) * second
            by_rows = abs(lx) >= abs(ly)
            for k in range(n_y if by_rows else n_x):
                if by_rows:
                    c = -(ly * (k - (n_y - 1) / 2) + lw) / lx + (n_x - 1) / 2
                else:
                    c = -(lx * (k - (n_x - 1) / 2) + lw) / ly + (n_y - 1) / 2
                for j, w in ((int(np.floor(c)), 1 - c % 1), (int(np.floor(c)) + 1, c % 1)):
                    if 0 <= j < (n_x if by_rows else n_y):
                        where = (k, j) if by_rows else (j, k)
                        matrix[(v, i, *where)] += w * np.hypot(lx, ly) / max(abs(lx), abs(ly))
    return A.pixel * matrix


def mismatch(A, x, scale=1.0):
    """|⟨Ax, Ax⟩ − ⟨x, AᴴAx⟩| / ⟨Ax, Ax⟩, accumulated in float64."""
    y = A(x)
    z = np.asarray(A.H(y), np.complex128) * scale
    y = np.asarray(y, np.complex128)
    power = np.vdot(y, y).real
    return abs(power - np.vdot(np.asarray(x, np.complex128), z).real) / power


@pytest.mark.parametrize("make", [parallel, fan])
@pytest.mark.parametrize("shape", [(9, 12), (13, 8)])
def test_matrices_are_josephs_and_its_transpose(make, shape, x64):
    A = make(shape=shape, pixel=0.9)
    truth = joseph_matrix(A).reshape(13 * 17, -1)
    np.testing.assert_allclose(materialise(A), truth, atol=1e-12)
    np.testing.assert_allclose(materialise(A.H), truth.T, atol=1e-12)


@pytest.mark.parametrize(
    "A",
    [parallel(pitch, (40, 33)) for pitch in (0.5, 0.7, 1.0, 2.0)]
    + [fan(pitch, (40, 33), far=3.0) for pitch in (0.6, 1.7)],
    ids=["p0.5", "p0.7", "p1", "p2", "f0.6", "f1.7"],
)
def test_adjointness_at_any_pitch(A, key):
    x = jax.random.uniform(key, (40, 33))
    assert mismatch(A, x) < 1e-6
    assert mismatch(A, x, 1.001) > 5e-4


@pytest.mark.parametrize("make", [parallel, fan])
def test_adjointness_in_double(make, x64, key):
    x = jax.random.uniform(key, (9, 12))
    assert x.dtype == jnp.float64
    assert mismatch(make(), x) < 1e-13


def test_disc_chords():
    A = ct.parallel_beam(ANGLES, (160, 160), 60, pixel=0.25, bin_pitch=0.5, offset=1.0)
    y, x = ((np.arange(160) - 79.5) * 0.25 for _ in range(2))
    # Area-averaged disc of radius 9 at (x, y) = (4, −2): 8 × 8 points in each pixel.
    fine = (np.arange(8) - 3.5) / 8 * 0.25
    inside = (np.add.outer(y, fine)[:, :, None, None] + 2) ** 2 + (np.add.outer(x, fine) - 4) ** 2
    image = (inside < 81).mean((1, 3))
    s = (np.arange(60) - 29.5) * 0.5 + 1.0
    distance = s - (4 * np.cos(ANGLES) - 2 * np.sin(ANGLES))[:, None]
    chords = 2 * np.sqrt(np.maximum(81 - distance**2, 0))
    error = np.linalg.norm(A(jnp.asarray(image, jnp.float32)) - chords) / np.linalg.norm(chords)
    assert error < 0.01


def test_complex_images_and_bfloat16(key):
    A = parallel()
    re, im = jax.random.normal(key, (2, 9, 12))
    result = A(jax.lax.complex(re, im))
    np.testing.assert_allclose(result, A(re) + 1j * A(im), atol=1e-5)
    np.testing.assert_allclose(A.H(result).imag, A.H(A(im)), atol=1e-4)
    low = A(re.astype(jnp.bfloat16))
    assert low.dtype == jnp.float32
    np.testing.assert_allclose(low, A(re.astype(jnp.bfloat16).astype(jnp.float32)), atol=1e-6)


@pytest.mark.parametrize("make", [parallel, fan])
def test_vmap_over_images_and_over_scans(make, key):
    A = make()
    x = jax.random.normal(key, (2, 3, 9, 12))
    y = jax.vmap(jax.vmap(A))(x)
    np.testing.assert_allclose(y[1, 2], A(x[1, 2]), atol=1e-5)
    np.testing.assert_allclose(jax.vmap(A.H)(y[0])[2], A.H(y[0, 2]), atol=1e-4)
    poses = jax.tree.map(lambda a: jnp.stack([a, 1.01 * a]), A)
    both = jax.vmap(lambda A, x: A(x))(poses, x[0, :2])
    one = jax.vmap(lambda A: A(x[0, 1]))(poses)
    second = jax.tree.map(lambda a: a[1], poses)(x[0, 1])
    np.testing.assert_allclose(both[1], second, atol=1e-5)
    np.testing.assert_allclose(one[1], second, atol=1e-5)


def test_many_views_are_walked_in_chunks(monkeypatch, key):
    x = jax.random.normal(key, (9, 12))
    A = parallel()
    whole = A(x)
    monkeypatch.setattr("jaxrecon.physics.ct._joseph.RAYS", 40)
    jax.clear_caches()
    np.testing.assert_allclose(A(x), whole, atol=1e-6)
    jax.clear_caches()


def test_adjoint_is_nan_outside_of_the_static_range(key):
    y = jnp.ones((13, 17))
    A = parallel()
    finer = replace(A, bin_pitch=0.9 * A.bin_pitch)
    assert A.taps == 2
    assert jnp.isfinite(A.H(y)).all()
    assert jnp.isnan(finer.H(y)).all()
    assert jnp.isfinite(finer(jnp.ones((9, 12)))).all()

    B = fan(1.2)
    closer = replace(B, source=0.5 * B.source)
    assert jnp.isfinite(B.H(y)).all()
    assert jnp.isnan(closer.H(y)).all()
    assert jnp.isnan(replace(B, source=0.1 * B.source).H(y)).all()


def test_subsets_are_interleaved_views(key):
    angles = np.linspace(0, 3, 12)
    for A in (
        ct.parallel_beam(angles, (9, 12), 17),
        ct.fan_beam(angles, (9, 12), 17, source_origin=30.0, origin_detector=15.0),
    ):
        x = jax.random.normal(key, (9, 12))
        part = jax.jit(lambda A, i, x: A.subset(i, 3)(x))(A, 1, x)
        np.testing.assert_allclose(part, A(x)[1::3], atol=1e-5)
    with pytest.raises(ValueError, match="`n` is 5"):
        A.subset(0, 5)


def test_new_angles_do_not_compile_again():
    traces = []

    @jax.jit
    def project(A, x):
        traces.append(1)
        return A(x)

    for start in (0.0, 0.4):
        project(ct.parallel_beam(ANGLES + start, (9, 12), 17), jnp.ones((9, 12)))
    assert len(traces) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"angles": [[0.0]]}, "`angles` has shape"),
        ({"angles": [0.0, np.nan]}, "`angles` holds values"),
        ({"image_shape": (4, 0)}, "`image_shape`"),
        ({"n_bins": 0}, "`n_bins`"),
        ({"pixel": -1.0}, "`pixel`"),
        ({"bin_pitch": 0.0}, "`bin_pitch`"),
        ({"offset": [0.0, 1.0, 2.0]}, "`offset` has shape"),
    ],
)
def test_wrong_arguments_are_named(change, message):
    arguments = {"angles": [0.0, 1.0], "image_shape": (4, 4), "n_bins": 6} | change
    with pytest.raises(ValueError, match=message):
        ct.parallel_beam(**arguments)


def test_source_in_the_image_is_refused():
    with pytest.raises(ValueError, match="source"):
        ct.fan_beam([0.0], (40, 40), 10, source_origin=15.0, origin_detector=15.0)
