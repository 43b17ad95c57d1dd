"""Multi-coil encoding along arbitrary trajectories: a NUFFT of what every coil sees.

    y_{cj} = (1/√ΠN) Σ_n S_{cn} x_n exp(−2πi Σ_d k_{jd} (n_d − N_d // 2)/N_d)
    (1)

All coils share one pass over the trajectory. AᴴA is a convolution between the maps and their
conjugates (`NUFFT.gram`), so that iterative methods pay two FFTs an iteration and no NUFFT.

Source: Pruessmann et al., "Advances in sensitivity encoding with arbitrary k-space trajectories",
MRM 46 (2001).
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Complex

from jaxrecon.core import LinearOperator, operator
from jaxrecon.physics.mri._sense import coil_images, matched_images
from jaxrecon.physics.nufft import nufft

__all__ = ["CoilMaps", "coils", "noncartesian_sense"]


@operator
class CoilMaps(LinearOperator):
    """An image as every coil sees it, S x or Σ_s S_s x_s; built by `coils`.

    Attributes:
        maps: `(1, coil, *image)`, or `(set, coil, *image)` for several sets of maps.
    """

    maps: Complex[Array, "set coil *image"]

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        sets = self.maps.shape[:1] if self.maps.shape[0] > 1 else ()
        return jax.ShapeDtypeStruct((*sets, *self.maps.shape[2:]), self.maps.dtype)

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(self.maps.shape[1:], self.maps.dtype)

    def forward(self, x: Complex[Array, "..."]) -> Complex[Array, "coil *image"]:
        return coil_images(self._maps, x, self.maps.ndim - 2)

    def adjoint(self, y: Complex[Array, "coil *image"]) -> Complex[Array, "..."]:
        return matched_images(self._maps, y, self.maps.ndim - 2)

    @property
    def _maps(self) -> Complex[Array, "..."]:
        return self.maps if self.maps.shape[0] > 1 else self.maps[0]


def coils(maps: ArrayLike, n_dims: int) -> CoilMaps:
    """Coil sensitivities as an operator from an image to the coils' images.

    Args:
        maps: `(coil, *image)`, or `(set, coil, *image)` for several sets of maps.
        n_dims: axes of the image.

    Raises:
        ValueError: maps of another rank, or not of numbers.

    Example:
        >>> coils(jnp.ones((4, 8, 6), complex), 2)(jnp.ones((8, 6), complex)).shape
        (4, 8, 6)
    """
    maps = jnp.asarray(maps)
    if not jnp.issubdtype(maps.dtype, jnp.inexact):
        raise ValueError(f"`maps` has dtype {maps.dtype}; expected complex numbers")
    if maps.ndim - n_dims not in (1, 2):
        raise ValueError(
            f"`maps` has shape {maps.shape}; expected (coil, *image) or (set, coil, *image) with "
            f"{n_dims} axes of the image"
        )
    maps = maps.astype(jnp.result_type(maps.dtype, jnp.complex64))
    return CoilMaps(maps if maps.ndim == n_dims + 2 else maps[None])


def noncartesian_sense(
    maps: ArrayLike,
    trajectory: ArrayLike,
    *,
    eps: float = 1e-5,
    backend: str | None = None,
    oversampling: float | None = None,
) -> LinearOperator:
    """The multi-coil forward model (1) from images to samples `(coil, ...)`.

    Args:
        maps: coil maps `(coil, *image)`, or `(set, coil, *image)` for several sets.
        trajectory: `(..., axis)` in cycles per field of view, axes in the image's order.
        eps: see `nufft`, like the next two.
        backend: see `nufft`.
        oversampling: see `nufft`.

    Returns:
        A NUFFT composed with coil maps. Its `gram` and `weighted_gram` are convolutions between
        maps; take them outside loops. Maps and trajectory have true derivatives.

    Raises:
        ValueError: shapes that do not fit, or options out of range.

    Example:
        >>> from jaxrecon.physics.mri import trajectories
        >>> spokes = trajectories.radial(5, 16, (8, 6))
        >>> A = noncartesian_sense(jnp.ones((4, 8, 6), complex), spokes)
        >>> A.domain.shape, A.range.shape
        ((8, 6), (4, 5, 16))
    """
    encoding = coils(maps, jnp.shape(trajectory)[-1])
    coil, *shape = encoding.range.shape
    options = {"eps": eps, "backend": backend, "oversampling": oversampling}
    return nufft(trajectory, shape, batch=(coil,), **options) @ encoding
