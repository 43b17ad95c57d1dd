"""From a scan along a trajectory to measurements: image size, density compensation, coil maps.

Coordinates on file are cycles per pixel. An image of another size is therefore one of the same
pixels and another field of view: it shows what lies outside, or leaves it out.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float

from jaxrecon.cli._maps import check_region, estimated_maps
from jaxrecon.cli.methods import Measurement
from jaxrecon.core import Problem, fft, identity, run
from jaxrecon.functionals import LeastSquares, SquaredL2
from jaxrecon.io import NonCartesianScan
from jaxrecon.physics import mri, noise_from_periphery, nufft
from jaxrecon.solvers import ConjugateGradient

# The calibration fit: its grid in calibration regions, its Tikhonov weight (AᴴWA is about one where
# k-space is sampled) and its iterations.
_MARGIN = 2
_TIKHONOV = 1e-3
_N_ITER = 30


def image_shape(scan: NonCartesianScan, source: str, size: int | None) -> tuple[int, int]:
    """The size asked for, or the file's, or that of the maps.

    Raises:
        ValueError: nothing says it, it is too small, or the maps have another.
    """
    of_maps = None if scan.maps is None else (scan.maps.shape[1], scan.maps.shape[2])
    shape = (size, size) if size is not None else scan.shape or of_maps
    if shape is None:
        raise ValueError(f"{source}: `N`: the file does not tell the image's size; pass `--size`")
    if min(shape) < 2:
        raise ValueError(f"`size` is {size}, expected at least 2 pixels")
    if of_maps not in (None, shape):
        raise ValueError(f"{source}: `maps` are {of_maps} (y, x), the image is {shape}")
    return shape


def noncartesian_measurements(
    scan: NonCartesianScan, source: str, shape: tuple[int, int], map_sets: int | None
) -> tuple[list[Measurement], list[str]]:
    """One measurement a slice, and lines that say what was built.

    Raises:
        ValueError: k-space from which no coil maps can be estimated.
    """
    n_slices, n_coils, n_shots, n_samples = scan.kspace.shape
    trajectory = jnp.asarray(scan.trajectory * np.array(shape, np.float32))
    density, density_how = _density(scan, source, trajectory, shape)
    distance = jnp.linalg.norm(jnp.asarray(scan.trajectory), axis=-1)
    measurements, how = [], ""
    for kspace in scan.kspace:
        data = jnp.asarray(kspace)
        maps, how = _coil_maps(scan, source, data, trajectory, density, shape, map_sets)
        A = mri.noncartesian_sense(maps, trajectory)
        noise = functools.partial(_noise, data, distance)
        measurements.append(Measurement(operator=A, data=data, weights=density, noise=noise))
    radius = float(distance.max())
    facts = [
        f"non-Cartesian, {n_coils} coil(s), {n_shots} shots x {n_samples} samples, "
        f"{n_slices} slice(s)",
        f"image {shape[0]} x {shape[1]}; k-space covered to {2 * radius:.1%} of what its pixels "
        f"need (radius {radius:.4g} of 0.5 cycles per pixel)",
        f"density compensation: {density_how}; coil maps: {how}",
    ]
    return measurements, facts


def _noise(data: Complex[Array, "coil s m"], distance: Float[Array, "s m"]) -> float:
    """Of the real and of the imaginary part."""
    return float(noise_from_periphery(data.reshape(len(data), -1), distance.ravel()))


def _density(
    scan: NonCartesianScan, source: str, trajectory: Array, shape: tuple[int, int]
) -> tuple[Float[Array, "shot sample"], str]:
    """Areas in cycles per field of view, and where they come from."""
    if scan.density is None:
        return nufft.pipe_density(mri.nufft(trajectory, shape)), "computed (Pipe's iteration)"
    density = jnp.asarray(scan.density)
    scale = _gridding_scale(density, jnp.asarray(scan.kspace[0]), trajectory, shape)
    if not scale > 0:
        raise ValueError(f"{source}: `dcf` leaves an image that does not fit the data at all")
    return scale * density, "the file's, scaled to the data"


def _gridding_scale(
    density: Float[Array, "shot sample"],
    data: Complex[Array, "coil shot sample"],
    trajectory: Float[Array, "shot sample 2"],
    shape: tuple[int, int],
) -> float:
    """The factor of the weights with which the gridded coil images explain the data best.

    It is c of min ‖c A AᴴWy − y‖ in the norm of W: files have weights of any scale.
    """
    A = mri.nufft(trajectory, shape, batch=(data.shape[0],))
    again = A(A.H(density * data))
    explained = jnp.sum(density * jnp.real(jnp.conj(again) * data))
    return float(explained / jnp.sum(density * jnp.abs(again) ** 2))


def _coil_maps(
    scan: NonCartesianScan,
    source: str,
    data: Array,
    trajectory: Array,
    density: Array,
    shape: tuple[int, int],
    map_sets: int | None,
) -> tuple[Array, str]:
    """Maps of one slice and where they come from."""
    if scan.maps is not None:
        return jnp.asarray(scan.maps), "given"
    if data.shape[0] == 1:
        return jnp.ones((1, *shape), data.dtype), "one coil, no maps"
    region = mri.calibration_shape(_visited(trajectory, shape))
    check_region(source, region)
    calibration = _calibration(data, trajectory, density, shape, region)
    return estimated_maps(source, calibration, shape, map_sets)


def _visited(
    trajectory: Float[Array, "shot sample 2"], shape: tuple[int, int]
) -> Bool[np.ndarray, "y x"]:
    """Which cells of Cartesian k-space hold a sample: all, where shots are a cell apart."""
    visited = np.zeros(shape, bool)
    index = np.rint(np.asarray(trajectory).reshape(-1, 2)).astype(int) + np.array(shape) // 2
    index = index[((index >= 0) & (index < shape)).all(axis=-1)]
    visited[tuple(index.T)] = True
    return visited


def _calibration(
    data: Complex[Array, "coil shot sample"],
    trajectory: Float[Array, "shot sample 2"],
    density: Float[Array, "shot sample"],
    shape: tuple[int, int],
    region: tuple[int, int],
) -> Complex[Array, "coil cy cx"]:
    """Cartesian samples of the centre: the k-space of coil images fitted to the samples there.

    The images have the whole field of view and few pixels. Their grid is larger than the region
    because samples at its border also see what lies beyond.
    """
    coarse = tuple(min(_MARGIN * n, m) for n, m in zip(region, shape, strict=True))
    limit = (np.array(coarse) - 1) / 2
    inside = np.asarray((jnp.abs(trajectory) <= limit).all(axis=-1))
    A = mri.nufft(trajectory[inside], coarse, batch=(data.shape[0],))
    fidelity = LeastSquares(data[:, inside], density[inside])
    problem = Problem(((fidelity, A), (SquaredL2(_TIKHONOV), identity(A.domain))))
    images = run(ConjugateGradient(), problem, n_iter=_N_ITER, tol=1e-4).value
    return mri.central_region(fft(A.domain, (-2, -1))(images), region)
