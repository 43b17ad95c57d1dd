"""Single-pixel camera: one detector, a sequence of Hadamard patterns on the light modulator.

    signed:  y_i = w_{r_i}ᴴ x                           w_r: orthonormal rows, r: the order
    (1)
    split:   y_{±,i} = ½ Σ_p (1 ± √N w_{r_i,p}) x_p     what a mirror array of zeros and ones sees
    (2)

"signed" is the mathematician's model: A Aᴴ = I, so Aᴴ is the pseudo-inverse, AᴴA a projector and
the shifted inverse a formula. A modulator shows no negative light: a real camera takes the two
halves of equation (2), and their difference / √N is equation (1) (`combine_split`). What that does
to noise:

- detector noise of standard deviation σ in each half gives σ √(2/N) in y_i: independent, the
  multiplex advantage of measuring all pixels at once;
- photon noise gives Var y_i = Σ_p x_p / N in every coefficient alike, since y_+ + y_− is the whole
  light: weak coefficients drown first. For counts use the split model and a Poisson fidelity.

AᴴA of both models is diagonal in the Walsh-Hadamard domain. The rows are integer array data:
changing the order or which are measured does not compile again; only their number is static.

Source: Duarte et al., "Single-pixel imaging via compressive sampling", IEEE Signal Process. Mag. 25
(2008). Orders: see `hadamard_order` and `variance_order`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Inexact, Int

from jaxrecon.core import LinearOperator, diagonal, operator, pair, static
from jaxrecon.physics.optics._checks import real_dtype
from jaxrecon.physics.optics._hadamard import Hadamard, hadamard, hadamard_order, walsh_hadamard

__all__ = ["SinglePixel", "SplitSinglePixel", "combine_split", "single_pixel"]


@operator
class SinglePixel(LinearOperator):
    """Some rows of the Walsh-Hadamard transform, equation (1); build it with `single_pixel`.

    `ranks` says of every row when it is measured, `rows.size` or more if never: with it the adjoint
    is a gather too.
    """

    rows: Int[Array, " measurement"]
    ranks: Int[Array, " row"]
    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.rows.shape, self.struct.dtype)

    def forward(self, x: Inexact[Array, "y x"]) -> Inexact[Array, " measurement"]:
        return _select(None, (self.rows, self.ranks), walsh_hadamard(x.reshape(-1)))

    def adjoint(self, y: Inexact[Array, " measurement"]) -> Inexact[Array, "y x"]:
        coefficients = _place(None, (self.rows, self.ranks), y)
        return walsh_hadamard(coefficients).reshape(self.struct.shape)

    @property
    def gram(self) -> LinearOperator:
        """The projector onto the patterns measured."""
        return _between(self.struct, self._measured())

    def shifted_inverse(self, shift: Any) -> LinearOperator:
        return _between(self.struct, 1 / (self._measured() + shift))

    def subset(self, i: Any, n: int) -> "SinglePixel":
        """Patterns i, i + n, i + 2n, ... with their data `y[i::n]`.

        Raises:
            ValueError: the number of measurements is not a multiple of n.
        """
        return SinglePixel(*_every(self.rows, self.ranks, i, n), self.struct)

    def _measured(self) -> Array:
        return (self.ranks < self.rows.size).astype(real_dtype(self.struct))


@operator
class SplitSinglePixel(LinearOperator):
    """The two 0/1 halves of each pattern, `(half, measurement)`: equation (2)."""

    rows: Int[Array, " measurement"]
    ranks: Int[Array, " row"]
    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((2, self.rows.size), self.struct.dtype)

    def forward(self, x: Inexact[Array, "y x"]) -> Inexact[Array, "half measurement"]:
        root, light = math.sqrt(x.size), jnp.sum(x)
        signed = root * self._signed().forward(x)
        return jnp.stack([light + signed, light - signed]) / 2

    def adjoint(self, y: Inexact[Array, "half measurement"]) -> Inexact[Array, "y x"]:
        root = math.sqrt(math.prod(self.struct.shape))
        return (jnp.sum(y) + root * self._signed().adjoint(y[0] - y[1])) / 2

    @property
    def gram(self) -> LinearOperator:
        return _between(self.struct, self._eigenvalues())

    def shifted_inverse(self, shift: Any) -> LinearOperator:
        return _between(self.struct, 1 / (self._eigenvalues() + shift))

    def subset(self, i: Any, n: int) -> "SplitSinglePixel":
        """Patterns i, i + n, i + 2n, ... with their data `y[:, i::n]`.

        Raises:
            ValueError: the number of measurements is not a multiple of n.
        """
        return SplitSinglePixel(*_every(self.rows, self.ranks, i, n), self.struct)

    def _signed(self) -> SinglePixel:
        return SinglePixel(self.rows, self.ranks, self.struct)

    def _eigenvalues(self) -> Array:
        # AᴴA = N/2 Σ_i (w_0 w_0ᴴ + w_i w_iᴴ): the whole light is row 0, in each of the pairs.
        n_pixels = math.prod(self.struct.shape)
        measured = (self.ranks < self.rows.size).astype(real_dtype(self.struct))
        return n_pixels / 2 * (measured + self.rows.size * (jnp.arange(n_pixels) == 0))


def single_pixel(
    domain: Any,
    n_measurements: int,
    order: str | ArrayLike = "cake_cutting",
    *,
    patterns: str = "signed",
) -> SinglePixel | SplitSinglePixel:
    """The first `n_measurements` Hadamard patterns of an order.

    Args:
        domain: array or struct of the image `(y, x)`, sides powers of two (`core.pad`).
        n_measurements: how many patterns are measured.
        order: a name of `hadamard_order`, or rows in natural numbering, the first to be measured
            first, as from `hadamard_order` or `variance_order`.
        patterns: "signed", equation (1), or "split", equation (2).

    Returns:
        A `LinearOperator` to `(n_measurements,)`, or `(2, n_measurements)` for "split".

    Raises:
        ValueError: the image is not of powers of two, the order is not of different rows, or too
            short for the measurements, or an option is unknown.

    Example:
        >>> A = single_pixel(jnp.zeros((8, 8)), 16, "russian_dolls")
        >>> image = jnp.kron(jnp.arange(16.0).reshape(4, 4), jnp.ones((2, 2)))
        >>> bool(jnp.allclose(A.H(A(image)), image, atol=1e-4))  # complete at 4 × 4
        True
    """
    struct = hadamard(domain).domain
    if len(struct.shape) != 2:
        raise ValueError(f"`domain` has shape {struct.shape}; expected (y, x)")
    rows = hadamard_order(order, struct.shape) if isinstance(order, str) else order
    rows = _checked_rows(np.asarray(rows), n_measurements, math.prod(struct.shape))
    ranks = np.full(math.prod(struct.shape), rows.size)
    ranks[rows] = np.arange(rows.size)
    if patterns not in ("signed", "split"):
        raise ValueError(f"`patterns` is {patterns!r}; expected 'signed' or 'split'")
    kind = SinglePixel if patterns == "signed" else SplitSinglePixel
    return kind(jnp.asarray(rows, jnp.int32), jnp.asarray(ranks, jnp.int32), struct)


def combine_split(
    y: Inexact[Array, "half measurement"], n_pixels: int
) -> Inexact[Array, " measurement"]:
    """Data of signed, orthonormal patterns, equation (1), from the two halves of equation (2).

    Example:
        >>> signed, split = (
        ...     single_pixel(jnp.zeros((4, 4)), 3, patterns=p) for p in ("signed", "split")
        ... )
        >>> x = jnp.arange(16.0).reshape(4, 4)
        >>> bool(jnp.allclose(combine_split(split(x), 16), signed(x)))
        True
    """
    return (y[0] - y[1]) / math.sqrt(n_pixels)


def _between(struct: jax.ShapeDtypeStruct, weights: Array) -> LinearOperator:
    """W diag(weights) W, W the Walsh-Hadamard transform."""
    W = Hadamard(struct)
    return W.H @ (diagonal(weights, W.range) @ W)


def _every(rows: Array, ranks: Array, i: Any, n: int) -> tuple[Array, Array]:
    """Rows i, i + n, i + 2n, ... and when every row is measured among them."""
    if rows.size % n:
        raise ValueError(f"`n` is {n}; expected a divisor of the {rows.size} measurements")
    size = rows.size // n
    chosen = (ranks % n == i) & (ranks < rows.size)
    return rows.reshape(size, n)[:, i], jnp.where(chosen, ranks // n, size)


def _checked_rows(rows: np.ndarray, n_measurements: int, n_pixels: int) -> np.ndarray:
    if rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(
            f"`order` is {rows.dtype} of shape {rows.shape}; expected a name or a list of rows"
        )
    if not 1 <= n_measurements <= rows.size:
        raise ValueError(
            f"`n_measurements` is {n_measurements}; expected 1 to the {rows.size} rows of the order"
        )
    rows = rows[:n_measurements]
    if rows.min() < 0 or rows.max() >= n_pixels or np.unique(rows).size != rows.size:
        raise ValueError(f"`order` must list different rows from 0 to {n_pixels - 1}")
    return rows


def _gathered(spec: None, arrays: tuple[Array, Array], coefficients: Array) -> Array:
    del spec
    return coefficients[arrays[0]]


def _spread(spec: None, arrays: tuple[Array, Array], y: Array) -> Array:
    del spec
    ranks = arrays[1]
    return jnp.where(ranks < y.size, y[jnp.minimum(ranks, y.size - 1)], 0)


def _no_cotangent(spec: None, arrays: Any, x: Array, w: Array) -> None:
    """Integers have no derivative."""
    del spec, arrays, x, w


_select, _place = pair(_gathered, _spread, _no_cotangent)
