"""Elementary operators: identity, diagonal, mask, centred Fourier transform, crop and pad,
finite differences, and any plain JAX function with its transpose derived.

Their derivatives are JAX's own rules. Fourier transforms are centred and orthonormal: index N//2
is the origin in both domains,

    y_k = N^(-1/2) Σ_n x_n exp(−2πi (k − N//2)(n − N//2) / N)   along each axis.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Complex, PyTree

from jaxrecon.core import _tree
from jaxrecon.core._pytree import operator, static
from jaxrecon.core.operators._operator import Identity, LinearOperator
from jaxrecon.core.operators._rule import match_varying

Shape = tuple[int, ...]


def centered_fft(x: Array, axes: Shape) -> Complex[Array, "..."]:
    """Centred orthonormal discrete Fourier transform over `axes`."""
    shifted = jnp.fft.ifftshift(x, axes)
    return jnp.fft.fftshift(jnp.fft.fftn(shifted, axes=axes, norm="ortho"), axes)


def centered_ifft(y: Array, axes: Shape) -> Complex[Array, "..."]:
    """The inverse, and adjoint, of `centered_fft`."""
    shifted = jnp.fft.ifftshift(y, axes)
    return jnp.fft.fftshift(jnp.fft.ifftn(shifted, axes=axes, norm="ortho"), axes)


@operator
class Diagonal(LinearOperator):
    """x ↦ w ⊙ x, w broadcast against x; also a mask, with w of zeros and ones (or booleans)."""

    weights: Array
    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> PyTree:
        return self.struct

    @property
    def range(self) -> PyTree:
        return jax.eval_shape(_weigh, self.struct, self.weights)

    def forward(self, x: Array) -> Array:
        return _weigh(x, self.weights)

    def adjoint(self, y: Array) -> Array:
        return _tree.match_real(_weigh(y, jnp.conj(self.weights)), self.struct)

    @property
    def gram(self) -> LinearOperator:
        return Diagonal(jnp.abs(self.weights) ** 2, self.struct)

    def shifted_inverse(self, shift: Any) -> LinearOperator:
        return Diagonal(1 / (jnp.abs(self.weights) ** 2 + shift), self.struct)


@operator
class FFT(LinearOperator):
    """Centred orthonormal Fourier transform over some axes of an array."""

    struct: jax.ShapeDtypeStruct = static()
    axes: Shape = static()

    @property
    def domain(self) -> PyTree:
        return self.struct

    @property
    def range(self) -> PyTree:
        dtype = jnp.result_type(self.struct.dtype, jnp.complex64)
        return jax.ShapeDtypeStruct(self.struct.shape, dtype)

    def forward(self, x: Array) -> Array:
        return centered_fft(x, self.axes)

    def adjoint(self, y: Array) -> Array:
        return _tree.match_real(centered_ifft(y, self.axes), self.struct)

    @property
    def gram(self) -> LinearOperator:
        return Identity(self.struct)

    def gram_spectrum(self) -> Array | None:
        return self.gram.gram_spectrum()


@operator
class Pad(LinearOperator):
    """Zero-padding from the centre outwards: index N//2 goes to index M//2 on every axis."""

    struct: jax.ShapeDtypeStruct = static()
    shape: Shape = static()

    @property
    def domain(self) -> PyTree:
        return self.struct

    @property
    def range(self) -> PyTree:
        return jax.ShapeDtypeStruct(self.shape, self.struct.dtype)

    def forward(self, x: Array) -> Array:
        starts = _starts(self.struct.shape, self.shape)
        sizes = zip(starts, self.struct.shape, self.shape, strict=True)
        return jnp.pad(x, [(a, m - n - a) for a, n, m in sizes])

    def adjoint(self, y: Array) -> Array:
        starts = _starts(self.struct.shape, self.shape)
        limits = [a + n for a, n in zip(starts, self.struct.shape, strict=True)]
        return jax.lax.slice(y, starts, limits)

    @property
    def gram(self) -> LinearOperator:
        return Identity(self.struct)

    def gram_spectrum(self) -> Array | None:
        return self.gram.gram_spectrum()


