"""The problem whose cost is measured, and our network for it, with the same weights as a rival's.

A case is a dict of arrays, which travels to every program as a file: the scan, the truth, the
weights of a network of three convolutions, and how many iterations it is unrolled for.
"""

import math
from typing import Any

import _memory
import jax
import jax.numpy as jnp
import numpy as np
from _rivals import unrolled as rivals
from flax import nnx

from jaxrecon import data
from jaxrecon.core import AdjointSolve, LinearOperator, norm
from jaxrecon.nets.reconstruction import ConvNet, Equilibrium, Unrolled
from jaxrecon.physics import ct, mri
from jaxrecon.solvers import ProximalGradient


def ct_case(n: int, n_views: int, batch: int) -> dict:
    """Random ellipses, their projections by a projector of norm 1, noise of one per cent."""
    n_bins = n + math.ceil((math.sqrt(2) - 1) * n)
    angles = np.arange(n_views) * np.pi / n_views
    case = {"angles": angles, "norm": 1.0, "y": np.zeros((batch, n_views, n_bins))}
    case["truth"] = _images(n, batch)
    case["norm"] = 1.01 * float(norm(operator(case), jax.random.key(1)).value)
    return _measured(case)


def mri_case(n: int, n_coils: int, batch: int) -> dict:
    """Random ellipses with a smooth phase, every fourth line of their k-space, noise."""
    maps = mri.normalise_maps(mri.birdcage_maps(n_coils, (n, n)))
    lines = mri.equispaced_lines_mask((n, n), 4, calibration=n // 12)[:1]
    case = {"maps": np.asarray(maps), "mask": np.asarray(lines)}
    phase = np.linspace(-1, 1, n) ** 2 + np.linspace(-1, 1, n)[:, None]
    case["truth"] = _images(n, batch) * np.exp(1j * phase).astype(np.complex64)
    return _measured(case)


def _images(n: int, batch: int) -> np.ndarray:
    def draw(key):
        return data.area_average(data.random_ellipses(key, half_width=n / 2), (n, n))

    return np.asarray(jax.vmap(draw)(jax.random.split(jax.random.key(0), batch)))


def _measured(case: dict) -> dict:
    A = operator(case)
    y = np.asarray(jax.vmap(A)(jnp.asarray(case["truth"])))
    noise = np.random.default_rng(0).standard_normal((2, *y.shape))
    noise = noise[0] + 1j * noise[1] if np.iscomplexobj(y) else noise[0]
    y = y + 0.01 * np.sqrt(np.mean(np.abs(y) ** 2)) * noise
    return case | {"y": y.astype(A.range.dtype)}


def with_network(case: dict, n_iter: int, *, residual: bool = False, gain: float = 0.1) -> dict:
    """The weights of a network of three convolutions and 32 channels."""
    channels = 2 if np.iscomplexobj(case["truth"]) else 1
    options = {"residual": residual, "final_gain": gain, "rngs": nnx.Rngs(0)}
    net = ConvNet(channels, channels, widths=(32, 32), **options)
    weights = {}
    for i, layer in enumerate(net.layers):
        weights |= {f"w{i}": np.asarray(layer.kernel[...]), f"b{i}": np.asarray(layer.bias[...])}
    return case | {"n_iter": n_iter, "residual": residual, **weights}


def operator(case: dict) -> LinearOperator:
    """The scan; CT turns about the point that deepinv's projector turns about."""
    if "maps" in case:
        return mri.sense(case["maps"], case["mask"])
    angles, n_bins = np.asarray(case["angles"]), case["y"].shape[-1]
    offset = (n_bins % 2) * (np.cos(angles) + np.sin(angles)) / 2
    A = ct.parallel_beam(angles, case["truth"].shape[-2:], n_bins, offset=offset)
    return (1 / float(case["norm"])) * A


# -------------------------------------------------------------------------------------- our network


def network(
    case: dict,
    *,
    dtype: Any = None,
    implicit: bool = False,
    tol: float = 1e-4,
    adjoint_solve: AdjointSolve | None = None,
    **options: Any,
) -> Unrolled | Equilibrium:
    """The unrolled network with the weights of the problem, or its fixed point."""
    n_iter, channels = int(case["n_iter"]), case["w0"].shape[2]
    widths = case["w0"].shape[3], case["w1"].shape[3]
    sizes = {"widths": widths, "residual": bool(case["residual"]), "dtype": dtype}
    prior = ConvNet(channels, channels, **sizes, rngs=nnx.Rngs(0))
    for i, layer in enumerate(prior.layers):
        layer.kernel[...], layer.bias[...] = jnp.asarray(case[f"w{i}"]), jnp.asarray(case[f"b{i}"])
    algorithm = ProximalGradient(1.0)
    net = Unrolled(algorithm, prior, n_iter=n_iter, normalised=False, **options)
    if not implicit:
        return net
    return Equilibrium(net, n_iter=n_iter, tol=tol, adjoint_solve=adjoint_solve)


def layers(net: Any) -> list[Any]:
    """The convolutions of what `network` makes."""
    net = net.net if isinstance(net, Equilibrium) else net
    return list(net.prior.network.layers)


def flat(net: Any) -> np.ndarray:
    """All weights of a network, or of a gradient in its place, as a rival gives them."""
    parts = [p for layer in layers(net) for p in (layer.kernel[...], layer.bias[...])]
    return np.concatenate([np.asarray(p).ravel() for p in parts])


def squared_error(x: jax.Array, truth: jax.Array) -> jax.Array:
    """The mean over pixels, and over real and imaginary part of complex images."""
    n_parts = 2 if jnp.iscomplexobj(truth) else 1
    error = x - truth
    return jnp.mean(error.real**2 + error.imag**2) / n_parts


def growth(run: Any) -> tuple[Any, int]:
    """What a call returns and how much memory it takes at most: of the GPU, else of the process."""
    device = jax.devices()[0]
    stats = device.memory_stats()
    if device.platform == "cpu" or not stats:
        return rivals.growth(run)
    before = stats["bytes_in_use"]
    result = jax.block_until_ready(run())
    return result, (_memory.device_peak_bytes(device) or 0) - before
