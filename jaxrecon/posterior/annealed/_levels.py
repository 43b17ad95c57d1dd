"""Noise levels of a sampler: σ_0 > σ_1 > … > σ_N = 0, ``(level,)``, in units of the image."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float


def karras_levels(n: int, *, high: Any, low: Any, rho: float = 7.0) -> Float[Array, " level"]:
    """Even in σ^(1/ρ), then zero: short steps where the noise is low.

    Karras, Aittala, Aila and Laine, NeurIPS 2022, equation (5).

    Args:
        n: steps; there are n + 1 levels.
        high: the first level: well above the image's own deviation.
        low: the last one above zero.
        rho: 1 for even levels; towards infinity, even in the logarithm.

    Raises:
        ValueError: fewer than two steps.

    Example:
        >>> karras_levels(3, high=8.0, low=1.0, rho=1.0).tolist()
        [8.0, 4.5, 1.0, 0.0]
    """
    _check(n)
    root = jnp.linspace(jnp.power(high, 1 / rho), jnp.power(low, 1 / rho), n)
    return jnp.append(root**rho, 0.0)


def geometric_levels(n: int, *, high: Any, low: Any) -> Float[Array, " level"]:
    """Even in log σ, then zero: the variance-exploding schedule of Song et al., ICLR 2021.

    Example:
        >>> [round(float(s), 3) for s in geometric_levels(3, high=4.0, low=1.0)]
        [4.0, 2.0, 1.0, 0.0]
    """
    _check(n)
    return jnp.append(jnp.geomspace(high, low, n), 0.0)


def flow_levels(n: int, *, start: Any = 0.99) -> Float[Array, " level"]:
    """σ = t / (1 − t) for even t from `start` to 0: the straight paths of rectified flow.

    Liu, Gong and Liu, ICLR 2023.

    Example:
        >>> [round(float(s), 3) for s in flow_levels(2, start=0.8)]
        [4.0, 0.667, 0.0]
    """
    _check(n)
    t = jnp.linspace(start, 0.0, n + 1)
    return t / (1 - t)


def _check(n: int) -> None:
    if n < 2:
        raise ValueError(f"`n` is {n}, expected at least 2 steps")
