"""The norm of a denoiser's Jacobian as a training loss.

With J the Jacobian of x ↦ D(x, σ) at an image, cJ + bI has a norm below 1 where

- "residual", I − J: D is 1 − J-contractive; a gradient-step denoiser is then a proximal map
  (Hurault et al., ICML 2022), and plug-and-play converges (Ryu et al., ICML 2019);
- "reflected", 2J − I: D is firmly nonexpansive (Pesquet et al., SIAM J. Imaging Sci. 14, 2021);
- "denoiser", J: D is nonexpansive.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxrecon.core import tree
from jaxrecon.functionals.denoisers import Jacobian

_WRITTEN_OUT = 32  # turns at most
_MIXTURES = {"residual": (1.0, -1.0), "reflected": (-1.0, 2.0), "denoiser": (0.0, 1.0)}


def jacobian_norm(
    denoiser: Any,
    x: Array,
    sigma: Any,
    key: Key[Array, ""],
    *,
    of: str = "residual",
    n_iter: int = 10,
) -> Float[Array, ""]:
    """‖cJ + bI‖₂ at one image by power iteration, from below; differentiable.

    Only the last product is differentiated, the singular vector held fixed: the exact derivative
    at a converged vector.

    Args:
        denoiser: a pytree callable ``D(x, sigma)`` with derivatives in both modes.
        x: the image. Hurault et al. take noisy images of the batch.
        sigma: noise level.
        key: for the random start.
        of: "residual", "reflected" or "denoiser"; see the module's text.
        n_iter: products with the matrix and its adjoint.

    Raises:
        ValueError: an unknown `of`.

    Example:
        >>> from jaxrecon.functionals import SquaredL2
        >>> from jaxrecon.functionals.denoisers import ProxDenoiser
        >>> D = ProxDenoiser(SquaredL2())  # x / (1 + σ²)
        >>> round(float(jacobian_norm(D, jnp.ones(4), 1.0, jax.random.key(0))), 3)
        0.5
    """
    if of not in _MIXTURES:
        raise ValueError(f"`of` is {of!r}, expected one of {', '.join(_MIXTURES)}")
    matrix = Jacobian(denoiser, x, sigma, *_MIXTURES[of])
    fixed = jax.lax.stop_gradient(matrix)

    def turn(v, _):
        v = fixed.adjoint(fixed.forward(v))
        size = tree.norm(v)
        return v / jnp.where(size > 0, size, 1), None

    start = tree.random_normal(key, matrix.domain)
    # On CPUs XLA differentiates convolutions slowly inside a loop.
    unroll = n_iter if jax.default_backend() == "cpu" and n_iter <= _WRITTEN_OUT else 1
    v, _ = jax.lax.scan(turn, start / tree.norm(start), length=n_iter, unroll=unroll)
    return tree.norm(matrix.forward(jax.lax.stop_gradient(v)))


def jacobian_penalty(
    denoiser: Any,
    x: Array,
    sigma: Any,
    key: Key[Array, ""],
    *,
    of: str = "residual",
    bound: float = 0.9,
    n_iter: int = 10,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """max(norm − bound, 0) of `jacobian_norm`, to be weighted into a training loss, and the norm.

    Zero, and without gradient, where the denoiser keeps to the bound at that image.
    """
    size = jacobian_norm(denoiser, x, sigma, key, of=of, n_iter=n_iter)
    return jnp.maximum(size - bound, 0), size
