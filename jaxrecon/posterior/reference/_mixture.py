"""Gaussian mixtures of small images: their denoiser, and their posterior in closed form.

A mixture's denoiser is the mean of its components', weighted by their share in p_σ(x); given linear
data with Gaussian noise x₀ | y is a mixture again.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key

from jaxrecon.core import materialise, pytree
from jaxrecon.posterior._gaussian_data import whitened
from jaxrecon.posterior._posterior import Posterior

_HIGHEST = jax.lax.Precision.HIGHEST


@pytree
class GaussianMixture:
    """Σ wₖ N(mₖ, Cₖ) of small real images, flattened, as a denoiser.

    Attributes:
        logits: log wₖ up to a constant, ``(component,)``.
        means: mₖ, ``(component, pixel)``.
        vectors: orthonormal eigenvectors of Cₖ in columns, ``(component, pixel, pixel)``.
        variances: its eigenvalues, ``(component, pixel)``.
    """

    logits: Float[Array, " component"]
    means: Float[Array, "component pixel"]
    vectors: Float[Array, "component pixel pixel"]
    variances: Float[Array, "component pixel"]

    def __call__(self, x: Array, sigma: Any) -> Array:
        """E[x₀ | x₀ + σn = x], in the shape of x."""
        offsets = self._along(x.reshape(-1) - self.means)
        widths = self.variances + jnp.square(sigma)
        fit = offsets**2 / widths + jnp.log(widths)
        share = jax.nn.softmax(self.logits - 0.5 * jnp.sum(fit, 1))
        shrunk = self._back(self.variances / widths * offsets)
        return jnp.einsum("k,ki->i", share, self.means + shrunk, precision=_HIGHEST).reshape(
            x.shape
        )

    def sample(self, key: Key[Array, ""]) -> Float[Array, " pixel"]:
        """One draw of x₀, flat."""
        key_k, key_x = jax.random.split(key)
        k = jax.random.categorical(key_k, self.logits)
        white = jax.random.normal(key_x, self.means.shape[1:], self.means.dtype)
        return self.means[k] + jnp.matmul(
            self.vectors[k], jnp.sqrt(self.variances[k]) * white, precision=_HIGHEST
        )

    @property
    def moments(self) -> tuple[Float[Array, " pixel"], Float[Array, "pixel pixel"]]:
        """Mean and covariance of the whole mixture."""
        weights = jax.nn.softmax(self.logits)
        mean = jnp.einsum("k,ki->i", weights, self.means, precision=_HIGHEST)
        apart = self.means - mean
        between = jnp.einsum("k,ki,kj->ij", weights, apart, apart, precision=_HIGHEST)
        scaled = self.vectors * self.variances[:, None]
        within = jnp.einsum("k,kim,kjm->ij", weights, scaled, self.vectors, precision=_HIGHEST)
        return mean, between + within

    def _along(self, x: Array) -> Array:
        return jnp.einsum("kij,ki->kj", self.vectors, x, precision=_HIGHEST)

    def _back(self, x: Array) -> Array:
        return jnp.einsum("kij,kj->ki", self.vectors, x, precision=_HIGHEST)


def gaussian_mixture(weights: Any, means: Any, covariances: Any) -> GaussianMixture:
    """A mixture from its weights, means and covariance matrices.

    Args:
        weights: positive, ``(component,)``; they need not add up to one.
        means: ``(component, pixel)``.
        covariances: symmetric, no negative eigenvalues, ``(component, pixel, pixel)``.

    Raises:
        ValueError: shapes that do not fit, weights that are not positive, or a matrix that is no
            covariance.

    Example:
        >>> D = gaussian_mixture([1.0, 1.0], [[-1.0], [1.0]], [[[0.0]], [[0.0]]])
        >>> round(float(D(jnp.array([0.5]), 1.0)[0]), 3)  # tanh(0.5): the points ±1
        0.462
    """
    weights, means, covariances = map(np.asarray, (weights, means, covariances))
    n, d = means.shape if means.ndim == 2 else (0, 0)
    if weights.shape != (n,) or covariances.shape != (n, d, d) or not n:
        raise ValueError(
            f"`means` has shape {means.shape}, `weights` {weights.shape}, `covariances` "
            f"{covariances.shape}; expected (n, d), (n,) and (n, d, d)"
        )
    if not (weights > 0).all():
        raise ValueError(f"`weights` are not all positive: {weights}")
    variances, vectors = np.linalg.eigh(covariances)
    least = -1e-5 * np.abs(variances).max(initial=0)
    symmetric = np.allclose(covariances, covariances.swapaxes(1, 2), rtol=1e-5)
    if not symmetric or (variances < least).any():
        raise ValueError("`covariances` holds a matrix that is not symmetric and non-negative")
    arrays = np.log(weights), means, vectors, np.maximum(variances, 0)
    return GaussianMixture(*(jnp.asarray(a, float) for a in arrays))


def mixture_posterior(target: Posterior) -> GaussianMixture:
    """The exact posterior of a `GaussianMixture` prior: a mixture again, and so a denoiser.

    With it `Diffusion(levels)` alone, without guidance, samples p(x | y). Dense matrices, outside
    jit: for small images.

    Raises:
        ValueError: another prior, or a likelihood that is not one LeastSquares.
    """
    prior = target.denoiser
    if not isinstance(prior, GaussianMixture):
        raise ValueError(f"`target` has a {type(prior).__name__}, expected a GaussianMixture prior")
    root, data = whitened(target)
    B, y = np.asarray(materialise(root), np.float64), np.ravel(np.asarray(data, np.float64))
    logits, means, covariances = [], [], []
    for k, logit in enumerate(np.asarray(prior.logits)):
        m, U = np.asarray(prior.means[k], np.float64), np.asarray(prior.vectors[k], np.float64)
        C = (U * np.asarray(prior.variances[k])) @ U.T
        S = B @ C @ B.T + np.eye(len(y))
        misfit, gain = y - B @ m, np.linalg.solve(S, B @ C).T
        fit = misfit @ np.linalg.solve(S, misfit) + np.linalg.slogdet(S)[1]
        logits.append(logit - fit / 2)
        means.append(m + gain @ misfit)
        covariance = C - gain @ B @ C
        covariances.append((covariance + covariance.T) / 2)
    shares = np.exp(np.array(logits) - max(logits))
    return gaussian_mixture(np.maximum(shares, 1e-300), means, covariances)
