"""Patterns from sizes and budgets, checked."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool

from jaxrecon.design.masks._budget import scale_to_budget
from jaxrecon.design.masks._density import GaussianDensity, PowerLaw
from jaxrecon.design.masks._pattern import Selection, n_positions, selection
from jaxrecon.design.masks._weights import Weights, bounded

__all__ = ["gaussian", "lines", "mask_weights", "points", "power_law", "rows"]


def lines(
    n: int,
    budget: int,
    *,
    calibration: int | None = None,
    axis: int = -1,
    n_frames: int | None = None,
    start: ArrayLike | None = None,
) -> Selection:
    """A mask of lines with a free probability for each, `(1, x)` or `(y, 1)`; in frames, k-t.

    Args:
        n: number of lines of k-space.
        budget: lines that are measured (in each frame), the calibration lines included.
        calibration: central lines that are always measured; None where maps come from elsewhere.
        axis: along which lines are chosen: −1 gives masks `(1, n)`, −2 `(n, 1)`.
        n_frames: the mask is `(frame, 1, n)`, with as many lines in each frame; chosen for each by
            itself.
        start: probabilities to begin with, `(n,)` or `(frame, n)`, brought to the budget; equal
            ones by default.

    Raises:
        ValueError: a budget above the grid or below the calibration region, an empty calibration
            region, or a start of another shape.

    Example:
        >>> pattern = lines(32, 8, calibration=4)
        >>> mask = pattern.sample(jax.random.key(0))
        >>> mask.shape, int(mask.sum()), bool(mask[0, 14:18].all())
        ((1, 32), 8, True)
    """
    if axis not in (-1, -2, 0, 1):
        raise ValueError(f"`axis` is {axis}, expected -1 for masks (1, n) or -2 for (n, 1)")
    if n_frames is not None and n_frames < 1:
        raise ValueError(f"`n_frames` is {n_frames}, expected at least 1, or None")
    fixed = _fixed((n,), budget, calibration)
    frames = () if n_frames is None else (n_frames,)
    shape = (1, n) if axis % 2 else (n, 1)
    return _selection(start, frames, budget, fixed, shape)


def points(
    shape: tuple[int, int],
    budget: int,
    *,
    calibration: int | tuple[int, int] | None = None,
    start: ArrayLike | None = None,
) -> Selection:
    """A mask of points, two phase encodes, with a free probability for each.

    Args:
        shape: `(y, x)` of k-space.
        budget: points that are measured, the calibration region included.
        calibration: side or sides of the central region that is always measured, or None.
        start: probabilities to begin with, like the mask; equal ones by default.

    Raises:
        ValueError: as `lines`.

    Example:
        >>> points((8, 6), 12, calibration=2).probabilities().sum().round(4).item()
        12.0
    """
    fixed = _fixed(shape, budget, calibration)
    start = None if start is None else _flat(start, shape)
    return _selection(start, (), budget, fixed, tuple(shape))


def rows(
    n: int, budget: int, *, fixed: tuple[int, ...] = (0,), start: ArrayLike | None = None
) -> Selection:
    """Rows of a transform, such as Hadamard patterns, with a free probability for each.

    `pattern.positions()` is an order for `optics.single_pixel`, and a mask is a diagonal weight
    behind `optics.hadamard`.

    Args:
        n: rows of the transform.
        budget: rows that are measured, the fixed ones included.
        fixed: rows that are always measured; row 0 of a Hadamard matrix is the whole light.
        start: probabilities to begin with, `(n,)`; equal ones by default.

    Raises:
        ValueError: a budget above the number of rows or below that of fixed ones, or fixed rows
            that are not there.

    Example:
        >>> rows(16, 4).positions()[0].item()
        0
    """
    chosen = np.asarray(fixed, int)
    if chosen.size and not ((chosen >= 0) & (chosen < n)).all():
        raise ValueError(f"`fixed` is {fixed}, expected rows from 0 to {n - 1}")
    always = np.isin(np.arange(n), chosen)
    _check_budget(budget, n, int(always.sum()), "fixed")
    return _selection(start, (), budget, jnp.asarray(always), (n,))


def power_law(
    shape: tuple[int, ...],
    budget: int,
    *,
    power: ArrayLike = 3.0,
    centre: ArrayLike | Sequence[float] = 0.0,
    calibration: Any = None,
) -> PowerLaw:
    """Lines or points of density (1 − ρ)^power, differentiable in power and centre.

    Args:
        shape: `(y, x)` of the mask; `(1, x)` or `(y, 1)` for lines.
        budget: positions that are measured, the calibration region included.
        power: to begin with; 0 is uniform.
        centre: of the density, in halves of the sampled width; one number, or one for each axis
            that is longer than one.
        calibration: as for `lines` and `points`.

    Raises:
        ValueError: as `lines`, or a negative power.

    Example:
        >>> expected = lambda power: power_law((1, 64), 16, power=power).probabilities()[0, 32]
        >>> float(expected(0.0)), float(expected(4.0)) > 0.9
        (0.25, True)
    """
    if (_known(power) < 0).any():
        raise ValueError(f"`power` is {power}, expected zero or more")
    fixed, n_axes = _density(shape, budget, calibration)
    middle = jnp.broadcast_to(jnp.asarray(centre, float), (n_axes,))
    return PowerLaw(jnp.asarray(power, float), middle, fixed, budget, tuple(shape))


def gaussian(
    shape: tuple[int, ...],
    budget: int,
    *,
    width: ArrayLike | Sequence[float] = 0.4,
    centre: ArrayLike | Sequence[float] = 0.0,
    calibration: Any = None,
) -> GaussianDensity:
    """Lines or points of Gaussian density, differentiable in width and centre.

    Args:
        shape: `(y, x)` of the mask; `(1, x)` or `(y, 1)` for lines.
        budget: positions that are measured, the calibration region included.
        width: standard deviation in halves of the sampled width, one or one for each axis.
        centre: likewise.
        calibration: as for `lines` and `points`.

    Raises:
        ValueError: as `lines`, or a width that is not positive.

    Example:
        >>> gaussian((8, 8), 20, width=(0.2, 0.8)).probabilities().sum().round(4).item()
        20.0
    """
    if (_known(width) <= 0).any():
        raise ValueError(f"`width` is {width}, expected positive numbers")
    fixed, n_axes = _density(shape, budget, calibration)
    wide, middle = (jnp.broadcast_to(jnp.asarray(a, float), (n_axes,)) for a in (width, centre))
    return GaussianDensity(wide, middle, fixed, budget, tuple(shape))


def mask_weights(shape: tuple[int, ...], budget: int, *, calibration: Any = None) -> Weights:
    """A mask of weights between 0 and 1 that sum to the budget: the convex relaxation.

    Args:
        shape: of the mask; `(1, x)` or `(y, 1)` for lines.
        budget: the sum, the calibration region included, whose weights are one.
        calibration: as for `lines` and `points`.

    Raises:
        ValueError: as `lines`.

    Example:
        >>> mask_weights((1, 6), 4, calibration=2).weights()
        Array([[0.5, 0.5, 1. , 1. , 0.5, 0.5]], dtype=float32)
    """
    fixed, _ = _density(shape, budget, calibration)
    names = ("budget", "calibration", "shape")
    return bounded(tuple(shape), budget, np.asarray(fixed, float).reshape(shape), 1.0, names=names)


def _selection(start: Any, frames: tuple, budget: int, fixed: Array, shape: tuple) -> Selection:
    wanted = (*frames, fixed.size)
    start = jnp.ones(wanted) if start is None else jnp.asarray(start, float)
    if start.shape not in (wanted, wanted[-1:]):
        raise ValueError(f"`start` has shape {start.shape}, expected {wanted}")
    start = jnp.broadcast_to(start, wanted).reshape(-1, fixed.size)
    brought = jax.vmap(lambda p: scale_to_budget(p, budget, fixed))(start)
    return selection(brought.reshape(wanted), budget, fixed, shape).project()


def _flat(start: ArrayLike, shape: tuple[int, ...]) -> Array:
    start = jnp.asarray(start, float)
    if start.shape != tuple(shape):
        raise ValueError(f"`start` has shape {start.shape}, expected {tuple(shape)}")
    return start.reshape(-1)


def _density(
    shape: tuple[int, ...], budget: int, calibration: Any
) -> tuple[Bool[Array, " position"], int]:
    """Fixed positions and the number of axes that are sampled."""
    sampled = tuple(n for n in shape if n > 1)
    return _fixed(sampled, budget, calibration), len(sampled)


def _fixed(shape: tuple[int, ...], budget: int, calibration: Any) -> Bool[Array, " position"]:
    """The calibration region, from index N//2 − c//2, as in `physics.mri`."""
    region = np.zeros(shape, bool)
    if calibration is not None:
        sides = np.broadcast_to(calibration, len(shape))
        if (sides < 1).any():
            raise ValueError(
                f"`calibration` is {calibration}, an empty region: pass its sides, or None where "
                "maps do not come from this scan"
            )
        if (sides > shape).any():
            raise ValueError(f"`calibration` is {calibration}, but k-space has only {shape}")
        starts = [n // 2 - c // 2 for n, c in zip(shape, sides, strict=True)]
        region[tuple(slice(s, s + c) for s, c in zip(starts, sides, strict=True))] = True
    _check_budget(budget, n_positions(shape), int(region.sum()), "calibration")
    return jnp.asarray(region.ravel())


def _check_budget(budget: int, n: int, n_fixed: int, name: str) -> None:
    if not 1 <= budget <= n:
        raise ValueError(
            f"`budget` is {budget}, but the grid has {n} positions: pass 1 to {n} of them"
        )
    if budget < n_fixed:
        raise ValueError(
            f"`budget` is {budget}, but `{name}` alone takes {n_fixed}: raise the budget or "
            "fix fewer positions"
        )


def _known(value: Any) -> np.ndarray:
    """A number's value where it is known while tracing, else nothing."""
    return np.zeros(0) if isinstance(value, jax.core.Tracer) else np.asarray(value, float)
