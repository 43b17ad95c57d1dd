"""Between denoisers and functionals: proximal maps denoise, a denoiser stands for a prior."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from jaxrecon.core import LinearOperator, match_varying, pytree, replace, static, tree
from jaxrecon.functionals._functional import Functional
from jaxrecon.functionals.denoisers._checks import unless_noiseless


@pytree
class ProxDenoiser:
    """The proximal map of a functional as a denoiser, D(x, σ) = prox_{scale·σ^power f}(x).

    With power = 2 it is the maximum a posteriori estimate under the prior exp(−scale · f). For a
    norm f, which is what total variation is, power = 1 makes D(c·x, c·σ) = c·D(x, σ), and one
    scale serves all noise levels and units (`total_variation`).

    Attributes:
        functional: its `prox` is what counts.
        scale: see above.
        power: 2 or 1.

    Example:
        >>> from jaxrecon.functionals import L1
        >>> ProxDenoiser(L1())(jnp.array([3.0, 0.5]), 1.0).tolist()
        [2.0, 0.0]
    """

    functional: Any
    scale: Any = 1.0
    power: int = static(default=2)

    def __call__(self, x: Array, sigma: Any) -> Array:
        """The proximal map at x; x itself at sigma = 0."""
        step = lambda sigma: self.scale * sigma**self.power  # noqa: E731
        return unless_noiseless(lambda sigma: self.functional.prox(x, step(sigma)), x, sigma)


@pytree
class DenoiserPrior(Functional):
    """A denoiser in the place of a proximal map: plug-and-play.

    prox(x, step) = D(x, sigma) with a constant sigma, or, where sigma is None, with
    sigma = √(step · weight), the noise level at which the proximal map of a prior weighted with
    `weight` denoises (half-quadratic splitting; Zhang et al., IEEE Trans. Pattern Anal. Mach.
    Intell. 44, 2022). There is in general no function of which this is the proximal map.

    Attributes:
        denoiser: a pytree callable ``D(x, sigma)``.
        sigma: constant noise level, or None.
        weight: λ; used where sigma is None.

    Example:
        >>> from jaxrecon.functionals import L1
        >>> prior = DenoiserPrior(ProxDenoiser(L1()))
        >>> prior.prox(jnp.array([3.0, 0.5]), 1.0).tolist()
        [2.0, 0.0]
    """

    denoiser: Any
    sigma: Any = dataclasses.field(default=None, kw_only=True)
    weight: Any = dataclasses.field(default=1.0, kw_only=True)

    def __call__(self, x: Array) -> Array:
        """Raises.

        Raises:
            ValueError: always, a denoiser has no objective.
        """
        raise ValueError(
            "`DenoiserPrior` has no value: a denoiser is not known to minimise anything; take "
            "`RED`, or a `GradientStep` denoiser with its potential"
        )

    def prox(self, x: Array, step: Any) -> Array:
        if self.sigma is not None:
            return self.denoiser(x, self.sigma)
        return self.denoiser(x, tree.safe_sqrt(jnp.asarray(step * self.weight)))

    def randomised(self, key: Key[Array, ""]) -> "DenoiserPrior":
        """With the denoiser's own randomness drawn, if it has any (`Equivariant`)."""
        return replace(self, denoiser=_randomised(self.denoiser, key))


@pytree
class RED(Functional):
    """Regularisation by denoising (Romano, Elad and Milanfar, SIAM J. Imaging Sci. 10, 2017).

    The gradient is weight·(x − D(x, sigma)), and the value ½ weight·Re⟨x, x − D(x, sigma)⟩. That
    gradient belongs to that value only if D is locally homogeneous, D((1 + ε)x) = (1 + ε)D(x), and
    its Jacobian symmetric (`asymmetry`); else there is no objective, and the value merely informs
    (Reehorst and Schniter, IEEE Trans. Comput. Imaging 5, 2019). The proximal map solves
    u = (x + t·w·D(u))/(1 + t·w) by a fixed number of iterations, a contraction for nonexpansive D.

    Attributes:
        denoiser: a pytree callable ``D(x, sigma)``.
        sigma: the noise level it is used at.
        weight: w.
        lipschitz: bound of x − D(x)'s Lipschitz constant, for step sizes: 2 for a nonexpansive D,
            1 for a proximal map.
        n_iter: iterations of the proximal map.
    """

    smooth: ClassVar[bool] = True

    denoiser: Any
    sigma: Any
    weight: Any = 1.0
    lipschitz: Any = dataclasses.field(default=2.0, kw_only=True)
    n_iter: int = static(default=20, kw_only=True)

    def __call__(self, x: Array) -> Array:
        return 0.5 * tree.dot(x, self.grad(x))

    def grad(self, x: Array) -> Array:
        return tree.weak(self.weight, x) * (x - self.denoiser(x, self.sigma))

    def prox(self, x: Array, step: Any) -> Array:
        pull = jnp.asarray(step * self.weight, x.real.dtype)

        def body(u, _):
            return (x + pull * self.denoiser(u, self.sigma)) / (1 + pull), None

        start = match_varying(x, (pull, self.denoiser, self.sigma))
        return jax.lax.scan(body, start, length=self.n_iter)[0]

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        return jnp.sqrt(self.weight * self.lipschitz) * A

    def randomised(self, key: Key[Array, ""]) -> "RED":
        """With the denoiser's own randomness drawn, if it has any (`Equivariant`)."""
        return replace(self, denoiser=_randomised(self.denoiser, key))


def _randomised(denoiser: Any, key: Key[Array, ""]) -> Any:
    draw = getattr(denoiser, "randomised", None)
    return denoiser if draw is None else draw(key)
