"""Learnable ridge regularisers, convex (CRR) and weakly convex (WCRR).

    R(x) = (λ/μ) Σ_c Σ_i ψ_c(μ |(h_c * x)_i|),   ∇R(x) = λ Hᴴ [φ_c(μ|z|) z/|z|],  z = Hx      (1)

(Goujon et al., IEEE Trans. Comput. Imaging 9, 2023; SIAM J. Imaging Sci. 17, 2024), with filters
h_c, λ the weight, μ the scale, and φ_c = ψ_c' an odd linear spline with knots at multiples of Δ,
given by its slopes s_ck and constant beyond the last knot:

    φ_c(t) = Σ_k s_ck clip(t − kΔ, 0, Δ),   t ≥ 0                                              (2)

evaluated as this sum, so that neither the spline nor its gradients gather or scatter. Sums run over
places where a filter fits into the image, so the border needs no padding.

Constraints: filters of zero mean with ‖H‖ ≤ 1, and slopes −m ≤ s ≤ 1. Then ∇R is Lipschitz with
constant λμ, and R + ½ m λ μ ‖·‖² is convex; m = 0 is the convex case. `project_ridge` enforces them
after each step of training.
"""

import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from jaxrecon.core import LinearOperator, pytree, replace, tree
from jaxrecon.functionals._functional import Functional

# Samples of the filters' spectrum per tap, see `filter_norm`.
_OVERSAMPLING = 8


@pytree
class Ridge(Functional):
    """A sum of learnable potentials of filter responses (1), over the last axes of an array.

    Axes before the filters' are independent images. Complex images are filtered as they are, and
    their responses count by magnitude. Built by `ridge`.

    Args:
        filters: h, with the axes of the image after the first.
        slopes: s of each filter between its knots.
        spacing: Δ, between knots.
        weight: λ.
        scale: μ, inverse to the size of the noise or the details.
        modulus: m, the bound of the slopes from below.
    """

    smooth: ClassVar[bool] = True
    convex: ClassVar[bool] = False  # unless all slopes are positive, which is data

    filters: Float[Array, "filter *kernel"]
    slopes: Float[Array, "filter knot"]
    spacing: Any
    weight: Any = 1.0
    scale: Any = 1.0
    modulus: Any = 0.0

    def __call__(self, x: Array) -> Array:
        magnitude = self.scale * _magnitude(_filtered(self.filters, x))
        potentials = _potential(magnitude, self._aligned_slopes, self.spacing)
        return self.weight / self.scale * jnp.sum(potentials)

    def grad(self, x: Array) -> Array:
        z = _filtered(self.filters, x)
        magnitude = self.scale * _magnitude(z)
        # φ(t)/t, which for t → 0 is the first slope.
        slope = _spline(magnitude, self._aligned_slopes, self.spacing)
        zero = magnitude == 0
        ratio = jnp.where(zero, self._aligned_slopes[0], slope / jnp.where(zero, 1, magnitude))
        return self.weight * self.scale * _filtered_adjoint(self.filters, ratio * z)

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        """√(λ μ max s) ‖H‖ A; also where the constraints do not hold."""
        steepest = jnp.maximum(jnp.max(jnp.abs(self.slopes)), 0)
        root = jnp.sqrt(self.weight * self.scale * steepest) * filter_norm(self.filters)
        return root * A

    @property
    def _aligned_slopes(self) -> Array:
        """The slopes as ``(knot, filter, 1, ...)``, to broadcast against responses."""
        return self.slopes.T.reshape(*self.slopes.T.shape, *(1,) * (self.filters.ndim - 1))


