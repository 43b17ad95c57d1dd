"""Correlation with a kernel, y[p] = Σ_d x[p + d] k[d], whose derivatives are fast on a CPU too.

    x̄ = g ⋆ flip(k)ᵀ,    k̄[d] = Σ_p x[p + d] g[p]                                          (1)

JAX writes the two as convolutions with unusual axis orders. XLA brings these into its CPU kernels'
order at the top level of a program only, so that inside a loop, where the steps of an unrolled
network are, they run many times slower (benchmarks/learned/cost/convolutions.py). Here both are
written in the order ``(n, y, x, channel)``, and on a CPU k̄ is summed over strips of rows that stay
in its cache.

The maps of (1) are each other's derivatives, so derivatives of any order exist in reverse mode.
Forward mode (`jax.jvp`) does not: of a network N, J v is the derivative of u ↦ Jᵀu along v.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Padding = tuple[tuple[int, int], tuple[int, int]]

_ORDER = ("NHWC", "HWIO", "NHWC")
_STRIP = 8  # rows


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def correlate(
    x: Float[Array, "n y x n_in"], kernel: Float[Array, "ky kx n_in n_out"], padding: Padding
) -> Float[Array, "n v u n_out"]:
    """The correlation of images padded by zeros.

    Args:
        x: images.
        kernel: what they are correlated with.
        padding: zeros before and after, along y and x.
    """
    return _plain(x, kernel, padding)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def kernel_gradient(
    x: Float[Array, "n y x n_in"], g: Float[Array, "n v u n_out"], padding: Padding
) -> Float[Array, "ky kx n_in n_out"]:
    """k̄ of equation (1); the kernel's size follows from those of x, g and the padding."""
    return _one_by_one(padding)(x, g)


def _forward(function: Any, x: Array, other: Array, padding: Padding) -> tuple[Array, Any]:
    return function(x, other, padding), (x, other)


def _correlate_backward(padding: Padding, kept: Any, g: Array) -> tuple[Array, Array]:
    x, kernel = kept
    return _image_gradient(g, kernel, padding), kernel_gradient(x, g, padding)


def _kernel_gradient_backward(padding: Padding, kept: Any, kernel: Array) -> tuple[Array, Array]:
    x, g = kept
    return _image_gradient(g, kernel, padding), correlate(x, kernel, padding)


correlate.defvjp(functools.partial(_forward, correlate), _correlate_backward)
kernel_gradient.defvjp(functools.partial(_forward, kernel_gradient), _kernel_gradient_backward)


def _image_gradient(g: Array, kernel: Array, padding: Padding) -> Array:
    return correlate(g, _turned(kernel), _opposite(kernel.shape, padding))


def _turned(kernel: Array) -> Array:
    return jnp.flip(kernel, (0, 1)).transpose(0, 1, 3, 2)


def _opposite(size: tuple[int, ...], padding: Padding) -> Any:
    """The padding that undoes one, for a kernel of a size."""
    return tuple((n - 1 - a, n - 1 - b) for n, (a, b) in zip(size[:2], padding))


def _plain(x: Array, kernel: Array, padding: Any) -> Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), padding, dimension_numbers=_ORDER)


# ------------------------------------------------------------------------------ kernel gradient


def _one_by_one(padding: Padding) -> Any:
    """The kernel's gradient; on a CPU a batch of them is worked off one after the other."""

    @jax.custom_batching.custom_vmap
    def gradient(x: Array, g: Array) -> Array:
        strips = functools.partial(_in_strips, padding=padding)
        whole = functools.partial(_in_one, padding=padding)
        return lax.platform_dependent(x, g, cpu=strips, default=whole)

    @gradient.def_vmap
    def batch(size: int, batched: list[bool], x: Array, g: Array) -> tuple[Array, bool]:
        x, g = (a if b else jnp.broadcast_to(a, (size, *a.shape)) for a, b in zip((x, g), batched))
        one_by_one = lambda x, g: lax.map(lambda pair: gradient(*pair), (x, g))  # noqa: E731
        at_once = jax.vmap(functools.partial(_in_one, padding=padding))
        return lax.platform_dependent(x, g, cpu=one_by_one, default=at_once), True

    return gradient


