"""Linear mixtures of receive coils: prewhitening and compression.

A mixture is a matrix M `(virtual, coil)` that acts on the coil axis of k-space, of coil images and
of maps alike: whoever mixes the data mixes the maps with the same matrix.

Noise convention: after prewhitening the real and the imaginary part of every coil have standard
deviation 1, so the covariance of noise samples n is Ψ = E[n nᴴ] / 2 and the whitening matrix is L⁻¹
with Ψ = L Lᴴ.

Sources: Pruessmann et al., MRM 46 (2001), appendix; Buehrer et al., "Array compression for MRI with
large coil arrays", MRM 57 (2007).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex

from jaxrecon.physics.mri._eigen import coil_gram

__all__ = [
    "compress_coils",
    "compression_matrix",
    "mix_coils",
    "noise_covariance",
    "prewhiten",
    "whitening_matrix",
]


def mix_coils(
    matrix: Complex[Array, "virtual coil"], data: Complex[Array, "coil *sample"]
) -> Complex[Array, "virtual *sample"]:
    """Apply a mixing matrix to the coil axis of k-space, images or maps.

    Args:
        matrix: `(virtual, coil)`.
        data: coil axis first.

    Returns:
        The mixed data, virtual coils first.

    Example:
        >>> mix_coils(jnp.array([[1.0, 1.0j]]), jnp.array([[2.0 + 0j], [3.0 + 0j]])).tolist()
        [[(2+3j)]]
    """
    return jnp.tensordot(matrix, data, axes=1, precision=jax.lax.Precision.HIGHEST)


def noise_covariance(noise: Complex[Array, "coil *sample"]) -> Complex[Array, "coil coil"]:
    """Covariance Ψ = Σ n nᴴ / (2 n_samples) of noise-only samples (their mean is zero by nature).

    Args:
        noise: samples without signal, coil axis first.

    Returns:
        Hermitian matrix `(coil, coil)`; the identity for independent coils with σ = 1 in each part.

    Raises:
        ValueError: if there are fewer samples than coils, whose covariance is singular.

    Example:
        >>> noise = jax.random.normal(jax.random.key(0), (2, 100_000), complex) * jnp.sqrt(2.0)
        >>> bool(jnp.allclose(noise_covariance(noise), jnp.eye(2), atol=0.02))
        True
    """
    n_coils = noise.shape[0]
    n_samples = noise.size // max(n_coils, 1)
    if n_samples < n_coils:
        raise ValueError(
            f"`noise` has {n_samples} samples of {n_coils} coils; expected at least as many "
            "samples as coils (hundreds for a useful estimate). Pass a longer noise scan."
        )
    return coil_gram(noise) / (2 * n_samples)


def whitening_matrix(covariance: Complex[Array, "coil coil"]) -> Complex[Array, "coil coil"]:
    """The matrix L⁻¹ that makes the noise of all coils independent with σ = 1, where Ψ = L Lᴴ.

    Args:
        covariance: Hermitian positive definite Ψ, as `noise_covariance` returns it. NaN comes back
            if it is singular.

    Returns:
        Lower triangular matrix; pass it to `mix_coils` with the data and with maps.

    Example:
        >>> whitening_matrix(jnp.diag(jnp.array([4.0 + 0j, 1.0]))).real.tolist()
        [[0.5, 0.0], [0.0, 1.0]]
    """
    lower = jnp.linalg.cholesky(covariance)
    identity = jnp.eye(covariance.shape[0], dtype=covariance.dtype)
    return jax.scipy.linalg.solve_triangular(lower, identity, lower=True)


def prewhiten(
    data: Complex[Array, "coil *sample"], covariance: Complex[Array, "coil coil"]
) -> Complex[Array, "coil *sample"]:
    """Make the noise of the coils independent, with σ = 1 in the real and imaginary part.

    Args:
        data: k-space, images or maps, coil axis first.
        covariance: Ψ of the noise, as `noise_covariance` returns it.

    Returns:
        The whitened data.

    Example:
        >>> mixing = jnp.array([[2.0 + 0j, 0.0], [1.0, 1.0]])
        >>> mixed = mixing @ jax.random.normal(jax.random.key(0), (2, 500), complex)
        >>> white = prewhiten(mixed, noise_covariance(mixed))
        >>> bool(jnp.allclose(noise_covariance(white), jnp.eye(2), atol=1e-5))
        True
    """
    return mix_coils(whitening_matrix(covariance), data)


def compression_matrix(
    data: Complex[Array, "coil *sample"], n_virtual: int
) -> Complex[Array, "virtual coil"]:
    """The mixture of `n_virtual` orthonormal virtual coils that keeps most energy (SVD).

    Rows are conjugated left singular vectors of the `(coil, sample)` matrix, the strongest first,
    so prewhitened data stay prewhitened. The singular vectors come from the coil Gram matrix.

    Args:
        data: prewhitened k-space or images, coil axis first; the calibration region is enough.
        n_virtual: number of virtual coils, at most the number of coils.

    Returns:
        Matrix `(virtual, coil)` with orthonormal rows.

    Raises:
        ValueError: if `n_virtual` is not between 1 and the number of coils.

    Example:
        >>> data = jnp.array([[1.0 + 0j, 2.0], [0.0, 0.0], [1.0, 2.0]])
        >>> matrix = compression_matrix(data, 1)
        >>> bool(jnp.allclose(matrix.conj().T @ matrix @ data, data, atol=1e-6))
        True
    """
    n_coils = data.shape[0]
    if not 1 <= n_virtual <= n_coils:
        raise ValueError(
            f"`n_virtual` is {n_virtual}; expected 1 to {n_coils}, the number of coils in `data`."
        )
    vectors = jnp.linalg.eigh(coil_gram(data))[1]
    return vectors[:, ::-1][:, :n_virtual].conj().T


def compress_coils(
    data: Complex[Array, "coil *sample"], n_virtual: int
) -> tuple[Complex[Array, "virtual coil"], Complex[Array, "virtual *sample"]]:
    """Compress `data` to its `n_virtual` strongest virtual coils.

    Args:
        data: prewhitened k-space or images, coil axis first.
        n_virtual: number of virtual coils, at most the number of coils.

    Returns:
        The matrix (mix maps with it too, by `mix_coils`) and the compressed data.

    Raises:
        ValueError: if `n_virtual` is not between 1 and the number of coils.

    Example:
        >>> matrix, compressed = compress_coils(jnp.ones((4, 8, 6), complex), 2)
        >>> matrix.shape, compressed.shape
        ((2, 4), (2, 8, 6))
    """
    matrix = compression_matrix(data, n_virtual)
    return matrix, mix_coils(matrix, data)
