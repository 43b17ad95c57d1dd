"""What the factories of this package ask of their arguments."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxrecon.core import LinearOperator, identity


def struct_of(domain: Any) -> jax.ShapeDtypeStruct:
    """Shape and dtype of an array or of a struct.

    Raises:
        ValueError: the dtype is not a floating or complex one.
    """
    dtype = jnp.dtype(domain.dtype)
    if not jnp.issubdtype(dtype, jnp.inexact):
        raise ValueError(f"`domain` has dtype {dtype}; expected real or complex floating point")
    return jax.ShapeDtypeStruct(tuple(domain.shape), dtype)


def is_complex(struct: jax.ShapeDtypeStruct) -> bool:
    """Whether arrays of this struct are complex."""
    return jnp.issubdtype(struct.dtype, jnp.complexfloating)


def real_dtype(struct: jax.ShapeDtypeStruct) -> Any:
    """The real dtype of the same precision."""
    return jnp.finfo(struct.dtype).dtype


def like(array: Array, struct: jax.ShapeDtypeStruct) -> Array:
    """In the precision of the image, complex only if it was."""
    real = real_dtype(struct)
    return array.astype(jnp.result_type(real, jnp.complex64) if jnp.iscomplexobj(array) else real)


def inexact(name: str, array: ArrayLike) -> Array:
    """The argument as an array of real or complex numbers.

    Raises:
        ValueError: it is a scalar, or holds integers or booleans.
    """
    array = jnp.asarray(array)
    if not (jnp.issubdtype(array.dtype, jnp.inexact) and array.ndim):
        raise ValueError(
            f"`{name}` is {array.dtype} of shape {array.shape}; expected an array of real or "
            "complex numbers: convert it with `.astype(float)`"
        )
    return array


def inverse_by_outer(A: LinearOperator, outer: LinearOperator, shift: Any) -> LinearOperator:
    """(AᴴA + s)⁻¹ = (I − Aᴴ (AAᴴ + s)⁻¹ A) / s from outer = (AAᴴ + s)⁻¹, for a wide A.

    Woodbury's identity, the other way round than for an adjoint.
    """
    return (1 / shift) * (identity(A.domain) - A.H @ (outer @ A))
