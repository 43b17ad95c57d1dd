"""Exact k-space of ellipses.

On a grid of N_y × N_x pixels whose index N//2 is the origin, with k in cycles per field of view and
κ_d = k_d / (N_d·pixel) the spatial frequency,

    X(k) = 1/(√(N_y N_x) pixel²) Σ_e v_e πab · 2 J₁(2πρ)/(2πρ) · exp(−2πi κ·c_e),           (1)
    ρ² = a² κ_a² + b² κ_b²   (components of κ along the ellipse's axes)

which is the Fourier integral of the object, scaled so that it equals the centred orthonormal
transform of the object's samples up to their aliasing. It is smooth in every parameter.

Source: Van de Walle et al., "Reconstruction of MR images from data acquired on a general nonregular
grid by pseudoinverse calculation", IEEE Trans. Med. Imaging 19 (2000).
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float

from jaxrecon.data._bessel import jinc
from jaxrecon.data._ellipses import Ellipses, sum_over


def kspace(
    phantom: Ellipses,
    coordinates: Float[Array, "*sample 2"],
    shape: tuple[int, int],
    *,
    pixel: float | Float[Array, ""] = 1.0,
) -> Complex[Array, "*sample"]:
    """The exact Fourier transform of the phantom at any k, equation (1).

    Args:
        phantom: the ellipses.
        coordinates: (k_y, k_x) in cycles per field of view, −N/2 to N/2.
        shape: (N_y, N_x) of the grid on which the image will be reconstructed.
        pixel: side of a pixel in the phantom's unit of length.

    Returns:
        k-space samples, scaled as the orthonormal transform of an image of this shape.

    Example:
        >>> from jaxrecon.data import ellipses
        >>> disc = ellipses([1.0], [(0.0, 0.0)], [(4.0, 4.0)])
        >>> samples = kspace(disc, cartesian_coordinates((16, 24)), (16, 24))
        >>> round(float(samples[8, 12].real * jnp.sqrt(16 * 24) / (16 * jnp.pi)), 5)
        1.0
    """
    y, x = (coordinates[..., d] / (n * pixel) for d, n in enumerate(shape))
    scale = 1 / (math.sqrt(math.prod(shape)) * pixel**2)

    def term(ellipse):
        cosine, sine = jnp.cos(ellipse.angle), jnp.sin(ellipse.angle)
        a, b = ellipse.semi_axes
        square = (a * (x * cosine + y * sine)) ** 2 + (b * (y * cosine - x * sine)) ** 2
        turn = -2 * jnp.pi * (x * ellipse.centre[0] + y * ellipse.centre[1])
        size = ellipse.value * jnp.pi * a * b * scale * jinc((2 * jnp.pi) ** 2 * square)
        return jax.lax.complex(size * jnp.cos(turn), size * jnp.sin(turn))

    dtype = jnp.result_type(phantom.value.dtype, jnp.complex64)
    return sum_over(phantom, term, x.shape, dtype)


def cartesian_coordinates(shape: tuple[int, int]) -> Float[Array, "y x 2"]:
    """(k_y, k_x) of every sample of fully sampled Cartesian k-space; k = 0 at index N//2.

    Example:
        >>> coordinates = cartesian_coordinates((3, 4))
        >>> coordinates[1, 2].tolist(), coordinates[0, 0].tolist()
        ([0.0, 0.0], [-1.0, -2.0])
    """
    axes = (jnp.arange(n, dtype=float) - n // 2 for n in shape)
    return jnp.stack(jnp.meshgrid(*axes, indexing="ij"), -1)
