"""The one tolerance table: what rounding may do, by dtype of the computation."""

import jax.numpy as jnp
import numpy as np

# adjoint: |⟨Ax,Ax⟩ − ⟨x,AᴴAx⟩| / ⟨Ax,Ax⟩, accumulated in float64.
# equal: relative L2 difference of two ways to the same array.
ADJOINT = {"float32": 1e-6, "float64": 1e-13, "bfloat16": 2e-2}
EQUAL = {"float32": 3e-6, "float64": 1e-13, "bfloat16": 2e-2}
# Central differences of step 1e-6 in float64.
DERIVATIVE = 1e-6


def real_name(dtype) -> str:
    """The real precision behind a dtype: complex64 counts as float32."""
    return jnp.finfo(dtype).dtype.name


def relative_error(got, expected) -> float:
    """‖got − expected‖ / ‖expected‖ in float64; the size itself where expected is zero."""
    got, expected = np.asarray(got, np.complex128), np.asarray(expected, np.complex128)
    size = np.linalg.norm(expected)
    return float(np.linalg.norm(got - expected) / (size if size > 0 else 1.0))
