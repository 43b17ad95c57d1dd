"""Guidance by gradients of the likelihood through the denoiser.

What stands in the place of p(x₀ | x_σ) in equation (2) of `_guidance.py` is a point (`DPS`), a
Gaussian of a given width (`PiGDM`), a Gaussian with the covariance σ² ∂D/∂x of Tweedie's second
formula (`TweedieCovariance`, exact where the prior is Gaussian). All differentiate the denoiser in
reverse, once or several times; `_consistency.py` and `_draws.py` have guidances that do not.
"""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import PyTree

from jaxrecon.core import LinearOperator, operator, pytree, run, static, tree
from jaxrecon.core.operators._rule import linearised
from jaxrecon.posterior._gaussian_data import data_solver, whitened
from jaxrecon.posterior._posterior import Posterior
from jaxrecon.posterior.guidance._guidance import Estimate, Guidance
from jaxrecon.solvers.linear import ConjugateGradient, LinearSystem


@pytree
class DPS(Guidance):
    """A gradient step on the misfit of D(x_σ), of a length that does not shrink with the misfit.

    x ← x − c ∇√(2 Σf(A D(x))), for any likelihood (Chung, Kim, Mccann, Klasky and Ye, ICLR 2023).
    With Gaussian noise of deviation s the root is ‖y − A D(x)‖/s, and their ζ' is c/2s. Samples are
    not of the posterior, whatever c; tune it.

    Attributes:
        scale: c, in squared units of the image.
    """

    scale: Any

    def estimate(self, prepared: Posterior, x: PyTree, sigma: Any, key: Any = None) -> Estimate:
        mean, pull = linearised(lambda u: prepared.denoiser(u, sigma), x)
        value, slope = prepared.value_and_grad(mean)
        size = jnp.sqrt(jnp.maximum(2 * value, jnp.finfo(value.dtype).tiny))
        return Estimate(mean, tree.scale(-self.scale / size, pull(slope)))


@pytree
class PiGDM(Guidance):
    """(2) for x₀ | x_σ ~ N(D(x_σ), r²), r² = σ²v/(σ² + v), with Gaussian noise.

    Exact where the prior is white with variance v (Song, Vahdat, Mardani and Kautz, ICLR 2023,
    who take v = 1). In closed form where the operator has one, else by conjugate gradients.

    Attributes:
        variance: v, of the image's pixels.
        n_inner: conjugate gradients.
    """

    variance: Any = 1.0
    n_inner: int = static(default=10)

    def prepare(self, target: Posterior) -> Any:
        return target, data_solver(target, self.n_inner)

    def estimate(self, prepared: Any, x: PyTree, sigma: Any, key: Any = None) -> Estimate:
        target, solve = prepared
        mean, pull = linearised(lambda u: target.denoiser(u, sigma), x)
        precision = 1 / jnp.square(sigma) + 1 / jnp.asarray(self.variance)
        moved = solve(precision, mean, mean)
        slope = pull(tree.scale(precision, tree.sub(moved, mean)))
        return Estimate(tree.add_scaled(mean, jnp.square(sigma), slope))


@pytree
class TweedieCovariance(Guidance):
    """(2) for x₀ | x_σ ~ N(D(x_σ), σ² ∂D/∂x), with Gaussian noise: exact for Gaussian priors.

    (σ² A ∂D Aᴴ + W⁻¹) z = y − A D(x) by conjugate gradients, each with one pass back through the
    denoiser (Boys et al., "Tweedie moment projected diffusions", TMLR 2024; Rozet et al., NeurIPS
    2024). ∂D of the exact denoiser is symmetric and positive; of a network's the transpose is used.

    Attributes:
        n_inner: conjugate gradients at most.
        tol: at which they stop.
    """

    n_inner: int = static(default=20)
    tol: Any = 1e-6

    def prepare(self, target: Posterior) -> Any:
        return target.denoiser, *whitened(target)

    def estimate(self, prepared: Any, x: PyTree, sigma: Any, key: Any = None) -> Estimate:
        denoiser, root, data = prepared
        mean, pull = linearised(lambda u: denoiser(u, sigma), x)
        misfit = tree.sub(data, root(mean))
        system = LinearSystem(_Innovation(root, pull, jnp.square(sigma)), misfit)
        # In the data's space: where samples are few that is the small one.
        options: dict[str, Any] = {"n_iter": self.n_inner, "tol": self.tol}
        z = run(ConjugateGradient(), system, gradient="implicit", **options).value
        return Estimate(tree.add_scaled(mean, jnp.square(sigma), pull(root.adjoint(z))))


@operator
class _Innovation(LinearOperator):
    """σ² B ∂D Bᴴ + 1: the covariance of whitened data given x_σ."""

    root: LinearOperator
    pull: Callable[[Any], Any]
    variance: Any

    @property
    def domain(self) -> PyTree:
        return self.root.range

    @property
    def range(self) -> PyTree:
        return self.root.range

    def forward(self, x: Any) -> Any:
        spread = self.root.forward(self.pull(self.root.adjoint(x)))
        return tree.add_scaled(x, self.variance, spread)

    def adjoint(self, y: Any) -> Any:
        return self.forward(y)
