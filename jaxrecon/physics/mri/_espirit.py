"""ESPIRiT: coil maps from the fully sampled centre of k-space.

Patches a of multi-coil k-space (`kernel` samples in every coil) lie in a small subspace, spanned by
the columns of V, the right singular vectors of the calibration matrix above a threshold. Projecting
every patch of k-space onto it, W = V Vᴴ, and averaging what the overlapping patches say is a
convolution; it leaves true k-space unchanged:

    d_c(q) = Σ_{c'} Σ_δ g_{cc'}(δ) d_{c'}(q + δ),   g_{cc'}(δ) = 1/K Σ_{k'−k=δ} W_{(c,k),(c',k')}
    (1)

with K samples in the kernel. In image space that is one Hermitian coil by coil matrix per pixel r
(r = n − N//2),

    G(r) = Σ_δ g(δ) exp(−2πi Σ_d δ_d r_d / N_d),   0 ≤ G ≤ 1,
    (2)

and the maps are its eigenvectors of eigenvalue one. Two such vectors mean that two points of the
object fall on one pixel (a folded field of view): both sets of maps are then used (soft SENSE).

W has `(coil K)²` entries and g is smaller yet, so no kernel is ever transformed at the size of the
image: (2) is two small matrix products, evaluated for blocks of rows. Which singular vectors are
kept is a mask, not a shape, so the whole function compiles. Maps have unit norm, zero where the
eigenvalue is below `crop`; their phase is that of the first principal coil. k-space is centred:
index N//2 is k = 0. Maps are data for what follows: there is no useful derivative through the
thresholds and through eigenvalues that coincide.

The cost is one coil by coil eigenproblem per pixel: compress more than about 12 coils first.

Source: Uecker et al., "ESPIRiT - an eigenvalue approach to autocalibrating parallel MRI", MRM 71
(2014).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Complex, Float

from jaxrecon.physics.mri._eigen import (
    align_phase,
    dominant_eigenvectors,
    map_rows,
    principal_coil,
)

__all__ = ["calibration_shape", "central_region", "espirit", "espirit_maps"]

_HIGHEST = jax.lax.Precision.HIGHEST


def calibration_shape(
    mask: Bool[Array, "y x"] | Bool[np.ndarray, "y x"], *, max_size: int = 24
) -> tuple[int, int]:
    """Size of the largest fully sampled central rectangle with sides up to `max_size`.

    A rectangle of c samples covers indices from N//2 − c//2, as everywhere in this package. Runs on
    the host: the mask must be concrete.

    Args:
        mask: sampled positions of centred k-space.
        max_size: longest side to look for.

    Returns:
        `(height, width)`, both 0 if the centre itself was not sampled.

    Example:
        >>> mask = np.zeros((32, 32), bool)
        >>> mask[12:20, 11:21] = True
        >>> calibration_shape(mask)
        (8, 10)
    """
    sampled = np.asarray(mask)
    best = (0, 0)
    widest = min(max_size, sampled.shape[1])
    for height in range(1, min(max_size, sampled.shape[0]) + 1):
        columns = central_region(sampled, (height, sampled.shape[1])).all(axis=0)
        while widest and not central_region(columns, (widest,)).all():
            widest -= 1
        if height * widest > best[0] * best[1]:
            best = (height, widest)
    return best


def central_region(array, shape: tuple[int, ...]):
    """The central part of the last axes of centred k-space (or of a mask), of the given shape.

    Args:
        array: any array, JAX or NumPy.
        shape: size of the part, for the last `len(shape)` axes.

    Returns:
        `array[..., N//2 − c//2 : N//2 − c//2 + c, ...]`.

    Raises:
        ValueError: if a side is longer than the array.

    Example:
        >>> central_region(jnp.arange(8), (3,)).tolist()
        [3, 4, 5]
    """
    full = array.shape[array.ndim - len(shape) :]
    if len(full) < len(shape) or any(c > n for c, n in zip(shape, full)):
        raise ValueError(f"`shape` is {shape}; expected at most {full}, the last axes of `array`.")
    starts = [n // 2 - c // 2 for c, n in zip(shape, full)]
    return array[(..., *(slice(s, s + c) for s, c in zip(starts, shape)))]


def espirit(
    kspace: Complex[Array, "coil y x"],
    *,
    calibration: int | tuple[int, int] | None = None,
    kernel: int | tuple[int, int] = 6,
    threshold: int | float = 1e-3,
    crop: int | float = 0.8,
    n_sets: int = 1,
) -> Complex[Array, "*set coil y x"]:
    """Coil maps from k-space whose centre is fully sampled.

    Args:
        kspace: centred, prewhitened k-space `(coil, y, x)`; positions not sampled are zero in every
            coil.
        calibration: side or `(height, width)` of the calibration region. None finds the largest one
            with sides up to 24 (needs a concrete `kspace`; with a size given the function runs
            under `jit`).
        kernel: side or `(height, width)` of the k-space kernel, in samples.
        threshold: squared singular values of the calibration matrix below `threshold` times the
            largest are noise.
        crop: maps are zero where the eigenvalue is below this (0 to 1).
        n_sets: number of sets of maps; 2 where the field of view is folded.

    Returns:
        Maps `(coil, y, x)`, or `(set, coil, y, x)` if `n_sets` is above 1.

    Raises:
        ValueError: if the calibration region does not hold the kernel, or a size is impossible.

    Example:
        >>> from jaxrecon.physics.mri import birdcage_maps, normalise_maps
        >>> maps = normalise_maps(birdcage_maps(4, (32, 32)))
        >>> y, x = jnp.mgrid[-1:1:32j, -1:1:32j]
        >>> image = maps * jnp.exp(-4 * (x**2 + y**2))
        >>> kspace = jnp.fft.fftshift(jnp.fft.fft2(jnp.fft.ifftshift(image, (1, 2))), (1, 2))
        >>> found = espirit(kspace, calibration=20, kernel=5)
        >>> bool(jnp.abs(jnp.sum(found.conj() * maps, axis=0))[16, 16] > 0.999)
        True
    """
    if calibration is None:
        if isinstance(kspace, Tracer):
            raise ValueError(
                "`calibration` is None, so the region is looked for in `kspace`, which is traced. "
                "Pass the size of the region, such as 24, to compile."
            )
        calibration = calibration_shape(np.asarray(jnp.any(kspace != 0, axis=0)))
    maps, _ = espirit_maps(
        central_region(kspace, _pair(calibration)),
        (kspace.shape[1], kspace.shape[2]),
        kernel=kernel,
        threshold=threshold,
        crop=crop,
        n_sets=n_sets,
    )
    return maps[0] if n_sets == 1 else maps


def espirit_maps(
    calibration: Complex[Array, "coil cy cx"],
    shape: tuple[int, int],
    *,
    kernel: int | tuple[int, int] = 6,
    threshold: int | float = 1e-3,
    crop: int | float = 0.8,
    n_sets: int = 1,
) -> tuple[Complex[Array, "set coil y x"], Float[Array, "set y x"]]:
    """Maps and eigenvalues from calibration data, on any grid over the same field of view.

    Args:
        calibration: the fully sampled centre of prewhitened k-space.
        shape: `(y, x)` of the maps.
        kernel: side or `(height, width)` of the k-space kernel, in samples.
        threshold: squared singular values of the calibration matrix below `threshold` times the
            largest are noise.
        crop: maps are zero where the eigenvalue is below this (0 to 1; 0 keeps them everywhere).
        n_sets: number of sets of maps.

    Returns:
        Maps `(set, coil, y, x)` and eigenvalues `(set, y, x)`, the largest first. The first is near
        1 where there is signal; the second too where the field of view is folded.

    Raises:
        ValueError: if `calibration` does not hold the kernel, or `n_sets` is not between 1 and the
            number of coils.

    Example:
        >>> maps, values = espirit_maps(jnp.ones((2, 8, 8), complex), (16, 12), kernel=3, n_sets=2)
        >>> maps.shape, values.shape
        ((2, 2, 16, 12), (2, 16, 12))
    """
    n_coils, *size = calibration.shape
    kernel = _pair(kernel)
    if any(c < k for c, k in zip(size, kernel)) or min(kernel) < 1:
        raise ValueError(
            f"`calibration` has {size[0]}x{size[1]} samples and `kernel` is "
            f"{kernel[0]}x{kernel[1]}; expected a fully sampled centre larger than the kernel "
            "(24x24 for a kernel of 6 is usual). Pass a smaller `kernel`, maps measured otherwise, "
            "or the size of the calibration region if k-space holds one."
        )
    if not 1 <= n_sets <= n_coils:
        raise ValueError(f"`n_sets` is {n_sets}; expected 1 to {n_coils}, the number of coils.")
    vectors, values = _eigenmaps(calibration, threshold, shape, kernel, n_sets)
    return jnp.where((values >= crop)[:, None], vectors, 0), values


@partial(jax.jit, static_argnums=(2, 3, 4))
def _eigenmaps(
    calibration: Complex[Array, "coil cy cx"],
    threshold: int | float | Float[Array, ""],
    shape: tuple[int, int],
    kernel: tuple[int, int],
    n_sets: int,
) -> tuple[Complex[Array, "set coil y x"], Float[Array, "set y x"]]:
    g = _reproducing_kernel(calibration, kernel, threshold)
    vectors, values = _image_space_eigenvectors(g, shape, n_sets)
    align = jax.vmap(align_phase, (0, None))
    return align(jnp.moveaxis(vectors, -1, 1), principal_coil(calibration)), values


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _reproducing_kernel(
    calibration: Complex[Array, "coil cy cx"],
    kernel: tuple[int, int],
    threshold: int | float | Float[Array, ""],
) -> Complex[Array, "dy dx coil coil"]:
    """The convolution kernel g of equation (1), δ from −(k−1) to k−1 on each axis."""
    n_coils = calibration.shape[0]
    peak = jnp.max(jnp.abs(calibration))
    patches = _patches(calibration / jnp.where(peak > 0, peak, 1), kernel)
    # Eigenvalues of the patches' Gram matrix are the squared singular values. Those kept stay far
    # above the rounding of float32, and it is smaller than the calibration matrix.
    gram = jnp.matmul(patches.T, patches.conj(), precision=_HIGHEST)
    values, vectors = jnp.linalg.eigh(gram)
    kept = jnp.where((values > threshold * values[-1])[None, :], vectors, 0)
    projector = jnp.matmul(kept, kept.conj().T, precision=_HIGHEST)
    projector = projector.reshape(n_coils, *kernel, n_coils, *kernel)
    along_y, along_x = (_differences(k, projector.dtype) for k in kernel)
    total = jnp.einsum("dkl,ckjblm->dcjbm", along_y, projector, precision=_HIGHEST)
    total = jnp.einsum("ejm,dcjbm->decb", along_x, total, precision=_HIGHEST)
    return total / (kernel[0] * kernel[1])


def _patches(
    calibration: Complex[Array, "coil cy cx"], kernel: tuple[int, int]
) -> Complex[Array, "patch entry"]:
    """The calibration matrix: one patch per row, entries ordered (coil, ky, kx)."""
    n_coils, cy, cx = calibration.shape
    ky, kx = kernel
    rows = jnp.arange(cy - ky + 1)[:, None] + jnp.arange(ky)[None, :]
    columns = jnp.arange(cx - kx + 1)[:, None] + jnp.arange(kx)[None, :]
    blocks = calibration[:, rows[:, None, :, None], columns[None, :, None, :]]
    return blocks.transpose(1, 2, 0, 3, 4).reshape(-1, n_coils * ky * kx)


def _differences(k: int, dtype) -> Complex[Array, "difference k k"]:
    """One where the second index minus the first is the difference, from −(k−1) to k−1."""
    index = jnp.arange(k)
    difference = jnp.arange(-(k - 1), k)
    return (index[None, None, :] - index[None, :, None] == difference[:, None, None]).astype(dtype)


def _image_space_eigenvectors(
    g: Complex[Array, "dy dx coil coil"], shape: tuple[int, int], n_sets: int
) -> tuple[Complex[Array, "set y x coil"], Float[Array, "set y x"]]:
    """Eigenpairs of G(r), equation (2), row block by row block."""
    ny, nx = shape
    n_coils = g.shape[-1]
    wave_x = _waves(jnp.arange(nx), nx, g.shape[1], g.dtype)
    half = jnp.einsum("xe,decb->dxcb", wave_x, g, precision=_HIGHEST)

    def block(rows):
        waves = _waves(rows, ny, g.shape[0], g.dtype)
        matrices = jnp.einsum("rd,dxcb->rxcb", waves, half, precision=_HIGHEST)
        vectors, values = dominant_eigenvectors(matrices, n_sets)
        return jnp.moveaxis(vectors, 0, 1), jnp.moveaxis(values, 0, 1)

    vectors, values = map_rows(block, ny, nx * n_coils**2)
    return jnp.moveaxis(vectors, 1, 0), jnp.moveaxis(values, 1, 0)


def _waves(index, n: int, n_differences: int, dtype) -> Complex[Array, "index difference"]:
    """exp(−2πi δ r / N) for pixels r = index − N//2 and centred differences δ."""
    delta = jnp.arange(n_differences) - n_differences // 2
    # The integer product modulo N keeps the angle exact in float32.
    turns = (((index - n // 2)[:, None] * delta[None, :]) % n) / n
    return jnp.exp(-2j * jnp.pi * turns).astype(dtype)
