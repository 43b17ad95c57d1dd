"""Colour filter arrays: each pixel of the sensor sees the scene through one filter.

    y_p = Σ_c m_{c,p} x_{c,p}
    (1)

A colour image is `(channel, y, x)`, the raw frame `(y, x)`. For a Bayer pattern the weights m are
one for the pixel's own colour and zero for the others; any real weights (crosstalk, panchromatic
pixels) are array data with a gradient. AAᴴ is the diagonal Σ_c m_c², so AᴴA + s is inverted in
closed form.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from jaxrecon.core import LinearOperator, diagonal, operator, static
from jaxrecon.physics.optics import _convolve
from jaxrecon.physics.optics._checks import inverse_by_outer, real_dtype, struct_of

__all__ = ["Mosaic", "bayer_weights", "demosaic_bilinear", "mosaic"]


@operator
class Mosaic(LinearOperator):
    """Sampling of colours through a filter array, equation (1); build it with `mosaic`."""

    weights: Float[Array, "channel y x"]
    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.struct.shape[1:], self.struct.dtype)

    def forward(self, x: Inexact[Array, "channel y x"]) -> Inexact[Array, "y x"]:
        return jnp.sum(self.weights * x, 0)

    def adjoint(self, y: Inexact[Array, "y x"]) -> Inexact[Array, "channel y x"]:
        return self.weights * y[None]

    def shifted_inverse(self, shift: Any) -> LinearOperator:
        outer = diagonal(1 / (jnp.sum(self.weights**2, 0) + shift), self.range)
        return inverse_by_outer(self, outer, shift)


def mosaic(domain: Any, pattern: str | ArrayLike = "rggb") -> Mosaic:
    """The raw frame of a colour image behind a filter array.

    Args:
        domain: array or struct of the image, `(channel, y, x)`, red, green, blue.
        pattern: four letters, the 2 × 2 tile of a Bayer array row by row, or weights
            `(channel, y, x)`.

    Returns:
        A `LinearOperator` from `(channel, y, x)` to `(y, x)`.

    Raises:
        ValueError: the pattern is unknown or does not fit the image.

    Example:
        >>> A = mosaic(jnp.zeros((3, 2, 2)), "rggb")
        >>> A(jnp.broadcast_to(jnp.array([1.0, 2.0, 3.0])[:, None, None], (3, 2, 2))).tolist()
        [[1.0, 2.0], [2.0, 3.0]]
    """
    struct = struct_of(domain)
    if len(struct.shape) != 3:
        raise ValueError(f"`domain` has shape {struct.shape}; expected (channel, y, x)")
    weights = bayer_weights(pattern, struct.shape[1:]) if isinstance(pattern, str) else pattern
    weights = jnp.asarray(weights)
    if weights.shape != struct.shape or jnp.iscomplexobj(weights):
        raise ValueError(
            f"`pattern` has weights {weights.shape} for images {struct.shape}; expected a real "
            "weight for each channel and pixel (three channels for a Bayer pattern)"
        )
    return Mosaic(weights.astype(real_dtype(struct)), struct)


def bayer_weights(pattern: str, shape: tuple[int, int]) -> Float[Array, "3 y x"]:
    """Weights of a Bayer array: one where a pixel has the colour red, green, blue, else zero.

    Args:
        pattern: "rggb", "bggr", "grbg", "gbrg", or any four letters of r, g, b: the 2 × 2 tile at
            the top left, row by row.
        shape: `(y, x)` of the frame.

    Raises:
        ValueError: the pattern is not four letters of r, g, b.

    Example:
        >>> bayer_weights("grbg", (2, 3))[1].tolist()
        [[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    letters = pattern.lower()
    if len(letters) != 4 or not set(letters) <= set("rgb"):
        raise ValueError(f"`pattern` is {pattern!r}; expected four letters of r, g, b as in 'rggb'")
    tile = np.array(["rgb".index(letter) for letter in letters]).reshape(2, 2)
    rows, columns = np.indices(shape) % 2
    return jnp.asarray(tile[rows, columns] == np.arange(3)[:, None, None], float)


def demosaic_bilinear(A: Mosaic, frame: Inexact[Array, "y x"]) -> Inexact[Array, "channel y x"]:
    """Each missing colour as the mean of its nearest samples: the classic start for better methods.

    For a Bayer array this is bilinear interpolation; at the border the mean is over the neighbours
    inside. A colour without a sample among a pixel's eight neighbours is zero there.

    Args:
        A: the mosaic, with weights of zero and one.
        frame: its raw frame.

    Returns:
        The colour image; measured values stand in it unchanged.

    Example:
        >>> A = mosaic(jnp.zeros((3, 4, 4)))
        >>> image = jnp.broadcast_to(jnp.array([1.0, 2.0, 3.0])[:, None, None], (3, 4, 4))
        >>> bool(jnp.allclose(demosaic_bilinear(A, A(image)), image))
        True
    """
    hat = jnp.outer(jnp.array([1.0, 2.0, 1.0]), jnp.array([1.0, 2.0, 1.0]))
    hat = hat[None].astype(A.weights.dtype)

    def summed(x: Array) -> Array:
        extended = _convolve.extend(x, _convolve.margins(hat.shape), "zero")
        return _convolve.valid_convolve(hat, extended, (1, 2), "spatial")

    total, count = summed(A.adjoint(frame)), summed(A.weights)
    mean = jnp.where(count > 0, total / jnp.where(count > 0, count, 1), 0)
    return jnp.where(A.weights > 0, A.adjoint(frame), mean)
