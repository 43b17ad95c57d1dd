"""Density compensation in closed form, for spokes and for interleaved spirals.

The area of a sample is the Jacobian of the coordinates in which samples are evenly spaced: along a
shot, and in the angle at which shots are turned against each other,

    w = |∂k/∂t × ∂k/∂φ| dt dφ = |k·dk| dφ.                                                   (1)

A spoke is the case in which k and dk are parallel.

Sources: Hoge, Kwan and Pike, "Density compensation functions for spiral MRI", MRM 38 (1997); Meyer
et al., "Fast spiral coronary artery imaging", MRM 28 (1992).
"""

import math
from collections.abc import Sequence

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float


def radial_density(
    trajectory: ArrayLike, shape: Sequence[int] | None = None
) -> Float[Array, "shot sample"]:
    """Weights of straight spokes through k = 0: the ramp |k| in the plane, k² in space.

    With samples Δ apart at s along a spoke of angle (or solid angle) dΩ, w = dΩ Δ |s|^(d−1), the
    area of a piece of a ring. In the plane the middle is a small disc, ∫|s| ds = Δ²/4 at s = 0, of
    which two thirds are right: the sum over a spoke is an integral only up to Euler and Maclaurin's
    term at the kink of |s|, Δ²/12. Leaving it in shifts the image by a twelfth of πΔ² times its
    mean (FBP's old question of the ramp at zero). In space s² has no kink, and weight 0 at s = 0.

    In the plane angles may be any: each spoke has half of both gaps beside it (golden angles have
    two or three sizes of gaps). In space directions must be uniform, over the half sphere for full
    spokes, over all of it for half spokes. Pure JAX. Not for echoes that reach less far on one side
    of k = 0.

    Args:
        trajectory: `(shot, sample, axis)` in cycles per field of view, with two or three axes.
        shape: pixels of the image, if its axes differ: spokes then end on an ellipse, and it is in
            units of the ellipse that directions are uniform. A stack of stars is two-dimensional:
            pass the last two coordinates.

    Returns:
        Areas or volumes in cycles per field of view.

    Raises:
        ValueError: wrong axes, fewer than two samples a spoke, or spokes that are not straight or
            miss k = 0 (told unless the trajectory is traced).

    Example:
        >>> spoke = jnp.arange(-4.0, 4)[:, None] * jnp.array([0.0, 1.0])
        >>> [round(float(w), 3) for w in radial_density(spoke[None])[0] / jnp.pi]
        [4.0, 3.0, 2.0, 1.0, 0.167, 1.0, 2.0, 3.0]
    """
    points = _shots(trajectory, (2, 3))
    _check_spokes(points)
    points = _isotropic(points, shape)
    n_shots, _, n_axes = points.shape
    along = points[:, -1] - points[:, 0]
    along = along / jnp.linalg.norm(along, axis=-1, keepdims=True)
    position = jnp.sum(points * along[:, None], axis=-1)
    edges = _edges(position)
    # A spoke from the centre out may begin a little before k = 0, by rounding.
    full = jnp.min(position) < -0.1 * jnp.max(position)
    edges = jnp.where(full, edges, jnp.maximum(edges, 0))
    if n_axes == 3:
        solid = jnp.where(full, 2 * math.pi, 4 * math.pi) / n_shots
        return solid.astype(points.dtype) * jnp.diff(edges, axis=-1) * position**2
    angle = jnp.arctan2(along[:, 0], along[:, 1])
    sector = jnp.where(full, _gaps(angle, math.pi), _gaps(angle, 2 * math.pi))
    areas = jnp.diff(edges * jnp.abs(edges) / 2, axis=-1)
    kink = jnp.where(full, 1 / 12, 1 / 24) * _kink(position)
    return sector[:, None] * (areas - kink.astype(points.dtype))


def spiral_density(
    trajectory: ArrayLike, shape: Sequence[int] | None = None
) -> Float[Array, "shot sample"]:
    """Weights of interleaves that are turned copies of one curve: |k·dk| times the angle between.

    In time and angle of turn, the area is |∂k/∂t × ∂k/∂φ| dt dφ = |k·dk/dt| dt dφ: Hoge's
    weights. For an Archimedean spiral these are Meyer's, |dk/dt| times the sine of the angle to the
    radius times the distance between arms; for variable density they remain exact. Sums are too:
    with k·dk as differences of k²/2 half-way between samples, they telescope. dφ is half of both
    gaps beside an interleave, so that golden angles are right too. Pure JAX.

    Args:
        trajectory: `(shot, sample, 2)` in cycles per field of view, each shot once from the centre
            out, or in.
        shape: pixels of the image, if its axes differ: it is in units of the ellipse that shots are
            turned copies.

    Returns:
        Areas in cycles per field of view.

    Raises:
        ValueError: wrong axes, fewer than two samples a shot, or shots that go out and come back
            (told unless the trajectory is traced).

    Example:
        >>> t = jnp.linspace(0, 1, 200)
        >>> spiral = 32 * t[:, None] * jnp.stack([jnp.sin(200 * t), jnp.cos(200 * t)], axis=-1)
        >>> round(float(spiral_density(spiral[None]).sum() / (jnp.pi * 32**2)), 2)
        1.01
    """
    points = _isotropic(_shots(trajectory, (2,)), shape)
    _check_arms(points)
    square = jnp.sum(points**2, axis=-1)
    # The square root has no derivative at k = 0, where its value does not depend on anything.
    radius = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    areas = jnp.abs(jnp.diff(jnp.maximum(_edges(radius), 0) ** 2 / 2, axis=-1))
    outward = radius[:, -1:] > radius[:, :1]
    end = jnp.where(outward, points[:, -1], points[:, 0])
    return _gaps(jnp.arctan2(end[:, 0], end[:, 1]), 2 * math.pi)[:, None] * areas


