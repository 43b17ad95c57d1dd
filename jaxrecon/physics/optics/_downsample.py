"""Downsampling, the forward model of super-resolution: blur, then keep every f-th pixel.

    y = S_f (h * x),    y_n = (h * x)_{f n + o} on each axis
    (1)

A pixel of y stands for f × f pixels of x. With the default offset o = (f − 1) // 2, and the named
kernels, which have an even number of taps for an even f, it lies in the centre of its block. Much
of the literature has o = 0: pass ``offset=0`` to reproduce it.

With circular padding and an image whose size f divides, AAᴴ is again a circular convolution, by the
mean of |H|² over the f^d frequencies that alias onto one another, and so

    (AᴴA + s)⁻¹ = (I − Aᴴ F⁻¹ (s + mean_aliases |H|²)⁻¹ F A) / s
    (2)

is a closed form, at the cost of two applications of A.

Source of (2): Zhao et al., "Fast single image super-resolution using a new analytical solution for
ℓ2-ℓ2 problems", IEEE Trans. Image Process. 25 (2016). Bicubic kernel: Keys, IEEE Trans. Acoust.
Speech Signal Process. 29 (1981), with a = −1/2, widened by f against aliasing.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array

from jaxrecon.core import LinearOperator, operator, static
from jaxrecon.physics.optics._blur import Blur, Filter, blur
from jaxrecon.physics.optics._checks import inverse_by_outer, is_complex, real_dtype, struct_of
from jaxrecon.physics.optics._convolve import Axes

__all__ = ["Downsample", "downsample"]


@operator
class Downsample(LinearOperator):
    """Blur and decimation, equation (1); build it with `downsample`."""

    blur: Blur
    factors: tuple[int, ...] = static()
    offsets: tuple[int, ...] = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.blur.domain

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return jax.eval_shape(self._sampled, self.blur.range)

    def forward(self, x: Array) -> Array:
        return self._sampled(self.blur.forward(x))

    def adjoint(self, y: Array) -> Array:
        size, widths = self.blur.range.shape, [(0, 0, 0)] * y.ndim
        for a, f, o in zip(self.blur.axes, self.factors, self.offsets, strict=True):
            widths[a] = (o, size[a] - o - 1 - f * (y.shape[a] - 1), f - 1)
        return self.blur.adjoint(jax.lax.pad(y, jnp.zeros((), y.dtype), widths))

    def shifted_inverse(self, shift: Any) -> LinearOperator | None:
        """Equation (2), or None unless padding is circular and the factors divide the image."""
        shape = self.domain.shape
        divides = all(shape[a] % f == 0 for a, f in zip(self.blur.axes, self.factors))
        only_real_linear = is_complex(self.range) and not is_complex(self.domain)
        if self.blur.padding != "circular" or not divides or only_real_linear:
            return None
        power = self.blur.power()
        for a, f in zip(self.blur.axes, self.factors, strict=True):
            # Frequencies k, k + n/f, k + 2n/f, ... of the n on this axis fall onto k.
            split = (*power.shape[:a], f, power.shape[a] // f, *power.shape[a + 1 :])
            power = jnp.mean(power.reshape(split), axis=a)
        outer = Filter(1 / (power + shift), self.range, self.blur.axes)
        return inverse_by_outer(self, outer, shift)

    def _sampled(self, x: Array) -> Array:
        start, stride = [0] * x.ndim, [1] * x.ndim
        for a, f, o in zip(self.blur.axes, self.factors, self.offsets, strict=True):
            start[a], stride[a] = o, f
        return jax.lax.slice(x, start, x.shape, stride)


def downsample(
    domain: Any,
    factor: int | tuple[int, ...],
    kernel: ArrayLike | str = "gaussian",
    padding: str = "circular",
    *,
    offset: int | tuple[int, ...] | None = None,
    method: str = "auto",
    axes: Axes | None = None,
) -> Downsample:
    """Blur images like `domain` and keep every `factor`-th pixel.

    Args:
        domain: array or struct of the fine image.
        factor: one for all `axes`, or one for each.
        kernel: "gaussian" (σ = f/2), "bicubic" (Keys, widened by f), "box" (the mean of a block),
            or an array as for `blur`; ``jnp.ones((1, 1))`` samples without a filter.
        padding: as for `blur`.
        offset: index of the first pixel kept, one for all axes or one for each; (f − 1) // 2 by
            default.
        method: as for `blur`.
        axes: of the image, to sample; all by default with a named kernel, else as for `blur`.

    Returns:
        A `LinearOperator` to images of ⌈(N − offset) / f⌉ pixels on each axis.

    Raises:
        ValueError: an option is unknown, or the kernel or a factor does not fit the image.

    Example:
        >>> A = downsample(jnp.zeros((8, 6)), 2, "box")
        >>> A(jnp.arange(48.0).reshape(8, 6))[0].tolist()
        [3.5, 5.5, 7.5]
    """
    struct = struct_of(domain)
    if axes is None and isinstance(kernel, str):
        axes = tuple(range(len(struct.shape)))
    n_axes = np.ndim(kernel) if axes is None else len(axes)
    factors = _each("factor", factor, n_axes, 1)
    defaults = tuple((f - 1) // 2 for f in factors)
    offsets = defaults if offset is None else _each("offset", offset, n_axes, 0)
    if isinstance(kernel, str):
        kernel = _named(kernel, factors).astype(real_dtype(struct))
    before = blur(kernel, struct, padding, method=method, axes=axes)
    size = [before.range.shape[a] for a in before.axes]
    if len(size) != n_axes or any(o >= f or o >= n for f, o, n in zip(factors, offsets, size)):
        raise ValueError(
            f"`offset` is {offsets} for factors {factors} and an image of {tuple(size)}: expected "
            "less than the factor and the size on every axis"
        )
    return Downsample(before, factors, offsets)


def _each(name: str, value: int | tuple[int, ...], n_axes: int, least: int) -> tuple[int, ...]:
    values = (value,) * n_axes if isinstance(value, int) else tuple(value)
    if len(values) != n_axes or any(v < least for v in values):
        raise ValueError(
            f"`{name}` is {value}; expected an integer of at least {least}, or one for each of the "
            f"{n_axes} axes"
        )
    return values


def _named(name: str, factors: tuple[int, ...]) -> Array:
    if name not in _PROFILES:
        raise ValueError(f"`kernel` is {name!r}; expected an array or one of {tuple(_PROFILES)}")
    profiles = (_PROFILES[name](f) for f in factors)
    return jnp.asarray(functools.reduce(np.multiply.outer, profiles))


def _taps(factor: int, reach: int) -> np.ndarray:
    """Positions within `reach` of the centre: whole numbers for an odd factor, halves for even."""
    half = reach - 1 if factor % 2 else reach - 0.5
    return np.arange(-half, half + 0.5)


def _gaussian(factor: int) -> np.ndarray:
    weights = np.exp(-((_taps(factor, 2 * factor + 1) / (factor / 2)) ** 2) / 2)
    return weights / weights.sum()


def _bicubic(factor: int) -> np.ndarray:
    t = np.abs(_taps(factor, 2 * factor) / factor)
    weights = np.where(t < 1, 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2)
    return weights / weights.sum()


def _box(factor: int) -> np.ndarray:
    return np.full(factor, 1 / factor)


_PROFILES = {"gaussian": _gaussian, "bicubic": _bicubic, "box": _box}