@operator
class Gradient(LinearOperator):
    """Forward differences along some axes, stacked in front: ``(axis, *shape)``.

    (Dx)_i = (x_{i+1} − x_i) / spacing; the last difference is 0 ("neumann") or wraps around
    ("periodic").
    """

    struct: jax.ShapeDtypeStruct = static()
    axes: Shape = static()
    spacing: tuple[float, ...] = static()
    boundary: str = static(default="neumann")

    @property
    def domain(self) -> PyTree:
        return self.struct

    @property
    def range(self) -> PyTree:
        return jax.ShapeDtypeStruct((len(self.axes), *self.struct.shape), self.struct.dtype)

    def forward(self, x: Array) -> Array:
        difference = _wrapped if self.boundary == "periodic" else _neumann
        pairs = zip(self.axes, self.spacing, strict=True)
        return jnp.stack([difference(x, axis) / h for axis, h in pairs])

    def adjoint(self, y: Array) -> Array:
        adjoint = _wrapped_adjoint if self.boundary == "periodic" else _neumann_adjoint
        parts = zip(y, self.axes, self.spacing, strict=True)
        return sum((adjoint(part, axis) / h for part, axis, h in parts), jnp.zeros((), y.dtype))

    def gram_spectrum(self) -> Array | None:
        """Σ |exp(iω) − 1|² / h² for periodic differences."""
        if self.boundary != "periodic":
            return None
        real = jnp.finfo(self.struct.dtype).dtype
        total = jnp.zeros((), real)
        for axis, h in zip(self.axes, self.spacing, strict=True):
            n = self.struct.shape[axis]
            eigenvalues = (2 * jnp.sin(jnp.pi * jnp.arange(n, dtype=real) / n) / h) ** 2
            total = total + eigenvalues.reshape(-1, *(1,) * (len(self.struct.shape) - axis - 1))
        return total


@operator
class FromFunction(LinearOperator):
    """A plain JAX function, linear in its last argument, with the transpose derived by JAX."""

    parameters: PyTree
    function: Callable[..., Any] = static()
    structs: PyTree = static()

    @property
    def domain(self) -> PyTree:
        return self.structs

    @property
    def range(self) -> PyTree:
        return jax.eval_shape(self.function, self.parameters, self.structs)

    def forward(self, x: Any) -> Any:
        return self.function(self.parameters, x)

    def adjoint(self, y: Any) -> Any:
        apply = lambda x: self.function(self.parameters, x)  # noqa: E731
        zeros = match_varying(_tree.zeros(self.structs), self.parameters, y)
        y = match_varying(jax.tree.map(jnp.conj, y), zeros)
        (x,) = jax.linear_transpose(apply, zeros)(y)
        return jax.tree.map(jnp.conj, x)


def identity(domain: PyTree) -> LinearOperator:
    """The identity on arrays, or structs, like `domain`."""
    return Identity(_hashable(_tree.structs(domain)))


def diagonal(weights: Array, domain: Any) -> LinearOperator:
    """Multiplication by `weights`, broadcast against arrays like `domain`.

    Raises:
        ValueError: the shapes do not broadcast to the domain's.
    """
    struct = _struct(domain)
    try:
        fits = jnp.broadcast_shapes(jnp.shape(weights), struct.shape) == struct.shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"`weights` has shape {jnp.shape(weights)}, which does not broadcast to {struct.shape}"
        )
    return Diagonal(jnp.asarray(weights), struct)


def fft(domain: Any, axes: Shape | None = None) -> LinearOperator:
    """Centred orthonormal Fourier transform of arrays like `domain`, over all axes by default."""
    struct = _struct(domain)
    return FFT(struct, _axes(axes, struct))


def pad(domain: Any, shape: Shape) -> LinearOperator:
    """Centred zero-padding of arrays like `domain` to `shape`; its adjoint crops.

    Raises:
        ValueError: `shape` is smaller than the domain's somewhere, or has other axes.
    """
    struct = _struct(domain)
    if len(shape) != len(struct.shape) or any(m < n for m, n in zip(shape, struct.shape)):
        raise ValueError(f"`shape` is {shape}, expected at least {struct.shape} on every axis")
    return Pad(struct, tuple(shape))


