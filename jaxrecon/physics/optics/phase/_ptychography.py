"""Ptychography: far-field diffraction from overlapping places of an object.

    y_j = F (P ⊙ x[r_j : r_j + size of P])
    (1)

with the probe P, the object x (complex, `(y, x)`), integer positions r_j = (row, column) of the
probe's corner, and the centred orthonormal Fourier transform F. The detector sees `intensity(A)`.
Probe and object are array data with gradients (blind ptychography); positions are integer data:
another scan of as many positions does not compile again.

AᴴA is the diagonal of the illumination Σ_j |P(· − r_j)|². The adjoint adds overlapping patches,
which is a scatter of whole windows: any number of positions may overlap at a pixel, so there is no
gather of static size. A position at which the probe leaves the object gives NaN.

Source: Rodenburg and Faulkner, Appl. Phys. Lett. 85 (2004); Thibault et al., Science 321 (2008).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Complex, Inexact, Int

from jaxrecon.core import (
    LinearOperator,
    centered_fft,
    centered_ifft,
    diagonal,
    match_varying,
    operator,
    static,
)
from jaxrecon.physics.optics._checks import inexact, is_complex, struct_of
from jaxrecon.physics.optics.phase._transmission import every

__all__ = ["Ptychography", "ptychography", "raster_positions"]


@operator
class Ptychography(LinearOperator):
    """Exit waves in the far field, equation (1); build it with `ptychography`."""

    probe: Complex[Array, "py px"]
    positions: Int[Array, "frame 2"]
    struct: jax.ShapeDtypeStruct = static()

    @property
    def domain(self) -> jax.ShapeDtypeStruct:
        return self.struct

    @property
    def range(self) -> jax.ShapeDtypeStruct:
        shape = (self.positions.shape[0], *self.probe.shape)
        return jax.ShapeDtypeStruct(shape, self.struct.dtype)

    def forward(self, x: Complex[Array, "y x"]) -> Complex[Array, "frame py px"]:
        views = patches(x, self.positions, self.probe.shape)
        return centered_fft(self.probe[None] * views, (1, 2))

    def adjoint(self, y: Complex[Array, "frame py px"]) -> Complex[Array, "y x"]:
        waves = jnp.conj(self.probe)[None] * centered_ifft(y, (1, 2))
        return add_patches(waves, self.positions, self.struct.shape)

    def illumination(self) -> Array:
        """Σ_j |P(· − r_j)|²: how often, and how brightly, each pixel was seen."""
        power = self.probe.real**2 + self.probe.imag**2
        frames = jnp.broadcast_to(power, (self.positions.shape[0], *power.shape))
        return add_patches(frames, self.positions, self.struct.shape)

    @property
    def gram(self) -> LinearOperator:
        """The illumination, a diagonal."""
        return diagonal(self.illumination(), self.struct)

    def shifted_inverse(self, shift: Any) -> LinearOperator:
        return diagonal(1 / (self.illumination() + shift), self.struct)

    def subset(self, i: Any, n: int) -> "Ptychography":
        """Positions i, i + n, i + 2n, ... with their data `y[i::n]`.

        Raises:
            ValueError: the number of positions is not a multiple of n.
        """
        return Ptychography(self.probe, every(self.positions, i, n, "positions"), self.struct)


def patches(
    x: Inexact[Array, "y x"], positions: Int[Array, "frame 2"], size: tuple[int, ...]
) -> Inexact[Array, "frame py px"]:
    """Windows of `size` with their corners at `positions`; NaN where one leaves the image."""
    cut = jax.vmap(lambda corner: jax.lax.dynamic_slice(x, tuple(corner), size))(positions)
    inside = _inside(positions, x.shape, size)
    return jnp.where(inside[:, None, None], cut, jnp.nan)


def add_patches(
    views: Inexact[Array, "frame py px"], positions: Int[Array, "frame 2"], shape: tuple[int, ...]
) -> Inexact[Array, "y x"]:
    """The adjoint of `patches`: windows added up in an image of `shape`."""
    numbers = jax.lax.ScatterDimensionNumbers(
        update_window_dims=(1, 2), inserted_window_dims=(), scatter_dims_to_operand_dims=(0, 1)
    )
    empty = match_varying(jnp.zeros(shape, views.dtype), views, positions)
    return jax.lax.scatter_add(empty, positions, views, numbers)


def ptychography(probe: ArrayLike, positions: ArrayLike, domain: Any) -> Ptychography:
    """The far-field exit waves of a scanned probe.

    Args:
        probe: complex illumination `(py, px)`, not larger than the object.
        positions: integer `(frame, 2)`: (row, column) of the probe's corner in the object.
        domain: array or struct of the object, complex `(y, x)`.

    Returns:
        A `LinearOperator` to `(frame, py, px)`; the detector sees its `intensity`.

    Raises:
        ValueError: shapes or dtypes do not fit, or a position leads the probe out of the object.

    Example:
        >>> positions = raster_positions((16, 16), (8, 8), 4)
        >>> A = ptychography(jnp.ones((8, 8), complex), positions, jnp.zeros((16, 16), complex))
        >>> A.range.shape
        (9, 8, 8)
    """
    probe, struct, positions = inexact("probe", probe), struct_of(domain), jnp.asarray(positions)
    if len(struct.shape) != 2 or not is_complex(struct):
        raise ValueError(
            f"`domain` is {struct.dtype} of shape {struct.shape}; expected complex (y, x)"
        )
    if probe.ndim != 2 or any(p > n for p, n in zip(probe.shape, struct.shape)):
        raise ValueError(
            f"`probe` has shape {probe.shape}; expected (py, px), not larger than the object, "
            f"{struct.shape}"
        )
    if positions.ndim != 2 or positions.shape[1] != 2 or positions.dtype.kind not in "iu":
        raise ValueError(
            f"`positions` is {positions.dtype} of shape {positions.shape}; expected integers "
            "(frame, 2)"
        )
    traced = isinstance(positions, Tracer)
    if not traced and not np.all(_inside(positions, struct.shape, probe.shape)):
        last = tuple(n - p for n, p in zip(struct.shape, probe.shape, strict=True))
        raise ValueError(
            f"`positions` lead the probe out of the object; expected 0 to {last} for (row, column)"
        )
    return Ptychography(probe.astype(struct.dtype), positions.astype(jnp.int32), struct)


def raster_positions(
    shape: tuple[int, int], probe_shape: tuple[int, int], step: int
) -> Int[Array, "frame 2"]:
    """Corners of a probe on a grid of `step` pixels, row by row, all inside the object.

    A regular grid makes raster-grid artefacts likely: add random whole-pixel shifts where it
    matters.

    Raises:
        ValueError: the step is below 1, or the probe larger than the object.

    Example:
        >>> raster_positions((5, 6), (3, 3), 2).tolist()
        [[0, 0], [0, 2], [2, 0], [2, 2]]
    """
    if step < 1 or any(p > n for p, n in zip(probe_shape, shape)):
        raise ValueError(
            f"`step` is {step} for a probe {probe_shape} in {shape}; expected 1 or more, and a "
            "probe that fits"
        )
    axes = [np.arange(0, n - p + 1, step) for n, p in zip(shape, probe_shape, strict=True)]
    return jnp.asarray(np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2), jnp.int32)


def _inside(
    positions: Int[Array, "frame 2"], shape: tuple[int, ...], size: tuple[int, ...]
) -> Bool[Array, " frame"]:
    last = jnp.asarray(shape) - jnp.asarray(size)
    return jnp.all((positions >= 0) & (positions <= last), axis=1)
