"""Density compensation by Voronoi cells, for any trajectory, in double precision on the host.

A cell is a sum of cones from its sample to its faces, all at once in arrays; only the cells that
reach beyond the support are cut one by one. Points on guard outside the support keep these short.

Source: Rasche et al., "Resampling of data between arbitrary grids using convolution interpolation",
IEEE Trans. Med. Imaging 18 (1999).
"""

import itertools
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

# How far a cell reaches beyond the samples' hull: half of Nyquist's distance.
MARGIN = 0.5


def voronoi_density(trajectory: ArrayLike) -> Float[Array, "*sample"]:
    """Weights as the areas of the samples' Voronoi cells, in two or three dimensions.

    Samples at the same place (k = 0 in every spoke) share their cell equally. Cells are cut off
    where k-space was not sampled: at the planes of the samples' convex hull moved out by half a
    cycle per field of view, Nyquist's half spacing, which makes all cells of a Cartesian grid equal
    to 1. Runs on the host in double precision with SciPy; not traceable, no derivatives.

    Args:
        trajectory: points `(..., axis)` in cycles per field of view, with two or three axes.

    Returns:
        Areas or volumes in cycles per field of view.

    Raises:
        ValueError: wrong axes, no points, points that are not finite or that all lie on a line or
            in a plane, or a traced trajectory.
        ImportError: SciPy is missing.

    Example:
        >>> grid = jnp.stack(jnp.meshgrid(jnp.arange(3.0), jnp.arange(4.0)), axis=-1)
        >>> voronoi_density(grid)[0].round(4).tolist()
        [1.0, 1.0, 1.0]
    """
    if isinstance(trajectory, jax.core.Tracer):
        raise ValueError("`trajectory` is traced: compute Voronoi cells outside jit and grad")
    points = np.asarray(trajectory, np.float64)
    _check_cloud(points)
    places, index, counts = _places(points.reshape(-1, points.shape[-1]))
    weights = (_cells(places) / counts)[index].reshape(points.shape[:-1])
    return jnp.asarray(weights, jnp.promote_types(jnp.asarray(trajectory).dtype, jnp.float32))


def _check_cloud(points: np.ndarray) -> None:
    if points.ndim < 2 or points.shape[-1] not in (2, 3):
        raise ValueError(f"`trajectory` has shape {points.shape}; expected (..., 2) or (..., 3)")
    if points.size == 0:
        raise ValueError(f"`trajectory` has shape {points.shape}: it holds no points")
    bad = int((~np.isfinite(points)).any(axis=-1).sum())
    if bad:
        raise ValueError(f"`trajectory` holds {bad} points that are not finite: remove them")
    flat = points.reshape(-1, points.shape[-1])
    flat = flat - flat.mean(axis=0)
    widths = np.linalg.svd(flat, compute_uv=False)
    if len(widths) < flat.shape[1] or widths[-1] <= 1e-6 * widths[0]:
        raise ValueError(
            f"`trajectory` has {len(flat)} points that all lie "
            f"{'on a line' if flat.shape[1] == 2 else 'in a plane'}: they have no cells; pass "
            "the coordinates in which they differ"
        )


