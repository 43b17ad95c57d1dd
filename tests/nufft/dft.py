"""An explicit Fourier sum in float64, the truth of the NUFFT's tests."""

import jax.numpy as jnp
import numpy as np


def matrix(points, shape) -> np.ndarray:
    """exp(−2πi Σ_d k_d (n_d − N_d // 2)/N_d)/√ΠN, (point, pixel)."""
    axes = [(np.arange(n) - n // 2) / n for n in shape]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(shape))
    turns = np.asarray(points, np.float64).reshape(-1, len(shape)) @ places.T
    return np.exp(-2j * np.pi * turns) / np.sqrt(np.prod(shape))


def draws(shape, n_points, dtype, seed=0, batch=()):
    """Random points over all of k-space, images and data."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(-0.5, 0.5, (n_points, len(shape))) * np.array(shape)
    images = rng.normal(size=(*batch, *shape)) + 1j * rng.normal(size=(*batch, *shape))
    data = rng.normal(size=(*batch, n_points)) + 1j * rng.normal(size=(*batch, n_points))
    complex_dtype = jnp.result_type(dtype, jnp.complex64)
    return (
        jnp.asarray(points, dtype),
        jnp.asarray(images, complex_dtype),
        jnp.asarray(data, complex_dtype),
    )


def error(got, expected) -> float:
    """Relative L2 difference."""
    got = np.asarray(got).ravel()
    expected = np.asarray(expected).ravel()
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
