"""Objects of a class, and scans of them by all candidate views, for `views.py`."""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from jaxrecon import data
from jaxrecon.core import materialise, pytree
from jaxrecon.design.criteria import LinearGaussian, linear_gaussian
from jaxrecon.physics import ct

SIDE, FINE, N_BINS, N_CANDIDATES = 32, 4, 46, 360
NOISE = 0.02  # of the greatest line integral, at dose one


class Objects(NamedTuple):
    """Fine images for training, validation and test."""

    train: Array
    validation: Array
    test: Array


@pytree
class Class:
    """A class of objects with its scan of all candidates."""

    model: LinearGaussian
    mean: Array  # (pixel,)
    factor: Array  # (pixel, mode)
    rows: Array  # (view, bin, pixel)
    sigma: float
    validation: tuple[Array, Array]  # images, noiseless data of all candidates
    test: tuple[Array, Array]


class Sizes(NamedTuple):
    """How much of everything."""

    n_train: int = 600
    n_validation: int = 4
    n_test: int = 12  # as many as validation times weights: one program for both
    n_modes: int = 128
    n_steps: int = 100
    n_iter: int = 80


QUICK = Sizes(n_train=40, n_validation=2, n_test=6, n_modes=30, n_steps=10, n_iter=10)


def ellipses(key: Array, sizes: Sizes) -> Objects:
    """Five ellipses each, four times as long as wide, at 30° ± 6°."""
    groups = jax.random.split(key, 3)
    counts = sizes.n_train, sizes.n_validation, sizes.n_test
    draw = jax.jit(jax.vmap(_elongated))
    return Objects(*(draw(jax.random.split(k, n)) for k, n in zip(groups, counts)))


def _elongated(key: Array) -> Array:
    keys = jax.random.split(key, 4)
    half, n = SIDE / 2, 5
    long = half * jax.random.uniform(keys[0], (n,), minval=0.25, maxval=0.6)
    centre = half * jax.random.uniform(keys[1], (n, 2), minval=-0.5, maxval=0.5)
    value = jax.random.uniform(keys[2], (n,), minval=0.5, maxval=1.0)
    angle = jnp.deg2rad(30 + 6 * jax.random.normal(keys[3], (n,)))
    shape = data.Ellipses(value, centre, jnp.stack([long, long / 4], 1), angle)
    return data.rasterise(shape, (SIDE * FINE, SIDE * FINE), pixel=1 / FINE)


def heads(path: Path, key: Array, sizes: Sizes) -> Objects:
    """Slices of one head in three slabs; training slices are shifted and mirrored."""
    with np.load(path) as file:
        volume = file["hu"].astype(np.float32)
    attenuation = np.maximum(np.where(volume < -900, 0, 1 + volume / 1000), 0)
    n = SIDE * FINE
    fine = jax.vmap(lambda x: data.downsample(x, x.shape[0] // n))(jnp.asarray(attenuation))
    train, test = fine[28:60], fine[66:92]
    chosen, moved = jax.random.split(key)
    picks = jax.random.choice(chosen, len(train), (sizes.n_train,))
    shifts = jax.random.randint(moved, (sizes.n_train, 2), -FINE, FINE + 1)
    mirrored = jax.random.bernoulli(jax.random.fold_in(moved, 1), 0.5, (sizes.n_train,))

    def varied(i: Array, shift: Array, mirror: Array) -> Array:
        image = jnp.roll(train[i], shift, (0, 1))
        return jnp.where(mirror, image[:, ::-1], image)

    order = jax.random.permutation(jax.random.fold_in(key, 2), len(test))[: sizes.n_test]
    validation = fine[jnp.linspace(18, 24, sizes.n_validation).astype(int)]
    return Objects(jax.vmap(varied)(picks, shifts, mirrored), validation, test[order])


def prepared(objects: Objects, sizes: Sizes) -> Class:
    """Mean, covariance and candidates of a class; data from the fine grid."""
    images = [jax.vmap(lambda x: data.downsample(x, FINE))(group) for group in objects]
    flat = images[0].reshape(len(images[0]), -1)
    mean = jnp.mean(flat, 0)
    # Principal components times deviations; the mean leaves one degree of freedom fewer.
    _, deviations, modes = jnp.linalg.svd(
        (flat - mean) / np.sqrt(len(flat) - 1), full_matrices=False
    )
    factor = (deviations[:, None] * modes)[: sizes.n_modes].T
    rows = candidate_rows()
    measured = [project(group) for group in (objects.validation, objects.test)]
    sigma = NOISE * float(jnp.max(measured[0]))
    model = linear_gaussian(rows, factor, sigma)
    pairs = [(i, y) for i, y in zip(images[1:], measured)]
    return Class(model, mean, factor, rows, sigma, *pairs)


@functools.cache
def candidate_rows() -> Array:
    """The dense matrix of all candidates, `(view, bin, pixel)`."""
    return jax.jit(materialise)(beam(candidate_angles())).reshape(N_CANDIDATES, N_BINS, -1)


@jax.jit
def project(images: Array) -> Array:
    """Noiseless data of fine images."""
    return jax.lax.map(beam(candidate_angles(), FINE), images)


def candidate_angles() -> Array:
    return jnp.arange(N_CANDIDATES) * (jnp.pi / N_CANDIDATES)


def beam(angles: Array, factor: int = 1) -> ct.Parallel:
    """The same beam for pixels of one length, or a fraction of it."""
    n = SIDE * factor
    A = ct.parallel_beam(angles, (n, n), N_BINS, pixel=1 / factor, bin_pitch=1.0)
    assert isinstance(A, ct.Parallel)
    return A
