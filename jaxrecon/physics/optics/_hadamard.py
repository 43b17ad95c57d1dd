"""The Walsh-Hadamard transform and the orders in which its patterns are measured.

    c_i = N^(−1/2) Σ_p (−1)^{popcount(i & p)} x_p
    (1)

is orthonormal and its own inverse; i and p are binary numbers, pixels p of an image counted row by
row. Row i is the pattern of i: on an image of n_y × n_x (powers of two) it is the outer product of
the Hadamard rows i // n_x of n_y and i mod n_x of n_x, and with their sequencies s_y, s_x (numbers
of sign changes)

    blocks = (s_y + 1)(s_x + 1)     connected regions of one sign                               (2)
    TV / 2 = n_y s_x + n_x s_y − (2 − √2) s_y s_x       isotropic total variation               (3)

so that every order below costs a sort, without a pattern being formed. An order is an array of
rows, the first to be measured first. Ties are broken by the row's number.

- "natural": 0, 1, 2, ... as `scipy.linalg.hadamard`;
- "sequency": sign changes of the pattern read row by row, 0, 1, 2, ... (Walsh);
- "zigzag": s_y + s_x, in alternate directions as in JPEG;
- "cake_cutting": blocks, few first (Yu, Sensors 19, 4122, 2019);
- "russian_dolls": all patterns of 1, 2 × 2, 4 × 4, ... coarse pixels first, one resolution
  inside the next; in each the finer ones in x, then in y, then in both, by blocks (Sun et al.,
  Sci. Rep. 7, 3464, 2017);
- "total_variation": total variation, small first (Yu et al., Sci. Rep. 10, 9338, 2020);
- "random": row 0, then the others at random.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Inexact, Int, PRNGKeyArray

from jaxrecon.core import Identity, LinearOperator, operator, static
from jaxrecon.physics.optics._checks import struct_of

__all__ = ["Hadamard", "hadamard", "hadamard_order", "variance_order", "walsh_hadamard"]

# Butterflies are done four at a time, as products with a 16 × 16 matrix: a quarter of the passes
# over memory, and work for matrix units where there are some.
_RADIX = 16


@operator
class Hadamard(LinearOperator):
    """The orthonormal Walsh-Hadamard transform of an image, equation (1), in natural order."""

    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((math.prod(self.struct.shape),), self.struct.dtype)

    def forward(self, x: Array) -> Array:
        return walsh_hadamard(x.reshape(-1))

    def adjoint(self, y: Array) -> Array:
        return walsh_hadamard(y).reshape(self.struct.shape)

    @property
    def gram(self) -> LinearOperator:
        return Identity(self.struct)

    def gram_spectrum(self) -> Array | None:
        return self.gram.gram_spectrum()


def walsh_hadamard(x: Inexact[Array, " n"]) -> Inexact[Array, " n"]:
    """Equation (1) for a vector whose length is a power of two: orthonormal, its own inverse.

    Takes O(N log N) operations; no matrix of N × N is formed.

    Raises:
        ValueError: the length is not a power of two.

    Example:
        >>> walsh_hadamard(jnp.array([1.0, 2.0, 3.0, 4.0])).tolist()
        [5.0, -1.0, -2.0, 0.0]
    """
    (n,) = x.shape
    _check_power_of_two("x", x.shape)
    sizes = _radices(n)
    y = x.reshape(sizes)
    for size in sizes:
        # Contracting the first axis moves it last: after all of them the order is the old one.
        matrix = jnp.asarray(_matrix(size), jnp.finfo(x.dtype).dtype)
        y = jnp.tensordot(y, matrix, (0, 0), precision=jax.lax.Precision.HIGHEST)
    return y.reshape(n)


def hadamard(domain: Any) -> Hadamard:
    """The Walsh-Hadamard transform of images like `domain`, to all N coefficients in natural order.

    Raises:
        ValueError: a side of the image is not a power of two.

    Example:
        >>> hadamard(jnp.zeros((2, 2)))(jnp.ones((2, 2))).tolist()
        [2.0, 0.0, 0.0, 0.0]
    """
    struct = struct_of(domain)
    _check_power_of_two("domain", struct.shape)
    return Hadamard(struct)


def hadamard_order(
    name: str, shape: tuple[int, int], *, key: PRNGKeyArray | None = None
) -> Int[Array, " row"]:
    """All rows of the Hadamard matrix in the order named, the first to be measured first.

    Args:
        name: one of the module's list.
        shape: `(y, x)` of the image, powers of two.
        key: for "random", which needs one.

    Returns:
        A permutation of 0 ... N − 1.

    Raises:
        ValueError: the name is unknown, the shape is no power of two, or a key is missing.

    Example:
        >>> hadamard_order("sequency", (1, 8)).tolist()
        [0, 4, 6, 2, 3, 7, 5, 1]
    """
    _check_power_of_two("shape", shape)
    if len(shape) != 2:
        raise ValueError(f"`shape` is {shape}; expected (y, x)")
    if name == "random":
        if key is None:
            raise ValueError("`key` is missing: the order 'random' needs one")
        return _random(key, shape)
    if name not in _ORDERS:
        raise ValueError(f"`name` is {name!r}; expected 'random' or one of {tuple(_ORDERS)}")
    return jnp.asarray(_ORDERS[name](shape), jnp.int32)


def variance_order(images: Inexact[Array, "image y x"]) -> Int[Array, " row"]:
    """Rows by the variance of their coefficients over training images, the largest first.

    Where images are what the training images were, this is the best fixed order for a linear
    reconstruction from few measurements. Row 0, the image's mean, always comes first: it may not
    vary among normalised images, yet no reconstruction can do without.

    Args:
        images: training images, `(image, y, x)`, two at least, of sides that are powers of two.

    Returns:
        A permutation of 0 ... N − 1.

    Raises:
        ValueError: a side is not a power of two, or there are fewer than two images.

    Example:
        >>> images = jnp.array([[[0.0, 0.0], [1.0, 1.0]], [[1.0, 1.0], [0.0, 0.0]]])
        >>> variance_order(images).tolist()
        [0, 2, 1, 3]
    """
    _check_power_of_two("images", images.shape[1:])
    if images.shape[0] < 2:
        raise ValueError(f"`images` has {images.shape[0]} images; expected two or more")
    coefficients = jax.vmap(walsh_hadamard)(images.reshape(images.shape[0], -1))
    variance = jnp.var(coefficients, 0).at[0].set(jnp.inf)
    return jnp.argsort(-variance, stable=True).astype(jnp.int32)


def sequencies(n: int) -> np.ndarray:
    """Number of sign changes of each of the n rows in natural order: Gray decoding of the bits."""
    rows, value = np.arange(n), np.zeros(n, int)
    bit = np.zeros(n, int)
    for k in range(n.bit_length() - 1):
        # The lowest bit of a row's number is the most significant one of its sequency.
        bit = bit ^ ((rows >> k) & 1)
        value = 2 * value + bit
    return value


def _matrix(n: int) -> np.ndarray:
    matrix = np.ones((1, 1))
    for _ in range(n.bit_length() - 1):
        matrix = np.kron(np.array([[1.0, 1.0], [1.0, -1.0]]), matrix)
    return matrix / math.sqrt(n)


def _radices(n: int) -> tuple[int, ...]:
    sizes = []
    while n > 1:
        sizes.append(min(_RADIX, n))
        n //= sizes[-1]
    return tuple(sizes)


def _grids(shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """(s_y, s_x) of every row."""
    s_y, s_x = np.meshgrid(sequencies(shape[0]), sequencies(shape[1]), indexing="ij")
    return s_y.ravel(), s_x.ravel()


def _natural(shape: tuple[int, int]) -> np.ndarray:
    return np.arange(shape[0] * shape[1])


def _sequency(shape: tuple[int, int]) -> np.ndarray:
    return np.argsort(sequencies(shape[0] * shape[1]))


def _zigzag(shape: tuple[int, int]) -> np.ndarray:
    s_y, s_x = _grids(shape)
    diagonal = s_y + s_x
    return np.lexsort((np.where(diagonal % 2, s_y, s_x), diagonal))


def _cake_cutting(shape: tuple[int, int]) -> np.ndarray:
    s_y, s_x = _grids(shape)
    return np.argsort((s_y + 1) * (s_x + 1), kind="stable")


def _russian_dolls(shape: tuple[int, int]) -> np.ndarray:
    s_y, s_x = _grids(shape)
    level_y, level_x = (np.ceil(np.log2(s + 1)).astype(int) for s in (s_y, s_x))
    level = np.maximum(level_y, level_x)
    quarter = np.where(level_y < level, 0, np.where(level_x < level, 1, 2))
    return np.lexsort(((s_y + 1) * (s_x + 1), quarter, level))


def _total_variation(shape: tuple[int, int]) -> np.ndarray:
    s_y, s_x = _grids(shape)
    return np.argsort(
        shape[0] * s_x + shape[1] * s_y - (2 - math.sqrt(2)) * s_y * s_x, kind="stable"
    )


def _random(key: PRNGKeyArray, shape: tuple[int, int]) -> Array:
    others = 1 + jax.random.permutation(key, shape[0] * shape[1] - 1)
    return jnp.concatenate([jnp.zeros(1, others.dtype), others]).astype(jnp.int32)


_ORDERS = {
    "natural": _natural,
    "sequency": _sequency,
    "zigzag": _zigzag,
    "cake_cutting": _cake_cutting,
    "russian_dolls": _russian_dolls,
    "total_variation": _total_variation,
}


def _check_power_of_two(name: str, shape: tuple[int, ...]) -> None:
    if any(n < 1 or n & (n - 1) for n in shape):
        padded = tuple(1 << max(n - 1, 0).bit_length() for n in shape)
        raise ValueError(
            f"`{name}` has shape {shape}; the Walsh-Hadamard transform needs powers of two: "
            f"compose with `core.pad(image, {padded})`, or crop"
        )
