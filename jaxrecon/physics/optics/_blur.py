"""Blur: convolution of an image with a point-spread function.

    y = h * x,    y_n = Σ_m h_m x_{n − (m − c)},  c = K // 2
    (1)

True convolution with the kernel's centre at index K // 2 of each axis, for odd and even sizes. An
image is `(y, x)` or `(z, y, x)`, with further axes, such as colour channels, that are not convolved
over; real or complex. Beyond its border the image goes on as `padding` says:

- "circular": periodic; AᴴA is then diagonal in the Fourier domain, so Wiener filters and proximal
  steps are closed forms (`gram`, `gram_spectrum`, `shifted_inverse`);
- "reflect" (c b | a b c d | c b), "symmetric" (b a | a b c d | d c), "replicate" (a a | a b c d |
  d d) and "zero";
- "valid": nothing is assumed, and y is K − 1 smaller on each axis.

The kernel is array data with a gradient: blind deblurring needs no other operator. The transfer
function is computed from the kernel in each call; XLA moves that out of loops in which the kernel
does not change.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from jaxrecon.core import LinearOperator, operator, static, tree
from jaxrecon.physics.optics import _convolve
from jaxrecon.physics.optics._checks import inexact, is_complex, like, struct_of
from jaxrecon.physics.optics._convolve import Axes, Margins

__all__ = ["Blur", "Filter", "blur"]

# Taps up to which the sum of shifted images was faster than Fourier transforms (512², 2 cores).
_SPATIAL_TAPS = 64


@operator
class Blur(LinearOperator):
    """Convolution with one kernel, equation (1); build it with `blur`."""

    kernel: Inexact[Array, "..."]
    struct: jax.ShapeDtypeStruct = static()
    axes: Axes = static()
    padding: str = static()
    method: str = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        shape = list(self.struct.shape)
        for a in self.axes if self.padding == "valid" else ():
            shape[a] -= self.kernel.shape[a] - 1
        return jax.ShapeDtypeStruct(tuple(shape), jnp.result_type(self.kernel, self.struct.dtype))

    def forward(self, x: Array) -> Array:
        return convolve(self.kernel, x, self.axes, self.padding, self.method)

    def adjoint(self, y: Array) -> Array:
        x = convolve_adjoint(self.kernel, y, self.axes, self.padding, self.method)
        return tree.match_real(x, self.struct)

    @property
    def gram(self) -> LinearOperator:
        """|H|² in the Fourier domain if circular, computed here, once."""
        if self.padding != "circular":
            return self.H @ self
        return Filter(self.power(), self.struct, self.axes)

    def gram_spectrum(self) -> Array | None:
        if self.padding != "circular" or _varies(self.kernel, self.axes):
            return None
        return self.power()

    def shifted_inverse(self, shift: Any) -> LinearOperator | None:
        if self.padding != "circular":
            return None
        return Filter(1 / (self.power() + shift), self.struct, self.axes)

    def power(self) -> Array:
        """|H|², the eigenvalues of AᴴA with "circular" padding, broadcastable to the domain."""
        spectrum = _convolve.transfer(self.kernel, self.struct.shape, self.axes, half=False)
        power = spectrum.real**2 + spectrum.imag**2
        if jnp.iscomplexobj(self.kernel) and not is_complex(self.struct):
            # Re AᴴA: on real images |H|² acts through its part that is symmetric in k → −k.
            mirrored = jnp.roll(jnp.flip(power, self.axes), [1] * len(self.axes), self.axes)
            return (power + mirrored) / 2
        return power


@operator
class Filter(LinearOperator):
    """x ↦ F⁻¹ (s ⊙ F x) over some axes, for real s: its own adjoint.

    `spectrum` is in the order of `jnp.fft.fftn` over `axes`, broadcastable to the domain, and
    symmetric under k → −k where the domain is real. Unlike `core.Circulant` it may differ from
    channel to channel.
    """

    spectrum: Float[Array, "..."]
    struct: jax.ShapeDtypeStruct = static()
    axes: Axes = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return self.struct

    def forward(self, x: Array) -> Array:
        if jnp.iscomplexobj(x):
            return _convolve.filtered(self.spectrum, x, self.axes, half=False)
        last = self.axes[-1]
        stop = min(x.shape[last] // 2 + 1, self.spectrum.shape[last])
        half = jax.lax.slice_in_dim(self.spectrum, 0, stop, axis=last)
        return _convolve.filtered(half, x, self.axes, half=True)

    def adjoint(self, y: Array) -> Array:
        return self.forward(y)

    def gram_spectrum(self) -> Array | None:
        """None where channels differ: the spectrum would not be one over all axes."""
        return None if _varies(self.spectrum, self.axes) else self.spectrum**2

    def shifted_inverse(self, shift: Any) -> LinearOperator:
        return Filter(1 / (self.spectrum**2 + shift), self.struct, self.axes)


def convolve(
    kernel: Array, x: Array, axes: Axes, padding: str, method: str, *, total: bool = False
) -> Array:
    """Equation (1) for a kernel with as many axes as x; summed over axis 0 if `total`."""
    if padding == "circular" and method == "fft":
        return _convolve.circular_convolve(kernel, x, axes, total=total)
    extended = _convolve.extend(x, *_border(kernel, axes, padding))
    return _convolve.valid_convolve(kernel, extended, axes, method, total=total)


def convolve_adjoint(kernel: Array, y: Array, axes: Axes, padding: str, method: str) -> Array:
    """The adjoint of `convolve` in x."""
    if padding == "circular" and method == "fft":
        return _convolve.circular_correlate(kernel, y, axes)
    extended = _convolve.full_correlate(kernel, y, axes, method)
    return _convolve.fold(extended, *_border(kernel, axes, padding))


def blur(
    kernel: ArrayLike,
    domain: Any,
    padding: str = "circular",
    *,
    method: str = "auto",
    axes: Axes | None = None,
) -> Blur:
    """Convolution of images like `domain` with `kernel`.

    Args:
        kernel: real or complex, one axis for each of `axes`, in the image's order; or one for each
            of the domain's, of its length or 1 on those that are not convolved over: a kernel for
            every channel.
        domain: array or struct of the image.
        padding: "circular", "reflect", "symmetric", "replicate", "zero" or "valid".
        method: "fft", "spatial" (a program that grows with the number of taps: for small kernels),
            or "auto", which chooses by the number of taps.
        axes: of the image, to convolve over; by default the last ones, as many as the kernel has.

    Returns:
        A `LinearOperator`. With "valid" its range is K − 1 smaller on each axis.

    Raises:
        ValueError: an option is unknown, or the kernel does not fit the image.

    Example:
        >>> A = blur(jnp.ones((3, 3)) / 9, jnp.zeros((6, 5)), padding="replicate")
        >>> round(float(A(jnp.ones((6, 5))).min()), 5)
        1.0
        >>> deblur = blur(jnp.ones((3, 3)) / 9, jnp.zeros((6, 5))).shifted_inverse(1e-3)
    """
    kernel, struct = inexact("kernel", kernel), struct_of(domain)
    rank = len(struct.shape)
    if axes is None:
        axes = tuple(range(max(rank - kernel.ndim, 0), rank))
    axes = _checked_axes(axes, rank)
    kernel = checked_kernel(kernel, struct.shape, axes)
    taps = math.prod(kernel.shape[a] for a in axes)
    method = checked_method(method, taps)
    return Blur(like(kernel, struct), struct, axes, checked_padding(padding), method)


def _varies(array: Array, axes: Axes) -> bool:
    """Whether a kernel or spectrum differs along an axis that is not convolved over."""
    return any(n > 1 for a, n in enumerate(array.shape) if a not in axes)


def _border(kernel: Array, axes: Axes, padding: str) -> tuple[Margins, str]:
    """The margins of `extend` for one of `PADDINGS`, and its mode."""
    sizes = tuple(n if a in axes and padding != "valid" else 1 for a, n in enumerate(kernel.shape))
    return _convolve.margins(sizes), "zero" if padding == "valid" else padding


def _checked_axes(axes: Axes, rank: int) -> Axes:
    if any(not -rank <= a < rank for a in axes) or len({a % rank for a in axes}) != len(axes):
        raise ValueError(f"`axes` is {axes}; expected different axes of a domain that has {rank}")
    return tuple(sorted(a % rank for a in axes))


def checked_kernel(kernel: Array, shape: tuple[int, ...], axes: Axes) -> Array:
    """The kernel with as many axes as the image, of length 1 where it is not convolved over."""
    if kernel.ndim == len(axes) != len(shape):
        kernel = jnp.expand_dims(kernel, [a for a in range(len(shape)) if a not in axes])
    allowed = [range(1, n + 1) if a in axes else (1, n) for a, n in enumerate(shape)]
    if kernel.ndim != len(shape) or any(k not in r for k, r in zip(kernel.shape, allowed)):
        raise ValueError(
            f"`kernel` has shape {kernel.shape}, which does not fit an image {shape} convolved "
            f"over axes {axes}: expected one axis for each of these, no longer than the image's"
        )
    return kernel


def checked_padding(padding: str) -> str:
    if padding not in _convolve.PADDINGS:
        raise ValueError(f"`padding` is {padding!r}; expected one of {_convolve.PADDINGS}")
    return padding


def checked_method(method: str, taps: int) -> str:
    if method not in ("fft", "spatial", "auto"):
        raise ValueError(f"`method` is {method!r}; expected 'fft', 'spatial' or 'auto'")
    if method == "auto":
        return "spatial" if taps <= _SPATIAL_TAPS else "fft"
    return method
