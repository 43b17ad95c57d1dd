"""Adapters of an image's values: complex numbers, channels, ranges."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array

from jaxrecon.core import pytree, static, tree


@pytree
class Complex:
    """A denoiser of real images on complex ones; real ones pass straight through.

    Sigma is the standard deviation of the real and of the imaginary part.

    - "parts": real and imaginary part, each by itself (in one batch);
    - "magnitude": the magnitude, whose noise has the same sigma where the signal is well above it;
      the phase is kept;
    - "stacked": D is given both parts as ``(2, y, x)``, for denoisers that use them jointly.

    Example:
        >>> from jaxrecon.functionals import L1
        >>> from jaxrecon.functionals.denoisers import ProxDenoiser
        >>> D = Complex(ProxDenoiser(L1()))
        >>> D(jnp.array([3.0 + 0.5j]), 1.0).tolist()
        [(2+0j)]
    """

    denoiser: Any
    mode: str = static(default="parts")

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image.

        Raises:
            ValueError: an unknown mode.
        """
        if self.mode not in ("parts", "magnitude", "stacked"):
            known = "'parts', 'magnitude' or 'stacked'"
            raise ValueError(f"`mode` is {self.mode!r}, expected {known}")
        if not jnp.iscomplexobj(x):
            return self.denoiser(x, sigma)
        if self.mode == "magnitude":
            size = tree.safe_sqrt(x.real**2 + x.imag**2)
            return x * (self.denoiser(size, sigma) / jnp.where(size > 0, size, 1))
        parts = jnp.stack([x.real, x.imag])
        if self.mode == "stacked":
            return jax.lax.complex(*self.denoiser(parts, sigma))
        return jax.lax.complex(*jax.vmap(lambda part: self.denoiser(part, sigma))(parts))


@pytree
class Channels:
    """A denoiser of images on stacks of them, along the leading axis.

    Each channel is denoised by itself, or, with a `mixing` matrix, each of the mixtures
    M x (M orthogonal: a cosine transform over echoes, principal components of coils), in which
    what the channels share is gathered; the result is mixed back. White noise keeps its sigma.

    Attributes:
        denoiser: a pytree callable ``D(image, sigma)``.
        mixing: orthogonal (unitary) matrix ``(channel, channel)``, or None.
    """

    denoiser: Any
    mixing: Array | None = None

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised stack; sigma is a scalar or one for each (mixed) channel."""
        x = x if self.mixing is None else _mix(self.mixing, x)
        sigmas = jnp.broadcast_to(jnp.asarray(sigma), x.shape[:1])
        x = jax.vmap(self.denoiser)(x, sigmas)
        return x if self.mixing is None else _mix(jnp.conj(self.mixing).T, x)


@pytree
class Scaled:
    """A denoiser made for images in [0, 1] on images in other units.

    The affine map that takes [lower, upper] to [0, 1] goes before D, its inverse after, and
    sigma is scaled. What is None is taken from the image itself at each call: its minimum and
    maximum, constants to derivatives. A constant image is left alone.

    Example:
        >>> from jaxrecon.functionals import Box
        >>> from jaxrecon.functionals.denoisers import ProxDenoiser
        >>> D = Scaled(ProxDenoiser(Box(0.0, 1.0)), lower=-100.0, upper=100.0)
        >>> D(jnp.array([-150.0, 50.0]), 1.0).tolist()
        [-100.0, 50.0]
    """

    denoiser: Any
    lower: Any = None
    upper: Any = None

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image; x is real."""
        fixed = jax.lax.stop_gradient(x)
        lower = jnp.min(fixed) if self.lower is None else jnp.asarray(self.lower, x.dtype)
        upper = jnp.max(fixed) if self.upper is None else jnp.asarray(self.upper, x.dtype)
        extent = upper - lower
        flat = extent <= 0
        extent = jnp.where(flat, 1, extent)
        denoised = lower + extent * self.denoiser((x - lower) / extent, sigma / extent)
        return jnp.where(flat, x, denoised)


def _mix(matrix: Array, x: Array) -> Array:
    return jnp.tensordot(matrix, x, 1, precision=Precision.HIGHEST)
