"""Penalties of differences between neighbouring pixels: relative differences and qGGMRF.

    R(x) = w Σ_{j,k} ω_jk κ_j κ_k ρ(x_j, x_k)                                                  (1)

over unordered pairs of neighbours: 4 or 8 in the plane, 6 or 26 in space, each pair once. ω is one
over the distance unless given (per direction or per pair), κ an optional image that evens out the
resolution (Fessler and Rogers, IEEE Trans. Image Process. 5, 1996).

    relative difference   ρ = (x_j − x_k)² / (x_j + x_k + γ|x_j − x_k| + ε)                     (2)
    qGGMRF                ρ(Δ) = |Δ|^p / (p σ^p) · u / (1 + u),   u = |Δ/(T σ)|^(2−p)           (3)

All is written with shifted slices, the gradient too: no scatter.
"""

import itertools
import math
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.core import LinearOperator, diagonal, pytree, static
from jaxrecon.functionals._functional import Functional

Offset = tuple[int, ...]
Edge = tuple[Array, Array, Any]  # both ends of all pairs along one offset, and ω κ κ


@pytree
class Neighbourhood:
    """Which pixels are neighbours and how much their difference counts.

    Args:
        diagonals: also those that share an edge or a corner (8 or 26) rather than a side (4 or 6).
        axes: the image's axes; all by default.
        spacing: grid spacing, one for all axes or one for each.
        edges: ω, an array ``(n_offsets,)``, or ``(n_offsets, *shape)`` with ω_{j, j + offset} at
            the place of j; one over the distance by default. Offsets are those of `offsets`.
        kappa: κ, an array like the image; 1 by default.
    """

    diagonals: bool = static(default=False)
    axes: tuple[int, ...] | None = static(default=None)
    spacing: tuple[float, ...] | float = static(default=1.0)
    edges: Any = None
    kappa: Any = None

    def offsets(self, rank: int) -> list[Offset]:
        """One of each pair ±offset, in lexical order, for images with `rank` axes."""
        axes = range(rank) if self.axes is None else [a % rank for a in self.axes]
        ranges = [(-1, 0, 1) if a in axes else (0,) for a in range(rank)]
        half = [o for o in itertools.product(*ranges) if o > (0,) * rank]
        return half if self.diagonals else [o for o in half if sum(map(abs, o)) == 1]

    def pairs(self, x: Array) -> list[tuple[Offset, Edge]]:
        """(offset, (x_j, x_k, ω_jk κ_j κ_k)) of all pairs."""
        return [(o, self._edge(i, o, x)) for i, o in enumerate(self.offsets(x.ndim))]

    def _edge(self, i: int, offset: Offset, x: Array) -> Edge:
        weight: Any = 1 / self._distance(offset) if self.edges is None else self.edges[i]
        if jnp.ndim(weight):
            weight = _end(weight, offset, -1)
        if self.kappa is not None:
            weight = weight * _end(self.kappa, offset, -1) * _end(self.kappa, offset, 1)
        return _end(x, offset, -1), _end(x, offset, 1), weight

    def _distance(self, offset: Offset) -> float:
        axes = range(len(offset)) if self.axes is None else [a % len(offset) for a in self.axes]
        spacing = self.spacing
        steps = (spacing,) * len(axes) if isinstance(spacing, int | float) else spacing
        return math.hypot(*(offset[a] * h for a, h in zip(axes, steps, strict=True)))


