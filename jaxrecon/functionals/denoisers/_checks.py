"""What the denoisers of this package ask of an image."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array


def real_image(x: Any, *, rank: int | None = None, smallest: int = 1) -> Array:
    """`x` as a real floating-point array of the wanted rank and least size.

    Raises:
        ValueError: naming what came, and the adapter that helps.
    """
    x = jnp.asarray(x)
    if jnp.iscomplexobj(x):
        raise ValueError("`x` is complex, expected a real image: wrap the denoiser in `Complex`")
    if rank is not None and x.ndim != rank:
        raise ValueError(
            f"`x` has shape {x.shape}, expected {rank} axes: wrap the denoiser in `Channels`, "
            "or use jax.vmap"
        )
    if min(x.shape, default=0) < smallest:
        raise ValueError(f"`x` has shape {x.shape}, expected at least {smallest} along each axis")
    return x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(jnp.float32)


def unless_noiseless(denoise: Callable[[Array], Array], x: Array, sigma: Any) -> Array:
    """``denoise(sigma)``, or x where sigma is 0, with finite derivatives in both cases.

    The filter sees a sigma of one instead of zero, so that no division by it, nor its derivative,
    makes NaN; the derivative in sigma is zero there.
    """
    sigma = jnp.asarray(sigma, x.real.dtype)
    noisy = sigma > 0
    return jnp.where(noisy, denoise(jnp.where(noisy, sigma, 1)), x)
