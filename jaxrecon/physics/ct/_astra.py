"""Scans described the way of the ASTRA toolbox, whose y axis points up and whose row 0 is on top.

Here y grows with the row, so positions change the sign of y, and parallel angles change their sign.
Source: the ASTRA documentation, "2D geometries"; compared with the toolbox itself in the tests.
"""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxrecon.physics.ct._fan import Fan, fan_from_poses
from jaxrecon.physics.ct._parallel import Parallel, parallel_beam


def from_astra(projection: Mapping[str, Any], volume: Mapping[str, Any]) -> Parallel | Fan:
    """The operator of ASTRA's 2D geometry dictionaries.

    Args:
        projection: what ``astra.create_proj_geom`` gives for 'parallel', 'parallel_vec',
            'fanflat' or 'fanflat_vec'.
        volume: what ``astra.create_vol_geom`` gives, with square pixels and centred.

    Raises:
        ValueError: another geometry, pixels that are not square, or a grid off the centre.

    Example:
        >>> projection = {"type": "parallel", "DetectorWidth": 1.0, "DetectorCount": 24,
        ...               "ProjectionAngles": [0.25, 0.5]}
        >>> volume = {"GridRowCount": 16, "GridColCount": 16}
        >>> from_astra(projection, volume).angles.tolist()
        [-0.25, -0.5]
    """
    shape = (int(volume["GridRowCount"]), int(volume["GridColCount"]))
    pixel, n_bins = _pixel(volume, shape), int(projection["DetectorCount"])
    match projection["type"]:
        case "parallel":
            return parallel_beam(
                -np.asarray(projection["ProjectionAngles"]),
                shape,
                n_bins,
                pixel=pixel,
                bin_pitch=projection["DetectorWidth"],
            )
        case "parallel_vec":
            return _parallel_from_vectors(_up(projection["Vectors"]), shape, n_bins, pixel)
        case "fanflat":
            vectors = _fan_vectors(projection)
        case "fanflat_vec":
            vectors = projection["Vectors"]
        case other:
            raise ValueError(
                f"`projection` has type {other!r}, expected 'parallel', 'parallel_vec', 'fanflat' "
                "or 'fanflat_vec'"
            )
    source, detector, axis = np.split(_up(vectors), 3, axis=1)
    return fan_from_poses(source, detector, axis, shape, n_bins, pixel=pixel)


def _pixel(volume: Mapping[str, Any], shape: tuple[int, int]) -> float:
    option = volume.get("option", {})
    names = ("WindowMinX", "WindowMaxX", "WindowMinY", "WindowMaxY")
    centred = (-shape[1] / 2, shape[1] / 2, -shape[0] / 2, shape[0] / 2)
    x0, x1, y0, y1 = (float(option.get(n, d)) for n, d in zip(names, centred, strict=True))
    pixel = (x1 - x0) / shape[1]
    if not np.allclose([x0 + x1, y0 + y1, (y1 - y0) / shape[0] - pixel], 0, atol=1e-6 * pixel):
        raise ValueError(
            f"`volume` has the window x {x0}..{x1}, y {y0}..{y1} for {shape} pixels, "
            "expected square pixels and a grid centred on the origin"
        )
    return pixel


def _up(vectors: Any) -> np.ndarray:
    """Vectors (view, 6), as three (x, y), with y turned downwards."""
    return np.asarray(vectors, float) * np.array([1, -1] * 3)


def _fan_vectors(projection: Mapping[str, Any]) -> np.ndarray:
    angles = np.asarray(projection["ProjectionAngles"], float)
    towards = np.stack([-np.sin(angles), np.cos(angles)], -1)
    axis = np.stack([np.cos(angles), np.sin(angles)], -1) * projection["DetectorWidth"]
    source = -projection["DistanceOriginSource"] * towards
    return np.concatenate([source, projection["DistanceOriginDetector"] * towards, axis], 1)


def _parallel_from_vectors(
    vectors: np.ndarray, shape: tuple[int, int], n_bins: int, pixel: float
) -> Parallel:
    """Only the part of the detector across the rays matters: (cos θ, sin θ) is its direction."""
    ray, centre, axis = np.split(vectors, 3, axis=1)
    across = np.stack([ray[:, 1], -ray[:, 0]], -1) / np.linalg.norm(ray, axis=1, keepdims=True)
    across *= np.sign(np.sum(across * axis, 1, keepdims=True))
    return parallel_beam(
        np.arctan2(across[:, 1], across[:, 0]),
        shape,
        n_bins,
        pixel=pixel,
        bin_pitch=jnp.asarray(np.sum(across * axis, 1)),
        offset=np.sum(across * centre, 1),
    )
