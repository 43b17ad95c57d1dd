"""The right singular vectors of an operator, where it is known to have some in closed form.

    AᴴA = Vᴴ diag(g) V + 0,     V Vᴴ = 1                                                   (1)

V is the identity for masks and weights, a Fourier transform for circular blurs, Walsh-Hadamard's
for single-pixel cameras, whatever a mask stands behind (Fourier sampling), and for small operators
the rows of a dense decomposition. g counts as zero where rounding would make it anything.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Inexact, PyTree

from jaxrecon.core import Circulant, Identity, LinearOperator, fft, identity, operator, static
from jaxrecon.core.operators._elementary import Diagonal
from jaxrecon.core.operators._operator import Composition, Scaled, is_unitary
from jaxrecon.solvers.linear import svd
from jaxrecon.solvers.linear._singular import flatten, product, unflatten

_SMALL = 1024


class Spectrum(NamedTuple):
    """Equation (1): V and g; what V leaves out belongs to the null space."""

    basis: LinearOperator
    squares: Array


def spectrum(A: LinearOperator) -> Spectrum | None:
    """The decomposition of AᴴA, or None for a large operator without a closed form."""
    found = closed_spectrum(A)
    if found is None and sum(math.prod(s.shape) for s in jax.tree.leaves(A.domain)) <= _SMALL:
        system = svd(A)
        found = Spectrum(_Rows(system.right, A.domain), system.singular_values**2)
    if found is None:
        return None
    real = jnp.finfo(jax.tree.leaves(A.domain)[0].dtype).dtype
    g = found.squares.astype(real)  # a mask has booleans
    return Spectrum(found.basis, jnp.where(g > jnp.finfo(g.dtype).eps * jnp.max(g), g, 0))


def closed_spectrum(A: LinearOperator) -> Spectrum | None:
    """The decomposition of AᴴA from the structure of A."""
    eigenvalues = A.gram_spectrum()
    if eigenvalues is not None:
        return _fourier(eigenvalues, A.domain)
    found = _diagonal(A.gram)
    if found is not None:
        return found
    inverse = A.shifted_inverse(1.0)
    known = None if inverse is None else _diagonal(inverse)
    return None if known is None else Spectrum(known.basis, 1 / known.squares - 1)


def _diagonal(M: LinearOperator) -> Spectrum | None:
    """A symmetric operator's own decomposition, M = Vᴴ diag(g) V."""
    match M:
        case Identity() if isinstance(M.domain, jax.ShapeDtypeStruct):
            return _constant(jnp.ones(()), M.domain)
        case Diagonal():
            weights = jnp.broadcast_to(M.weights.real, M.domain.shape)
            return Spectrum(identity(M.domain), weights)
        case Circulant():
            return _fourier(M.spectrum, M.domain)
        case Scaled():
            inner = _diagonal(M.inner)
            return None if inner is None else Spectrum(inner.basis, M.factor * inner.squares)
        case Composition(inner=Composition(outer=middle, inner=V)) if is_unitary(V):
            inner = _diagonal(middle)
            return None if inner is None else Spectrum(inner.basis @ V, inner.squares)
    return None


def _fourier(eigenvalues: Array, struct: jax.ShapeDtypeStruct) -> Spectrum:
    """Of a circular convolution: our transform is centred, its eigenvalues are not."""
    if eigenvalues.ndim == 0:
        return _constant(eigenvalues, struct)
    centred = jnp.fft.fftshift(jnp.broadcast_to(eigenvalues, struct.shape))
    return Spectrum(fft(struct), centred)


def _constant(value: Array, struct: jax.ShapeDtypeStruct) -> Spectrum:
    return Spectrum(identity(struct), jnp.broadcast_to(value, struct.shape))


@operator
class _Rows(LinearOperator):
    """An image's coefficients along the rows of a matrix, ``(row, pixel)``."""

    rows: Inexact[Array, "row pixel"]
    struct: PyTree = static()

    @property
    def domain(self) -> PyTree:
        return self.struct

    @property
    def range(self) -> PyTree:
        return jax.ShapeDtypeStruct((self.rows.shape[0],), self.rows.dtype)

    def forward(self, x: Any) -> Array:
        return product(self.rows, flatten(x, jnp.iscomplexobj(self.rows)))

    def adjoint(self, y: Array) -> Any:
        back = product(self.rows.conj().T, y)
        return unflatten(back, self.struct, jnp.iscomplexobj(self.rows))
