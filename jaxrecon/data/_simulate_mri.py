"""Simulated MRI: multi-coil k-space of an object that is finer than the reconstruction's grid.

A scanner measures the Fourier transform of object times coil sensitivity, in a window around k = 0.
Here that transform is taken on the fine grid, and the window cut out of it:

    y_c = M (W F_fine (S_c^fine · ρ e^{iφ}) + n),   n ~ Normal(0, σ²) in each part          (1)

so that neither object nor maps are limited to the coarse grid's band, and edges ring as they do in
a scan. Maps are smooth fields of wires, which are the same functions on both grids, with Σ|S|² =
1; φ is a smooth random phase of the object. W keeps the image's scale: a constant stays the same
constant. The truth is the noiseless image of all samples of the window, combined by the coarse
maps:

    truth = Σ_c conj(S_c) F⁻¹ W F_fine (S_c^fine · ρ e^{iφ})                                (2)
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Complex, Inexact, PRNGKeyArray

from jaxrecon.core import centered_fft, pytree, static
from jaxrecon.physics import complex_gaussian_noise, mri


@pytree
class MRISimulation:
    """Undersampled k-space, the model to reconstruct it with, and the truth."""

    operator: mri.Sense
    kspace: Complex[Array, "coil y x"]
    """Noisy, and zero where the mask is."""
    mask: Bool[Array, "y x"]
    maps: Complex[Array, "coil y x"]
    """The operator's, with Σ|S|² = 1."""
    truth: Complex[Array, "y x"]
    """The noiseless fully sampled image, equation (2)."""
    facts: tuple[str, ...] = static()
    """How the data came about, a line for each step."""


def simulate_mri(
    image_fine: Inexact[Array, "fine_y fine_x"],
    *,
    key: PRNGKeyArray,
    shape: tuple[int, int],
    sigma: float,
    n_coils: int = 8,
    acceleration: float = 4.0,
    calibration: int | tuple[int, int] = 24,
    mask: ArrayLike | None = None,
    phase: float = 1.0,
) -> MRISimulation:
    """A Cartesian scan of a fine image, equation (1), to be reconstructed on a coarser grid.

    With a given `mask` it works under `jit` and `vmap` over the image and the key; a Poisson-disc
    mask is drawn on the host.

    Args:
        image_fine: the object, real or complex, on the whole field of view.
        key: random key of mask, phase and noise.
        shape: rows and columns of the reconstruction, at most the object's.
        sigma: standard deviation of the noise in the real and in the imaginary part of k-space
            (and, the transform being orthonormal, of a fully sampled image), in the image's unit.
        n_coils: coils on a ring around the field of view.
        acceleration: of the Poisson-disc mask: samples of the full grid over those taken.
        calibration: side, or height and width, of its fully sampled centre.
        mask: booleans, such as `mri.random_lines_mask` draws; `shape`, or 1 along an axis.
        phase: largest magnitude of the object's smooth extra phase, in radians; 0 for none.

    Returns:
        What is needed to reconstruct and to judge.

    Raises:
        ValueError: a size that makes no sense, or a mask that does not fit.

    Example:
        >>> from jaxrecon.data import area_average, modified_shepp_logan
        >>> fine = area_average(modified_shepp_logan(half_width=32.0), (64, 64), origin="fourier")
        >>> scan = simulate_mri(
        ...     fine, key=jax.random.key(0), shape=(32, 32), sigma=0.01, n_coils=4, calibration=8
        ... )
        >>> scan.kspace.shape, int(scan.mask.sum())
        ((4, 32, 32), 256)
    """
    fine = (image_fine.shape[0], image_fine.shape[1])
    if len(shape) != 2 or any(not 0 < n <= m for n, m in zip(shape, fine, strict=True)):
        raise ValueError(f"`shape` is {shape}; expected at most the object's, {fine}")
    if not sigma >= 0:
        raise ValueError(f"`sigma` is {sigma}; expected a number that is not negative")
    mask_key, phase_key, noise_key = jax.random.split(key, 3)
    if mask is None:
        mask = mri.poisson_disc_mask(mask_key, shape, acceleration, calibration=calibration)
    mask = jnp.asarray(mask)
    if mask.dtype != bool:
        raise ValueError(f"`mask` has dtype {mask.dtype}; expected booleans: what is measured")
    maps = mri.normalise_maps(mri.birdcage_maps(n_coils, shape))
    operator = mri.sense(maps, mask)
    mask = jnp.broadcast_to(mask, shape)
    fine_maps = mri.normalise_maps(mri.birdcage_maps(n_coils, fine))
    full = _window(fine_maps * image_fine * _smooth_phase(phase_key, fine, phase), shape)
    noisy = complex_gaussian_noise(noise_key, full, sigma)
    facts = (
        f"object: {fine[0]} × {fine[1]} pixels; reconstructed on {shape[0]} × {shape[1]}",
        f"{n_coils} coils, smooth maps with Σ|S|² = 1, object phase up to {phase:g} rad",
        _sampling(mask),
        f"noise: σ = {sigma:g} in the real and in the imaginary part of k-space",
    )
    return MRISimulation(
        operator,
        jnp.where(mask, noisy, 0),
        mask,
        maps,
        mri.sense(maps, jnp.ones((1, 1), bool)).H(full),
        facts=facts,
    )


def _window(images: Complex[Array, "coil fine_y fine_x"], shape: tuple[int, int]) -> Array:
    """W F of equation (1): k-space of fine images, cut to a coarser grid's, same image scale."""
    kspace = centered_fft(images, (1, 2))
    first = [m // 2 - n // 2 for m, n in zip(images.shape[1:], shape, strict=True)]
    rows, columns = (slice(start, start + n) for start, n in zip(first, shape, strict=True))
    scale = math.sqrt(math.prod(shape) / math.prod(images.shape[1:]))
    return scale * kspace[:, rows, columns]


def _smooth_phase(
    key: PRNGKeyArray, shape: tuple[int, int], largest: float
) -> Complex[Array, "y x"]:
    """exp(iφ) with φ a random polynomial of degree 2, whose largest magnitude is given."""
    y, x = (jnp.linspace(-1, 1, n) for n in shape)
    y, x = jnp.meshgrid(y, x, indexing="ij")
    terms = jnp.stack([jnp.ones_like(x), x, y, x * y, x**2, y**2])
    weights = jax.random.normal(key, (len(terms), 1, 1), terms.dtype)
    phase = jnp.sum(weights * terms, 0)
    return jnp.exp(1j * largest * phase / jnp.max(jnp.abs(phase)))


def _sampling(mask: Bool[Array, "y x"]) -> str:
    if isinstance(mask, Tracer):
        return "sampling: the given mask"
    taken = int(np.asarray(mask).sum())  # jnp would trace it under jit
    return f"sampling: {taken} of {mask.size} positions, acceleration {mask.size / taken:.3g}"
