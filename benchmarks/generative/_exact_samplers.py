"""What `exact_posterior.py` compares: each sampler, its cost, and the settings it is tried at."""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrecon.core import Problem, diagonal, identity, run, tree
from jaxrecon.functionals import LeastSquares, SquaredL2
from jaxrecon.posterior import (
    DDRM,
    DPS,
    MALA,
    SKROCK,
    Diffusion,
    GaussianStep,
    LangevinStep,
    PiGDM,
    PnPFlow,
    Posterior,
    ProximalStep,
    RangeNull,
    REDDiff,
    Sampler,
    SplitGibbs,
    TweedieCovariance,
    flow_levels,
    gaussian_posterior_sample,
    geometric_levels,
    karras_levels,
    sample,
)

HIGH, LOW = 20.0, 2e-3

Draw = Callable[[Posterior, Any], Any]


class Tried(NamedTuple):
    """``draw(setting)(target, key)`` for each of some settings, and its cost in evaluations."""

    draw: Callable[[Any], Draw]
    settings: tuple = (0,)
    evaluations: int = 0
    derivatives: int = 0


def samplers(noise: float) -> dict[str, Tried]:
    """By name, for data with noise of that deviation and operators of norm one."""
    curvature = 1 / noise**2
    return {
        "perturb and optimise *": Tried(lambda _: gaussian_posterior_sample),
        "Tweedie's covariance, Heun *": Tried(
            diffusion(25, lambda _: TweedieCovariance(n_inner=40, tol=1e-5), order=2),
            (0,),
            50,
            2050,
        ),
        "PnP-DM (split Gibbs) *": Tried(
            by(lambda last: SplitGibbs(_held(60, last), n_denoise=4, variance=0.04)),
            (0.005, 0.01),
            240,
        ),
        "SK-ROCK, 40 steps *": Tried(skrock, (0.25, 0.5), 600),
        "MALA, 600 steps *": Tried(mala, (1e-4, 3e-4)),
        "PiGDM": Tried(
            diffusion(50, lambda v: PiGDM(v, n_inner=20), fresh=1.0), (0.01, 0.04, 0.16), 50, 50
        ),
        "DPS": Tried(diffusion(300, DPS, fresh=1.0), (2.5e-4, 1e-3, 4e-3, 0.016), 300, 300),
        "DiffPIR": Tried(diffpir, tuple(itertools.product((0.25, 1.0, 4.0), (0.0, 0.3, 1.0))), 50),
        "DDNM": Tried(diffusion(50, lambda _: RangeNull(20), fresh=1.0), (0,), 50),
        "DDRM": Tried(by(lambda eta: DDRM(levels(50), eta)), (0.5, 0.85, 1.0), 50),
        "DAPS, Langevin": Tried(
            daps(lambda w: LangevinStep(curvature, w, share=0.5, n_inner=40)), (0.5, 1.0, 2.0), 50
        ),
        "DAPS, exact step": Tried(
            daps(lambda pair: GaussianStep(*pair)),
            tuple(itertools.product((0.5, 1.0), (0.04, jnp.inf))),
            50,
        ),
        "PnP-Flow": Tried(
            by(lambda decay: PnPFlow(flow_levels(100), 1 / curvature, decay, n_draws=1)),
            (0.0, 0.3, 1.0),
            100,
        ),
        "RED-diff": Tried(
            by(lambda weight: REDDiff(levels(200), weight * curvature, 0.02)), (0.02, 0.1, 0.5), 200
        ),
    }


def levels(n: int) -> jax.Array:
    return karras_levels(n, high=HIGH, low=LOW)


def by(make: Callable[[Any], Sampler]) -> Callable[[Any], Draw]:
    """Of a setting, one sample by the sampler that `make` makes of it."""

    def draw(setting: Any) -> Draw:
        sampler = make(setting)
        return lambda target, key: sample(sampler, target, key).value

    return draw


def diffusion(n: int, make: Callable[[Any], Any], **options: Any) -> Callable[[Any], Draw]:
    """N levels, and the guidance that `make` makes of a setting."""
    return by(lambda setting: Diffusion(levels(n), make(setting), **options))


def daps(make: Callable[[Any], Any]) -> Callable[[Any], Draw]:
    return diffusion(50, make, fresh=1.0, renoise=True)


def diffpir(setting: tuple[float, float]) -> Draw:
    trust, share = setting
    return diffusion(50, lambda _: ProximalStep(trust, n_inner=20), fresh=share, renoise=True)(0)


def skrock(share: float) -> Draw:
    """Steps as a share of the longest stable one; the prior's blur is well below its details."""
    epsilon, n_stages = 0.01, 15

    def draw(target: Posterior, key: Any) -> Any:
        (f, _), *_ = target.likelihood.terms
        curvature = f.weights + 1 / (jnp.min(target.denoiser.variances) + epsilon**2)
        step = share * 1.9 * n_stages**2 / curvature
        chain, start = SKROCK(step, epsilon, n_stages=n_stages), target.denoiser.mean
        return run(chain, target, start, n_iter=40, key=key).value

    return draw


def mala(step: float) -> Draw:
    """In the coordinates in which the prior is white, as its value is known: x = m + C^{1/2} w."""

    def draw(target: Posterior, key: Any) -> Any:
        (f, A), *_ = target.likelihood.terms
        prior = target.denoiser
        spread = diagonal(jnp.sqrt(prior.variances), prior.basis.range)
        root = prior.basis.H @ spread @ prior.basis
        data = LeastSquares(f.data - A(prior.mean), f.weights)
        problem = Problem(((data, A @ root), (SquaredL2(), identity(prior.mean))))
        w = run(MALA(step), problem, n_iter=600, key=key).value
        return tree.add(prior.mean, root(w))

    return draw


def _held(n: int, last: float) -> jax.Array:
    """Two thirds of the levels fall, the others stay."""
    falling = geometric_levels(2 * n // 3, high=1.0, low=last)[:-1]
    return jnp.concatenate([falling, jnp.full(n - len(falling), falling[-1]), jnp.zeros(1)])
