"""Where a point goes: the point-spread function of a scan, and how much of it aliases.

The point-spread function at a position is the column of AᴴA there, brought to one at the position:
through `A.gram`, so a Toeplitz kernel for a trajectory, and two Fourier transforms for a mask.
Where coils differ it depends on the position.

Source: Lustig, Donoho and Pauly, "Sparse MRI", MRM 58 (2007), for its use as a measure of
incoherence.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Inexact

from jaxrecon.core import LinearOperator

__all__ = ["aliasing_energy", "peak_side_lobe", "point_spread"]


def point_spread(
    A: LinearOperator, position: tuple[int, ...] | None = None
) -> Inexact[Array, "*image"]:
    """The column of AᴴA at a position, one there.

    Args:
        A: a scan of one array; differentiable in whatever it carries.
        position: an index of the image; N//2, the origin of Fourier imaging, by default.

    Raises:
        ValueError: the position is not in the image.

    Example:
        >>> from jaxrecon.physics import mri
        >>> A = mri.cartesian(jnp.arange(8)[None] % 2 == 0, (1, 8))
        >>> point_spread(A).real[0].round(3).tolist()
        [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]
    """
    position = _checked(A, position)
    point = jnp.zeros(A.domain.shape, A.domain.dtype).at[position].set(1)
    column = A.gram.forward(point)
    return column / column[position].real


def aliasing_energy(
    A: LinearOperator, position: tuple[int, ...] | None = None, *, main_lobe: int = 0
) -> Float[Array, ""]:
    """Σ |psf|² outside the main lobe: 0 for a fully sampled scan.

    Args:
        A: as for `point_spread`.
        position: likewise.
        main_lobe: pixels within this distance along every axis are not counted.

    Raises:
        ValueError: the position is not in the image.

    Example:
        >>> from jaxrecon.physics import mri
        >>> float(aliasing_energy(mri.cartesian(jnp.arange(8)[None] % 2 == 0, (1, 8))))
        1.0
    """
    position = _checked(A, position)
    energy = jnp.abs(point_spread(A, position)) ** 2
    return jnp.sum(jnp.where(_lobe(energy.shape, position, main_lobe), 0, energy))


def peak_side_lobe(
    A: LinearOperator, position: tuple[int, ...] | None = None, *, main_lobe: int = 0
) -> Float[Array, ""]:
    """The greatest |psf| outside the main lobe.

    Its gradient is that of the greatest one: √ has none at zero, where it is taken as zero.

    Args:
        A: as for `point_spread`.
        position: likewise.
        main_lobe: pixels within this distance along every axis are not counted.

    Raises:
        ValueError: the position is not in the image.
    """
    position = _checked(A, position)
    spread = point_spread(A, position)
    energy = (spread * spread.conj()).real
    most = jnp.max(jnp.where(_lobe(energy.shape, position, main_lobe), 0, energy))
    return jnp.where(most > 0, jnp.sqrt(jnp.where(most > 0, most, 1)), 0)


def _lobe(
    shape: tuple[int, ...], position: tuple[int, ...], width: int
) -> Bool[np.ndarray, "*image"]:
    """Pixels near a position, across the border too: images are periodic in Fourier imaging."""
    inside = np.ones(shape, bool)
    for axis, (n, i) in enumerate(zip(shape, position, strict=True)):
        away = np.abs((np.arange(n) - i + n // 2) % n - n // 2)
        inside &= np.moveaxis(
            np.broadcast_to(away <= width, (*shape[:axis], *shape[axis + 1 :], n)), -1, axis
        )
    return inside


def _checked(A: LinearOperator, position: tuple[int, ...] | None) -> tuple[int, ...]:
    shape = A.domain.shape
    if position is None:
        return tuple(n // 2 for n in shape)
    if len(position) != len(shape) or any(not 0 <= i < n for i, n in zip(position, shape)):
        raise ValueError(f"`position` is {position}, expected an index of an image {shape}")
    return tuple(position)
