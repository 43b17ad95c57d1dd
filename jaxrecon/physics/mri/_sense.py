"""Cartesian multi-coil encoding (SENSE): image to undersampled k-space of every coil.

    y_c = M F Σ_s S_{sc} x_s
    (1)

with maps S, the centred orthonormal Fourier transform F (phase exp(−2πi Σ_d k_d n_d / N_d), index
N//2 is the origin in image and k-space) and the mask M: True or False, or real weights. Images are
`(y, x)`, or `(set, y, x)` for several sets of maps (soft SENSE), data `(coil, y, x)`; volumes `(z,
y, x)` work alike. The number of spatial axes is the mask's rank.

An axis on which the mask has length 1 is sampled alike along it: a mask of lines may be given as
`(1, x)`. The Fourier transforms along such axes cancel in AᴴA, which then does not compute them.

Derivatives in image, maps and (real) mask are JAX's own.

Source: Pruessmann et al., "SENSE: sensitivity encoding for fast MRI", MRM 42 (1999).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Shaped

from jaxrecon.core import LinearOperator, centered_fft, centered_ifft, diagonal, fft, operator

__all__ = ["Sense", "SenseGram", "cartesian", "sense"]


@operator
class Sense(LinearOperator):
    """Multi-coil Cartesian encoding, equation (1); build it with `sense`."""

    maps: Complex[Array, "..."]
    mask: Shaped[Array, "..."]

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return _image_struct(self.maps, self.mask.ndim)

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        shape = self.maps.shape[-self.mask.ndim - 1 :]
        return jax.ShapeDtypeStruct(shape, self.maps.dtype)

    def forward(self, x: Complex[Array, "..."]) -> Complex[Array, "coil *image"]:
        kspace = centered_fft(coil_images(self.maps, x, self.mask.ndim), _axes(self.mask))
        return apply_mask(self.mask, kspace)

    def adjoint(self, y: Complex[Array, "coil *image"]) -> Complex[Array, "..."]:
        images = centered_ifft(apply_mask(self.mask, y), _axes(self.mask))
        return matched_images(self.maps, images, self.mask.ndim)

    @property
    def gram(self) -> LinearOperator:
        """AᴴA with one mask, no shifts of coil images and no transform along fully sampled axes.

        Maps and mask are shifted here, once: take `A.gram` outside the loop that applies it.
        """
        axes = _varying_axes(self.mask)
        weights = self.mask if self.mask.dtype == bool else self.mask**2
        return SenseGram(jnp.fft.ifftshift(self.maps, axes), jnp.fft.ifftshift(weights, axes))

    def subset(self, i: Any, n: int) -> LinearOperator:
        """Coils i, i + n, i + 2n, ... with their data `y[i::n]`.

        Raises:
            ValueError: the number of coils is not a multiple of n.
        """
        axis = self.maps.ndim - self.mask.ndim - 1
        n_coils = self.maps.shape[axis]
        if n_coils % n:
            raise ValueError(f"`n` is {n}; expected a divisor of the number of coils, {n_coils}")
        coils = i + n * jnp.arange(n_coils // n)
        return Sense(jnp.take(self.maps, coils, axis=axis), self.mask)


@operator
class SenseGram(LinearOperator):
    """AᴴA of `Sense`, on maps and squared mask whose origin was moved to index 0."""

    maps: Complex[Array, "..."]
    weights: Shaped[Array, "..."]

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return _image_struct(self.maps, self.weights.ndim)

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return self.domain

    def forward(self, x: Complex[Array, "..."]) -> Complex[Array, "..."]:
        n_dims = self.weights.ndim
        axes = _varying_axes(self.weights)
        images = coil_images(self.maps, jnp.fft.ifftshift(x, axes), n_dims)
        kspace = apply_mask(self.weights, jnp.fft.fftn(images, axes=axes) if axes else images)
        images = jnp.fft.ifftn(kspace, axes=axes) if axes else kspace
        return jnp.fft.fftshift(matched_images(self.maps, images, n_dims), axes)

    def adjoint(self, y: Complex[Array, "..."]) -> Complex[Array, "..."]:
        return self.forward(y)


def sense(maps: ArrayLike, mask: ArrayLike) -> Sense:
    """The multi-coil Cartesian forward model from images to masked k-space.

    Args:
        maps: coil maps `(coil, *image)`, or `(set, coil, *image)` for several sets.
        mask: `(y, x)` or `(z, y, x)`: booleans, or real weights that multiply k-space. Length 1
            stands for an axis that is sampled alike all along: `(1, x)` for a mask of lines, `(1,
            1)` for fully sampled data.

    Returns:
        A `LinearOperator` from `(*image)`, or `(set, *image)`, to `(coil, *image)`.

    Raises:
        ValueError: if the shapes do not fit or a dtype is not usable.

    Example:
        >>> A = sense(jnp.ones((4, 8, 6), complex), jnp.arange(6)[None] % 2 == 0)
        >>> A.domain.shape, A.range.shape
        ((8, 6), (4, 8, 6))
        >>> bool((A(jnp.ones((8, 6), complex))[:, :, 1::2] == 0).all())
        True
    """
    maps, mask = jnp.asarray(maps), jnp.asarray(mask)
    if not jnp.issubdtype(maps.dtype, jnp.inexact):
        raise ValueError(f"`maps` has dtype {maps.dtype}; expected complex numbers")
    maps = maps.astype(jnp.result_type(maps.dtype, jnp.complex64))
    if mask.ndim == 0 or maps.ndim - mask.ndim not in (1, 2):
        raise ValueError(
            f"`maps` has shape {maps.shape} and `mask` {mask.shape}; expected maps "
            "(coil, *image) or (set, coil, *image) and a mask with one axis for each of the image: "
            "for a mask of lines pass `lines[None, :]` or `lines[:, None]`"
        )
    return Sense(maps, _checked_mask(mask, maps.shape[-mask.ndim :], maps.real.dtype))


def cartesian(
    mask: ArrayLike, shape: tuple[int, ...] | None = None, *, dtype: Any = jnp.complex64
) -> LinearOperator:
    """The single-coil Cartesian forward model, M F: an image to its masked k-space.

    Args:
        mask: booleans or real weights, one axis for each of the image; length 1 where sampled alike
            along an axis.
        shape: of the image; the mask's by default.
        dtype: of the image, complex.

    Returns:
        A `LinearOperator` from `shape` to `shape`.

    Raises:
        ValueError: if the mask does not fit the shape or its dtype is not usable.

    Example:
        >>> A = cartesian(jnp.ones((8, 6), bool))
        >>> round(float(jnp.abs(A(jnp.ones((8, 6), complex)))[4, 3]), 4)  # sqrt(48), at k = 0
        6.9282
    """
    mask = jnp.asarray(mask)
    image = jax.ShapeDtypeStruct(mask.shape if shape is None else tuple(shape), jnp.dtype(dtype))
    transform = fft(image)
    return (
        diagonal(_checked_mask(mask, image.shape, jnp.finfo(image.dtype).dtype), image) @ transform
    )


def coil_images(
    maps: Complex[Array, "..."], image: Complex[Array, "..."], n_dims: int
) -> Complex[Array, "coil *image"]:
    """Σ_s S_s x_s: what every coil sees."""
    if maps.ndim == n_dims + 1:
        return maps * image[None]
    return jnp.sum(maps * image[:, None], axis=0)


def matched_images(
    maps: Complex[Array, "..."], images: Complex[Array, "coil *image"], n_dims: int
) -> Complex[Array, "..."]:
    """Σ_c conj(S_c) y_c, for each set: the adjoint of `coil_images`."""
    if maps.ndim == n_dims + 1:
        return jnp.sum(maps.conj() * images, axis=0)
    return jnp.sum(maps.conj() * images[None], axis=1)


def apply_mask(
    mask: Shaped[Array, "..."], kspace: Complex[Array, "coil *image"]
) -> Complex[Array, "coil *image"]:
    """Zero or weigh the samples of every coil."""
    if mask.dtype == bool:
        return jnp.where(mask[None], kspace, 0)
    return mask[None].astype(kspace.dtype) * kspace


def _axes(mask: Shaped[Array, "..."]) -> tuple[int, ...]:
    return tuple(range(-mask.ndim, 0))


def _varying_axes(mask: Shaped[Array, "..."]) -> tuple[int, ...]:
    return tuple(axis for axis in _axes(mask) if mask.shape[axis] > 1)


def _image_struct(maps: Complex[Array, "..."], n_dims: int) -> jax.ShapeDtypeStruct:
    sets = maps.shape[: maps.ndim - n_dims - 1]
    return jax.ShapeDtypeStruct((*sets, *maps.shape[-n_dims:]), maps.dtype)


def _checked_mask(
    mask: Shaped[Array, "..."], shape: tuple[int, ...], dtype: Any
) -> Shaped[Array, "..."]:
    if len(mask.shape) != len(shape) or any(m not in (1, n) for m, n in zip(mask.shape, shape)):
        raise ValueError(
            f"`mask` has shape {mask.shape}; expected the image's, {shape}, or 1 along an axis "
            "that is sampled alike all along"
        )
    if jnp.issubdtype(mask.dtype, jnp.complexfloating):
        raise ValueError(f"`mask` has dtype {mask.dtype}; expected booleans or real weights")
    return mask if mask.dtype == bool else mask.astype(dtype)
