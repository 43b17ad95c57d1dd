"""Type 2 and type 1 transforms as a mutual pair, with one rule for batches and one for points.

    y_j = (1/√ΠN) Σ_n x_n exp(−2πi Σ_d k_{jd} (n_d − N_d // 2)/N_d)
    (1)

A batch of images (coils, frames, slices) goes through in one pass over the points. The derivative
in the points is exact and costs d transforms, stacked like coils:

    ∂y_j/∂k_{jd} = A(−i r_d x)_j,  r_d = 2π (n_d − N_d // 2)/N_d
    (2)

It is made of the pair itself, so derivatives of any order in image, data and points exist.
"""

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import custom_vmap
from jaxtyping import Array, Complex, Float

from jaxrecon.core import pair
from jaxrecon.physics.nufft import _dense, _finufft, _grid, _interpolate
from jaxrecon.physics.nufft._plan import Plan

# Bytes that the oversampled grids of one pass may take; a larger batch goes in several.
GRIDS = 5 << 27
# A grid of this many bytes a coil exceeds the caches; then this many points are worth sorting.
SORTED_GRID, SORTED_POINTS = 1 << 24, 1 << 12


def _type2(plan: Plan, points: Array, images: Array) -> Array:
    if plan.backend != "xla":
        return (_dense if plan.backend == "dft" else _finufft).forward(plan, points, images)
    points, order = _ordered(plan, points)

    def some(images):
        return _interpolate.interpolate(plan, points, _grid.to_grid(plan, images))

    values = _in_passes(plan, some, images)
    return values if order is None else values[:, _inverse(order)]


def _type1(plan: Plan, points: Array, values: Array) -> Array:
    if plan.backend != "xla":
        return (_dense if plan.backend == "dft" else _finufft).adjoint(plan, points, values)
    points, order = _ordered(plan, points)

    def some(values):
        return _grid.from_grid(plan, _interpolate.spread(plan, points, values))

    return _in_passes(plan, some, values if order is None else values[:, order])


def _ordered(plan: Plan, points: Array) -> tuple[Array, Array | None]:
    """Points as neighbours in the grid follow each other, where the grid exceeds the caches."""
    cells = math.prod(plan.grid_shape)
    if cells * points.dtype.itemsize < SORTED_GRID or len(points) < SORTED_POINTS:
        return points, None
    order = jnp.argsort(_interpolate.tiles(plan, points))
    return points[order], order


def _inverse(order: Array) -> Array:
    n = order.shape[0]
    return jnp.zeros_like(order).at[order].set(jnp.arange(n), unique_indices=True)


def pullback(
    plan: Plan,
    points: Float[Array, "point axis"],
    image: Complex[Array, "*image"],
    cotangent: Complex[Array, " point"],
) -> Float[Array, "point axis"]:
    """The cotangent of the points for Re⟨cotangent, A x⟩, by equation (2)."""
    turned = jnp.stack([image * (-1j * r) for r in _grid.radians(plan, points.dtype)])
    slopes = jax.vmap(lambda x: apply(plan, points, x))(turned)
    return jnp.real(cotangent.conj() * slopes).T


def _in_passes(plan: Plan, f: Callable[[Array], Array], batch: Array) -> Array:
    """`f` of parts of a batch so small that the grids of a part fit in `GRIDS` bytes."""
    cells = math.prod(n + plan.width for n in plan.grid_shape)
    size = max(1, GRIDS // (cells * batch.dtype.itemsize))
    count = -(-batch.shape[0] // size)
    if count == 1:
        return f(batch)
    size = -(-batch.shape[0] // count)
    padding = [(0, count * size - batch.shape[0])] + [(0, 0)] * (batch.ndim - 1)
    parts = jnp.pad(batch, padding).reshape(count, size, *batch.shape[1:])
    result = lax.map(f, parts)
    return result.reshape(count * size, *result.shape[2:])[: batch.shape[0]]


def _batched(kernel: Callable[[Plan, Array, Array], Array], n_dims: Callable[[Plan], int]):
    """Makes `jax.vmap` over images or data one pass over the points, at any depth of nesting."""

    @functools.wraps(kernel)
    def call(plan, points, values):
        @custom_vmap
        def run(points, values):
            batch = values.shape[: values.ndim - n_dims(plan)]
            flat = values.reshape(math.prod(batch), *values.shape[len(batch) :])
            result = kernel(plan, points, flat)
            return result.reshape(*batch, *result.shape[1:])

        @run.def_vmap
        def rule(size, batched, points, values):
            if not batched[0]:
                return run(points, values), True
            if not batched[1]:
                return lax.map(lambda points: run(points, values), points), True
            return lax.map(lambda each: run(*each), (points, values)), True

        return run(points, values)

    return call


apply, apply_adjoint = pair(
    _batched(_type2, lambda plan: len(plan.image_shape)), _batched(_type1, lambda plan: 1), pullback
)
