"""What chains on p(x | y) ∝ exp(−Σ f(A x)) p_ε(x) share, p_ε being the prior blurred by noise of ε.

The gradient is known from the denoiser, −∇ log p(x|y) = ∇Σf(A x) + (x − D(x, ε))/ε², the value is
not: so these chains have no accept step, and a bias that shrinks with their step δ.
`run(..., record=...)` keeps what is wanted of a chain, `jax.vmap` over keys runs several.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import tree
from jaxrecon.posterior._posterior import Posterior


class ChainState(NamedTuple):
    """Where the chain is, and the key of its next step."""

    x: Any
    key: Any


class ChainInfo(NamedTuple):
    """The relative size of the last move, and the likelihood's negative logarithm before it."""

    residual: Array
    misfit: Array


def slope_of(chain: Any, target: Posterior, x: PyTree) -> tuple[Array, PyTree]:
    """The likelihood's negative logarithm, and ∇U."""
    misfit, slope = target.value_and_grad(x)
    pull = tree.sub(x, target.denoiser(x, chain.epsilon))
    slope = tree.add_scaled(slope, chain.weight / jnp.square(chain.epsilon), pull)
    if chain.box is not None:
        low, high = chain.box
        outside = jax.tree.map(lambda v: v - jnp.clip(v, low, high), x)
        slope = tree.add_scaled(slope, 1 / jnp.asarray(chain.step_size), outside)
    return misfit, slope


def started(x0: PyTree, key: Any) -> ChainState:
    """The state before the first step.

    Raises:
        ValueError: there is no key.
    """
    if key is None:
        raise ValueError("`key` is None; a chain needs one")
    return ChainState(x0, key)


def info_of(old: PyTree, new: PyTree, misfit: Array) -> ChainInfo:
    """Of a move."""
    return ChainInfo(tree.relative_change(new, old), misfit)
