"""The networks that reconstruct, in a size for two CPU cores and in full size for a GPU.

Post-processing is FBPConvNet (Jin et al., 2017); the unrolled networks are proximal gradients and
ADMM with a small network of its own in each iteration, learned primal-dual (Adler and Öktem, 2018),
MoDL (Aggarwal et al., 2019) and the variational network's k-space form with U-Nets (Sriram et al.,
2020), here with given coil maps.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from flax import nnx

from jaxrecon.nets.images import UNet
from jaxrecon.nets.reconstruction import (
    ConvNet,
    FilteredBackprojection,
    KspaceRefinement,
    MatchedAdjoint,
    PostProcessing,
    Unrolled,
    learned_primal_dual,
    modl,
    stacked,
)
from jaxrecon.solvers import ADMM, ProximalGradient

FBP = FilteredBackprojection("hann")


class Recipe(NamedTuple):
    """How a network is made and trained."""

    build: Callable[..., nnx.Module]  # build(rngs=...)
    steps: int
    batch: int
    rate: float


# ---------------------------------------------------------------------------------------------- CT


def post_processing(
    initial: Any, channels: int, width: int, depth: int, *, rngs: nnx.Rngs
) -> PostProcessing:
    net = UNet(channels, channels, width=width, depth=depth, residual=True, rngs=rngs)
    return PostProcessing(initial, net)


def unrolled(
    algorithm: Any, inputs: dict[str, float], n_iter: int, width: int, *, rngs: nnx.Rngs
) -> Unrolled:
    """On real images, from filtered back-projection."""
    make = lambda r: ConvNet(1, 1, widths=(width, width), residual=True, rngs=r)  # noqa: E731
    prior = stacked(make, n_iter, rngs=rngs)
    return Unrolled(algorithm, prior, n_iter=n_iter, shared=False, inputs=inputs, initial=FBP)


def _ct(
    n_iter: int,
    width: int,
    unet: tuple[int, int],
    steps: int,
    batch: int,
    rate: float,
    longer: int = 1,
) -> dict[str, Recipe]:
    """`longer` is how many times more steps learned primal-dual is given: it learns its steps."""
    pgd = functools.partial(unrolled, ProximalGradient(1.0), {"step": 1.0}, n_iter, width)
    admm = functools.partial(unrolled, ADMM(n_inner=3), {"penalty": 0.3}, n_iter // 2, width)
    lpd = functools.partial(learned_primal_dual, n_iter=n_iter, width=width)
    return {
        "U-Net": Recipe(functools.partial(post_processing, FBP, 1, *unet), steps, batch, rate),
        "unrolled PGD": Recipe(pgd, steps, batch, rate),
        "unrolled ADMM": Recipe(admm, steps, batch, rate),
        "learned primal-dual": Recipe(lpd, longer * steps, batch, rate),
    }


# --------------------------------------------------------------------------------------------- MRI


def modl_of(n_iter: int, width: int, depth: int, *, rngs: nnx.Rngs) -> Unrolled:
    """With shared weights."""
    widths = (width,) * (depth - 1)
    return modl(ConvNet(2, 2, widths=widths, residual=True, rngs=rngs), n_iter=n_iter)


def varnet(n_iter: int, width: int, depth: int, *, rngs: nnx.Rngs) -> Unrolled:
    """With a U-Net of its own in each iteration."""
    # What they return is added to an image: they begin as next to nothing.
    options: dict[str, Any] = {"width": width, "depth": depth, "final_gain": 1e-3}
    make = lambda r: UNet(2, 2, **options, rngs=r)  # noqa: E731
    refinement = KspaceRefinement(stacked(make, n_iter, rngs=rngs), step=[1.0] * n_iter)
    return Unrolled(refinement, n_iter=n_iter, shared=False)


def _mri(
    n_iter: int, width: int, unet: tuple[int, int], steps: int, batch: int, rate: float
) -> dict[str, Recipe]:
    zero_filled = functools.partial(post_processing, MatchedAdjoint(), 2, *unet)
    return {
        "U-Net": Recipe(zero_filled, steps, batch, rate),
        "MoDL": Recipe(functools.partial(modl_of, n_iter, width, 5), steps, batch, rate),
        "VarNet": Recipe(functools.partial(varnet, n_iter, width // 2, 2), steps, batch, rate),
    }


RECIPES = {
    "cpu": {
        "ellipses": _ct(n_iter=6, width=32, unet=(16, 4), steps=3000, batch=1, rate=2e-3, longer=3),
        "head": _ct(n_iter=6, width=32, unet=(16, 4), steps=3000, batch=1, rate=2e-3),
        "mri": _mri(n_iter=5, width=32, unet=(16, 4), steps=2000, batch=1, rate=2e-3),
    },
    "gpu": {
        "ellipses": _ct(n_iter=10, width=32, unet=(32, 4), steps=50_000, batch=16, rate=1e-3),
        "head": _ct(n_iter=10, width=64, unet=(64, 4), steps=20_000, batch=16, rate=1e-3),
        "mri": _mri(n_iter=10, width=64, unet=(64, 4), steps=40_000, batch=8, rate=1e-3),
    },
}