def _kernel_size(x: Array, g: Array, padding: Padding) -> tuple[int, int]:
    sizes = (x.shape[a] + sum(padding[a - 1]) - g.shape[a] + 1 for a in (1, 2))
    return tuple(sizes)  # pyright: ignore[reportReturnType]


def _in_one(x: Array, g: Array, padding: Padding) -> Array:
    size = (*_kernel_size(x, g, padding), x.shape[-1], g.shape[-1])
    kernel = jax.ShapeDtypeStruct(size, x.dtype)
    return jax.linear_transpose(lambda k: _plain(x, k, padding), kernel)(g)[0]


def _in_strips(x: Array, g: Array, padding: Padding) -> Array:
    if g.shape[-1] < x.shape[-1]:  # the roles exchanged: Eigen gathers fewer patches
        size = _kernel_size(x, g, padding)
        return _turned(_sum_of_strips(g, x, _opposite(size, padding), size))
    return _sum_of_strips(x, g, padding, _kernel_size(x, g, padding))


def _sum_of_strips(x: Array, g: Array, padding: Padding, size: tuple[int, int]) -> Array:
    """Every channel of x is an image of a batch, and every strip of g a large kernel."""
    n, n_rows, n_columns, n_out = g.shape
    extra = -n_rows % _STRIP
    (top, bottom), (left, right) = padding
    lhs = x.transpose(0, 3, 1, 2)[..., None]
    lhs = lax.pad(
        lhs,
        jnp.zeros((), x.dtype),
        ((0, 0, 0), (0, 0, 0), (top, bottom + extra, 0), (left, right, 0), (0, 0, 0)),
    )
    rhs = jnp.pad(g, ((0, 0), (0, extra), (0, 0), (0, 0)))[:, :, :, None, :]
    n_strips, n_seen = (n_rows + extra) // _STRIP, _STRIP + size[0] - 1

    def add(i: Array, total: Array) -> Array:
        image, row = i // n_strips, i % n_strips * _STRIP
        shape = (1, lhs.shape[1], n_seen, lhs.shape[3], 1)
        seen = lax.dynamic_slice(lhs, (image, 0, row, 0, 0), shape)[0]
        strip = lax.dynamic_slice(rhs, (image, row, 0, 0, 0), (1, _STRIP, n_columns, 1, n_out))
        return total + _plain(seen, strip[0], "VALID").astype(total.dtype)

    wide = jnp.promote_types(x.dtype, jnp.float32)
    zeros = jnp.zeros((x.shape[-1], *size, n_out), wide)
    total = lax.fori_loop(0, n * n_strips, add, zeros)
    return total.transpose(1, 2, 0, 3).astype(x.dtype)


def convolution(x: Array, kernel: Array, strides: Any, padding: Any, **options: Any) -> Array:
    """What flax calls for a convolution: `correlate` where it asks for that, else XLA's."""
    if x.ndim == 4 and not isinstance(padding, str) and _is_plain(strides, options):
        return correlate(x, kernel, tuple((int(a), int(b)) for a, b in padding))
    return lax.conv_general_dilated(x, kernel, strides, padding, **options)


def _is_plain(strides: Any, options: dict[str, Any]) -> bool:
    """Whether a convolution of images is without strides, dilation, groups and special wishes."""
    rest = dict(options)
    steps = (*strides, *rest.pop("lhs_dilation"), *rest.pop("rhs_dilation"))
    groups = rest.pop("feature_group_count")
    del rest["dimension_numbers"]  # flax has but one order
    return groups == 1 and set(steps) == {1} and all(value is None for value in rest.values())
