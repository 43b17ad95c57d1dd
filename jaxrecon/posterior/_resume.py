"""Long runs in parts: the state of a sampler or of a chain as a value that can be stored.

    state = begin(sampler, target, key, n_samples=8)
    for _ in range(sampler.n_steps // 100):
        state = advance(sampler, target, state, n_steps=100).value  # arrays: store them

A state is all that the next step needs, its key included, so that parts are the whole. Random keys
are stored as `jax.random.key_data` and come back by `jax.random.wrap_key_data`.
"""

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, Result, pytree, run, tree
from jaxrecon.posterior.annealed._sampler import Sampler, check_levels


def begin(
    algorithm: Algorithm,
    target: Any,
    key: Key[Array, ""],
    *,
    n_samples: int | None = None,
    x0: PyTree = None,
) -> PyTree:
    """The state before the first step; the samples are those of `sample` for the same key.

    Args:
        algorithm: a sampler or a chain, with one key in its state.
        target: what to sample.
        key: of all samples.
        n_samples: how many, along a leading axis; None for one without that axis.
        x0: the starting point; zeros by default.

    Raises:
        ValueError: levels that cannot be.
    """
    if isinstance(algorithm, Sampler):
        check_levels(algorithm.levels, may_stay=algorithm.may_stay)
    start = tree.zeros(target.domain) if x0 is None else x0

    def one(key: Any) -> PyTree:
        return algorithm.init(algorithm.prepare(target), start, key=key)

    return one(key) if n_samples is None else jax.vmap(one)(jax.random.split(key, n_samples))


def advance(
    algorithm: Algorithm, target: Any, state: PyTree, n_steps: int, *, record: Any = None
) -> Result:
    """n_steps more, from a state of `begin` or of an earlier result.

    Args:
        algorithm: the one that the state is of.
        target: what is sampled.
        state: where to go on; `algorithm.value(state)` has the samples.
        n_steps: how many, no more than the sampler has left.
        record: ``record(target, state)`` is kept of every step.

    Returns:
        The state as `value`, with status and info of these steps.

    Raises:
        ValueError: more steps than the sampler has left, as far as that is known.

    Example:
        >>> from jaxrecon.core import identity
        >>> from jaxrecon.posterior import Diffusion, Gaussian, karras_levels, posterior
        >>> A = identity(jnp.zeros(2))
        >>> target = posterior(A, jnp.ones(2), 0.1, Gaussian(jnp.zeros(2), A, jnp.ones(2)))
        >>> sampler = Diffusion(karras_levels(10, high=20.0, low=1e-2))
        >>> half = advance(sampler, target, begin(sampler, target, jax.random.key(0)), 5)
        >>> done = advance(sampler, target, half.value, 5)
        >>> sampler.value(done.value).shape
        (2,)
    """
    if isinstance(algorithm, Sampler) and not isinstance(state.i, jax.core.Tracer):
        left = algorithm.n_steps - int(np.max(state.i))
        if n_steps > left:
            raise ValueError(f"`n_steps` is {n_steps}, but the sampler has {left} left")

    def one(state: PyTree) -> Result:
        return run(_Continued(algorithm), target, state, n_iter=n_steps, record=record)

    return jax.vmap(one)(state) if jnp.ndim(state.key) else one(state)


@pytree
class _Continued(Algorithm):
    """An algorithm that starts from a state of its own, and has it for a value."""

    algorithm: Algorithm

    def prepare(self, problem: Any) -> Any:
        return self.algorithm.prepare(problem)

    def init(self, problem: Any, x0: PyTree, *, key: Any = None) -> PyTree:
        del problem, key
        return x0

    def step(self, problem: Any, state: PyTree, inputs: Any) -> tuple[PyTree, Any]:
        return self.algorithm.step(problem, state, inputs)

    def value(self, state: PyTree) -> PyTree:
        return state
