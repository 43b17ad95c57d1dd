"""Noise of the detector and of the receiver, as pure functions of a key.

Models and units:

- Photon counting with an electronic read-out (CT): the expected count of a bin behind the line
integral `p` is
  `N̄ = I₀ e^{−p} + background`, and the reading is `N = Poisson(N̄) + Normal(0, σ_e²)`
  (1)
- Statistical weights of the line integrals `−log((N − background) / I₀)`, the inverse of their
variance to first
  order: `w = (N − background)² / (N + σ_e²)`
      (2)
- Receiver noise (MRI): `σ` is the standard deviation of the real *and* of the imaginary part, so
that
  `E|n|² = 2σ²`; coils are independent after prewhitening.

Counts are in photons, line integrals dimensionless. Everything is `jit`, `vmap` and shard-able; the
Gaussian models are differentiable in the data and in σ, a Poisson count is not.

Source: Thibault et al., "A recursive filter for noise reduction in statistical iterative
tomographic imaging", Proc. SPIE 6065 (2006); Sauer and Bouman, IEEE Trans. Signal Process. 41
(1993).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, PRNGKeyArray

__all__ = ["complex_gaussian_noise", "gaussian_noise", "poisson_counts", "pwls_weights"]


def gaussian_noise(
    key: PRNGKeyArray, data: Float[Array, "*shape"], sigma: int | float | Float[Array, "..."]
) -> Float[Array, "*shape"]:
    """Add independent real Gaussian noise of standard deviation `sigma`.

    Args:
        key: random key.
        data: noiseless real data.
        sigma: standard deviation, a number or an array that broadcasts against `data`.

    Returns:
        `data + Normal(0, σ²)`, in the dtype of `data`.

    Example:
        >>> noisy = gaussian_noise(jax.random.key(0), jnp.zeros((100, 100)), 0.5)
        >>> abs(float(noisy.std()) - 0.5) < 0.01
        True
    """
    return data + jnp.asarray(sigma, data.dtype) * jax.random.normal(key, data.shape, data.dtype)


def complex_gaussian_noise(
    key: PRNGKeyArray, data: Complex[Array, "*shape"], sigma: int | float | Float[Array, "..."]
) -> Complex[Array, "*shape"]:
    """Add circular complex Gaussian noise; `sigma` is per real and imaginary part.

    Positions that were not sampled get noise too: multiply by the mask afterwards.

    Args:
        key: random key.
        data: noiseless complex data, for example k-space `(coil, y, x)`.
        sigma: standard deviation of the real and of the imaginary part, a number or a real array
            that broadcasts against `data` (one σ for each coil: shape `(coil, 1, 1)`).

    Returns:
        The noisy data, in the dtype of `data`.

    Example:
        >>> noisy = complex_gaussian_noise(jax.random.key(0), jnp.zeros((100, 100), complex), 0.5)
        >>> abs(float(noisy.real.std()) - 0.5) < 0.01, abs(float(noisy.imag.std()) - 0.5) < 0.01
        (True, True)
    """
    # jax.random.normal gives a complex number of unit variance: 1/2 in each part.
    noise = jax.random.normal(key, data.shape, data.dtype)
    return data + jnp.asarray(sigma, data.real.dtype) * jnp.sqrt(2).astype(data.real.dtype) * noise


def poisson_counts(
    key: PRNGKeyArray,
    line_integrals: Float[Array, "*shape"],
    intensity: int | float | Float[Array, "..."],
    *,
    background: int | float | Float[Array, "..."] = 0.0,
    electronic: int | float | Float[Array, "..."] = 0.0,
) -> Float[Array, "*shape"]:
    """Draw detector counts behind an object, equation (1).

    The result is a reading, so it may be negative where `electronic` is not zero.

    Args:
        key: random key.
        line_integrals: dimensionless line integrals, any shape.
        intensity: expected photons I₀ of the open beam per bin; a number or an array that
            broadcasts.
        background: expected counts that do not come through the object (scatter, dark counts).
        electronic: standard deviation σ_e of the read-out noise, in photons.

    Returns:
        Counts as floating point numbers of the dtype of `line_integrals`.

    Example:
        >>> counts = poisson_counts(jax.random.key(0), jnp.full((200, 200), 1.0), 1e4)
        >>> abs(float(counts.mean()) / (1e4 * float(jnp.exp(-1.0))) - 1) < 0.001
        True
    """
    photons, readout = jax.random.split(key)
    dtype = line_integrals.dtype
    transmitted = jnp.asarray(intensity, dtype) * jnp.exp(-line_integrals)
    counts = jax.random.poisson(photons, transmitted + jnp.asarray(background, dtype))
    return gaussian_noise(readout, counts.astype(dtype), electronic)


def pwls_weights(
    counts: Float[Array, "*shape"],
    *,
    background: int | float | Float[Array, "..."] = 0.0,
    electronic: int | float | Float[Array, "..."] = 0.0,
) -> Float[Array, "*shape"]:
    """Weights of penalised weighted least squares on line integrals, equation (2).

    Zero where the reading is not above the background: such a bin has no line integral.

    Args:
        counts: readings N in photons.
        background: expected counts that do not come through the object.
        electronic: standard deviation σ_e of the read-out noise, in photons.

    Returns:
        Non-negative weights (photons), the shape and dtype of `counts`.

    Example:
        >>> pwls_weights(jnp.array([100.0, 0.0, -3.0])).tolist()
        [100.0, 0.0, 0.0]
    """
    signal = counts - jnp.asarray(background, counts.dtype)
    variance = counts + jnp.asarray(electronic, counts.dtype) ** 2
    usable = (signal > 0) & (variance > 0)
    return jnp.where(usable, signal**2 / jnp.where(usable, variance, 1), 0)