def ridge(
    key: Key[Array, ""],
    *,
    n_filters: int = 32,
    kernel: tuple[int, ...] = (7, 7),
    n_knots: int = 20,
    reach: float = 1.0,
    weight: Any = 1.0,
    scale: Any = 1.0,
    modulus: Any = 0.0,
    dtype: Any = jnp.float32,
) -> Ridge:
    """A ridge regulariser with random filters and potentials like Huber's, to be trained.

    Args:
        key: for the filters.
        n_filters: number of filters.
        kernel: their size, (y, x) or (z, y, x).
        n_knots: pieces of each spline.
        reach: where the splines become constant; times 1/scale, in units of x.
        weight: λ.
        scale: μ.
        modulus: how far from convex it may become in training; 0 is convex.
        dtype: of filters and slopes.

    Raises:
        ValueError: a filter of one tap, which cannot have zero mean.

    Example:
        >>> R = ridge(jax.random.key(0), n_filters=4, kernel=(3, 3))
        >>> float(R(jnp.ones((8, 8))).round(4))
        0.0
    """
    if math.prod(kernel) < 2:
        raise ValueError(f"`kernel` is {kernel}, expected at least two taps")
    filters = jax.random.normal(key, (n_filters, *kernel), dtype)
    slopes = jnp.where(jnp.arange(n_knots) < max(n_knots // 5, 1), 1.0, 0.0)
    slopes = jnp.broadcast_to(slopes, (n_filters, n_knots)).astype(dtype)
    start = Ridge(filters, slopes, reach / n_knots, weight, scale, modulus)
    return project_ridge(start, normalise=True)


def project_ridge(regulariser: Ridge, *, normalise: bool = False) -> Ridge:
    """The regulariser with its parameters brought back into the constraints.

    Filters lose their mean and, if ‖H‖ > 1 (or always, with `normalise`), are divided by ‖H‖;
    slopes are clipped to −m … 1.
    """
    filters = regulariser.filters
    axes = tuple(range(1, filters.ndim))
    filters = filters - jnp.mean(filters, axes, keepdims=True)
    size = filter_norm(filters)
    size = jnp.where(size > 0, size, 1) if normalise else jnp.maximum(size, 1)
    slopes = jnp.clip(regulariser.slopes, -jnp.asarray(regulariser.modulus), 1)
    return replace(regulariser, filters=filters / size, slopes=slopes)


def filter_norm(filters: Float[Array, "filter *kernel"]) -> Array:
    """An upper bound of ‖H‖, H the bank of convolutions with filters on images of any size.

    ‖H‖² is at most the largest value of Σ_c |ĥ_c(ω)|². That is a trigonometric polynomial of degree
    k − 1 along an axis of k taps; on N samples an axis it is at most 1/cos(π (k − 1)/N) above its
    largest sample (Ehlich and Zeller, Math. Z. 86, 1964): with N = 8k, 4 % in the norm for a plane.
    """
    kernel = filters.shape[1:]
    sizes = [_OVERSAMPLING * k for k in kernel]
    spectrum = jnp.fft.fftn(filters, sizes, axes=range(1, filters.ndim))
    largest = jnp.max(jnp.sum(spectrum.real**2 + spectrum.imag**2, 0))
    excess = math.prod(math.cos(math.pi * (k - 1) / n) for k, n in zip(kernel, sizes, strict=True))
    return tree.safe_sqrt(largest / excess)


def _filtered(filters: Array, x: Array) -> Array:
    """Hx, ``(*batch, filter, *places)``: correlation wherever a filter fits."""
    return _by_parts(lambda part: _convolve(part[:, None], filters[:, None], None), filters, x)


def _filtered_adjoint(filters: Array, z: Array) -> Array:
    """Hᴴz: correlation of the responses, zero outside, with the mirrored filters."""
    rank = filters.ndim - 1
    mirrored = jnp.flip(filters, range(1, rank + 1))[None]
    reach = [(k - 1, k - 1) for k in filters.shape[1:]]
    result = _by_parts(lambda part: _convolve(part, mirrored, reach), filters, z, channels=1)
    return jnp.squeeze(result, -rank - 1)


def _by_parts(convolve: Any, filters: Array, x: Array, channels: int = 0) -> Array:
    """Real and imaginary part, and all leading axes, as one batch."""
    rank = filters.ndim - 1 + channels
    batch, places = x.shape[: x.ndim - rank], x.shape[x.ndim - rank :]
    stacked = jnp.stack([x.real, x.imag]) if jnp.iscomplexobj(x) else x[None]
    result = convolve(stacked.reshape(-1, *places))
    result = result.reshape(stacked.shape[0], *batch, *result.shape[1:])
    return jax.lax.complex(*result) if jnp.iscomplexobj(x) else result[0]


def _convolve(x: Array, kernels: Array, reach: Any) -> Array:
    """Correlation of ``(batch, channel, *places)`` with ``(out, channel, *kernel)``."""
    rank = kernels.ndim - 2
    return jax.lax.conv_general_dilated(
        x,
        kernels.astype(x.dtype),
        window_strides=(1,) * rank,
        padding=reach or "VALID",
        precision=jax.lax.Precision.HIGHEST,
    )


def _magnitude(z: Array) -> Array:
    return tree.safe_sqrt(z.real**2 + z.imag**2) if jnp.iscomplexobj(z) else jnp.abs(z)


def _spline(t: Array, slopes: Array, spacing: Any) -> Array:
    """φ(t) of (2), slopes with the knots in front."""
    pieces = (s * jnp.clip(t - k * spacing, 0, spacing) for k, s in enumerate(slopes))
    return sum(pieces, start=jnp.zeros_like(t))


def _potential(t: Array, slopes: Array, spacing: Any) -> Array:
    """ψ(t) = ∫₀ᵗ φ, piece by piece: a²/2 on the way to the knot, Δ for each unit beyond it."""
    total = jnp.zeros_like(t)
    for k, s in enumerate(slopes):
        rise = jnp.clip(t - k * spacing, 0, spacing)
        total = total + s * (rise**2 / 2 + spacing * jnp.maximum(t - (k + 1) * spacing, 0))
    return total
