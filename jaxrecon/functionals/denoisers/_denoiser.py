"""What a denoiser is, and what follows from one.

A denoiser D(x, σ) estimates an image from x = image + noise of standard deviation σ, in x's units
(for complex x: of the real and of the imaginary part). It is a pytree: a network's weights and a
filter's strengths are data. With the exact (minimum mean squared error) denoiser of a prior p,
Tweedie's formula gives the gradient of the log density of noisy images,

    ∇ log p_σ(x) = (D(x, σ) − x) / σ².                                                     (1)
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.core import pytree, tree


@runtime_checkable
class Denoiser(Protocol):
    """Any pytree callable ``D(x, sigma)``."""

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image, in x's shape and dtype; sigma is a scalar and may be traced."""
        ...


def score(denoiser: Denoiser, x: Array, sigma: Any) -> Array:
    """∇ log p_σ(x) by Tweedie's formula, equation (1); sigma must be positive.

    Robbins, Proc. Berkeley Symp. 1956; Efron, J. Am. Stat. Assoc. 106, 2011.

    Example:
        >>> from jaxrecon.functionals import SquaredL2
        >>> from jaxrecon.functionals.denoisers import ProxDenoiser
        >>> shrink = ProxDenoiser(SquaredL2())  # exact for images drawn from N(0, 1)
        >>> x = jnp.array([2.0])
        >>> score(shrink, x, 1.0).tolist()  # that of N(0, 1 + 1)
        [-1.0]
    """
    return (denoiser(x, sigma) - x) * tree.weak(1 / jnp.square(sigma), x)


@pytree
class FixedStrength:
    """A denoiser at one noise level, whatever sigma it is asked for."""

    denoiser: Any
    sigma: Any

    def __call__(self, x: Array, sigma: Any) -> Array:
        """D(x, self.sigma)."""
        del sigma
        return self.denoiser(x, self.sigma)


@pytree
class GradientStep:
    """D(x, σ) = x − ∇g(x, σ), a denoiser that is one gradient step on a potential g.

    Plug-and-play iterations with it minimise an explicit objective, which proves that they
    converge (Hurault, Leclaire and Papadakis, ICLR 2022): D is the proximal map of a function
    if ∇g is a contraction. `residual_lipschitz` estimates whether it is.

    Attributes:
        potential: a pytree callable ``g(x, sigma)`` that returns a real scalar. For a network N
            take ½ ‖x − N(x, σ)‖².
    """

    potential: Callable[[Array, Any], Array]

    def __call__(self, x: Array, sigma: Any) -> Array:
        """One step of length one down the potential."""
        slope = jax.grad(lambda u: self.potential(u, sigma))(x)
        return x - jnp.conj(slope)
