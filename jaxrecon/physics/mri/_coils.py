"""Receive coils: simulated maps, and the combination of coil images into one image.

Maps and coil images are `(coil, y, x)`. Coil c sees the magnetisation m through its complex
sensitivity S_c; the combination of least noise for prewhitened coils is

    m = Σ_c conj(S_c) d_c / Σ_c |S_c|²
    (1)

Simulated maps are the field of straight wires (the rungs of a long birdcage) around the field of
view. In the plane z = x + iy, a wire at z_c = ϱ e^{iφ_c} has the rotating field

    S_c(z) = e^{iφ_c} ϱ / (z_c − z) / √C,   φ_c = 2πc / C,
    (2)

an analytic function: smooth wherever there is no wire, and evaluated at physical positions, so that
a finer grid over the same field of view samples the same field. Lengths are in half fields of view;
pixel n of N is at (n − N//2) / (N/2), as in Fourier imaging.

Sources: Roemer et al., "The NMR phased array", MRM 16 (1990); Walsh et al., "Adaptive
reconstruction of phased array MR imagery", MRM 43 (2000).
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, Float, Inexact

from jaxrecon.physics.mri._eigen import (
    align_phase,
    dominant_eigenvectors,
    map_rows,
    principal_coil,
)

__all__ = [
    "adaptive_combine",
    "adaptive_maps",
    "birdcage_maps",
    "combine",
    "normalise_maps",
    "rss",
]


def birdcage_maps(
    n_coils: int,
    shape: tuple[int, int],
    *,
    radius: int | float | Float[Array, ""] = 1.8,
    rotation: int | float | Float[Array, ""] = 0.0,
) -> Complex[Array, "coil y x"]:
    """Smooth complex maps of wires on a ring around the field of view, equation (2).

    Their root sum of squares is 1 at the centre and grows towards the wires; `normalise_maps` makes
    it 1 everywhere. All phases agree at the centre. Differentiable in `radius` and `rotation`.

    Args:
        n_coils: number of coils, equally spaced on the ring.
        shape: `(y, x)`, the grid that covers the field of view.
        radius: of the ring in half fields of view (on each axis, so an ellipse in an oblong field
            of view). The corners are at √2, where the field diverges if a wire is there.
        rotation: of the ring, in radians.

    Returns:
        Complex maps `(coil, y, x)`.

    Raises:
        ValueError: if `n_coils` is not positive.

    Example:
        >>> coarse, fine = birdcage_maps(8, (32, 24)), birdcage_maps(8, (64, 48))
        >>> bool(jnp.allclose(coarse, fine[:, ::2, ::2], atol=1e-6))
        True
    """
    if n_coils < 1:
        raise ValueError(f"`n_coils` is {n_coils}; expected at least 1 coil.")
    y, x = ((jnp.arange(n) - n // 2) / (n / 2) for n in shape)
    position = jax.lax.complex(*jnp.meshgrid(x, y))
    phase = 2 * jnp.pi * jnp.arange(n_coils)[:, None, None] / n_coils + rotation
    direction = jnp.exp(1j * phase)
    return direction * radius / (radius * direction - position[None]) / jnp.sqrt(n_coils)


def normalise_maps(maps: Complex[Array, "*set coil y x"]) -> Complex[Array, "*set coil y x"]:
    """Divide maps by their root sum of squares over coils; pixels without sensitivity stay zero.

    Args:
        maps: coil maps, with or without a leading axis of sets.

    Returns:
        Maps with Σ|S|² = 1 wherever they are not zero.

    Example:
        >>> maps = normalise_maps(birdcage_maps(4, (8, 8)))
        >>> bool(jnp.allclose(rss(maps), 1))
        True
    """
    size = rss(maps, axis=-3)[..., None, :, :]
    return jnp.where(size > 0, maps / jnp.where(size > 0, size, 1), 0)


def rss(images: Inexact[Array, "..."], *, axis: int = 0) -> Float[Array, "..."]:
    """Root of the sum of squared magnitudes over coils.

    Its gradient at a pixel where every coil is zero is defined as zero.

    Args:
        images: coil images, real or complex.
        axis: the coil axis.

    Returns:
        The non-negative image, without the coil axis.

    Example:
        >>> rss(jnp.array([[3.0, 0.0], [4.0j, 0.0]])).tolist()
        [5.0, 0.0]
    """
    power = jnp.sum(images.real**2 + images.imag**2, axis=axis)
    return jnp.where(power > 0, jnp.sqrt(jnp.where(power > 0, power, 1)), 0)


def combine(
    images: Complex[Array, "coil *image"], maps: Complex[Array, "coil *image"]
) -> Complex[Array, "*image"]:
    """Combine coil images with known maps by least squares, equation (1).

    Zero where no coil is sensitive.

    Args:
        images: prewhitened coil images.
        maps: coil maps of the same shape.

    Returns:
        The complex image.

    Example:
        >>> maps, image = birdcage_maps(4, (8, 8)), jnp.ones((8, 8), complex)
        >>> bool(jnp.allclose(combine(maps * image, maps), image))
        True
    """
    weight = jnp.sum(maps.real**2 + maps.imag**2, axis=0)
    total = jnp.sum(maps.conj() * images, axis=0)
    return jnp.where(weight > 0, total / jnp.where(weight > 0, weight, 1), 0)


def adaptive_maps(
    images: Complex[Array, "coil y x"], *, width: int = 7
) -> Complex[Array, "coil y x"]:
    """Coil maps from the images themselves (Walsh 2000).

    They are the dominant eigenvectors of the local coil covariance, of unit norm at every pixel, in
    the background too. Their phase is that of the first principal coil.

    Args:
        images: prewhitened coil images.
        width: odd side of the square window of the covariance, in pixels.

    Returns:
        Maps `(coil, y, x)` with Σ|S|² = 1.

    Raises:
        ValueError: if `width` is even or not positive.

    Example:
        >>> truth = normalise_maps(birdcage_maps(4, (16, 16)))
        >>> agreement = jnp.abs(jnp.sum(truth.conj() * adaptive_maps(truth, width=3), axis=0))
        >>> bool(agreement.min() > 0.99)
        True
    """
    if width < 1 or width % 2 == 0:
        raise ValueError(f"`width` is {width}; expected an odd number of pixels, such as 7.")
    return _adaptive_maps(images, width)


@partial(jax.jit, static_argnums=1)
def _adaptive_maps(images: Complex[Array, "coil y x"], width: int) -> Complex[Array, "coil y x"]:
    n_coils, ny, nx = images.shape
    window = jnp.arange(-(width // 2), width // 2 + 1)

    def block(rows):
        near = rows[:, None] + window[None, :]
        patch = jnp.where(
            (near >= 0) & (near < ny), images[:, jnp.clip(near, 0, ny - 1)].transpose(0, 3, 1, 2), 0
        )  # (coil, x, row, window)
        along_y = jnp.einsum("cxrw,bxrw->rxcb", patch, patch.conj(), precision="highest")
        padded = jnp.pad(along_y, ((0, 0), (width // 2, width // 2), (0, 0), (0, 0)))
        covariance = sum((padded[:, i : i + nx] for i in range(1, width)), padded[:, :nx])
        return dominant_eigenvectors(covariance, 1)[0][0]

    vectors = map_rows(block, ny, nx * n_coils**2)
    return align_phase(jnp.moveaxis(vectors, -1, 0), principal_coil(images))


def adaptive_combine(
    images: Complex[Array, "coil y x"], *, width: int = 7
) -> Complex[Array, "y x"]:
    """Combine coil images without known maps, by Walsh's adaptive filter.

    Args:
        images: prewhitened coil images.
        width: odd side of the window of the local covariance, in pixels.

    Returns:
        The complex image, in the phase of the first principal coil.

    Example:
        >>> images = normalise_maps(birdcage_maps(4, (16, 16))) * 3
        >>> bool(jnp.allclose(jnp.abs(adaptive_combine(images, width=3)), 3, rtol=0.01))
        True
    """
    return combine(images, adaptive_maps(images, width=width))
