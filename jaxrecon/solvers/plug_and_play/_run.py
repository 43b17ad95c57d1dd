"""Plug-and-play: any algorithm that takes a proximal map, given a denoiser in its place.

The denoiser becomes the prior `DenoiserPrior` of a `Problem`, so plug-and-play is not an algorithm
of its own: `ProximalGradient` is PnP-PGD, `FISTA` PnP-FISTA, `ADMM` PnP-ADMM, `HQS` half-quadratic
splitting and `DouglasRachford` PnP-DRS (Venkatakrishnan, Bouman and Wohlberg, GlobalSIP 2013;
Kamilov et al., IEEE Signal Process. Mag. 40, 2023). `RED` in place of the prior gives
regularisation by denoising with any gradient method (Romano, Elad and Milanfar, SIAM J. Imaging
Sci. 10, 2017).

What may go wrong is looked at: such iterations are known to converge for denoisers that do not move
images apart (Ryu et al., ICML 2019). `diagnose` measures that at the result, and `plug_and_play`
says so in its status.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, PyTree

from jaxrecon.core import Algorithm, Operator, Problem, Result, Status, identity, replace, run, tree
from jaxrecon.functionals.denoisers import DenoiserPrior, lipschitz, residual_lipschitz
from jaxrecon.solvers.plug_and_play._schedule import dpir_schedule
from jaxrecon.solvers.splitting import HQS

_ROUNDING = 1e-2  # a power iteration of a few steps knows a norm to about a per cent


class Diagnosis(NamedTuple):
    """What is known of convergence at a result.

    Attributes:
        status: the run's own, or the warning that the denoiser is expansive.
        lipschitz: ‖∂D/∂x‖, at most 1 where D is non-expansive.
        residual_lipschitz: ‖I − ∂D/∂x‖, below 1 where Ryu et al.'s condition holds.
        residual: ‖x − D(x)‖ / ‖x‖, how far the result is from the denoiser's own fixed points.
    """

    status: Status
    lipschitz: Array
    residual_lipschitz: Array
    residual: Array


def plug_and_play(
    denoiser: Any,
    fidelity: Any,
    A: Operator,
    x0: PyTree = None,
    *,
    algorithm: Algorithm,
    n_iter: int,
    sigma: Any,
    tol: Any = None,
    key: Key[Array, ""] | None = None,
) -> Result:
    """Reconstructs with a denoiser of one strength in place of the proximal map, and diagnoses it.

    Args:
        denoiser: pytree callable ``D(x, sigma)``.
        fidelity: functional of the data, such as `LeastSquares`.
        A: the forward model.
        x0: the start; zeros if None.
        algorithm: `ProximalGradient`, `FISTA`, `ADMM`, `HQS`, `DouglasRachford` ...
        n_iter: iterations at most.
        sigma: the denoiser's strength, in units of the image: the regularisation's.
        tol: stop once the algorithm's residual is at most this.
        key: for stochastic algorithms and denoisers.

    Returns:
        The result; its status warns if the denoiser is expansive there.
    """
    prior = DenoiserPrior(denoiser, sigma=sigma)
    problem = Problem(((fidelity, A), (prior, identity(A.domain))))
    result = run(algorithm, problem, x0, n_iter=n_iter, tol=tol, key=key)
    return replace(result, status=diagnose(result, denoiser, sigma).status)


def dpir(
    denoiser: Any,
    fidelity: Any,
    A: Operator,
    x0: PyTree = None,
    *,
    noise: Any,
    n_iter: int = 8,
    start: Any = 49 / 255,
    stop: Any = None,
    factor: Any = 0.23,
) -> Result:
    """Half-quadratic splitting with a denoiser of falling strength; see `dpir_schedule`.

    Few iterations, each an exact data step where `A.shifted_inverse` knows one, so it is fast; it
    stops by the schedule, not by convergence. Starts from Aᴴ y unless x0 is given.

    Args:
        denoiser: pytree callable ``D(x, sigma)``, good over the range of strengths.
        fidelity: `LeastSquares` of the data without weights.
        A: the forward model, of norm about 1.
        x0: the start.
        noise: the data's standard deviation.
        n_iter: iterations; 8 for deblurring in the paper, 24 for super-resolution.
        start: first strength, in units of the image.
        stop: last strength, `noise` by default.
        factor: λ, the trust in the denoiser.
    """
    schedule = dpir_schedule(noise, n_iter, start=start, stop=stop, factor=factor)
    prior = DenoiserPrior(denoiser, weight=schedule.weight)
    problem = Problem(((fidelity, A), (prior, identity(A.domain))))
    x0 = A.linearise(tree.zeros(A.domain))[1].H(fidelity.data) if x0 is None else x0
    return run(HQS(), problem, x0, n_iter=n_iter, inputs={"penalty": schedule.penalty})


def diagnose(
    result: Result,
    denoiser: Any,
    sigma: Any,
    key: Key[Array, ""] | None = None,
    *,
    n_iter: int = 20,
) -> Diagnosis:
    """Measures a denoiser at a result: whether it moves images apart.

    Args:
        result: of a run.
        denoiser: pytree callable ``D(x, sigma)``, differentiable.
        sigma: the strength at which it was used last.
        key: for the random start of the power iterations.
        n_iter: power iterations; each costs one forward and one reverse derivative.
    """
    key = jax.random.key(0) if key is None else key
    x = result.value
    slope = lipschitz(denoiser, x, sigma, key, n_iter=n_iter).value
    residual_slope = residual_lipschitz(denoiser, x, sigma, key, n_iter=n_iter).value
    expansive = jnp.where(slope > 1 + _ROUNDING, Status.expansive().code, 0)
    moved = tree.norm(tree.sub(x, denoiser(x, sigma))) / tree.norm(x)
    return Diagnosis(result.status.worse(Status(expansive)), slope, residual_slope, moved)