def _shots(trajectory: ArrayLike, n_axes: tuple[int, ...]) -> Float[Array, "shot sample axis"]:
    points = jnp.asarray(trajectory)
    if points.ndim != 3 or points.shape[-1] not in n_axes:
        last = " or ".join(map(str, n_axes))
        raise ValueError(
            f"`trajectory` has shape {points.shape}; expected (shot, sample, {last}): reshape it "
            "so that each shot is a row"
        )
    if points.shape[0] < 1 or points.shape[1] < 2:
        raise ValueError(
            f"`trajectory` has shape {points.shape}; expected a shot and two samples in it at least"
        )
    return points.astype(jnp.promote_types(points.dtype, jnp.float32))


def _check_spokes(points: Float[Array, "shot sample axis"]) -> None:
    """Each spoke is straight and comes as near to k = 0 as its samples' spacing."""
    if isinstance(points, jax.core.Tracer):
        return
    k = np.asarray(points, np.float64)
    along = k[:, -1] - k[:, 0]
    length = np.linalg.norm(along, axis=-1)
    if not length.min() > 0:
        raise ValueError("`trajectory` has a spoke without length, or points that are not finite")
    position = np.einsum("jia,ja->ji", k, along / length[:, None])
    aside = np.linalg.norm(k - position[..., None] * (along / length[:, None])[:, None], axis=-1)
    spacing = length / (k.shape[1] - 1)
    away = aside.max(axis=1) + np.maximum(np.abs(position).min(axis=1) - spacing, 0)
    worst = int(np.argmax(away / length))
    if away[worst] > 1e-3 * length[worst]:
        raise ValueError(
            f"`trajectory` has shot {worst} {away[worst]:.3g} cycles per field of view off a "
            "straight line through k = 0: use voronoi_density or pipe_density (for a stack of "
            "stars, pass the last two coordinates)"
        )


def _check_arms(points: Float[Array, "shot sample axis"]) -> None:
    """Each shot goes outwards, or inwards, but for some wobbling."""
    if isinstance(points, jax.core.Tracer):
        return
    radius = np.linalg.norm(np.asarray(points, np.float64), axis=-1)
    way = np.abs(np.diff(radius, axis=1)).sum(axis=1)
    gain = np.abs(radius[:, -1] - radius[:, 0])
    bad = np.flatnonzero(~(way <= 1.2 * gain))
    if bad.size:
        raise ValueError(
            f"`trajectory` has shot {bad[0]} going back and forth in |k|, by {way[bad[0]]:.3g} "
            f"cycles per field of view to get {gain[bad[0]]:.3g} far: pass the ways out and back "
            "one at a time, or use voronoi_density or pipe_density"
        )


def _isotropic(
    points: Float[Array, "shot sample axis"], shape: Sequence[int] | None
) -> Float[Array, "shot sample axis"]:
    """Coordinates in which an ellipse of the image's proportions is round; areas are kept."""
    if shape is None:
        return points
    sizes = np.array([int(n) for n in shape])
    if sizes.size != points.shape[-1] or sizes.min() < 1:
        raise ValueError(f"`shape` is {tuple(shape)}; expected {points.shape[-1]} positive sizes")
    mean = float(np.exp(np.mean(np.log(sizes))))
    return points * jnp.asarray(mean / sizes, points.dtype)


def _edges(position: Float[Array, "shot sample"]) -> Float[Array, "shot edge"]:
    """Half-way between samples, and as far beyond the first and the last."""
    inner = (position[:, 1:] + position[:, :-1]) / 2
    first, last = 2 * position[:, :1] - inner[:, :1], 2 * position[:, -1:] - inner[:, -1:]
    return jnp.concatenate([first, inner, last], axis=1)


def _kink(position: Float[Array, "shot sample"]) -> Float[Array, "shot sample"]:
    """Δ², shared by the samples next to s = 0 as linear interpolation would."""
    step = jnp.abs(position[:, -1:] - position[:, :1]) / (position.shape[1] - 1)
    share = jnp.maximum(1 - jnp.abs(position) / step, 0)
    return step**2 * share / jnp.maximum(jnp.sum(share, axis=1, keepdims=True), 0.5)


def _gaps(angle: Float[Array, " shot"], period: float) -> Float[Array, " shot"]:
    """Half the distance between each angle's two neighbours, on a circle of this period."""
    angle = jnp.mod(angle, period)
    order = jnp.argsort(angle)
    ordered = angle[order]
    ahead = jnp.append(ordered[1:], ordered[0] + period) - ordered
    return ((ahead + jnp.roll(ahead, 1)) / 2)[jnp.argsort(order)]