def crop(domain: Any, shape: Shape) -> LinearOperator:
    """Centred cropping of arrays like `domain` to `shape`; its adjoint pads.

    Raises:
        ValueError: `shape` is larger than the domain's somewhere, or has other axes.
    """
    struct = _struct(domain)
    if len(shape) != len(struct.shape) or any(m > n for m, n in zip(shape, struct.shape)):
        raise ValueError(f"`shape` is {shape}, expected at most {struct.shape} on every axis")
    return Pad(jax.ShapeDtypeStruct(tuple(shape), struct.dtype), struct.shape).H


def gradient(
    domain: Any,
    axes: Shape | None = None,
    *,
    spacing: float | tuple[float, ...] = 1.0,
    boundary: str = "neumann",
) -> LinearOperator:
    """Forward differences of arrays like `domain`, stacked in front: ``(axis, *shape)``.

    Args:
        domain: array or struct of the image.
        axes: the axes to differentiate along; all by default.
        spacing: grid spacing, one for all axes or one for each.
        boundary: "neumann" (no difference across the border) or "periodic".

    Raises:
        ValueError: unknown `boundary`, or as many spacings as there are axes are not given.

    Example:
        >>> gradient(jnp.zeros((3, 4)))(jnp.ones((3, 4))).shape
        (2, 3, 4)
    """
    struct = _struct(domain)
    axes = _axes(axes, struct)
    steps = (float(spacing),) * len(axes) if isinstance(spacing, int | float) else tuple(spacing)
    if boundary not in ("neumann", "periodic"):
        raise ValueError(f"`boundary` is {boundary!r}, expected 'neumann' or 'periodic'")
    if len(steps) != len(axes):
        raise ValueError(f"`spacing` has {len(steps)} entries for {len(axes)} axes")
    return Gradient(struct, axes, steps, boundary)


def from_function(function: Callable[..., Any], domain: PyTree, parameters: PyTree = ()):
    """An operator from ``function(parameters, x)``, linear in x and made of plain JAX operations.

    Arrays that matter go into `parameters`; one that the function closes over is a constant of the
    program, without a gradient. A function with a custom derivative rule cannot be transposed by
    JAX: write an operator class for it.

    Example:
        >>> A = from_function(lambda h, x: h * jnp.cumsum(x), jnp.zeros(3), 2.0)
        >>> A.H(jnp.array([1.0, 0.0, 0.0]))
        Array([2., 0., 0.], dtype=float32)
    """
    return FromFunction(parameters, function, _hashable(_tree.structs(domain)))


def _struct(domain: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(domain.shape), jnp.dtype(domain.dtype))


def _hashable(structs: PyTree) -> PyTree:
    """Static fields are hashed: lists and dicts of structs are not, tuples and one struct are."""
    try:
        hash(structs)
    except TypeError:
        raise ValueError("`domain` must be one array or tuples of arrays") from None
    return structs


def _axes(axes: Shape | None, struct: jax.ShapeDtypeStruct) -> Shape:
    rank = len(struct.shape)
    if axes is None:
        return tuple(range(rank))
    if any(not -rank <= a < rank for a in axes):
        raise ValueError(f"`axes` is {axes}, but the domain has {rank} axes")
    return tuple(a % rank for a in axes)


def _weigh(x: Array, weights: Array) -> Array:
    # A boolean or real weight keeps the precision of x.
    kind = jnp.complex64 if jnp.iscomplexobj(weights) else jnp.finfo(x.dtype).dtype
    return x * jnp.asarray(weights, jnp.result_type(jnp.finfo(x.dtype).dtype, kind))


def _starts(small: Shape, large: Shape) -> list[int]:
    return [m // 2 - n // 2 for n, m in zip(small, large, strict=True)]


def _wrapped(x: Array, axis: int) -> Array:
    return jnp.roll(x, -1, axis) - x


def _wrapped_adjoint(y: Array, axis: int) -> Array:
    return jnp.roll(y, 1, axis) - y


def _neumann(x: Array, axis: int) -> Array:
    return jnp.diff(x, axis=axis, append=jax.lax.slice_in_dim(x, -1, None, axis=axis))


def _neumann_adjoint(y: Array, axis: int) -> Array:
    inner = jax.lax.slice_in_dim(y, 0, -1, axis=axis)
    edge = jnp.zeros_like(jax.lax.slice_in_dim(y, 0, 1, axis=axis))
    return jnp.concatenate([edge, inner], axis) - jnp.concatenate([inner, edge], axis)
