"""Mean and variance of more samples than memory holds: one pass, mergeable, numerically stable.

Each set of samples is its count n, mean μ and sum of squared distances S = Σ|x − μ|². Two sets
merge, with δ = μ_b − μ_a, into

    n = n_a + n_b,   μ = μ_a + δ n_b/n,   S = S_a + S_b + |δ|² n_a n_b/n                      (1)

(Chan, Golub, LeVeque, Am. Stat. 37, 1983); with n_b = 1 that is Welford's update (Technometrics 4,
1962). No difference of large sums is formed, so a variance far below the squared mean survives
single precision. Quantiles have no such rule: they need the samples, see `summarise`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact, Int

from jaxrecon.core import match_varying


class Moments(NamedTuple):
    """Count, mean and scatter of a set of samples, a pytree: the carry of a scan, say."""

    count: Int[Array, ""]
    mean: Inexact[Array, "*shape"]
    scatter: Float[Array, "*shape"]
    """Σ|x − mean|²."""

    @property
    def variance(self) -> Array:
        """The unbiased variance, E|x − mean|² for complex samples; NaN below two samples."""
        return self.scatter / jnp.where(self.count > 1, self.count - 1, jnp.nan)

    @property
    def std(self) -> Array:
        """The standard deviation, in the samples' units."""
        return jnp.sqrt(self.variance)


def no_moments(like: Any) -> Moments:
    """The moments of no samples at all, to begin with.

    Args:
        like: array or `jax.ShapeDtypeStruct` of one sample.

    Example:
        >>> int(no_moments(jnp.zeros((4, 5))).count)
        0
    """
    real = jnp.finfo(like.dtype).dtype
    zeros = jnp.zeros(like.shape, like.dtype)
    return Moments(jnp.zeros((), int), zeros, jnp.zeros(like.shape, real))


def moments(samples: Inexact[Array, "sample *shape"]) -> Moments:
    """The moments of samples at hand, over their leading axis.

    Example:
        >>> found = moments(jnp.array([1.0, 3.0, 5.0]))
        >>> float(found.mean), float(found.std)
        (3.0, 2.0)
    """
    mean = samples.mean(0)
    scatter = jnp.sum(jnp.abs(samples - mean) ** 2, axis=0)
    return Moments(jnp.asarray(len(samples)), mean, scatter)


def merge_moments(a: Moments, b: Moments) -> Moments:
    """The moments of both sets together, equation (1); either may be empty.

    Example:
        >>> both = merge_moments(moments(jnp.array([1.0, 3.0])), moments(jnp.array([5.0])))
        >>> float(both.mean), float(both.std)
        (3.0, 2.0)
    """
    count = a.count + b.count
    share = (b.count / jnp.maximum(count, 1)).astype(a.scatter.dtype)
    delta = b.mean - a.mean
    scatter = a.scatter + b.scatter + jnp.abs(delta) ** 2 * share * a.count
    return Moments(count, a.mean + delta * share, scatter)


def add_sample(total: Moments, sample: Inexact[Array, "*shape"]) -> Moments:
    """The moments with one more sample: Welford's update.

    Example:
        >>> images = jnp.arange(6.0).reshape(3, 2)
        >>> step = lambda total, x: (add_sample(total, x), None)
        >>> jax.lax.scan(step, no_moments(images[0]), images)[0].mean.tolist()
        [2.0, 3.0]
    """
    return merge_moments(total, moments(sample[None]))


def shared_moments(part: Moments, axis_name: str | tuple[str, ...]) -> Moments:
    """The moments over all devices of a mesh axis, inside `shard_map` (or `vmap`, `pmap`).

    Args:
        part: this device's moments, of its own samples.
        axis_name: the mesh axis, or axes, over which the samples are split.
    """
    part = match_varying(part, part)
    count = jax.lax.psum(part.count, axis_name)
    share = (part.count / jnp.maximum(count, 1)).astype(part.scatter.dtype)
    mean = jax.lax.psum(share * part.mean, axis_name)
    between = jnp.abs(part.mean - mean) ** 2 * part.count
    return Moments(count, mean, jax.lax.psum(part.scatter + between, axis_name))