@pytree
class RelativeDifference(Functional):
    """The relative difference prior (1, 2), for real images x ≥ 0.

    It smooths by relative differences: little where activity is high, and less across edges larger
    than 1/γ of it (Nuyts et al., IEEE Trans. Nucl. Sci. 49, 2002; ε as in Tsai et al., IEEE Trans.
    Med. Imaging 39, 2020). Convex on x ≥ 0; outside, sums below zero count as zero, which keeps it
    continuous but not convex: use it together with `non_negative`.

    Args:
        weight: w, a scalar.
        gamma: γ ≥ 0.
        epsilon: ε > 0, in units of x: small against the activity that matters.
        neighbours: which pairs count.

    Example:
        >>> float(RelativeDifference(epsilon=0.0)(jnp.array([1.0, 3.0])))
        0.5
    """

    smooth: ClassVar[bool] = True

    weight: Any = 1.0
    gamma: Any = 2.0
    epsilon: Any = 1e-3
    neighbours: Neighbourhood = Neighbourhood()

    def __call__(self, x: Array) -> Array:
        total = (jnp.sum(w * self._terms(a, b)[0]) for _, (a, b, w) in self._pairs(x))
        return self.weight * sum(total, start=jnp.zeros((), x.dtype))

    def grad(self, x: Array) -> Array:
        parts = []
        for offset, (a, b, w) in self._pairs(x):
            _, slope_a, slope_b = self._terms(a, b)
            parts += [_place(w * slope_a, offset, -1), _place(w * slope_b, offset, 1)]
        return self.weight * sum(parts, start=jnp.zeros_like(x))

    def curvature(self, x: Array) -> Array:
        """A diagonal that bounds the Hessian at x ≥ 0 (there only): a preconditioner.

        The Hessian of (2) is 2 v vᵀ/s³ with v = (2 x_k + ε, −2 x_j − ε) and s its denominator;
        v vᵀ is bounded by diag(|v|) ‖v‖₁.
        """
        parts = []
        for offset, (a, b, w) in self._pairs(x):
            total = a + b + self.epsilon
            common = 4 * w * total / (total + self.gamma * jnp.abs(a - b)) ** 3
            parts.append(_place(common * (2 * b + self.epsilon), offset, -1))
            parts.append(_place(common * (2 * a + self.epsilon), offset, 1))
        return self.weight * sum(parts, start=jnp.zeros_like(x))

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        """From ρ'' ≤ 4/ε, its value at x = 0: pessimistic, see `curvature`."""
        degree = _degree(self.neighbours, A.range)
        return diagonal(jnp.sqrt(4 * self.weight / self.epsilon * degree), A.range) @ A

    def _pairs(self, x: Array) -> list[tuple[Offset, Edge]]:
        if jnp.iscomplexobj(x):
            raise ValueError("`x` is complex: relative differences are of images x ≥ 0")
        return self.neighbours.pairs(x)

    def _terms(self, a: Array, b: Array) -> tuple[Array, Array, Array]:
        """ρ and its derivatives in both ends."""
        d, total = a - b, a + b
        size = jnp.abs(d)
        s = jnp.maximum(total, 0) + self.gamma * size + self.epsilon
        s = jnp.where(s == 0, 1, s)  # both zero, and no ε
        common, tilt = 2 * s - self.gamma * size, jnp.where(total > 0, d, 0)
        return d**2 / s, d * (common - tilt) / s**2, -d * (common + tilt) / s**2


