"""Denoisers that are one gradient step on a potential made of a network.

    D = I − ∇g_σ,    g_σ(x) = ½ ‖x − N(x, σ)‖²                                               (1)

(Hurault, Leclaire and Papadakis, Gradient step denoiser for convergent plug-and-play, ICLR 2022).
Any network N, trained through D, gives an explicit objective: f + λ g_σ, by proximal gradient steps
with the proximal map of the data term f. If ∇g_σ is a contraction, ‖∇²g_σ‖ ≤ L < 1, D is itself a
proximal map (the same, Proximal denoiser for convergent plug-and-play, ICML 2022), of a φ_σ with

    φ_σ(D(z)) = g_σ(z) − ½ ‖D(z) − z‖²,                                                      (2)

and so is γD + (1 − γ)I of γ g_σ for γL < 1. `jacobian_penalty` trains towards that. N must be twice
differentiable where D is to be differentiated: activations "elu" or "softplus", not "relu".
"""

import dataclasses
from typing import Any, ClassVar

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from jaxrecon.core import LinearOperator, pytree, tree
from jaxrecon.functionals import Functional
from jaxrecon.functionals.denoisers import GradientStep


class GradientStepNet(nnx.Module):
    """The denoiser (1) of a network: D(x, σ) = x − γ ∇g_σ(x).

    Args:
        net: N, a denoiser module ``N(x, sigma)`` such as an `ImageDenoiser`.
        relaxation: γ; below 1 it weakens the denoiser, and makes a proximal map of one with
            L up to 1/γ.

    Example:
        >>> from jaxrecon.nets.images import DnCNN
        >>> from jaxrecon.nets.priors import ImageDenoiser
        >>> net = DnCNN(2, 1, width=4, depth=3, activation="elu", rngs=nnx.Rngs(0))
        >>> D = GradientStepNet(ImageDenoiser(net, noise_map=True))
        >>> x = jnp.ones((6, 5))
        >>> bool(jnp.all(D(x, 0.1) == x - D.functional(0.1).grad(x)))
        True
    """

    def __init__(self, net: Any, *, relaxation: float = 1.0):
        self.net = net
        self.relaxation = relaxation

    def potential(self, x: Array, sigma: Any) -> Float[Array, ""]:
        """γ g_σ(x), a sum over images for leading axes."""
        return 0.5 * self.relaxation * tree.sum_of_squares(x - self.net(x, sigma))

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The denoised image."""
        return GradientStep(self.potential)(x, sigma)

    def implied_prior(self, z: Array, sigma: Any) -> Float[Array, ""]:
        """φ_σ at D(z), equation (2): what D is the proximal map of, where γL < 1."""
        moved = self(z, sigma) - z
        return self.potential(z, sigma) - 0.5 * tree.sum_of_squares(moved)

    def functional(
        self, sigma: Any, weight: Any = 1.0, *, lipschitz: Any = None
    ) -> "GradientStepPrior":
        """λ g_σ as a smooth term of a problem, λ = `weight`."""
        return GradientStepPrior(self, sigma, weight, lipschitz=lipschitz)


@pytree
class GradientStepPrior(Functional):
    """λ γ g_σ of (1), smooth and not convex; built by `GradientStepNet.functional`.

    Solvers of smooth and proximal terms need a line search, or a `lipschitz`.

    Args:
        net: the gradient-step network.
        sigma: noise level.
        weight: λ.
        lipschitz: a bound of ‖∇²(γ g_σ)‖ for step sizes, if one is known (`residual_lipschitz`).
    """

    smooth: ClassVar[bool] = True
    convex: ClassVar[bool] = False

    net: GradientStepNet
    sigma: Any
    weight: Any = 1.0
    lipschitz: Any = dataclasses.field(default=None, kw_only=True)

    def __call__(self, x: Array) -> Array:
        return self.weight * self.net.potential(x, self.sigma)

    def grad(self, x: Array) -> Array:
        return tree.weak(self.weight, x) * (x - self.net(x, self.sigma))

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        """√(λL) A.

        Raises:
            ValueError: L is not given.
        """
        if self.lipschitz is None:
            raise ValueError(
                "`lipschitz` of `GradientStepPrior` is not known: pass it, or "
                "`line_search=Backtracking()` to the algorithm"
            )
        return tree.safe_sqrt(jnp.asarray(self.weight * self.lipschitz)) * A
