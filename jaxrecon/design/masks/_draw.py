"""Drawing exactly k positions, and what lets gradients pass through the draw.

- `pivotal_sample` takes every position with just its probability, and k of them whatever the key:
  pairs of positions meet in a tournament, in each of which one is decided and the other carries on
  with what is left of both. Since neighbours meet first, samples are spread: a line next to a
  chosen one is unlikely. log₂ n rounds of array operations.
- `soft_top_k` is the relaxation, σ((z − τ)/T) with τ such that the sum is k at every temperature;
  it tends to the k largest as T → 0. With Gumbel noise on z it relaxes drawing without replacement.
- `straight_through` has the values of the one and the derivative of the other.

Sources: Deville and Tillé, "Unequal probability sampling without replacement through a splitting
method", Biometrika 85 (1998), in the order of a tree; Kool, van Hoof and Welling, "Stochastic beams
and where to find them" (Gumbel top-k), ICML 2019; Jang, Gu and Poole, "Categorical
reparameterization with Gumbel-softmax", ICLR 2017.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Key

from jaxrecon.design.masks._budget import root

__all__ = ["pivotal_sample", "relaxed_bernoulli", "soft_top_k", "straight_through", "top_k"]


@jax.jit
def pivotal_sample(
    key: Key[Array, ""], probabilities: Float[Array, " position"]
) -> Bool[Array, " position"]:
    """A sample of exactly Σ p positions, an integer, in which p is each one's probability.

    Args:
        key: of the draw.
        probabilities: in [0, 1].

    Returns:
        True where chosen; E = p exactly.

    Example:
        >>> pivotal_sample(jax.random.key(0), jnp.array([0.5, 0.5, 1.0, 0.0])).sum().item()
        2
    """
    n = probabilities.size
    left = jnp.pad(probabilities, (0, (1 << max(n - 1, 0).bit_length()) - n))
    carrier, chosen = jnp.arange(left.size), jnp.zeros(left.size, bool)
    chances = jax.random.uniform(key, left.shape, left.dtype)
    while left.size > 1:
        (a, b), (i, j) = (left[0::2], left[1::2]), (carrier[0::2], carrier[1::2])
        both = a + b
        full = both >= 1  # one is taken; else one is left out, and the other has both's chances
        first = jnp.where(full, _share(1 - b, 2 - both), _share(b, both))
        decide_first = chances[: both.size] < first
        chances = chances[both.size :]
        chosen = chosen.at[jnp.where(decide_first, i, j)].set(full)
        carrier, left = jnp.where(decide_first, j, i), both - full
    return chosen.at[carrier].set(left > 0.5)[:n]


@jax.jit
def soft_top_k(
    scores: Float[Array, " position"],
    k: ArrayLike,
    temperature: ArrayLike = 1.0,
    fixed: Bool[ArrayLike, " position"] | None = None,
) -> Float[Array, " position"]:
    """σ((z − τ)/T) with τ such that they sum to k: the k largest, softly.

    Args:
        scores: z.
        k: the sum, fixed positions included.
        temperature: T, positive.
        fixed: positions that are one whatever their score.

    Returns:
        Numbers between 0 and 1; derivatives in scores and temperature are exact up to the third.

    Example:
        >>> soft_top_k(jnp.array([0.0, 1.0, 3.0, 2.0]), 2, 0.05).round(3).tolist()
        [0.0, 0.0, 1.0, 1.0]
        >>> soft_top_k(jnp.array([0.0, 1.0, 3.0, 2.0]), 2, 1.0).sum().round(5).item()
        2.0
    """
    fixed = jnp.zeros(scores.shape, bool) if fixed is None else jnp.asarray(fixed)
    z = scores / temperature

    def excess(tau: Array) -> Array:
        return jnp.sum(jnp.where(fixed, 1, jax.nn.sigmoid(z - tau))) - k

    tau = root(excess, jnp.min(z) - 40, jnp.max(z) + 40)
    for _ in range(2):  # Newton's steps, which change nothing but carry the derivatives
        y = jax.nn.sigmoid(z - tau)
        slope = jnp.sum(jnp.where(fixed, 0, y * (1 - y)))
        alive = slope > jnp.finfo(z.dtype).tiny ** 0.5
        tau = tau + jnp.where(alive, excess(tau) / jnp.where(alive, slope, 1), 0)
    return jnp.where(fixed, 1, jax.nn.sigmoid(z - tau))


def top_k(scores: Float[Array, " position"], k: int) -> Bool[Array, " position"]:
    """True at the k largest, the first among equals.

    Example:
        >>> top_k(jnp.array([0.0, 1.0, 3.0, 2.0]), 2).tolist()
        [False, False, True, True]
    """
    return jnp.zeros(scores.shape, bool).at[jax.lax.top_k(scores, k)[1]].set(True)


def straight_through(hard: Array, soft: Float[Array, "..."]) -> Float[Array, "..."]:
    """The values of `hard` with the derivative of `soft`: not the derivative of what it returns.

    Bengio, Léonard and Courville, arXiv 1308.3432 (2013).

    Example:
        >>> jax.grad(lambda p: straight_through(p > 0.3, p) * 2.0)(0.5).item()
        2.0
    """
    return jnp.asarray(hard, soft.dtype) + (soft - jax.lax.stop_gradient(soft))


def relaxed_bernoulli(
    key: Key[Array, ""], probabilities: Float[Array, "..."], temperature: ArrayLike
) -> Float[Array, "..."]:
    """Independent draws, relaxed: σ((logit p + logistic noise)/T), above ½ with probability p.

    A mask of them meets its budget in expectation only, as LOUPE's does. Maddison, Mnih and Teh,
    "The concrete distribution", ICLR 2017.

    Example:
        >>> draw = relaxed_bernoulli(jax.random.key(0), jnp.full(1000, 0.3), 0.1)
        >>> round(float((draw > 0.5).mean()), 1)
        0.3
    """
    noise = jax.random.logistic(key, probabilities.shape, probabilities.dtype)
    return jax.nn.sigmoid((logit(probabilities) + noise) / temperature)


def logit(probabilities: Float[Array, "..."]) -> Float[Array, "..."]:
    """The log odds log p/(1 − p), finite at 0 and 1."""
    least = jnp.finfo(probabilities.dtype).eps
    p = jnp.clip(probabilities, least, 1 - least)
    return jnp.log(p) - jnp.log1p(-p)


def _share(part: Any, whole: Any) -> Array:
    """The quotient, in which 0/0 is 1."""
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 1)
