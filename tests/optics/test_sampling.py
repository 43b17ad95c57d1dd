"""Inpainting, mosaics and single-pixel cameras against their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage

from jaxrecon import core
from jaxrecon.physics import optics
from tests.tolerances import relative_error

ORDERS = ["natural", "sequency", "zigzag", "cake_cutting", "russian_dolls", "total_variation"]


def patterns(shape):
    n = shape[0] * shape[1]
    return scipy.linalg.hadamard(n).reshape(n, *shape)


def changes(vectors):
    return (np.diff(vectors, axis=-1) != 0).sum(-1)


def test_missing_pixels_cannot_poison_and_masks_have_their_budget(key, x64):
    mask = optics.random_pixel_mask(key, (9, 7), 0.4)
    assert int(mask.sum()) == round(0.4 * 63)
    A = optics.inpaint(mask, jnp.zeros((2, 9, 7)))
    x = jax.random.normal(key, (2, 9, 7))
    assert jnp.array_equal(A(jnp.where(mask, x, jnp.nan)), jnp.where(mask, x, 0))
    inverse = A.shifted_inverse(0.5)
    assert inverse is not None
    assert relative_error(inverse(x), x / (np.asarray(mask) + 0.5)) < 1e-15
    weights = jax.random.uniform(key, (9, 7))
    assert relative_error(optics.inpaint(weights, x)(x), weights * x) < 1e-15
    blocks = np.asarray(optics.random_block_mask(key, (9, 7), 0.5, 3))
    assert blocks.shape == (9, 7)
    assert all(blocks[i : i + 3, j : j + 3].std() == 0 for i in (0, 3, 6) for j in (0, 3, 6))


@pytest.mark.parametrize("pattern", ["rggb", "bggr", "grbg", "gbrg"])
def test_mosaic_by_explicit_loops(key, x64, pattern):
    x = np.asarray(jax.random.normal(key, (3, 5, 4)))
    expected = np.empty((5, 4))
    for i in range(5):
        for j in range(4):
            expected[i, j] = x["rgb".index(pattern[2 * (i % 2) + j % 2]), i, j]
    A = optics.mosaic(x, pattern)
    assert relative_error(A(jnp.asarray(x)), expected) == 0
    M = np.asarray(core.materialise(A))
    dense = np.linalg.solve(M.T @ M + 0.3 * np.eye(60), x.ravel())
    solved = A.shifted_inverse(0.3)(jnp.asarray(x))
    assert relative_error(solved.ravel(), dense) < 1e-13


def test_bilinear_demosaicing_keeps_planes_and_measurements(x64):
    y, x = np.mgrid[:8, :7].astype(float)
    image = jnp.asarray(np.stack([1 + x, 2 + y - x, 3 * y]))
    A = optics.mosaic(image)
    got = optics.demosaic_bilinear(A, A(image))
    inner = (slice(None), slice(1, -1), slice(1, -1))
    assert jnp.allclose(got[inner], image[inner])
    assert jnp.array_equal(A(got), A(image))


@pytest.mark.parametrize("n", [1, 2, 8, 32, 512])
def test_transform_is_scipys_matrix(key, x64, n):
    x = jax.random.normal(key, (n,), complex)
    expected = scipy.linalg.hadamard(n) @ np.asarray(x) / np.sqrt(n)
    assert relative_error(optics.walsh_hadamard(x), expected) < 1e-14


def test_orders_by_looking_at_the_patterns():
    shape = (4, 8)
    images = patterns(shape)
    orders = {name: np.asarray(optics.hadamard_order(name, shape)) for name in ORDERS}
    orders["random"] = np.asarray(optics.hadamard_order("random", shape, key=jax.random.key(0)))
    for name, order in orders.items():
        assert sorted(order) == list(range(32)), name
        assert order[0] == 0, name

    flat = changes(images.reshape(32, -1))
    assert np.array_equal(flat[orders["sequency"]], np.arange(32))
    blocks = np.array(
        [
            sum(scipy.ndimage.label(image == sign)[1] for sign in (1, -1))  # pyright: ignore[reportIndexIssue]
            for image in images
        ]
    )
    assert (np.diff(blocks[orders["cake_cutting"]]) >= 0).all()
    dy = np.diff(images, axis=1, append=images[:, -1:])
    dx = np.diff(images, axis=2, append=images[:, :, -1:])
    variation = np.asarray(np.hypot(dy, dx)).sum((1, 2))
    assert (np.diff(variation[orders["total_variation"]]) > -1e-9).all()
    both = changes(images[:, 0, :]) + changes(images[:, :, 0])
    assert (np.diff(both[orders["zigzag"]]) >= 0).all()


def test_russian_dolls_complete_one_resolution_after_the_other():
    shape = (8, 8)
    images, order = patterns(shape), np.asarray(optics.hadamard_order("russian_dolls", shape))
    for side in (1, 2, 4, 8):
        first = images[order[: side * side]]
        coarse = first[:, :: 8 // side, :: 8 // side]
        assert np.array_equal(np.kron(coarse, np.ones((1, 8 // side, 8 // side))), first)
    second, third = images[order[16:32]], images[order[32:48]]
    assert {p.tobytes() for p in second.transpose(0, 2, 1).copy()} == {p.tobytes() for p in third}
    half = images[order[:32]]
    assert np.array_equal(np.repeat(half[:, ::2], 2, 1), half)  # half: full resolution in x


def test_variance_order_finds_where_training_images_differ(key, x64):
    images = jax.random.normal(key, (50, 4, 4)) * jnp.arange(1, 5.0)[:, None]
    order = np.asarray(optics.variance_order(images))
    coefficients = np.asarray(images).reshape(50, -1) @ scipy.linalg.hadamard(16) / 4
    variance = coefficients.var(0)
    assert order[0] == 0
    assert (np.diff(variance[order[1:]]) <= 0).all()
    levelled = images - images.mean((1, 2), keepdims=True)
    assert optics.variance_order(levelled)[0] == 0


@pytest.mark.parametrize("kind", ["signed", "split"])
def test_single_pixel_is_its_patterns(key, x64, kind):
    shape, m = (4, 8), 11
    order = optics.hadamard_order("random", shape, key=key)
    A = optics.single_pixel(jnp.zeros(shape), m, order, patterns=kind)
    x = jax.random.normal(key, shape)
    rows = patterns(shape).reshape(32, -1)[np.asarray(order)[:m]]
    signed = rows / np.sqrt(32)
    M = signed if kind == "signed" else np.concatenate([(1 + rows) / 2, (1 - rows) / 2])
    assert relative_error(A(x).ravel(), M @ np.asarray(x).ravel()) < 1e-14
    dense = np.linalg.solve(M.T @ M + 0.2 * np.eye(32), np.asarray(x).ravel())
    assert relative_error(A.shifted_inverse(0.2)(x).ravel(), dense) < 1e-13
    if kind == "signed":
        y = A(x)
        assert relative_error(A(A.H(y)), y) < 1e-14
        assert relative_error(A.H(y).ravel(), np.linalg.pinv(M) @ np.asarray(y)) < 1e-13
    else:
        combined = optics.combine_split(A(x), 32)
        assert relative_error(combined, signed @ np.asarray(x).ravel()) < 1e-13


def test_single_pixel_subsets(key, x64):
    x = jax.random.normal(key, (4, 8))
    for kind in ("signed", "split"):
        A = optics.single_pixel(x, 12, patterns=kind)
        part = jax.jit(lambda A, i, x: (A.subset(i, 3)(x), A.subset(i, 3).gram(x)))
        for i in range(3):
            y, gram = part(A, i, x)
            assert relative_error(y, A(x)[..., i::3]) < 1e-14
            B = A.subset(i, 3)
            assert relative_error(gram, B.H(B(x))) < 1e-13
        with pytest.raises(ValueError, match="`n` is 5"):
            A.subset(0, 5)


def test_another_order_does_not_compile_again(key):
    count = 0

    @jax.jit
    def measure(A, x):
        nonlocal count
        count += 1
        return A(x)

    x = jax.random.normal(key, (8, 8))
    for name in ORDERS:
        measure(optics.single_pixel(x, 9, name), x)
    assert count == 1


def test_bad_arguments(key):
    x = jnp.zeros((8, 8))
    bad = [
        (r"core.pad\(image, \(8, 8\)\)", lambda: optics.single_pixel(jnp.zeros((6, 8)), 3)),
        ("`n_measurements` is 65", lambda: optics.single_pixel(x, 65)),
        ("`name` is 'walsh'", lambda: optics.single_pixel(x, 3, "walsh")),
        ("`order` must list", lambda: optics.single_pixel(x, 3, np.array([0, 1, 1]))),
        ("`order` is float", lambda: optics.single_pixel(x, 3, np.zeros(4))),
        ("`patterns` is", lambda: optics.single_pixel(x, 3, patterns="binary")),
        ("`key` is missing", lambda: optics.hadamard_order("random", (4, 4))),
        ("`images` has 1", lambda: optics.variance_order(x[None])),
        ("`pattern` is 'rgbx'", lambda: optics.mosaic(jnp.zeros((3, 4, 4)), "rgbx")),
        ("`pattern` has weights", lambda: optics.mosaic(jnp.zeros((2, 4, 4)))),
        ("`mask` has shape", lambda: optics.inpaint(jnp.ones((3, 8), bool), x)),
        ("`mask` has dtype", lambda: optics.inpaint(jnp.ones((8, 8), complex), x)),
        ("`fraction` is", lambda: optics.random_pixel_mask(key, (3, 3), 1.5)),
        ("`block` is", lambda: optics.random_block_mask(key, (3, 3), 0.5, 0)),
    ]
    for message, call in bad:
        with pytest.raises(ValueError, match=message):
            call()
