"""Point-spread functions: kernels for `blur`, centred at index K // 2 and summing to one.

Lengths are in pixels, angles in radians from +x towards +y (rows grow downwards). They
take their parameters as data, so that a width or an angle can be jitted over and differentiated;
the array's size is static.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

__all__ = [
    "box_kernel",
    "disk_kernel",
    "gaussian_kernel",
    "motion_kernel",
    "normalise_kernel",
    "random_motion_kernel",
]

Scalar = int | float | Float[Array, ""]


def normalise_kernel(kernel: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Scaled to sum one, so that blurring keeps the mean of an image."""
    return kernel / jnp.sum(kernel)


def gaussian_kernel(
    shape: tuple[int, ...], sigma: Scalar | tuple[Scalar, ...], *, angle: Scalar = 0.0
) -> Float[Array, "..."]:
    """Sampled Gaussian, normalised.

    Args:
        shape: of the kernel, one to three axes; 6σ + 1 holds it.
        sigma: standard deviation in pixels, one for all axes or one for each.
        angle: by which a two-dimensional kernel is turned.

    Returns:
        The kernel.

    Raises:
        ValueError: one σ for each axis is not given, or an angle for other than two axes.

    Example:
        >>> kernel = gaussian_kernel((5, 7), 1.0)
        >>> round(float(kernel.sum()), 5), bool(kernel[2, 3] == kernel.max())
        (1.0, True)
    """
    sigmas = sigma if isinstance(sigma, tuple) else (sigma,) * len(shape)
    if len(sigmas) != len(shape):
        raise ValueError(f"`sigma` has {len(sigmas)} entries for a kernel of {len(shape)} axes")
    grids = _grids(shape)
    if len(shape) == 2:
        grids = _turned(grids[0], grids[1], angle)
    elif not (isinstance(angle, int | float) and angle == 0):
        raise ValueError(f"`angle` is given for a kernel of {len(shape)} axes; expected two")
    exponent = sum((grid / s) ** 2 for grid, s in zip(grids, sigmas, strict=True))
    return normalise_kernel(jnp.exp(-exponent / 2))


def box_kernel(shape: tuple[int, ...]) -> Float[Array, "..."]:
    """The mean over a box: 1 / Π shape.

    Example:
        >>> box_kernel((1, 4)).tolist()
        [[0.25, 0.25, 0.25, 0.25]]
    """
    return jnp.full(shape, 1 / math.prod(shape))


def disk_kernel(shape: tuple[int, int], radius: Scalar) -> Float[Array, "y x"]:
    """Defocus by a round aperture: a disk, each pixel weighed by about the area inside it.

    The edge falls linearly over one pixel, which is the exact area for an edge along an axis.

    Args:
        shape: of the kernel; 2·radius + 2 holds it.
        radius: in pixels.

    Returns:
        The normalised kernel.

    Example:
        >>> disk_kernel((3, 3), 0.5).tolist()
        [[0.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
    """
    y, x = _grids(shape)
    return normalise_kernel(jnp.clip(radius + 0.5 - jnp.hypot(y, x), 0, 1))


def motion_kernel(shape: tuple[int, int], length: Scalar, angle: Scalar) -> Float[Array, "y x"]:
    """Uniform straight motion during the exposure: a segment one pixel wide.

    Args:
        shape: of the kernel.
        length: of the motion in pixels.
        angle: of the motion, from +x towards +y.

    Returns:
        The normalised kernel.

    Example:
        >>> motion_kernel((1, 5), 3.0, 0.0).round(3).tolist()
        [[0.0, 0.3330000042915344, 0.3330000042915344, 0.3330000042915344, 0.0]]
    """
    y, x = _grids(shape)
    across, along = _turned(y, x, angle)
    # The part of a unit interval inside the segment, along it and across.
    ends = jnp.clip((length + 1) / 2 - jnp.abs(along), 0, 1)
    return normalise_kernel(ends * jnp.clip(1 - jnp.abs(across), 0, 1))


def random_motion_kernel(
    key: PRNGKeyArray,
    shape: tuple[int, int],
    *,
    n_steps: int = 256,
    smoothness: int | float = 0.9,
) -> Float[Array, "y x"]:
    """Camera shake: a smooth random path, like the measured kernels of Levin et al. (2009).

    The velocity is an autoregressive random walk; the path is centred, scaled to fill the kernel
    and drawn with bilinear weights, so that the density is the time spent at each place.

    Args:
        key: random key.
        shape: of the kernel, at least (3, 3).
        n_steps: points of the path.
        smoothness: 0 for Brownian motion to nearly 1 for straight motion.

    Returns:
        The normalised kernel.

    Raises:
        ValueError: `smoothness` is not in [0, 1), or the kernel is too small.

    Example:
        >>> kernel = random_motion_kernel(jax.random.key(0), (15, 17))
        >>> round(float(kernel.sum()), 5), bool((kernel >= 0).all())
        (1.0, True)

    Source: Levin et al., "Understanding and evaluating blind deconvolution algorithms", CVPR 2009,
    for what such kernels look like.
    """
    if not 0 <= smoothness < 1:
        raise ValueError(f"`smoothness` is {smoothness}; expected a number in [0, 1)")
    if min(shape) < 3:
        raise ValueError(f"`shape` is {shape}; expected at least (3, 3)")
    push = jax.random.normal(key, (n_steps, 2))

    def walk(velocity: Array, push: Array) -> tuple[Array, Array]:
        velocity = smoothness * velocity + push
        return velocity, velocity

    _, velocity = jax.lax.scan(walk, push[0], push)
    path = jnp.cumsum(velocity, 0)
    low, high = jnp.min(path, 0), jnp.max(path, 0)
    room = jnp.asarray([(n - 1) // 2 - 0.5 for n in shape])
    scale = jnp.min(room / jnp.maximum((high - low) / 2, 1e-6))
    y, x = ((path - (low + high) / 2) * scale).T
    # Dense, not scattered: (step, y) hats against (step, x) hats.
    hats = [
        jnp.clip(1 - jnp.abs(jnp.arange(n) - n // 2 - p[:, None]), 0, 1)
        for n, p in zip(shape, (y, x), strict=True)
    ]
    drawn = jnp.einsum("ty,tx->yx", *hats, precision=jax.lax.Precision.HIGHEST)
    return normalise_kernel(drawn)


def _grids(shape: tuple[int, ...]) -> list[Array]:
    """Distance of each pixel from index K // 2, along every axis."""
    positions = [jnp.arange(n, dtype=float) - n // 2 for n in shape]
    return list(jnp.meshgrid(*positions, indexing="ij"))


def _turned(y: Array, x: Array, angle: Any) -> list[Array]:
    """Coordinates across and along a direction at `angle` from +x towards +y."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return [cos * y - sin * x, sin * y + cos * x]
