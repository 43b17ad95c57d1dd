"""Inpainting: some pixels of the image are seen, the others are not.

    y = m ⊙ x
    (1)

A boolean mask (True where a pixel is seen) selects: what is not seen is zero in y, whatever stood
there, NaN too. Then AᴴA = A, and the shifted inverse is a division. A real mask weighs.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, PRNGKeyArray

from jaxrecon.core import LinearOperator, diagonal, operator, static
from jaxrecon.physics.optics._checks import real_dtype, struct_of

__all__ = ["Inpainting", "inpaint", "random_block_mask", "random_pixel_mask"]


@operator
class Inpainting(LinearOperator):
    """Selection of pixels by a boolean mask, equation (1); build it with `inpaint`."""

    mask: Bool[Array, "..."]
    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return self.struct

    def forward(self, x: Array) -> Array:
        return jnp.where(self.mask, x, 0)

    def adjoint(self, y: Array) -> Array:
        return self.forward(y)

    @property
    def gram(self) -> LinearOperator:
        return self

    def shifted_inverse(self, shift: Any) -> LinearOperator:
        seen = self.mask.astype(real_dtype(self.struct))
        return diagonal(1 / (seen + shift), self.struct)


def inpaint(mask: ArrayLike, domain: Any) -> LinearOperator:
    """The pixels of images like `domain` where `mask` is true.

    Args:
        mask: booleans (or 0 and 1 as integers), or real weights; broadcast against the image, so
            that `(y, x)` serves all channels of `(channel, y, x)`.
        domain: array or struct of the image.

    Returns:
        A `LinearOperator` from images to images; for real weights a `core.diagonal`.

    Raises:
        ValueError: the mask does not broadcast to the image, or is neither of the above.

    Example:
        >>> A = inpaint(jnp.array([[True, False]]), jnp.zeros((1, 2)))
        >>> A(jnp.array([[3.0, jnp.nan]])).tolist()
        [[3.0, 0.0]]
    """
    mask, struct = jnp.asarray(mask), struct_of(domain)
    if jnp.issubdtype(mask.dtype, jnp.complexfloating):
        raise ValueError(f"`mask` has dtype {mask.dtype}; expected booleans or real weights")
    if mask.ndim > len(struct.shape) or any(
        m not in (1, n) for m, n in zip(mask.shape[::-1], struct.shape[::-1])
    ):
        raise ValueError(f"`mask` has shape {mask.shape}, which does not fit images {struct.shape}")
    if jnp.issubdtype(mask.dtype, jnp.inexact):
        return diagonal(mask, struct)
    return Inpainting(mask.astype(bool), struct)


def random_pixel_mask(
    key: PRNGKeyArray, shape: tuple[int, ...], fraction: int | float
) -> Bool[Array, "..."]:
    """A uniformly random mask with exactly round(fraction · size) pixels seen.

    Raises:
        ValueError: `fraction` is not in [0, 1].

    Example:
        >>> int(random_pixel_mask(jax.random.key(0), (10, 20), 0.3).sum())
        60
    """
    return _drawn(key, shape, fraction)


def random_block_mask(
    key: PRNGKeyArray, shape: tuple[int, ...], fraction: int | float, block: int | tuple[int, ...]
) -> Bool[Array, "..."]:
    """A mask that lacks random tiles of `block` pixels; about `fraction` of the image is seen.

    Exactly round(fraction · tiles) tiles of a regular tiling are seen; those at the far border may
    be cut.

    Raises:
        ValueError: `fraction` is not in [0, 1], or `block` does not fit the axes.

    Example:
        >>> random_block_mask(jax.random.key(1), (4, 4), 0.5, (4, 2)).astype(int)[0].tolist()
        [1, 1, 0, 0]
    """
    sides = (block,) * len(shape) if isinstance(block, int) else tuple(block)
    if len(sides) != len(shape) or min(sides, default=1) < 1:
        raise ValueError(f"`block` is {block}; expected a side, or one for each axis of {shape}")
    tiles = tuple(-(-n // b) for n, b in zip(shape, sides, strict=True))
    mask = _drawn(key, tiles, fraction)
    for axis, (n, b) in enumerate(zip(shape, sides, strict=True)):
        mask = jax.lax.slice_in_dim(jnp.repeat(mask, b, axis=axis), 0, n, axis=axis)
    return mask


def _drawn(key: PRNGKeyArray, shape: tuple[int, ...], fraction: int | float) -> Array:
    if not 0 <= fraction <= 1:
        raise ValueError(f"`fraction` is {fraction}; expected a number from 0 to 1")
    size = math.prod(shape)
    return (jax.random.permutation(key, size) < round(fraction * size)).reshape(shape)
