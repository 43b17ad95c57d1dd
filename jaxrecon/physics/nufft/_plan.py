"""What decides a transform's program: shapes, accuracy, oversampling, kernel width, back end."""

import importlib.util
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxrecon.physics._memory import device_bytes
from jaxrecon.physics.nufft import _kernel

BACKENDS = ("xla", "finufft", "dft")
# Smallest eps that rounding lets through, by real dtype.
REACH = {"float32": 9e-7, "float64": 9e-14}
# By how much deapodisation may amplify rounding, so that adjoints are exact to 1e-6 and 1e-13.
MAX_AMPLIFICATION = 100.0
# Nanoseconds that a point's tap, and a grid cell and level (log2) of the FFT, take for each image:
# fitted to transforms of 256² on 2 cores. Only their ratio matters.
TAP, FFT_POINT = 0.25, 0.45


class Plan(NamedTuple):
    """The static part of a transform."""

    image_shape: tuple[int, ...]
    eps: float
    backend: str
    oversampling: float = 2.0
    width: int = 0
    grid_shape: tuple[int, ...] = ()


def make_plan(
    image_shape: tuple[int, ...],
    n_points: int,
    eps: float,
    dtype: Any,
    backend: str | None,
    oversampling: float | None,
) -> Plan:
    """Checks the choices and makes those that were left open.

    Raises:
        ValueError: an argument out of range, by its name.
    """
    name = jnp.finfo(dtype).dtype.name
    if not REACH.get(name, REACH["float32"]) <= eps <= 0.1:
        raise ValueError(
            f"`eps` is {eps}; expected {'1e-6' if name == 'float32' else '1e-13'} to 1e-1 for "
            f"{name}: "
            + ("enable x64 for less" if name == "float32" else "rounding allows no less")
        )
    backend = choose_backend(backend)
    if backend != "xla":
        return Plan(image_shape, float(eps), backend)
    choices = [2.0, 1.25] if oversampling is None else [float(oversampling)]
    plans = [_gridded(image_shape, float(eps), sigma) for sigma in choices]
    plans = [plan for plan in plans if plan.width <= _kernel.MAX_WIDTH]
    if len(plans) > 1:  # the sharper deapodisation of a coarse grid amplifies rounding
        limit = min(MAX_AMPLIFICATION, 4 * eps / float(jnp.finfo(dtype).eps))
        plans = [p for p in plans if p.oversampling == 2 or _amplification(p) < limit]
    if not plans:
        raise ValueError(
            f"`oversampling` is {oversampling}, with which `eps` = {eps} would take a kernel wider "
            f"than {_kernel.MAX_WIDTH} cells: pass oversampling=2"
        )
    best = min(plans, key=lambda plan: _cost(plan, n_points))
    _refuse_beyond_memory(best, 2 * jnp.finfo(dtype).dtype.itemsize)
    return best


def choose_backend(name: str | None) -> str:
    """The back end by its name, or the fastest that is installed for the default device.

    Raises:
        ValueError: an unknown name, or one whose package is not installed.
    """
    installed = importlib.util.find_spec("jax_finufft") is not None
    if name is None:
        platform = jax.default_backend()
        return {"tpu": "dft", "cpu": "finufft" if installed else "xla"}.get(platform, "xla")
    if name not in BACKENDS:
        raise ValueError(f"`backend` is {name!r}; expected one of {', '.join(map(repr, BACKENDS))}")
    if name == "finufft" and not installed:
        raise ValueError(
            "`backend` is 'finufft', which needs jax-finufft: install jaxrecon[finufft], or pass "
            "backend='xla'"
        )
    return name


def smooth_size(n: int) -> int:
    """The smallest even number of at least n without prime factors above 5."""
    n += n % 2
    while not _is_smooth(n):
        n += 2
    return n


def _gridded(image_shape: tuple[int, ...], eps: float, sigma: float) -> Plan:
    if not 1.2 <= sigma <= 4:
        raise ValueError(f"`oversampling` is {sigma}; expected 1.2 to 4, usually 2 or 1.25")
    width = _kernel.width(eps, sigma, len(image_shape))
    grid = tuple(smooth_size(max(math.ceil(sigma * n), 2 * width)) for n in image_shape)
    return Plan(image_shape, eps, "xla", sigma, width, grid)


def _amplification(plan: Plan) -> float:
    """How much larger the relative rounding error is after deapodisation than before it."""
    product = 1.0
    for n, size in zip(plan.image_shape, plan.grid_shape, strict=True):
        transform = _kernel.transform(plan.width, plan.oversampling, n, size)
        product *= math.sqrt((transform**2).mean() * (1 / transform**2).mean())
    return product


def _cost(plan: Plan, n_points: int) -> float:
    cells = math.prod(plan.grid_shape)
    taps = n_points * plan.width ** len(plan.image_shape)
    return TAP * taps + FFT_POINT * cells * math.log2(cells)


def _refuse_beyond_memory(plan: Plan, cell_bytes: int) -> None:
    """One image's grid and its transform must fit, and cells must be counted in 32 bits."""
    cells = math.prod(n + plan.width for n in plan.grid_shape)
    needed, available = 2 * cells * cell_bytes, device_bytes()
    if cells >= 2**31 or (available is not None and needed > available):
        raise ValueError(
            f"`image_shape` is {plan.image_shape}: its grid, {plan.grid_shape}, and the transform "
            f"of that take {needed / 2**30:.4g} GiB, more than the memory or than 2^31 cells; "
            "reconstruct slabs, or slices after a transform along the third axis"
        )


def _is_smooth(n: int) -> bool:
    for prime in (2, 3, 5):
        while n % prime == 0:
            n //= prime
    return n == 1