def _places(
    points: Float[np.ndarray, "point axis"],
) -> tuple[Float[np.ndarray, "place axis"], Int[np.ndarray, " point"], Int[np.ndarray, " place"]]:
    """Distinct points, which of them each point is, and how many are there."""
    # Up to rounding in single precision; the grid of tolerances has k = 0 inside a cell.
    tolerance = 1e-6 * np.abs(points).max()
    cells = np.round(points / tolerance).astype(np.int64)
    _, first, index, counts = np.unique(
        cells, axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    return points[first], index.reshape(-1), counts


def _cells(places: Float[np.ndarray, "place axis"]) -> Float[np.ndarray, " place"]:
    """Areas or volumes of the Voronoi cells within the support."""
    spatial = _spatial()
    hull = spatial.ConvexHull(places)
    planes = np.unique(hull.equations.round(9), axis=0)  # facets are simplices, many in one plane
    support = planes[:, :-1], MARGIN - planes[:, -1]
    diagram = spatial.Voronoi(np.concatenate([places, _guards(places, hull)]))
    faces = np.concatenate([diagram.ridge_points, diagram.ridge_points[:, ::-1]])
    cones, beyond = (np.tile(x, 2) for x in _ridges(diagram, _outside(diagram, *support)))
    ours = faces[:, 0] < len(places)
    volumes = np.bincount(faces[ours, 0], cones[ours], len(places))
    cut = np.unique(faces[ours & beyond, 0])
    border = faces[np.isin(faces[:, 0], cut)]
    border = border[np.argsort(border[:, 0], kind="stable")]
    neighbours = np.split(border[:, 1], np.searchsorted(border[:, 0], cut[1:]))
    for p, others in zip(cut.tolist(), neighbours):
        volumes[p] = _cut_volume(spatial, diagram, p, others, *support)
    return volumes


def _cut_volume(
    spatial: Any,
    diagram: Any,
    p: int,
    neighbours: Int[np.ndarray, " neighbour"],
    normals: Float[np.ndarray, "plane axis"],
    limits: Float[np.ndarray, " plane"],
) -> float:
    """The volume of point p's cell below the planes of the support that cross it."""
    centre = diagram.points[p]
    corners = diagram.vertices[diagram.regions[diagram.point_region[p]]]
    crossed = (corners @ normals.T > limits).any(axis=0)
    normals, limits = normals[crossed], limits[crossed]
    towards = diagram.points[neighbours] - centre
    distances = np.linalg.norm(towards, axis=1)
    faces = np.concatenate([towards / distances[:, None], normals])
    reach = np.concatenate([distances / 2, limits - normals @ centre])
    unit = reach.max()
    halfspaces = np.column_stack([faces, -reach / unit])
    inside = np.zeros(len(centre))
    corners = spatial.HalfspaceIntersection(halfspaces, inside).intersections
    return float(spatial.ConvexHull(corners).volume * unit ** len(centre))


def _guards(places: Float[np.ndarray, "place axis"], hull: Any) -> Float[np.ndarray, "guard axis"]:
    """Points around the support that make its cells finite and short, without a part of it.

    A vertex of the hull with unit normals n_F has its guard along m = Σ n_F, where no point x of
    the support is farther out than m·x = margin · (number of facets): that is their bisector. The
    corners of a large box make sure of the rest.
    """
    total, count = np.zeros_like(places), np.zeros(len(places))
    for corner in hull.simplices.T:
        np.add.at(total, corner, hull.equations[:, :-1])
        np.add.at(count, corner, 1)
    v = hull.vertices
    square = np.sum(total[v] ** 2, axis=1, keepdims=True)
    ok = square[:, 0] > 1e-3
    near = places[v] + 2 * MARGIN * count[v, None] * total[v] / np.maximum(square, 1e-3)
    lower, upper = hull.min_bound, hull.max_bound
    far = np.array(list(itertools.product(*zip(9 * lower - 8 * upper, 9 * upper - 8 * lower))))
    return np.concatenate([near[ok], far])


def _outside(
    diagram: Any, normals: Float[np.ndarray, "plane axis"], limits: Float[np.ndarray, " plane"]
) -> Bool[np.ndarray, " vertex"]:
    """Which of the diagram's vertices lie outside the support."""
    vertices = diagram.vertices
    centre = (diagram.min_bound + diagram.max_bound) / 2
    result = np.linalg.norm(vertices - centre, axis=1) > np.min(limits - normals @ centre)
    far = np.flatnonzero(result)
    for some in np.array_split(far, 1 + len(far) * len(normals) // 10**7):
        result[some] = (vertices[some] @ normals.T > limits).any(axis=1)
    return result


def _ridges(
    diagram: Any, outside: Bool[np.ndarray, " vertex"]
) -> tuple[Float[np.ndarray, " ridge"], Bool[np.ndarray, " ridge"]]:
    """Of each face between two cells: the cone's volume from either point, and if it leaves."""
    sizes = np.array([len(ridge) for ridge in diagram.ridge_vertices])
    p, q = diagram.points[diagram.ridge_points].swapaxes(0, 1)
    height = np.linalg.norm(p - q, axis=1) / 2
    area, beyond = np.zeros(len(sizes)), np.zeros(len(sizes), bool)
    for size in np.unique(sizes):
        which = np.flatnonzero(sizes == size)
        index = np.array([diagram.ridge_vertices[i] for i in which])
        corners = diagram.vertices[index]
        beyond[which] = outside[index].any(axis=1) | (index < 0).any(axis=1)
        if corners.shape[-1] == 2:
            area[which] = np.linalg.norm(corners[:, 1] - corners[:, 0], axis=1)
        else:  # a polygon in order
            corners = corners - corners[:, :1]
            cross = np.cross(corners[:, :-1], corners[:, 1:]).sum(axis=1)
            area[which] = np.linalg.norm(cross, axis=1) / 2
    return area * height / diagram.points.shape[1], beyond


def _spatial() -> Any:
    try:
        from scipy import spatial
    except ImportError as error:
        raise ImportError(
            'voronoi_density needs SciPy, which is not installed: pip install "jaxrecon[density]"'
        ) from error
    return spatial
