"""A small problem whose posterior is known, and how samples are compared with it."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon.core import LinearOperator, materialise
from jaxrecon.posterior import Gaussian, Posterior, posterior
from tests.solvers.problems import Dense

N, N_DATA, NOISE = 6, 4, 0.2
KEYS = jax.random.split(jax.random.key(60), 8)


class Known(NamedTuple):
    """A target with the mean and the covariance of its posterior."""

    target: Posterior
    mean: np.ndarray
    covariance: np.ndarray


def known(noise: float = NOISE, coupling: float = 0.0, n: int = N, n_data: int = N_DATA) -> Known:
    """A correlated Gaussian prior and a random matrix with fewer rows than columns.

    With a coupling ρ the moments are those of a likelihood of A(x + ρn).
    """
    Q = np.linalg.qr(np.random.default_rng(0).standard_normal((n, n)))[0]
    V, m = np.geomspace(0.05, 2, n), np.asarray(jax.random.normal(KEYS[0], (n,)))
    M = np.asarray(jax.random.normal(KEYS[1], (n_data, n))) / np.sqrt(n)
    prior, A = (
        Gaussian(jnp.asarray(m), Dense(jnp.asarray(Q)), jnp.asarray(V)),
        Dense(jnp.asarray(M)),
    )
    y = A(prior.sample(KEYS[2])) + noise * jax.random.normal(KEYS[3], (n_data,))
    C = Q.T @ np.diag(V) @ Q
    spread = noise**2 * np.eye(n_data) + coupling**2 * M @ M.T
    gain = np.linalg.solve(M @ C @ M.T + spread, M @ C).T
    covariance = C - gain @ M @ C
    return Known(posterior(A, y, noise, prior), m + gain @ (np.asarray(y) - M @ m), covariance)


def matrix(target: Posterior) -> np.ndarray:
    """Of the forward model."""
    ((_, A),) = target.likelihood.terms
    assert isinstance(A, LinearOperator)
    return np.asarray(materialise(A))


class Comparison(NamedTuple):
    """Errors relative to the posterior's deviation, and shares of samples in central intervals."""

    mean: float
    covariance: float
    within_50: float
    within_90: float

    @property
    def exact(self) -> bool:
        """Whether 20 000 samples can be of the posterior."""
        at_levels = abs(self.within_50 - 0.5) < 0.01 and abs(self.within_90 - 0.9) < 0.01
        return self.mean < 0.03 and self.covariance < 0.03 and at_levels


def compare(samples: jax.Array, mean: np.ndarray, covariance: np.ndarray) -> Comparison:
    """Of samples, ``(sample, pixel)``, with Gaussian moments."""
    x = np.asarray(samples)
    far = np.abs(x - mean) / np.sqrt(np.diag(covariance))
    return Comparison(
        float(np.linalg.norm(x.mean(0) - mean) / np.sqrt(np.trace(covariance))),
        float(np.linalg.norm(np.cov(x.T) - covariance) / np.linalg.norm(covariance)),
        float(np.mean(far < 0.67449)),
        float(np.mean(far < 1.64485)),
    )
