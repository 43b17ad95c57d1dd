"""The transform as matrix products: exact to rounding, no gather, no scatter, no oversampling.

    y_j = Σ_{n_1} e^{−iθ_{j1 n1}} (Σ_{n_2} e^{−iθ_{j2 n2}} (...))
    (1)

Its work is points × pixels, all of it on matrix units: the back end for TPU, whose gathers are
weak, for small images anywhere, and the yardstick of the tests.
"""

import math

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float

from jaxrecon.core import match_varying
from jaxrecon.physics import _gather
from jaxrecon.physics.nufft._plan import Plan

# Complex numbers that the partial sums of a chunk of points may take.
PARTIAL = 1 << 22


def forward(
    plan: Plan, points: Float[Array, "point axis"], images: Complex[Array, "batch *image"]
) -> Complex[Array, "batch point"]:
    """Equation (1) for every image."""

    def chunk(chunked):
        phases = _phases(plan, chunked[0], images.dtype)
        values = jnp.einsum("b...n,jn->jb...", images, phases[-1], precision=lax.Precision.HIGHEST)
        for phase in phases[-2::-1]:
            values = jnp.einsum("jb...n,jn->jb...", values, phase, precision=lax.Precision.HIGHEST)
        return values

    values = _gather.map_chunks(chunk, (points,), _chunk_size(plan, images.shape[0]))
    return values.T / math.sqrt(math.prod(plan.image_shape))


def adjoint(
    plan: Plan, points: Float[Array, "point axis"], values: Complex[Array, "batch point"]
) -> Complex[Array, "batch *image"]:
    """The adjoint of `forward`."""
    batch = values.shape[0]

    def add(total, chunk):
        points, rows = chunk
        *others, last = (p.conj() for p in _phases(plan, points, values.dtype))
        for phase in others:
            rows = rows[..., None] * phase.reshape(len(phase), *(1,) * (rows.ndim - 1), -1)
        return total + jnp.einsum("jb...,jn->b...n", rows, last, precision=lax.Precision.HIGHEST)

    zero = match_varying(jnp.zeros((batch, *plan.image_shape), values.dtype), points, values)
    image = _gather.fold_chunks(add, zero, (points, values.T), _chunk_size(plan, batch))
    return image / math.sqrt(math.prod(plan.image_shape))


def _phases(plan: Plan, points: Float[Array, "point axis"], dtype) -> list[Array]:
    """e^{−2πi k n/N} for each axis, (point, n); whole turns are taken off to round less."""
    phases = []
    for axis, n in enumerate(plan.image_shape):
        index = jnp.asarray(np.arange(n) - n // 2, points.dtype)
        turns = (points[:, axis] / n)[:, None]
        turns = (turns - jnp.round(turns)) * index
        angle = (-2 * jnp.pi) * (turns - jnp.round(turns))
        phases.append(lax.complex(jnp.cos(angle), jnp.sin(angle)).astype(dtype))
    return phases


def _chunk_size(plan: Plan, batch: int) -> int:
    partial = batch * math.prod(plan.image_shape[:-1])
    return max(16, PARTIAL // max(partial, max(plan.image_shape)))
