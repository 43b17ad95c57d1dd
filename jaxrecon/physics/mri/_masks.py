"""Cartesian sampling masks: which samples of centred k-space are measured.

A mask is boolean `(y, x)`, True where k-space is sampled, with k = 0 at index N//2. `acceleration`
is the number of grid positions over the number of samples, the calibration region included; only in
`equispaced_lines_mask` and `lattice_mask` is it the spacing, to which the calibration region comes
on top. The calibration region is a fully sampled rectangle of c samples from index N//2 − c//2. A
mask of lines samples whole lines: it varies along the phase-encoding `axis` and is constant along
the other.

Random masks draw without replacement with probability ∝ (1 − ρ)^power at relative distance ρ from k
= 0 (the Gumbel top-k method): the number of samples is exact and the function runs under `jit` and
`vmap` over keys. The Poisson disc is in `_poisson_disc.py`.

Source: Lustig et al., "Sparse MRI", MRM 58 (2007), for the polynomial density.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

__all__ = ["equispaced_lines_mask", "lattice_mask", "random_lines_mask", "random_mask"]


def equispaced_lines_mask(
    shape: tuple[int, int],
    acceleration: int,
    *,
    calibration: int = 24,
    offset: int = 0,
    axis: int = -1,
) -> Bool[Array, "y x"]:
    """Every `acceleration`-th line and the central `calibration` lines.

    Args:
        shape: `(y, x)` of k-space.
        acceleration: spacing of the lines outside the calibration region.
        calibration: number of central lines, 0 for none.
        offset: index of the first line, modulo the spacing.
        axis: the phase-encoding axis.

    Returns:
        The mask, constant along the other axis.

    Raises:
        ValueError: if the spacing is below 1 or the calibration region exceeds k-space.

    Example:
        >>> equispaced_lines_mask((2, 8), 3, calibration=2)[0].astype(int).tolist()
        [1, 0, 0, 1, 1, 0, 1, 0]
    """
    if acceleration < 1:
        raise ValueError(f"`acceleration` is {acceleration}; expected a spacing of at least 1.")
    n = shape[axis]
    lines = (np.arange(n) - offset) % acceleration == 0
    return _lines(jnp.asarray(lines | calibration_mask((n,), calibration)), shape, axis)


def lattice_mask(
    shape: tuple[int, int],
    acceleration: tuple[int, int],
    *,
    shift: int = 0,
    calibration: int | tuple[int, int] = 24,
) -> Bool[Array, "y x"]:
    """A regular lattice in two phase-encoding directions, sheared by `shift` (CAIPIRINHA).

    Args:
        shape: `(y, x)` of k-space.
        acceleration: `(R_y, R_x)`, the spacing along each axis; R_y·R_x in all, outside the
            calibration region.
        shift: samples by which each sampled row is moved along x against the one before, 0 to R_x −
            1.
        calibration: side or `(height, width)` of the calibration region, 0 for none.

    Returns:
        The mask.

    Raises:
        ValueError: if a spacing is below 1 or the calibration region exceeds k-space.

    Example:
        >>> lattice_mask((4, 4), (2, 2), shift=1, calibration=0).astype(int).tolist()
        [[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 1], [0, 0, 0, 0]]

    Source: Breuer et al., "Controlled aliasing in volumetric parallel imaging", MRM 55 (2006).
    """
    if min(acceleration) < 1:
        raise ValueError(f"`acceleration` is {acceleration}; expected spacings of at least 1.")
    row, column = np.indices(shape)
    spacing_y, spacing_x = acceleration
    moved = column - shift * (row // spacing_y)
    lattice = (row % spacing_y == 0) & (moved % spacing_x == 0)
    return jnp.asarray(lattice | calibration_mask(shape, calibration))


def random_lines_mask(
    key: PRNGKeyArray,
    shape: tuple[int, int],
    acceleration: int | float,
    *,
    calibration: int = 24,
    power: int | float = 3.0,
    axis: int = -1,
) -> Bool[Array, "y x"]:
    """Random lines, denser towards the centre.

    Args:
        key: random key.
        shape: `(y, x)` of k-space.
        acceleration: lines of k-space over sampled lines.
        calibration: number of central lines, 0 for none.
        power: of the density (1 − ρ)^power; 0 is uniform.
        axis: the phase-encoding axis.

    Returns:
        The mask, constant along the other axis.

    Raises:
        ValueError: if the calibration lines alone exceed the number of lines, or `acceleration` is
            below 1.

    Example:
        >>> mask = random_lines_mask(jax.random.key(0), (4, 64), 4, calibration=8)
        >>> int(mask[0].sum())
        16
    """
    lines = _draw(key, (shape[axis],), acceleration, calibration, power)
    return _lines(lines, shape, axis)


def random_mask(
    key: PRNGKeyArray,
    shape: tuple[int, int],
    acceleration: int | float,
    *,
    calibration: int | tuple[int, int] = 24,
    power: int | float = 3.0,
) -> Bool[Array, "y x"]:
    """Random samples, denser towards the centre.

    Args:
        key: random key.
        shape: `(y, x)` of k-space.
        acceleration: positions over samples.
        calibration: side or `(height, width)` of the calibration region, 0 for none.
        power: of the density (1 − ρ)^power; 0 is uniform.

    Returns:
        The mask.

    Raises:
        ValueError: if the calibration region alone exceeds the number of samples, or `acceleration`
            is below 1.

    Example:
        >>> int(random_mask(jax.random.key(0), (64, 64), 8, calibration=8).sum())
        512
    """
    return _draw(key, shape, acceleration, calibration, power)


def calibration_mask(
    shape: tuple[int, ...], calibration: int | tuple[int, ...]
) -> Bool[np.ndarray, "*shape"]:
    """True in the central region of the given side or sides.

    Raises:
        ValueError: if the region exceeds k-space.
    """
    sides = (calibration,) * len(shape) if isinstance(calibration, int) else tuple(calibration)
    if len(sides) != len(shape) or any(not 0 <= c <= n for c, n in zip(sides, shape)):
        raise ValueError(
            f"`calibration` is {calibration}; expected sides from 0 to those of k-space, {shape}."
        )
    mask = np.zeros(shape, bool)
    mask[tuple(slice(n // 2 - c // 2, n // 2 - c // 2 + c) for c, n in zip(sides, shape))] = True
    return mask


def sample_budget(n_positions: int, acceleration: int | float, n_calibration: int) -> int:
    """How many samples `acceleration` leaves.

    Raises:
        ValueError: if that is more than there are positions, or no more than the calibration region
            takes.
    """
    if not acceleration >= 1:
        raise ValueError(f"`acceleration` is {acceleration}; expected at least 1.")
    budget = round(n_positions / acceleration)
    if budget < max(n_calibration, 1):
        raise ValueError(
            f"`acceleration` {acceleration} leaves {budget} of {n_positions} samples, but "
            f"`calibration` alone takes {n_calibration}. Pass a smaller calibration region or an "
            f"acceleration of at most {n_positions / max(n_calibration, 1):.4g}."
        )
    return budget


def _draw(key, shape, acceleration, calibration, power) -> Bool[Array, "*shape"]:
    centre = calibration_mask(shape, calibration)
    budget = sample_budget(centre.size, acceleration, int(centre.sum()))
    log_density = power * jnp.log1p(-jnp.asarray(_relative_distance(shape)))
    gumbel = jax.random.gumbel(key, shape, log_density.dtype)
    score = jnp.where(centre, jnp.inf, log_density + gumbel)
    chosen = jax.lax.top_k(score.reshape(-1), budget)[1]
    return jnp.zeros(centre.size, bool).at[chosen].set(True).reshape(shape)


def _relative_distance(shape: tuple[int, ...]) -> Float[np.ndarray, "*shape"]:
    """Distance from k = 0 over that of a point just outside the corner: from 0 to below 1."""
    axes = [(np.arange(n) - n // 2) / (n // 2 + 1) for n in shape]
    grid = np.meshgrid(*axes, indexing="ij")
    return np.sqrt(sum(g**2 for g in grid) / len(shape)).astype(np.float32)


def _lines(lines: Bool[Array, " line"], shape: tuple[int, int], axis: int) -> Bool[Array, "y x"]:
    along = [1, 1]
    along[axis] = shape[axis]
    return jnp.broadcast_to(lines.reshape(along), shape)
