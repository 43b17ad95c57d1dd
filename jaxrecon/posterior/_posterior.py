"""What is sampled: a likelihood and a prior that is known by its denoiser.

    p(x | y) ∝ exp(−Σ f(A x)) p(x),     x_σ = x + σ n                                      (1)

The functionals are negative log likelihoods in their true scale: `LeastSquares` with weights 1/s²
for Gaussian noise of deviation s, `Poisson` and `Transmission` for counts, `Amplitude` for phase
retrieval, `UnknownNoise` where s is not known; the operators may be nonlinear. All that is asked of
the prior is D(x, σ), an estimate of E[x₀ | x_σ = x] (`functionals.denoisers`), with σ the deviation
of the noise; for complex images of the real and of the imaginary part.
"""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree

from jaxrecon.core import Operator, Problem, pytree, shared_sum, tree
from jaxrecon.functionals import LeastSquares


@pytree
class Posterior:
    """A likelihood Σ f(A x) and a denoiser D; equation (1).

    Attributes:
        likelihood: negative log likelihoods, each with its forward model.
        denoiser: a pytree callable ``D(x, sigma)``.

    Example:
        >>> from jaxrecon.core import identity
        >>> from jaxrecon.functionals import Poisson
        >>> from jaxrecon.posterior import Gaussian
        >>> A = identity(jnp.zeros(2))
        >>> counts, prior = Poisson(jnp.array([4.0, 9.0])), Gaussian(jnp.ones(2), A, jnp.ones(2))
        >>> target = Posterior(Problem(((counts, A),)), prior)
        >>> float(target(jnp.array([4.0, 9.0])))
        0.0
    """

    likelihood: Problem
    denoiser: Any

    @property
    def domain(self) -> PyTree:
        """Structs of x."""
        return self.likelihood.domain

    def __call__(self, x: PyTree) -> Array:
        """The negative log likelihood of x, up to a constant."""
        return self.likelihood(x)

    def value_and_grad(self, x: PyTree) -> tuple[Array, PyTree]:
        """The negative log likelihood and its gradient, which shrink as the fit improves."""
        return value_and_grad(self.likelihood, x)


def value_and_grad(problem: Problem, x: PyTree) -> tuple[Array, PyTree]:
    """Σ f(A x) of smooth functionals, and its gradient by the operators' own derivatives."""
    value, slope = jnp.zeros(()), tree.zeros(problem.domain)
    for f, A in problem.terms:
        y, derivative = A.linearise(x)
        value = value + shared_sum(f(y), x)
        slope = tree.add(slope, derivative.adjoint(f.grad(y)))
    return value, slope


def posterior(A: Operator, y: PyTree, noise: Any, denoiser: Any) -> Posterior:
    """The posterior for Gaussian noise, y = A(x) + n.

    Args:
        A: forward model; one that is not linear is for the samplers that only ask for gradients.
        y: data, like its range.
        noise: standard deviation s of n, positive: a scalar, or one for each datum; of the real and
            of the imaginary part of complex data.
        denoiser: D(x, σ).

    Raises:
        ValueError: y does not look like the range of A, or noise known to be zero or negative.

    Example:
        >>> from jaxrecon.core import identity
        >>> from jaxrecon.posterior import Gaussian
        >>> A = identity(jnp.zeros(2))
        >>> p = posterior(A, jnp.array([1.0, 2.0]), 0.5, Gaussian(jnp.zeros(2), A, jnp.ones(2)))
        >>> float(p(jnp.zeros(2)))
        10.0
    """
    wanted = jax.tree.map(lambda s: s.shape, A.range)
    if jax.tree.map(jnp.shape, y) != wanted:
        raise ValueError(f"`y` has shape {jax.tree.map(jnp.shape, y)}, expected {wanted}")
    if not isinstance(noise, jax.core.Tracer) and not (np.asarray(noise) > 0).all():
        raise ValueError("`noise` is not positive everywhere; for exact data take a small one")
    return Posterior(Problem(((LeastSquares(y, 1 / jnp.square(noise)), A),)), denoiser)
