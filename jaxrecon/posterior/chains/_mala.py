"""The Metropolis-adjusted Langevin algorithm, for potentials that are known."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from jaxrecon.core import Algorithm, Problem, pytree, static, tree
from jaxrecon.posterior._moves import Place, metropolis_move
from jaxrecon.posterior._posterior import value_and_grad


class MALAState(NamedTuple):
    """Where the chain is, with U and ∇U; log δ, the steps done, and the key of the next."""

    place: Place
    log_step: Array
    i: Array
    key: Any


class MALAInfo(NamedTuple):
    """The relative size of the move, U after it, the probability that it was accepted, and δ."""

    residual: Array
    potential: Array
    acceptance: Array
    step: Array


@pytree
class MALA(Algorithm):
    """Samples p(x) ∝ exp(−Σ f(A x)) exactly: likelihood and prior as smooth functionals.

    It runs on a `Problem`, whose terms are negative log likelihoods and negative log priors in
    their true scale: a denoiser's potential is not known, but a regulariser's is (`Ridge`,
    `SmoothTV`, `QGGMRF`, `LeastSquares` in a basis). One gradient for a step; `Place` keeps the
    last. With `n_adapt` δ follows the share of accepted moves while it settles, towards the 0.574
    that is best in many dimensions (Roberts and Rosenthal, J. R. Stat. Soc. B 60, 1998), and is
    fixed afterwards: what is drawn before is no sample.

    Attributes:
        step_size: δ, about 1/L for the curvature L of Σf∘A in few dimensions, less in many; the
            first one while it settles.
        n_adapt: steps in which δ settles; 0 leaves it as it is.
        target: the share of accepted moves to settle at.
        adjusted: whether moves may be refused; without, every one is taken, with the bias that this
            has.

    Example:
        >>> from jaxrecon.core import identity, run
        >>> from jaxrecon.functionals import SquaredL2
        >>> problem = Problem(((SquaredL2(4.0), identity(jnp.zeros(3))),))
        >>> chain = run(
        ...     MALA(0.2), problem, n_iter=4000, key=jax.random.key(0), record=lambda problem, x: x
        ... )
        >>> round(float(jnp.std(chain.record)), 2)  # 1/√4
        0.5
    """

    step_size: Any
    n_adapt: Any = 0
    target: Any = 0.574
    adjusted: bool = static(default=True)

    def init(self, problem: Any, x0: PyTree, *, key: Any = None) -> MALAState:
        if not isinstance(problem, Problem):
            raise ValueError(
                f"`problem` is a {type(problem).__name__}, whose prior is known by its denoiser "
                "alone: MALA needs its value, so pass a `Problem` with the prior as a functional, "
                "or use `Langevin`"
            )
        if key is None:
            raise ValueError("`key` is None; a chain needs one")
        place = Place(x0, *value_and_grad(problem, x0))
        log_step = jnp.log(jnp.asarray(self.step_size, place.value.dtype))
        return MALAState(place, log_step, jnp.zeros((), jnp.int32), key)

    def step(self, problem: Problem, state: MALAState, inputs: Any) -> tuple[MALAState, MALAInfo]:
        del inputs
        key, fresh = jax.random.split(state.key)

        def potential(x: PyTree) -> tuple[Array, PyTree]:
            return value_and_grad(problem, x)

        here, step = state.place, jnp.exp(state.log_step)
        there, acceptance = metropolis_move(potential, here, step, fresh, adjusted=self.adjusted)
        gain = jnp.where(state.i < self.n_adapt, (state.i + 1.0) ** -0.6, 0).astype(step.dtype)
        log_step = state.log_step + gain * (acceptance - self.target)
        change = tree.relative_change(there.x, here.x)
        # A value that is not finite cannot be left by a rule that compares.
        change = jnp.where(jnp.isfinite(there.value), change, jnp.nan)
        info = MALAInfo(change, there.value, acceptance, step)
        return MALAState(there, log_step, state.i + 1, key), info

    def value(self, state: MALAState) -> PyTree:
        return state.place.x
