"""SENSE against explicit Fourier matrices; the registry tests what every operator promises."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxrecon.core import tree
from jaxrecon.physics import mri
from tests.tolerances import relative_error


def fourier_matrix(n):
    """The centred orthonormal transform, by its definition."""
    index = np.arange(n) - n // 2
    return np.exp(-2j * np.pi * np.outer(index, index) / n) / np.sqrt(n)


def normal(key, *shape):
    return jax.random.normal(key, shape, jnp.complex128)


@pytest.mark.parametrize(("shape", "sets"), [((6, 5), ()), ((6, 5), (2,)), ((3, 4, 5), (2,))])
def test_forward_is_the_definition(key, x64, shape, sets):
    maps = normal(key, *sets, 3, *shape)
    mask = jax.random.uniform(key, shape) < 0.6
    x = normal(key, *sets, *shape)
    images = np.asarray((maps * x[:, None]).sum(0) if sets else maps * x[None])
    letters = "yx" if len(shape) == 2 else "zyx"
    upper = letters.upper()
    pairs = ",".join(f"{u}{v}" for u, v in zip(upper, letters))
    matrices = [fourier_matrix(n) for n in shape]
    expected = np.einsum(f"c{letters},{pairs}->c{upper}", images, *matrices) * np.asarray(mask)
    A = mri.sense(maps, mask)
    assert A.domain.shape == (*sets, *shape)
    assert A.range.shape == (3, *shape)
    assert relative_error(A(x), expected) < 1e-13


def test_single_coil(key, x64):
    mask = jax.random.uniform(key, (6, 5)) < 0.5
    x = normal(key, 6, 5)
    expected = np.asarray(mask) * (fourier_matrix(6) @ np.asarray(x) @ fourier_matrix(5).T)
    A = mri.cartesian(mask, dtype=jnp.complex128)
    assert relative_error(A(x), expected) < 1e-13
    lines = mri.cartesian(mask[:1], (6, 5), dtype=jnp.complex128)
    assert (
        relative_error(lines(x), np.where(mask[:1], fourier_matrix(6) @ x @ fourier_matrix(5).T, 0))
        < 1e-13
    )


@pytest.mark.parametrize("kind", [bool, float])
@pytest.mark.parametrize("shape", [(6, 5), (1, 5), (6, 1), (1, 1)])
def test_gram_of_masks_constant_along_axes(key, x64, shape, kind):
    mask = jax.random.uniform(key, shape)
    mask = mask < 0.6 if kind is bool else mask
    maps, x = normal(key, 3, 6, 5), normal(key, 6, 5)
    short, full = mri.sense(maps, mask), mri.sense(maps, jnp.broadcast_to(mask, (6, 5)))
    assert relative_error(short(x), full(x)) < 1e-14
    expected = full.H(full(x))
    assert relative_error(full.gram(x), expected) < 1e-13
    assert relative_error(short.gram(x), expected) < 1e-13


def test_gram_does_not_transform_fully_sampled_axes():
    def n_transforms(shape):
        A = mri.sense(jnp.ones((2, 8, 8), jnp.complex64), jnp.ones(shape, bool))
        program = jax.make_jaxpr(lambda G, x: G(x))(A.gram, tree.zeros(A.domain))
        return str(program).count("fft_lengths=(8, 8)"), str(program).count(" fft[")

    assert n_transforms((8, 8)) == (2, 2)
    assert n_transforms((1, 8)) == (0, 2)
    assert n_transforms((1, 1)) == (0, 0)


def test_samples_that_were_not_taken_cannot_poison_the_image(key):
    A = mri.sense(jnp.ones((2, 4, 4), jnp.complex64), jnp.eye(4) > 0)
    data = A(jnp.ones((4, 4), jnp.complex64))
    bad = jnp.where(A.mask[None], data, jnp.nan)
    assert jnp.array_equal(A.H(bad), A.H(data))


def test_subsets_of_coils(key, x64):
    A = mri.sense(normal(key, 2, 6, 4, 5), jax.random.uniform(key, (4, 5)) < 0.5)
    x = normal(key, 2, 4, 5)
    part = jax.jit(lambda A, i, x: A.subset(i, 3)(x))
    for i in range(3):
        assert relative_error(part(A, i, x), A(x)[i::3]) < 1e-14
    with pytest.raises(ValueError, match="`n` is 4"):
        A.subset(0, 4)


def test_gradient_of_a_soft_mask(key, x64):
    maps, x = normal(key, 3, 4, 5), normal(key, 4, 5)
    mask = jax.random.uniform(key, (4, 5))
    slope = jax.grad(lambda m: tree.sum_of_squares(mri.sense(maps, m)(x)))(mask)
    full = np.asarray(mri.sense(maps, jnp.ones((4, 5), bool))(x))
    assert relative_error(slope, 2 * np.asarray(mask) * (np.abs(full) ** 2).sum(0)) < 1e-13


def test_real_maps_and_integer_masks():
    A = mri.sense(jnp.ones((2, 4, 4)), np.eye(4, dtype=np.int32))
    assert A.domain.dtype == jnp.complex64
    assert A.mask.dtype == jnp.float32


def test_bad_arguments():
    maps = jnp.ones((4, 8, 6), jnp.complex64)
    with pytest.raises(ValueError, match=r"lines\[None, :\]"):
        mri.sense(maps[None], jnp.ones(6, bool))
    with pytest.raises(ValueError, match=r"`mask` has shape \(6, 8\)"):
        mri.sense(maps, jnp.ones((6, 8), bool))
    with pytest.raises(ValueError, match="`mask` has dtype complex64"):
        mri.sense(maps, jnp.ones((8, 6), jnp.complex64))
    with pytest.raises(ValueError, match="`maps` has dtype int32"):
        mri.sense(jnp.ones((4, 8, 6), jnp.int32), jnp.ones((8, 6), bool))
    with pytest.raises(ValueError, match=r"`mask` has shape \(8, 6\)"):
        mri.cartesian(jnp.ones((8, 6), bool), (8, 7))
