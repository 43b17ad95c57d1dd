"""Blur that varies over the image, as a weighted sum of convolutions.

    y = Σ_k h_k * (w_k ⊙ x)
    (1)

The weights w_k say where in the object each kernel acts; with a partition of unity, light at a
kernel's centre spreads as that kernel, and in between as their mixture. Convolution, `padding` and
`method` are those of `blur`. Kernels and weights are array data with gradients. The Fourier way
takes k transforms of the image and one back.

Source: Denis et al., "Fast approximations of shift-variant blur", IJCV 115 (2015); Escande and
Weiss, "Approximation of integral operators using product-convolution expansions", JMIV 58 (2017).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact

from jaxrecon.core import LinearOperator, operator, static, tree
from jaxrecon.physics.optics._blur import (
    checked_kernel,
    checked_method,
    checked_padding,
    convolve,
    convolve_adjoint,
)
from jaxrecon.physics.optics._checks import inexact, like, struct_of
from jaxrecon.physics.optics._convolve import Axes

__all__ = ["SpaceVaryingBlur", "partition_of_unity", "space_varying_blur", "window_centres"]


@operator
class SpaceVaryingBlur(LinearOperator):
    """Product-convolution, equation (1); build it with `space_varying_blur`."""

    kernels: Inexact[Array, "k *kernel"]
    weights: Inexact[Array, "k *image"]
    struct: jax.ShapeDtypeStruct = static()
    padding: str = static()
    method: str = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        shape, sizes = self.struct.shape, self.kernels.shape[1:]
        if self.padding == "valid":
            shape = tuple(n - k + 1 for n, k in zip(shape, sizes, strict=True))
        dtype = jnp.result_type(self.kernels, self.weights, self.struct.dtype)
        return jax.ShapeDtypeStruct(shape, dtype)

    def forward(self, x: Array) -> Array:
        parts = self.weights * x[None]
        return convolve(self.kernels, parts, self._axes, self.padding, self.method, total=True)[0]

    def adjoint(self, y: Array) -> Array:
        parts = convolve_adjoint(self.kernels, y[None], self._axes, self.padding, self.method)
        return tree.match_real(jnp.sum(jnp.conj(self.weights) * parts, 0), self.struct)

    @property
    def _axes(self) -> Axes:
        return tuple(range(1, self.kernels.ndim))


def space_varying_blur(
    kernels: ArrayLike,
    weights: ArrayLike,
    domain: Any,
    padding: str = "circular",
    *,
    method: str = "auto",
) -> SpaceVaryingBlur:
    """Blur whose kernel varies over the image, as a weighted sum of convolutions, equation (1).

    Args:
        kernels: `(k, *kernel)`, one axis for each of the image's after the first.
        weights: `(k, *image)`: where each kernel acts, usually from `partition_of_unity`.
        domain: array or struct of the image, `(y, x)` or `(z, y, x)`; colours by `jax.vmap`.
        padding: as for `blur`.
        method: as for `blur`.

    Returns:
        A `LinearOperator`.

    Raises:
        ValueError: an option is unknown, or shapes do not fit.

    Example:
        >>> weights = partition_of_unity((8, 9), (2, 2))
        >>> kernels = jnp.stack([jnp.ones((3, 3)) / 9] * 4)
        >>> A = space_varying_blur(kernels, weights, jnp.zeros((8, 9)))
        >>> round(float(A(jnp.ones((8, 9))).max()), 5)
        1.0
    """
    kernels, weights = inexact("kernels", kernels), inexact("weights", weights)
    struct = struct_of(domain)
    rank = len(struct.shape)
    if weights.shape[1:] != struct.shape or kernels.shape[:1] != weights.shape[:1]:
        raise ValueError(
            f"`weights` has shape {weights.shape} for {kernels.shape[:1]} kernels; "
            f"expected one weight for each of them and each pixel of {struct.shape}"
        )
    if kernels.ndim != rank + 1:
        raise ValueError(
            f"`kernels` has shape {kernels.shape}; expected {rank} axes after the first"
        )
    checked_kernel(kernels[0], struct.shape, tuple(range(rank)))
    method = checked_method(method, math.prod(kernels.shape[1:]))
    kernels, weights = like(kernels, struct), like(weights, struct)
    return SpaceVaryingBlur(kernels, weights, struct, checked_padding(padding), method)


def partition_of_unity(
    shape: tuple[int, ...], n_windows: tuple[int, ...], *, dtype: Any = jnp.float32
) -> Float[Array, "k ..."]:
    """Smooth overlapping windows that add up to one everywhere.

    Window i of n on an axis is centred at pixel (i + ½) N / n − ½ and falls as a squared cosine to
    zero at its neighbours' centres; the outermost ones stay at one to the border. With a kernel
    measured at each centre, equation (1) interpolates between neighbouring kernels.

    Args:
        shape: of the image.
        n_windows: on each axis; Π n_windows in all, in row-major order.
        dtype: of the result.

    Returns:
        Weights `(k, *shape)`, non-negative.

    Raises:
        ValueError: there are not 1 to N windows on each axis.

    Example:
        >>> partition_of_unity((4, 6), (2, 3)).shape
        (6, 4, 6)
    """
    centres = window_centres(shape, n_windows)
    grids = [jnp.stack(_windows(n, c, dtype)) for n, c in zip(shape, centres, strict=True)]
    weights = jnp.ones((1,), dtype)
    for grid in grids:
        weights = weights[:, None, ..., None] * grid.reshape(
            1, grid.shape[0], *(1,) * (weights.ndim - 1), grid.shape[1]
        )
        weights = weights.reshape(-1, *weights.shape[2:])
    return weights


def window_centres(
    shape: tuple[int, ...], n_windows: tuple[int, ...]
) -> tuple[tuple[float, ...], ...]:
    """Centres, in pixels, of the windows of `partition_of_unity` on each axis.

    Raises:
        ValueError: there are not 1 to N windows on each axis.

    Example:
        >>> window_centres((4, 6), (2, 3))
        ((0.5, 2.5), (0.5, 2.5, 4.5))
    """
    fits = len(shape) == len(n_windows) and all(1 <= k <= n for k, n in zip(n_windows, shape))
    if not fits:
        raise ValueError(
            f"`n_windows` is {n_windows}; expected 1 to N windows on each axis of {shape}"
        )
    pairs = zip(shape, n_windows, strict=True)
    return tuple(tuple((i + 0.5) * n / k - 0.5 for i in range(k)) for n, k in pairs)


def _windows(n: int, centres: tuple[float, ...], dtype: Any) -> list[Array]:
    if len(centres) == 1:
        return [jnp.ones(n, dtype)]
    position = (jnp.arange(n, dtype=dtype) - centres[0]) / (centres[1] - centres[0])
    position = jnp.clip(position, 0, len(centres) - 1)
    distance = [jnp.clip(jnp.abs(position - i), 0, 1) for i in range(len(centres))]
    return [jnp.cos(jnp.pi / 2 * d) ** 2 for d in distance]
