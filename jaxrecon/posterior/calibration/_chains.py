"""Whether Markov chains have mixed, and how many independent draws they are worth.

Chains are split in halves; with M of them of N draws, W their mean variance and B/N that of their
means, V = W (N − 1)/N + B/N, and C_t the mean autocovariance at lag t,

    R̂ = √(V / W)                                                                            (1)
    ρ_t = 1 − (W − C_t) / V,   P_k = ρ_2k + ρ_2k+1                                            (2)
    ESS = M N / τ,   τ = −1 + 2 Σ_{k<K} P_k + max(ρ_2K, 0)                                    (3)

with K the first pair whose sum is not positive (Geyer's initial sequence, made monotone). Bulk
versions put normal scores of the ranks in place of the draws, so that heavy tails, even without
a variance, are judged too; R̂ is the larger one of the draws' and of |draw − median|'s.

Everything is per pixel. A pixel that never moves gives NaN. For complex images pass the parts or
the magnitude, or better a few functionals.

Source: Vehtari, Gelman, Simpson, Carpenter, Bürkner, "Rank-normalization, folding, and
localization: an improved R̂ for assessing convergence of MCMC", Bayesian Anal. 16 (2021).
"""

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm
from jaxtyping import Array, Float

Chains = Float[Array, "chain draw *shape"]

_FEWEST_DRAWS = 8


@jax.jit
def r_hat(chains: Chains) -> Float[Array, "*shape"]:
    """Rank-normalised split R̂, equation (1): near 1 for mixed chains, below 1.01 as a rule.

    Args:
        chains: draws after warm-up; one chain is judged by its halves.

    Raises:
        ValueError: fewer than eight draws in a chain.

    Example:
        >>> draws = jax.random.normal(jax.random.key(0), (4, 500))
        >>> bool(r_hat(draws) < 1.01), bool(r_hat(draws.at[0].add(1.0)) > 1.1)
        (True, True)
    """
    halves = _split(chains)
    folded = jnp.abs(halves - jnp.median(halves, axis=(0, 1)))
    return jnp.maximum(_potential_reduction(halves), _potential_reduction(folded))


@jax.jit
def ess_bulk(chains: Chains) -> Float[Array, "*shape"]:
    """Effective sample size of the ranks, equation (3): how far to trust the centre.

    Args:
        chains: draws after warm-up; one chain is judged by its halves.

    Raises:
        ValueError: fewer than eight draws in a chain.

    Example:
        >>> draws = jax.random.normal(jax.random.key(0), (4, 500))
        >>> bool(1500 < ess_bulk(draws)), bool(ess_bulk(jnp.repeat(draws, 10, axis=1)) < 2500)
        (True, True)
    """
    return _effective(_normal_scores(_split(chains)))


@jax.jit
def ess_mean(chains: Chains) -> Float[Array, "*shape"]:
    """Effective sample size for the mean: std/√ESS is its Monte Carlo error; see `ess_bulk`."""
    return _effective(_split(chains))


@jax.jit
def ess_tail(chains: Chains) -> Float[Array, "*shape"]:
    """The smaller effective sample size of the 5 % and 95 % quantiles; see `ess_bulk`."""
    halves = _split(chains)
    bounds = jnp.quantile(chains, jnp.array([0.05, 0.95]), axis=(0, 1))
    sizes = [_effective((halves <= bound).astype(halves.dtype)) for bound in bounds]
    return jnp.minimum(sizes[0], sizes[1])


def _split(chains: Array) -> Array:
    """Both halves of each chain as chains; the middle draw of an odd number is left out."""
    if chains.ndim < 2 or chains.shape[1] < _FEWEST_DRAWS:
        raise ValueError(
            f"`chains` has shape {chains.shape}, expected (chain, draw, ...) with at least "
            f"{_FEWEST_DRAWS} draws: pass `draws[None]` for one chain"
        )
    half = chains.shape[1] // 2
    return jnp.concatenate([chains[:, :half], chains[:, -half:]])


def _normal_scores(chains: Array) -> Array:
    """Φ⁻¹((r − 3/8)/(S + 1/4)), r the rank among all S draws, the average one of ties."""
    flat = chains.reshape(chains.shape[0] * chains.shape[1], -1)
    ordered = jnp.sort(flat, axis=0)

    def place(side):
        find = lambda row, values: jnp.searchsorted(row, values, side=side)  # noqa: E731
        return jax.vmap(find, 1, 1)(ordered, flat)

    rank = (place("left") + place("right") + 1).astype(chains.dtype) / 2
    scores = norm.ppf((rank - 0.375) / (len(flat) + 0.25))
    return jnp.where(jnp.isnan(flat), jnp.nan, scores).reshape(chains.shape)


def _potential_reduction(chains: Array) -> Array:
    scores = _normal_scores(chains)
    within, total = _variances(scores)
    return jnp.sqrt(total / jnp.where(within > 0, within, jnp.nan))


def _variances(chains: Array) -> tuple[Array, Array]:
    """W and V of equation (1)."""
    n = chains.shape[1]
    within = jnp.mean(jnp.var(chains, axis=1, ddof=1), axis=0)
    return within, within * (n - 1) / n + jnp.var(jnp.mean(chains, axis=1), axis=0, ddof=1)


def _effective(chains: Array) -> Array:
    n_chains, n = chains.shape[:2]
    within, total = _variances(chains)
    total = jnp.where(within > 0, total, jnp.nan)
    rho = 1 - (within - jnp.mean(_autocovariance(chains), axis=0)) / total
    rho = rho.at[0].set(1.0)
    pairs = rho[: n // 2 * 2].reshape(n // 2, 2, *rho.shape[1:])
    sums = pairs.sum(1)
    kept = jnp.cumprod(sums > 0, axis=0).astype(rho.dtype)
    monotone = jax.lax.cummin(sums, axis=0)
    first_left_out = jnp.concatenate([jnp.ones_like(kept[:1]), kept[:-1]]) - kept
    last = jnp.sum(first_left_out * jnp.maximum(pairs[:, 0], 0), axis=0)
    tau = -1 + 2 * jnp.sum(kept * monotone, axis=0) + last
    draws = n_chains * n
    # Antithetic chains can beat independent draws, but not without bound on finite evidence.
    return draws / jnp.maximum(tau, 1 / jnp.log10(draws))


def _autocovariance(chains: Array) -> Array:
    """Σ_i (x_i − x̄)(x_i+t − x̄) / N of each chain, for all lags t, by FFT."""
    n = chains.shape[1]
    centred = chains - jnp.mean(chains, axis=1, keepdims=True)
    power = jnp.abs(jnp.fft.rfft(centred, 2 * n, axis=1)) ** 2
    return jnp.fft.irfft(power, 2 * n, axis=1)[:, :n] / n
