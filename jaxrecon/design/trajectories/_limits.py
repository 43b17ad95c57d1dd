"""What a scanner can play, as a convex set of control points, and the projection onto it.

With x = c/L the control points in cycles per mm, and |·| the Euclidean norm over axes, so that
limits hold however a shot is rotated (or each axis by itself),

    |x_{m+1} − x_m| ≤ γ T gmax,   |x_{m+2} − 2x_{m+1} + x_m| ≤ γ T² smax,   |x_m| ≤ N/2L      (1)

and E x = 0 for what is asked of k and g at certain times. These hold at every time, not only on the
raster; see `_readout`. The set is convex and holds zero and, with a trajectory, every fraction of
it: what is outside by little is brought inside, exactly, by scaling. It is never empty; limits that
are too low show in what the starts refuse, and in how far a projection moves.

Peripheral nerve stimulation is apart from it: see `stimulation`.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.core import Result, pytree, replace, run, static
from jaxrecon.design.trajectories._admm import (
    Bounds,
    CurveAdmm,
    Nearest,
    Parts,
    differences,
    inverse_on,
)
from jaxrecon.design.trajectories._readout import Readout, basis, fit_matrix, sampling_matrix
from jaxrecon.design.trajectories._trajectory import Trajectory, times
from jaxrecon.physics.mri.trajectories import Scanner
from jaxrecon.physics.mri.trajectories._scanner import field_of_view, image_sizes, pixel_size

__all__ = ["Limits", "Usage", "limits", "penalty", "project", "projected", "usage"]


@pytree
class Limits:
    """The set (1); built by `limits`. Called on a trajectory it is `project(...).value`.

    Attributes:
        bounds: in cycles per mm.
        fov: field of view along each axis in mm.
        inverse: of the projection's linear step; knows what is asked of start, echo and end.
        readout: timing and family of curves.
        n_iter: of the projection, at most.
        tol: of the projection, relative to the limits.
    """

    bounds: Bounds
    fov: Float[Array, " axis"]
    inverse: Float[Array, "control control"]
    readout: Readout = static()
    n_iter: int = static(default=300)
    tol: float = static(default=1e-3)

    def __call__(self, trajectory: Trajectory) -> Trajectory:
        return project(trajectory, self).value


def limits(
    scanner: Scanner,
    readout: Readout,
    shape: int | tuple[int, ...],
    *,
    start: str = "rest",
    echo: int | float | None = None,
    end_at_rest: bool = False,
    per_axis: bool = False,
    n_iter: int = 300,
    tol: float = 1e-3,
) -> Limits:
    """The trajectories that a scanner can play in a readout.

    Args:
        scanner: gradient and slew limits, field of view and nucleus.
        readout: timing and family of curves.
        shape: pixels of the image, or one number for two axes: k-space is bounded by N/2, in a
            disc or ball; along each axis with `per_axis`.
        start: "centre" (k and gradient are zero at time zero: the readout begins with the
            excitation), "rest" (the gradient is zero, k is free: a prephaser has ended), or "on"
            (both are free: the gradient may be on already; then pass `starts_at_rest=False` to
            `check_limits`).
        echo: a time in seconds at which k is zero.
        end_at_rest: whether the gradient is zero again at the end.
        per_axis: limits for each axis by itself, not of the Euclidean norm; then shots must be
            played in the orientation given.
        n_iter: iterations of the projection, at most.
        tol: of the projection, relative to each limit.

    Returns:
        The set, itself a projection: ``limits(trajectory)``.

    Raises:
        ValueError: an unknown start, an echo outside the readout, a B-spline with nothing left to
            choose, or pixels that are not isotropic with limits of the norm.

    Example:
        >>> from jaxrecon.design import trajectories as designed
        >>> from jaxrecon.physics.mri.trajectories import check_limits, scanner
        >>> system = scanner(fov=240, gmax=40, smax=180, dwell=2e-6)
        >>> timing = designed.readout(system, 1e-3)
        >>> wild = 20 * jax.random.normal(jax.random.key(0), (4, timing.n_control, 2))
        >>> tame = limits(system, timing, 64, start="centre")(Trajectory(wild, timing))
        >>> check_limits(tame.samples, system).ok
        True
    """
    n_axes = len(shape) if isinstance(shape, tuple) else 2
    sizes = image_sizes(shape, n_axes)
    if start not in ("centre", "rest", "on"):
        raise ValueError(f"`start` is {start!r}, expected 'centre', 'rest' or 'on'")
    if echo is not None and not 0 <= echo <= readout.duration:
        raise ValueError(f"`echo` is {echo} s, expected a time from 0 to {readout.duration:g} s")
    if not per_axis:
        pixel_size(scanner, sizes)
    fov = jnp.asarray(field_of_view(scanner, n_axes), float)
    reach = jnp.asarray(sizes, float) / (2 * fov)
    values = (
        jnp.asarray(scanner.gamma * readout.raster * scanner.gmax * 1e-6),
        jnp.asarray(scanner.gamma * readout.raster**2 * scanner.smax * 1e-3),
        reach if per_axis else jnp.min(reach),
    )
    asked = (start, None if echo is None else float(echo), end_at_rest)
    inverse = jnp.asarray(_inverse(readout, *asked))
    return Limits(Bounds(values, per_axis), fov, inverse, readout, n_iter, tol)


def project(trajectory: Trajectory, limits: Limits, *, gradient: Any = "none") -> Result:
    """The nearest trajectory within limits, in least squares of its control points.

    Limits hold at every time after it, converged or not, to rounding: a last step scales each shot
    by the fraction by which it is still outside.

    Args:
        trajectory: any, of the readout that the limits are for.
        limits: the set, with the projection's `n_iter` and `tol`.
        gradient: "none", or "unrolled" for the derivative through the iterations. `projected` has
            the one that passes through unchanged.

    Returns:
        The result: its value is a trajectory, its status says whether `tol` was reached.

    Raises:
        ValueError: a trajectory of another readout or number of axes.

    Example:
        >>> from jaxrecon.design import trajectories as designed
        >>> from jaxrecon.physics.mri.trajectories import scanner
        >>> system = scanner(fov=240, gmax=40, smax=180, dwell=2e-6)
        >>> timing = designed.readout(system, 4e-4)
        >>> allowed = designed.limits(system, timing, 64, start="centre")
        >>> line = jnp.linspace(0, 20, timing.n_control)[None, :, None] * jnp.ones((1, 1, 2))
        >>> result = project(Trajectory(line, timing), allowed)
        >>> bool(result.status.ok), bool(max(usage(result.value, allowed)) < 1 + 1e-5)
        (True, True)
    """
    _check_match(trajectory, limits)
    dtype = trajectory.coefficients.dtype
    limits = jax.tree.map(lambda leaf: leaf.astype(dtype), limits)
    target = _physical(trajectory, limits)
    options: dict[str, Any] = {"n_iter": limits.n_iter, "tol": limits.tol, "gradient": gradient}
    problem = Nearest(target, limits.inverse, limits.bounds)
    result = run(CurveAdmm(), problem, target, **options)
    points = result.value * limits.fov[None, None]
    if trajectory.readout.n_coefficients is not None:
        points = times(fit_matrix(trajectory.readout), points)
    near = replace(trajectory, coefficients=points)
    worst = functools.reduce(jnp.maximum, [jnp.max(f, axis=1) for f in _fractions(near, limits)])
    inside = replace(near, coefficients=points / jnp.maximum(worst, 1)[:, None, None])
    return replace(result, value=inside)


def projected(trajectory: Trajectory, limits: Limits) -> Trajectory:
    """The projection with the identity for its derivative (straight through), not the exact one.

    For criteria that project inside: ``criterion(projected(trajectory, limits))``, with an
    optimiser that is free to move. The exact one is `project(..., gradient="unrolled")`.

    Args:
        trajectory: any, of the readout that the limits are for.
        limits: the set.

    Returns:
        The nearest trajectory within limits.
    """
    free = trajectory.coefficients
    inside = limits(jax.lax.stop_gradient(trajectory)).coefficients
    return replace(trajectory, coefficients=free + jax.lax.stop_gradient(inside - free))


class Usage(NamedTuple):
    """The largest fraction of each limit that a trajectory uses; 1 is all of it."""

    gradient: Float[Array, ""]
    slew: Float[Array, ""]
    reach: Float[Array, ""]


def usage(trajectory: Trajectory, limits: Limits) -> Usage:
    """How much of each limit a trajectory uses, over all shots and times.

    Args:
        trajectory: to be judged.
        limits: the set.

    Returns:
        The largest fractions of gradient, slew rate and reach.

    Raises:
        ValueError: as for `project`.
    """
    _check_match(trajectory, limits)
    return Usage(*(jnp.max(f) for f in _fractions(trajectory, limits)))


def penalty(trajectory: Trajectory, limits: Limits) -> Float[Array, ""]:
    """The mean squared excess over limits, relative to them: zero exactly where they hold.

    To be added to a criterion instead of a projection, with a weight that grows. It does not know
    of `start`, `echo` and `end_at_rest`.

    Args:
        trajectory: to be judged.
        limits: the set.

    Returns:
        The sum over gradient, slew rate and reach.

    Raises:
        ValueError: as for `project`.
    """
    _check_match(trajectory, limits)
    parts = [jnp.mean(jnp.maximum(f - 1, 0) ** 2) for f in _fractions(trajectory, limits)]
    return parts[0] + parts[1] + parts[2]


def _fractions(trajectory: Trajectory, limits: Limits) -> Parts:
    return limits.bounds.fractions(differences(_physical(trajectory, limits)))


def _physical(trajectory: Trajectory, limits: Limits) -> Float[Array, "interleaf control axis"]:
    """Control points before rotation, in cycles per mm."""
    points = trajectory.interleaves
    return points / limits.fov.astype(points.dtype)[None, None]


def _check_match(trajectory: Trajectory, limits: Limits) -> None:
    if trajectory.readout != limits.readout:
        raise ValueError(
            f"`trajectory` has {trajectory.readout}, but `limits` are for {limits.readout}"
        )
    n_axes = trajectory.coefficients.shape[-1]
    if n_axes != limits.fov.shape[0]:
        raise ValueError(f"`trajectory` has {n_axes} axes, but `limits` {limits.fov.shape[0]}")
    if trajectory.angles and limits.bounds.per_axis:
        raise ValueError("`limits` are per axis, which rotated interleaves need not keep")


@functools.lru_cache(maxsize=32)
def _inverse(
    timing: Readout, start: str, echo: float | None, end_at_rest: bool
) -> Float[np.ndarray, "control control"]:
    """H of `_admm` on the readout's curves with E x = 0."""
    one = np.eye(timing.n_control)
    asked = {"centre": [one[0], one[1]], "rest": [one[1] - one[0]], "on": []}[start]
    asked += [] if echo is None else [sampling_matrix(timing, np.array([echo]))[0]]
    asked += [one[-1] - one[-2]] if end_at_rest else []
    curves = basis(timing)
    if asked:
        _, sizes, rows = np.linalg.svd(np.stack(asked) @ curves)
        curves = curves @ rows[(sizes > 1e-10 * sizes.max()).sum() :].T
    if curves.shape[1] == 0:
        raise ValueError("`readout` leaves nothing to choose: pass more `n_coefficients`")
    return inverse_on(curves)
