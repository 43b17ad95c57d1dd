"""Phase retrieval: detectors see the modulus of a field, not its phase.

    amplitude(A):  y = |A x|,     A'(x) dx = Re(conj(u) A dx),  u = A x / |A x|  (0 where A x = 0)
    (1)
    intensity(A):  y = |A x|²,    A'(x) dx = 2 Re(conj(A x) A dx)
    (2)

Both are nonlinear `Operator`s; `linearise` gives the real-linear derivative, built from operators,
for Gauss-Newton and gradient methods. Where A x = 0 the modulus has no derivative: zero is taken,
here and by `jax.grad`, so that nothing turns NaN.

A solution is known up to a global phase, x e^{iφ} (`align_phase`), and depending on A up to more.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Inexact

from jaxrecon.core import LinearOperator, Operator, chain, operator, static
from jaxrecon.physics.optics._checks import real_dtype

__all__ = ["align_phase", "amplitude", "intensity", "overlap"]


@operator
class Modulus(Operator):
    """z ↦ |z| elementwise."""

    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.struct.shape, real_dtype(self.struct))

    def forward(self, x: Array) -> Array:
        return modulus(x)

    def linearise(self, x: Array) -> tuple[Array, LinearOperator]:
        y = modulus(x)
        return y, RealProduct(x / jnp.where(y == 0, 1, y), self.struct)


@operator
class SquaredModulus(Operator):
    """z ↦ |z|² elementwise."""

    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.struct.shape, real_dtype(self.struct))

    def forward(self, x: Array) -> Array:
        return x.real**2 + x.imag**2

    def linearise(self, x: Array) -> tuple[Array, LinearOperator]:
        return self.forward(x), RealProduct(2 * x, self.struct)


@operator
class RealProduct(LinearOperator):
    """z ↦ Re(conj(w) z): real-linear from a complex (or real) array to a real one."""

    weights: Inexact[Array, "..."]
    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.struct.shape, real_dtype(self.struct))

    def forward(self, x: Array) -> Array:
        return (jnp.conj(self.weights) * x).real

    def adjoint(self, y: Array) -> Array:
        return self.weights * y


def modulus(x: Array) -> Array:
    """|x| with derivative zero, not NaN, at zero."""
    zero = x == 0
    return jnp.where(zero, 0, jnp.abs(jnp.where(zero, 1, x)))


def amplitude(A: Operator) -> Operator:
    """X ↦ |A x|, equation (1), of an operator to one array.

    Raises:
        ValueError: A gives more than one array.

    Example:
        >>> from jaxrecon.core import identity
        >>> B = amplitude(identity(jnp.zeros(2, complex)))
        >>> y, derivative = B.linearise(jnp.array([3 + 4j, 0j]))
        >>> y.tolist(), derivative(jnp.array([1 + 0j, 1 + 0j])).tolist()
        ([5.0, 0.0], [0.6000000238418579, 0.0])
    """
    return chain(Modulus(_one_array(A)), A)


def intensity(A: Operator) -> Operator:
    """X ↦ |A x|², equation (2), of an operator to one array.

    Raises:
        ValueError: A gives more than one array.

    Example:
        >>> from jaxrecon.core import identity
        >>> intensity(identity(jnp.zeros(2, complex)))(jnp.array([3 + 4j, 0j])).tolist()
        [25.0, 0.0]
    """
    return chain(SquaredModulus(_one_array(A)), A)


def align_phase(
    x: Inexact[Array, "*shape"], reference: Inexact[Array, "*shape"]
) -> Inexact[Array, "*shape"]:
    """x·e^{iφ} (or ±x, for real x) with the global phase φ closest to the reference.

    The minimiser over φ of ‖x e^{iφ} − reference‖: compare images after it, with any metric.

    Example:
        >>> reference = jnp.array([1.0 + 1j, 2.0])
        >>> bool(jnp.allclose(align_phase(1j * reference, reference), reference))
        True
    """
    product = jnp.sum(jnp.conj(x) * reference)
    size = modulus(product)
    return x * jnp.where(size == 0, 1, product / jnp.where(size == 0, 1, size))


def overlap(x: Inexact[Array, "*shape"], reference: Inexact[Array, "*shape"]) -> Float[Array, ""]:
    """|⟨x, reference⟩| / (‖x‖ ‖reference‖), 0 to 1: blind to global phase and scale.

    Example:
        >>> round(float(overlap(jnp.array([1j, 0.0]), jnp.array([1.0, 1.0]))), 4)
        0.7071
    """
    sizes = jnp.linalg.norm(x.ravel()) * jnp.linalg.norm(reference.ravel())
    product = modulus(jnp.sum(jnp.conj(x) * reference))
    return jnp.where(sizes == 0, 0, product / jnp.where(sizes == 0, 1, sizes))


def _one_array(A: Operator) -> Any:
    struct = A.range
    if not isinstance(struct, jax.ShapeDtypeStruct):
        raise ValueError(f"`A` gives {struct}; expected an operator that gives one array")
    return struct