@pytree
class QGGMRF(Functional):
    """The q-generalised Gaussian Markov random field (1, 3), q = 2; real or complex images.

    Quadratic for differences well below T σ, of power p well above (Thibault et al., Med. Phys. 34,
    2007). Convex for 1 ≤ p ≤ 2. (The power near zero, q, is 2: any other has unbounded curvature.)

    Args:
        weight: w, a scalar.
        sigma: σ, the scale of differences in units of x.
        p: the power of large differences; 1 preserves edges most.
        T: where the powers change, in units of σ.
        neighbours: which pairs count.

    Example:
        >>> float(QGGMRF(p=2.0)(jnp.array([1.0, 3.0])))
        1.0
    """

    smooth: ClassVar[bool] = True

    weight: Any = 1.0
    sigma: Any = 1.0
    p: Any = 1.2
    T: Any = 1.0
    neighbours: Neighbourhood = Neighbourhood()

    def __call__(self, x: Array) -> Array:
        total = (jnp.sum(w * self._potential(_squares(a - b))) for _, (a, b, w) in self._pairs(x))
        return self.weight * sum(total, start=jnp.zeros((), x.real.dtype))

    def grad(self, x: Array) -> Array:
        parts = []
        for offset, (a, b, w) in self._pairs(x):
            slope = w * self._slope(_squares(a - b)) * (a - b)
            parts += [_place(slope, offset, -1), -_place(slope, offset, 1)]
        return self.weight * sum(parts, start=jnp.zeros_like(x))

    def curvature(self, x: Array) -> Array:
        """The diagonal of a separable quadratic that touches R at x and lies above it everywhere.

        2 Σ_k ω κ κ ρ'(Δ)/Δ (Huber's majoriser and De Pierro's separation), for SQS.
        """
        parts = []
        for offset, (a, b, w) in self._pairs(x):
            slope = 2 * w * self._slope(_squares(a - b))
            parts += [_place(slope, offset, -1), _place(slope, offset, 1)]
        return self.weight * sum(parts, start=jnp.zeros_like(x.real))

    def curvature_root(self, A: LinearOperator) -> LinearOperator:
        """From ρ'' ≤ ρ''(0) = 2 T^(p−2) / (p σ²) and 2 Σ_k for the sum over neighbours."""
        largest = 2 * self.weight * self._slope(jnp.zeros((), jnp.finfo(A.range.dtype).dtype))
        return diagonal(jnp.sqrt(largest * _degree(self.neighbours, A.range)), A.range) @ A

    def _pairs(self, x: Array) -> list[tuple[Offset, Edge]]:
        return self.neighbours.pairs(x)

    def _potential(self, squares: Array) -> Array:
        """(3) as Δ² (Tσ)^(p−2) / (p σ^p (1 + u))."""
        return squares * self._scale / (1 + self._ratio(squares))

    def _slope(self, squares: Array) -> Array:
        """ρ'(Δ)/Δ, which falls with |Δ|."""
        u = self._ratio(squares)
        return self._scale * (2 + self.p * u) / (1 + u) ** 2

    @property
    def _scale(self) -> Any:
        return (self.T * self.sigma) ** (self.p - 2) / (self.p * self.sigma**self.p)

    def _ratio(self, squares: Array) -> Array:
        """u, with zero, not NaN, for its derivatives at Δ = 0."""
        zero = squares == 0
        r = jnp.where(zero, 1, squares) / (self.T * self.sigma) ** 2
        return jnp.where(zero & (self.p < 2), 0, jnp.where(zero, 1, r ** ((2 - self.p) / 2)))


def _end(x: Array, offset: Offset, sign: int) -> Array:
    """The values at j (sign −1) or at j + offset (+1) for all pairs inside the image."""
    starts = [max(sign * o, 0) for o in offset]
    limits = [n - max(-sign * o, 0) for n, o in zip(x.shape, offset, strict=True)]
    return jax.lax.slice(x, starts, [max(a, b) for a, b in zip(starts, limits, strict=True)])


def _place(values: Array, offset: Offset, sign: int) -> Array:
    """The adjoint of `_end`."""
    return jnp.pad(values, [(max(sign * o, 0), max(-sign * o, 0)) for o in offset])


def _degree(neighbours: Neighbourhood, struct: jax.ShapeDtypeStruct) -> Array:
    """Σ_k ω_jk κ_j κ_k."""
    zeros = jnp.zeros(struct.shape, jnp.finfo(struct.dtype).dtype)
    parts = []
    for offset, (a, _, w) in neighbours.pairs(zeros):
        ones = jnp.broadcast_to(jnp.asarray(w, zeros.dtype), a.shape)
        parts += [_place(ones, offset, -1), _place(ones, offset, 1)]
    return sum(parts, start=zeros)


def _squares(x: Array) -> Array:
    return x.real**2 + x.imag**2 if jnp.iscomplexobj(x) else x**2
