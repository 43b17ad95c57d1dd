"""The unadjusted Langevin algorithm; with a denoiser PnP-ULA.

Laumont, De Bortoli, Almansa, Delon, Durmus and Pereyra, SIAM J. Imaging Sci. 15, 2022.
"""

from typing import Any

import jax
from jaxtyping import PyTree

from jaxrecon.core import Algorithm, pytree
from jaxrecon.posterior._moves import langevin_move
from jaxrecon.posterior._posterior import Posterior
from jaxrecon.posterior.chains._chain import ChainState, info_of, slope_of, started


@pytree
class Langevin(Algorithm):
    """PnP-ULA, with an optional weight on the prior and a box that chains are drawn back to.

    The box makes the chain's law exist whatever the denoiser does far out: ∇U gets (x − P(x))/λ
    with the projection P and λ = δ.

    Attributes:
        step_size: δ; below 1/L with L = ‖Σ∇²f‖ + weight/ε² or so.
        epsilon: ε, which D is asked for.
        weight: of log p_ε; 1 for Bayes' rule.
        box: least and largest value of a pixel, or None.
    """

    step_size: Any
    epsilon: Any
    weight: Any = 1.0
    box: tuple[Any, Any] | None = None

    def init(self, problem: Posterior, x0: PyTree, *, key: Any = None) -> ChainState:
        del problem
        return started(x0, key)

    def step(self, problem: Posterior, state: ChainState, inputs: Any):
        del inputs
        key, fresh = jax.random.split(state.key)
        misfit, slope = slope_of(self, problem, state.x)
        x = langevin_move(state.x, slope, self.step_size, fresh)
        return ChainState(x, key), info_of(state.x, x, misfit)

    def value(self, state: ChainState) -> PyTree:
        return state.x
