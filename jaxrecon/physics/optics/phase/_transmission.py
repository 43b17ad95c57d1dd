"""Linear parts of phase-retrieval experiments without a scan: coded diffraction and random media.

    coded diffraction:   y_l = F (m_l ⊙ x)
    (1)
    random transmission: y = M x,  M_ij complex normal with E|M_ij|² = 1 / n_measurements
    (2)

F is the centred orthonormal Fourier transform (index N // 2 is the origin). Fields are complex,
`(y, x)`; the measured intensities are `intensity(A)`. A plain diffraction pattern with oversampling
is ``fft(padded) @ pad(image, shape)`` from `jaxrecon.core`.

Source: Candès, Li, Soltanolkotabi, "Phase retrieval from coded diffraction patterns", Appl. Comput.
Harmon. Anal. 39 (2015).
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Complex, Inexact, PRNGKeyArray

from jaxrecon.core import (
    LinearOperator,
    centered_fft,
    centered_ifft,
    diagonal,
    operator,
    static,
    tree,
)
from jaxrecon.physics.optics._checks import inexact, real_dtype, struct_of

__all__ = [
    "CodedDiffraction",
    "Transmission",
    "coded_diffraction",
    "random_phase_masks",
    "random_transmission",
    "transmission",
]


@operator
class CodedDiffraction(LinearOperator):
    """Fourier transforms of masked copies, equation (1); build it with `coded_diffraction`."""

    masks: Complex[Array, "mask *image"]

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.masks.shape[1:], self.masks.dtype)

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.masks.shape, self.masks.dtype)

    def forward(self, x: Complex[Array, "*image"]) -> Complex[Array, "mask *image"]:
        return centered_fft(self.masks * x[None], self._axes)

    def adjoint(self, y: Complex[Array, "mask *image"]) -> Complex[Array, "*image"]:
        return jnp.sum(jnp.conj(self.masks) * centered_ifft(y, self._axes), 0)

    @property
    def gram(self) -> LinearOperator:
        """Σ_l |m_l|², a diagonal."""
        return diagonal(jnp.sum(jnp.abs(self.masks) ** 2, 0), self.domain)

    def shifted_inverse(self, shift: Any) -> LinearOperator:
        return diagonal(1 / (jnp.sum(jnp.abs(self.masks) ** 2, 0) + shift), self.domain)

    def subset(self, i: Any, n: int) -> "CodedDiffraction":
        """Masks i, i + n, i + 2n, ... with their data `y[i::n]`.

        Raises:
            ValueError: the number of masks is not a multiple of n.
        """
        return CodedDiffraction(every(self.masks, i, n, "masks"))

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(range(1, self.masks.ndim))


@operator
class Transmission(LinearOperator):
    """A dense transmission matrix, `(measurement, pixel)`, equation (2)."""

    matrix: Inexact[Array, "measurement pixel"]
    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        dtype = jnp.result_type(self.matrix, self.struct.dtype)
        return jax.ShapeDtypeStruct(self.matrix.shape[:1], dtype)

    def forward(self, x: Array) -> Inexact[Array, " measurement"]:
        return jnp.matmul(self.matrix, x.reshape(-1), precision=jax.lax.Precision.HIGHEST)

    def adjoint(self, y: Inexact[Array, " measurement"]) -> Array:
        x = jnp.matmul(jnp.conj(y), self.matrix, precision=jax.lax.Precision.HIGHEST)
        return tree.match_real(jnp.conj(x).reshape(self.struct.shape), self.struct)

    def subset(self, i: Any, n: int) -> "Transmission":
        """Rows i, i + n, i + 2n, ... with their data `y[i::n]`.

        Raises:
            ValueError: the number of rows is not a multiple of n.
        """
        return Transmission(every(self.matrix, i, n, "measurements"), self.struct)


def coded_diffraction(masks: ArrayLike) -> CodedDiffraction:
    """Far-field diffraction of an object behind different modulations.

    Args:
        masks: complex modulations `(mask, y, x)`; real ones are converted.

    Returns:
        A `LinearOperator` from complex `(y, x)` to `(mask, y, x)`; the camera sees its `intensity`.

    Raises:
        ValueError: there is no mask axis in front of the image's.

    Example:
        >>> A = coded_diffraction(random_phase_masks(jax.random.key(0), 4, (8, 6)))
        >>> A.range.shape
        (4, 8, 6)
    """
    masks = inexact("masks", masks)
    if masks.ndim < 2:
        raise ValueError(f"`masks` has shape {masks.shape}; expected (mask, *image)")
    return CodedDiffraction(masks.astype(jnp.result_type(masks.dtype, jnp.complex64)))


def random_phase_masks(
    key: PRNGKeyArray, n_masks: int, shape: tuple[int, ...], *, kind: str = "uniform"
) -> Complex[Array, "mask ..."]:
    """Random modulations for `coded_diffraction`.

    Args:
        key: random key.
        n_masks: how many.
        shape: of the image.
        kind: "uniform" (phases in [0, 2π), modulus one) or "octanary" (Candès et al.: a random one
            of 1, −1, i, −i times √½ with probability 4/5 or √3 with 1/5, so that E|m|² = 1).

    Returns:
        Masks `(n_masks, *shape)`.

    Raises:
        ValueError: unknown `kind`.
    """
    shape = (n_masks, *shape)
    if kind == "uniform":
        return jnp.exp(2j * jnp.pi * jax.random.uniform(key, shape))
    if kind != "octanary":
        raise ValueError(f"`kind` is {kind!r}; expected 'uniform' or 'octanary'")
    key_phase, key_size = jax.random.split(key)
    quarter = jax.random.randint(key_phase, shape, 0, 4)
    phase = jnp.array([1, 1j, -1, -1j])[quarter]
    large = jax.random.bernoulli(key_size, 0.2, shape)
    return phase * jnp.where(large, math.sqrt(3), math.sqrt(0.5))


def transmission(matrix: ArrayLike, domain: Any) -> Transmission:
    """A measured transmission matrix, `(measurement, pixel)`, pixels row by row.

    Raises:
        ValueError: the matrix does not have a column for each pixel.

    Example:
        >>> transmission(jnp.ones((3, 4)), jnp.zeros((2, 2)))(jnp.ones((2, 2))).tolist()
        [4.0, 4.0, 4.0]
    """
    matrix, struct = inexact("matrix", matrix), struct_of(domain)
    n_pixels = math.prod(struct.shape)
    if matrix.ndim != 2 or matrix.shape[1] != n_pixels:
        raise ValueError(
            f"`matrix` has shape {matrix.shape}; expected (measurement, {n_pixels}) for images of "
            f"{struct.shape}"
        )
    return Transmission(matrix, struct)


def random_transmission(key: PRNGKeyArray, domain: Any, n_measurements: int) -> Transmission:
    """A strongly scattering medium: independent complex normal entries, equation (2).

    E‖A x‖² = ‖x‖². The matrix takes n_measurements × N numbers.

    Args:
        key: random key.
        domain: array or struct of the field or image.
        n_measurements: speckles that are measured.

    Raises:
        ValueError: there are no measurements.

    Example:
        >>> A = random_transmission(jax.random.key(0), jnp.zeros((4, 4), complex), 64)
        >>> A.range.shape, A.range.dtype.name
        ((64,), 'complex64')
    """
    struct = struct_of(domain)
    if n_measurements < 1:
        raise ValueError(f"`n_measurements` is {n_measurements}; expected one or more")
    dtype = jnp.result_type(real_dtype(struct), jnp.complex64)
    matrix = jax.random.normal(key, (n_measurements, math.prod(struct.shape)), dtype)
    return Transmission(matrix / math.sqrt(n_measurements), struct)


def every(array: Array, i: Any, n: int, what: str) -> Array:
    """Entries i, i + n, i + 2n, ... of the leading axis; i may be traced."""
    if array.shape[0] % n:
        raise ValueError(f"`n` is {n}; expected a divisor of the {array.shape[0]} {what}")
    return array.reshape(-1, n, *array.shape[1:])[:, i]
