"""The Gaussian prior of any size: its denoiser, and exact draws from its posterior.

For x₀ ~ N(m, QᴴVQ) with a unitary Q and a diagonal V,

    D(x, σ) = m + Qᴴ V (V + σ²)⁻¹ Q (x − m).                                              (1)
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import LinearOperator, diagonal, pytree, run, tree
from jaxrecon.posterior._gaussian_data import whitened
from jaxrecon.posterior._posterior import Posterior
from jaxrecon.solvers.linear import ConjugateGradient, LinearSystem


@pytree
class Gaussian:
    """N(m, QᴴVQ) as a denoiser, equation (1).

    Attributes:
        mean: m.
        basis: Q, a unitary operator: `identity` for independent pixels, `fft` for stationary ones.
        variances: the diagonal of V, like the range of Q, non-negative; of the real and of the
            imaginary part of complex images. For a real image and Q = `fft` it must be symmetric.

    Example:
        >>> from jaxrecon.core import identity
        >>> D = Gaussian(jnp.zeros(2), identity(jnp.zeros(2)), jnp.array([1.0, 3.0]))
        >>> D(jnp.array([4.0, 4.0]), 1.0).tolist()
        [2.0, 3.0]
    """

    mean: Any
    basis: LinearOperator
    variances: Any

    def __call__(self, x: Array, sigma: Any) -> Array:
        """E[x₀ | x₀ + σn = x]."""
        gain = self.variances / (self.variances + jnp.square(sigma))
        return tree.add(self.mean, self._scaled(gain).forward(tree.sub(x, self.mean)))

    def sample(self, key: Key[Array, ""]) -> PyTree:
        """One draw of x₀."""
        white = tree.standard_noise(key, self.basis.domain)
        return tree.add(self.mean, self._scaled(jnp.sqrt(self.variances)).forward(white))

    @property
    def covariance(self) -> LinearOperator:
        """QᴴVQ."""
        return self._scaled(self.variances)

    def _scaled(self, factors: Any) -> LinearOperator:
        return self.basis.H @ diagonal(factors, self.basis.range) @ self.basis


def gaussian_posterior_sample(
    target: Posterior, key: Key[Array, ""], *, n_iter: int = 200, tol: Any = 1e-6
) -> PyTree:
    """One exact draw from the posterior of a `Gaussian` prior, at any size.

    x = u + CBᴴ(BCBᴴ + 1)⁻¹(y − B u − n) for a draw u of the prior and n of the noise, all data
    whitened, by conjugate gradients (Papandreou and Yuille, NeurIPS 2010; Matheron's rule).

    Args:
        target: with a Gaussian likelihood and a `Gaussian` for a denoiser.
        key: of the draw.
        n_iter: conjugate gradients at most.
        tol: at which they stop.

    Raises:
        ValueError: another prior, or another likelihood.
    """
    prior = target.denoiser
    if not isinstance(prior, Gaussian):
        raise ValueError(f"`target` has a {type(prior).__name__}, expected a Gaussian prior")
    (root, data), C = whitened(target), prior.covariance
    key_x, key_n = jax.random.split(key)
    x, noise = prior.sample(key_x), tree.standard_noise(key_n, root.range)
    misfit = tree.sub(tree.sub(data, root(x)), noise)
    spread = root @ C @ root.H
    system = LinearSystem(spread + diagonal(jnp.ones(()), root.range), misfit)
    z = run(ConjugateGradient(), system, n_iter=n_iter, tol=tol).value
    return tree.add(x, C.forward(root.adjoint(z)))
