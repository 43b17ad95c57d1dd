"""Banks of filters, each a chain of small convolutions with nothing between (multi-convolution).

    (Hx)_c = h_c ⋆ x,    h = k_n ∗ … ∗ k_1                                                    (1)

of an image that is zero outside, at each of its pixels: only the result is cut, not what lies
between two convolutions, so that (1) holds up to the border and ‖H‖ is at most the largest value of
(Σ_c |ĥ_c(ω)|²)^½. A chain learns better and costs less than its composed filters (Goujon et al.,
SIAM J. Imaging Sci. 17, 2024): 5×5 three times, 1 → 4 → 8 → 60 channels, has 12,900 weights.

Kernels are ``(*taps, in, out)`` with odd taps; responses have the filters last. Forward and adjoint
are each other's derivative (`core.pair`): XLA's own transpose of a convolution is some seven times
slower inside a loop on CPUs, and the weights' gradient is a matrix product over shifted images.
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.lax import Precision
from jaxtyping import Array, Float

from jaxrecon.core import LinearOperator, operator, pair, static
from jaxrecon.functionals.priors import filter_norm

Kernels = tuple[Array, ...]


@operator
class FilterBank(LinearOperator):
    """The responses (1) of an image, whose leading axes are independent images.

    Complex images are filtered as they are. Build it with `filter_bank`.

    Args:
        kernels: of the chain, in the order they are applied in.
        struct: of the image.
    """

    kernels: Kernels
    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        shape = (*self.struct.shape, self.kernels[-1].shape[-1])
        return jax.ShapeDtypeStruct(shape, self.struct.dtype)

    def forward(self, x: Array) -> Array:
        return responses(self.kernels, x)

    def adjoint(self, y: Array) -> Array:
        return responses_adjoint(self.kernels, y)


def filter_bank(kernels: Sequence[Array], like: Any) -> FilterBank:
    """A bank of filters as an operator on images shaped as `like`.

    Args:
        kernels: ``(*taps, in, out)`` each; the first has in = 1.
        like: array or struct, real or complex.

    Raises:
        ValueError: kernels that do not follow each other, even taps, or too few axes.

    Example:
        >>> A = filter_bank([jnp.ones((3, 3, 1, 2))], jnp.zeros((4, 5)))
        >>> A(jnp.ones((4, 5)))[:2, 0, 1].tolist()
        [4.0, 6.0]
    """
    n_in = 1
    for kernel in kernels:
        if kernel.shape[-2] != n_in or any(k % 2 == 0 for k in kernel.shape[:-2]):
            raise ValueError(
                f"`kernels` has one of shape {kernel.shape}, expected odd taps, {n_in} input "
                "channels (as many as the last one's outputs), then output channels"
            )
        n_in = kernel.shape[-1]
    if len(like.shape) < kernels[0].ndim - 2:
        raise ValueError(f"`like` has shape {like.shape}, expected {kernels[0].ndim - 2} axes")
    return FilterBank(tuple(kernels), jax.ShapeDtypeStruct(like.shape, jnp.dtype(like.dtype)))


def responses(kernels: Kernels, x: Array) -> Array:
    """Hx of (1): ``(*batch, *image) -> (*batch, *image, filter)``."""
    return _by_parts(lambda part: _respond((), kernels, part[..., None]), kernels, x, 0)


def responses_adjoint(kernels: Kernels, z: Array) -> Array:
    """Hᴴz: ``(*batch, *image, filter) -> (*batch, *image)``."""
    return _by_parts(lambda part: _gather((), kernels, part), kernels, z, 1)[..., 0]


def composed(kernels: Kernels) -> Float[Array, "filter *kernel"]:
    """The filters h of (1) that a chain amounts to, as `functionals.priors.Ridge` has them."""
    side = [1 + 2 * r for r in _reach(kernels)]
    impulse = jnp.zeros(side, kernels[0].dtype).at[tuple(s // 2 for s in side)].set(1)
    mirrored = jnp.flip(responses(kernels, impulse), range(len(side)))
    return jnp.moveaxis(mirrored, -1, 0)


def normalised(kernels: Sequence[Array]) -> Kernels:
    """The chain with filters of zero mean and ‖H‖ ≤ 1, of images of any size; within 4 % of 1.

    The first kernels lose their mean, the last is divided by the bound `filter_norm`.
    """
    first, *others = kernels
    taps = tuple(range(first.ndim - 2))
    chain = (first - jnp.mean(first, taps, keepdims=True), *others)
    size = filter_norm(composed(chain))
    return (*chain[:-1], chain[-1] / jnp.where(size > 0, size, 1))


def _forward(spec: tuple, kernels: Kernels, x: Array) -> Array:
    del spec
    return _chain(kernels, _widened(x, _reach(kernels)))[-1]


def _adjoint(spec: tuple, kernels: Kernels, z: Array) -> Array:
    del spec
    cotangent = _chain_adjoint(kernels, z)[0]
    inside = tuple(
        slice(r, n - r) for r, n in zip(_reach(kernels), cotangent.shape[1:-1], strict=True)
    )
    return cotangent[(slice(None), *inside)]


def _pullback(spec: tuple, kernels: Kernels, x: Array, w: Array) -> Kernels:
    del spec
    wide = _widened(x, _reach(kernels))
    inputs = [wide, *_chain(kernels, wide)]
    outputs = [*_chain_adjoint(kernels, w)[1:], w]
    return tuple(_correlate(k, a, b) for k, a, b in zip(kernels, inputs, outputs, strict=False))


_respond, _gather = pair(_forward, _adjoint, _pullback)


def _chain(kernels: Kernels, x: Array) -> list[Array]:
    """The features after each convolution, wherever a kernel fits."""
    return list(itertools.accumulate(kernels, _convolve, initial=x))[1:]


def _chain_adjoint(kernels: Kernels, z: Array) -> list[Array]:
    """The adjoint's features before each convolution, the first kernel's first."""

    def back(z, kernel):
        mirrored = jnp.swapaxes(jnp.flip(kernel, range(kernel.ndim - 2)), -1, -2)
        return _convolve(_widened(z, [k - 1 for k in kernel.shape[:-2]]), mirrored)

    return list(itertools.accumulate(reversed(kernels), back, initial=z))[:0:-1]


def _convolve(x: Array, kernel: Array) -> Array:
    """Correlation of ``(batch, *places, in)``; this order of axes is the one that loops do fast."""
    places = "DHW"[-(kernel.ndim - 2) :]
    return jax.lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        (1,) * len(places),
        "VALID",
        dimension_numbers=(f"N{places}C", f"{places}IO", f"N{places}C"),
        precision=Precision.HIGHEST,
    )


def _correlate(kernel: Array, x: Array, w: Array) -> Array:
    """The gradient of Re⟨w, kernel ⋆ x⟩ in the kernel: one product over all shifts."""
    places = w.shape[1:-1]
    shifted = [
        x[(slice(None), *(slice(t, t + n) for t, n in zip(tap, places, strict=True)))]
        for tap in itertools.product(*map(range, kernel.shape[:-2]))
    ]
    columns = jnp.concatenate(shifted, -1).reshape(-1, math.prod(kernel.shape[:-1]))
    product = jnp.matmul(columns.T, w.reshape(-1, w.shape[-1]), precision=Precision.HIGHEST)
    return product.reshape(kernel.shape).astype(kernel.dtype)


def _widened(x: Array, reach: Sequence[int]) -> Array:
    return jnp.pad(x, ((0, 0), *((r, r) for r in reach), (0, 0)))


def _reach(kernels: Kernels) -> tuple[int, ...]:
    """Pixels from the middle of the composed filters to their edge."""
    taps = zip(*(kernel.shape[:-2] for kernel in kernels), strict=True)
    return tuple(sum((k - 1) // 2 for k in axis) for axis in taps)


def _by_parts(apply: Any, kernels: Kernels, x: Array, n_channels: int) -> Array:
    """Real and imaginary part, and all leading axes, as one batch."""
    rank = kernels[0].ndim - 2 + n_channels
    batch, places = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
    stacked = jnp.stack([x.real, x.imag]) if jnp.iscomplexobj(x) else x[None]
    result = apply(stacked.reshape(-1, *places))
    result = result.reshape(stacked.shape[0], *batch, *result.shape[1:])
    return jax.lax.complex(*result) if jnp.iscomplexobj(x) else result[0]
