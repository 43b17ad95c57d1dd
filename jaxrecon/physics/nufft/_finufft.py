"""FINUFFT on the CPU through jax-finufft: its raw transforms only.

Derivatives and batching are ours (`_transform`), and so is what follows of mesh axes: its results
do not say that they vary over them. Export is refused with advice, for which there is a primitive
that does nothing else: JAX's own refusal of a custom call names no way out.
"""

import math

import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import mlir
from jaxtyping import Array, Bool, Complex, Float

from jaxrecon.core import match_varying
from jaxrecon.physics.nufft._plan import Plan

_not_exported = Primitive("jaxrecon_not_exported")
_not_exported.def_impl(lambda x: x)
_not_exported.def_abstract_eval(lambda x: x)


def _lower(ctx, x):
    if ctx.module_context.lowering_parameters.for_export:
        raise ValueError(
            "`backend` is 'finufft', which calls a library of this process and cannot be exported: "
            "build the operator with backend='xla' (or 'dft')"
        )
    return [x]


mlir.register_lowering(_not_exported, _lower)


def forward(
    plan: Plan, points: Float[Array, "point axis"], images: Complex[Array, "batch *image"]
) -> Complex[Array, "batch point"]:
    """Type 2."""
    from jax_finufft import nufft2

    finite = jnp.isfinite(points).all(axis=1)
    values = nufft2(images, *_radians(plan, points, finite), eps=plan.eps, iflag=-1)
    values = match_varying(_not_exported.bind(values), images, points)
    return jnp.where(finite, values, jnp.nan) / math.sqrt(math.prod(plan.image_shape))


def adjoint(
    plan: Plan, points: Float[Array, "point axis"], values: Complex[Array, "batch point"]
) -> Complex[Array, "batch *image"]:
    """Type 1."""
    from jax_finufft import nufft1

    shape = plan.image_shape
    finite = jnp.isfinite(points).all(axis=1)
    images = nufft1(shape, values, *_radians(plan, points, finite), eps=plan.eps, iflag=1)
    images = match_varying(_not_exported.bind(images), values, points)
    return jnp.where(finite.all(), images, jnp.nan) / math.sqrt(math.prod(shape))


def _radians(
    plan: Plan, points: Float[Array, "point axis"], finite: Bool[Array, " point"]
) -> list[Float[Array, " point"]]:
    """Coordinates in [−π, π]; FINUFFT writes out of bounds where they are not finite."""
    turns = jnp.where(finite[:, None], points, 0) / jnp.asarray(plan.image_shape, points.dtype)
    return list((2 * jnp.pi * (turns - jnp.round(turns))).T)
