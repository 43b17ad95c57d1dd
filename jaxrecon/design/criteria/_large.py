"""The same criteria where no matrix is formed.

Where the transform that is sampled also diagonalises the prior, as Fourier's does a stationary one
and single-coil MRI, or Hadamard's independent coefficients, everything is a sum over positions:

    a = Σ v/(1 + w v/σ²),     d = ½ Σ log(1 + w v/σ²)                                        (1)

For any other operator the trace is estimated from random signs z (Hutchinson), with R = C^½,

    tr P = E zᴴ R (I + R AᴴWA R/σ²)⁻¹ R z                                                    (2)

by conjugate gradients, whose derivative is implicit: nothing is stored of their iterations. With
the same key, the same z are used for all patterns: differences between patterns are far more exact
than their values, and the estimate is a smooth function of the pattern.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Key, PyTree

from jaxrecon.core import LinearOperator, diagonal, identity, tree
from jaxrecon.posterior import Gaussian
from jaxrecon.solvers import cg

__all__ = ["spectral_error", "spectral_information", "stochastic_error"]


def spectral_error(
    weights: Float[Array, "..."], variances: Float[Array, "..."], noise: ArrayLike
) -> Float[Array, ""]:
    """A-optimality (1) where the transform that is sampled diagonalises the prior.

    Args:
        weights: w of every coefficient; for MRI the squared mask.
        variances: v, the prior's, broadcast against the weights: a mask of lines is `(1, x)`.
        noise: σ at weight one.

    Returns:
        The expected squared error; for complex coefficients of each of the two parts, if v and σ²
        are theirs.

    Example:
        >>> float(spectral_error(jnp.array([1.0, 0.0]), jnp.array([1.0, 2.0]), 1.0))
        2.5
    """
    return jnp.sum(variances / (1 + weights * variances / jnp.square(noise)))


def spectral_information(
    weights: Float[Array, "..."], variances: Float[Array, "..."], noise: ArrayLike
) -> Float[Array, ""]:
    """D-optimality (1): the expected information in nats, likewise.

    Example:
        >>> round(float(spectral_information(jnp.ones(2), jnp.ones(2), 1.0) / jnp.log(2.0)), 4)
        1.0
    """
    return jnp.sum(jnp.log1p(weights * variances / jnp.square(noise))) / 2


def stochastic_error(
    A: LinearOperator,
    prior: Gaussian,
    key: Key[Array, ""],
    *,
    noise: ArrayLike,
    weights: PyTree = None,
    n_probes: int = 8,
    n_iter: int = 200,
    tol: float = 1e-5,
) -> Float[Array, ""]:
    """A-optimality (2) of any scan, without bias in the probes; differentiable in A and weights.

    Args:
        A: the scan; its mask, trajectory or angles are data.
        prior: the object's; its mean does not matter.
        key: draws the probes: pass the same for patterns that are compared.
        noise: σ, of the real and of the imaginary part of complex data.
        weights: of the data, like the range of A: the dose; one by default.
        n_probes: random sign images; the relative error of the value falls with its root.
        n_iter: of conjugate gradients, at most.
        tol: at which they stop.

    Returns:
        The expected squared error of the posterior mean. Where conjugate gradients do not
        converge it is NaN: raise `n_iter`.

    Raises:
        ValueError: fewer than one probe.

    Example:
        >>> from jaxrecon.core import identity
        >>> A = identity(jnp.zeros(4))
        >>> prior = Gaussian(jnp.zeros(4), A, jnp.array([3.0, 1.0, 0.0, 0.0]))
        >>> float(stochastic_error(A, prior, jax.random.key(0), noise=1.0).round(4))
        1.25
    """
    if n_probes < 1:
        raise ValueError(f"`n_probes` is {n_probes}, expected at least 1")
    root = prior.basis.H @ diagonal(jnp.sqrt(prior.variances), prior.basis.range) @ prior.basis
    gram = A.gram if weights is None else A.weighted_gram(weights)
    G = identity(A.domain) + (1 / jnp.square(noise)) * (root.H @ gram @ root)

    def one(key: Array) -> Array:
        z = root(_signs(key, A.domain))
        solved = cg(G, z, n_iter=n_iter, tol=tol)
        return jnp.where(solved.status.ok, tree.dot(z, solved.value), jnp.nan)

    return jnp.mean(jax.vmap(one)(jax.random.split(key, n_probes)))


def _signs(key: Key[Array, ""], like: PyTree) -> PyTree:
    """Random signs, in complex leaves of both parts: E zᴴ P z is the error of both."""
    leaves, structure = jax.tree.flatten(like)
    keys = jax.random.split(key, (len(leaves), 2))
    draws = [_sign(k, struct) for k, struct in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, draws)


def _sign(keys: Array, struct: Any) -> Array:
    real = jnp.finfo(struct.dtype).dtype
    parts = [jax.random.rademacher(k, struct.shape, real) for k in keys]
    complex_leaf = jnp.issubdtype(struct.dtype, jnp.complexfloating)
    return jax.lax.complex(*parts) if complex_leaf else parts[0]
