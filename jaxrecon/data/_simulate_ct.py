"""Simulated CT: raw data of an object that is finer than the grid on which it is reconstructed.

Rays of a fine detector run through the fine image (Joseph's method). The rays inside a bin are
averaged as intensities, not as line integrals, because that is what a bin of finite width collects:

    T_i = mean over the rays r of bin i of exp(−p_r),   N̄_i = I₀ T_i + background           (1)

Counts are Poisson(N̄) with Gaussian read-out noise; the background's mean is then subtracted, and
the logarithm gives line integrals and their statistical weights. The reconstruction's operator
knows neither the fine grid nor the averaging: there is no inverse crime. What is left out: the
beam has one energy, the gantry stands still during a view, and scatter is the constant background.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from jaxrecon.core import pytree, static
from jaxrecon.data._anatomy import downsample
from jaxrecon.physics import ct, poisson_counts


@pytree
class CTSimulation:
    """Line integrals with weights, the model to reconstruct them with, and the truth."""

    operator: ct.Parallel
    """From the coarse image to the sinogram."""
    line_integrals: Float[Array, "view bin"]
    weights: Float[Array, "view bin"]
    """Of penalised weighted least squares, in photons; 0 for readings without a logarithm, and 1
    for all others if there is no noise."""
    truth: Float[Array, "y x"]
    """The object averaged over the area of the coarse pixels, in 1/mm."""
    report: ct.Report
    """How many readings had no logarithm; their weight is zero."""
    facts: tuple[str, ...] = static()
    """How the data came about, a line for each step."""


def simulate_ct(
    attenuation_fine: Float[Array, "fine_y fine_x"],
    pixel_fine: float,
    *,
    key: PRNGKeyArray,
    n_views: int,
    factor: int = 2,
    photons: float | None = 1e5,
    background: float = 0.0,
    electronic: float = 0.0,
    arc: float = np.pi,
    n_bins: int | None = None,
    bin_pitch: float | None = None,
    rays_per_bin: int = 4,
) -> CTSimulation:
    """A parallel-beam scan of a fine image, equation (1), to be reconstructed on a coarser grid.

    Works under `jit` and `vmap` over the image and the key.

    Args:
        attenuation_fine: the object in 1/mm.
        pixel_fine: side of its pixels in mm.
        key: random key of the noise.
        n_views: views, equally spaced from 0 to below `arc`.
        factor: fine pixels in a pixel of the reconstruction, along each axis.
        photons: the dose: expected photons I₀ of the open beam in a bin and a view. None for
            noiseless data.
        background: expected counts in a bin that do not come through the object.
        electronic: standard deviation of the read-out noise, in photons.
        arc: covered angle in radians.
        n_bins: detector bins; by default just enough to see the whole image from every side.
        bin_pitch: their width in mm; by default the reconstruction's pixel.
        rays_per_bin: rays whose intensities a bin averages.

    Returns:
        What is needed to reconstruct and to judge.

    Raises:
        ValueError: a size or number that makes no sense.

    Example:
        >>> import jax
        >>> from jaxrecon.data import area_average, modified_shepp_logan
        >>> head = modified_shepp_logan(half_width=16.0, scale=0.02)
        >>> fine = area_average(head, (64, 64), pixel=0.5)
        >>> scan = simulate_ct(fine, 0.5, key=jax.random.key(0), n_views=24, photons=1e4)
        >>> scan.operator.range.shape, scan.truth.shape
        ((24, 46), (32, 32))
    """
    _check(n_views=n_views, rays_per_bin=rays_per_bin, photons=photons, pixel_fine=pixel_fine)
    truth = downsample(attenuation_fine, factor)
    n_y, n_x = truth.shape
    pixel = pixel_fine * factor
    pitch = pixel if bin_pitch is None else bin_pitch
    if n_bins is None:
        n_bins = int(np.ceil(np.hypot(n_y, n_x) * pixel / pitch))
    angles = jnp.arange(n_views, dtype=truth.dtype) * (arc / n_views)
    rays = ct.parallel_beam(
        angles,
        (n_y * factor, n_x * factor),
        n_bins * rays_per_bin,
        pixel=pixel_fine,
        bin_pitch=pitch / rays_per_bin,
    )
    intensity = jnp.exp(-rays(attenuation_fine)).reshape(n_views, n_bins, rays_per_bin).mean(-1)
    values, weights, report = _detect(key, intensity, photons, background, electronic)
    facts = (
        f"object: {_grid(attenuation_fine, pixel_fine)}; reconstructed on {_grid(truth, pixel)}",
        f"parallel beam: {n_views} views over {np.rad2deg(arc):g}°, {n_bins} bins of "
        f"{pitch:.4g} mm, each the mean intensity of {rays_per_bin} rays",
        _dose(photons, background, electronic),
    )
    return CTSimulation(
        ct.parallel_beam(angles, (n_y, n_x), n_bins, pixel=pixel, bin_pitch=pitch),
        values,
        weights,
        truth,
        report,
        facts=facts,
    )


def _detect(
    key: PRNGKeyArray,
    intensity: Float[Array, "view bin"],
    photons: float | None,
    background: float,
    electronic: float,
) -> tuple[Float[Array, "view bin"], Float[Array, "view bin"], ct.Report]:
    """Line integrals, weights and the report of transmitted intensities between 0 and 1."""
    if photons is None:
        values, weights, report = ct.minus_log(intensity)
        return values, (weights > 0).astype(values.dtype), report
    noise = {"background": background, "electronic": electronic}
    counts = poisson_counts(key, -jnp.log(intensity), photons, **noise)
    transmission = (counts - background) / photons
    values, weights, report = ct.minus_log(transmission, photons=photons, **noise)
    return values, weights, report


def _check(*, n_views: int, rays_per_bin: int, photons: float | None, pixel_fine: float) -> None:
    for name, n in (("n_views", n_views), ("rays_per_bin", rays_per_bin)):
        if n < 1:
            raise ValueError(f"`{name}` is {n}; expected at least 1")
    if photons is not None and not photons > 0:
        raise ValueError(f"`photons` is {photons}; expected a positive number, or None")
    if not pixel_fine > 0:
        raise ValueError(f"`pixel_fine` is {pixel_fine}; expected a positive length in mm")


def _grid(image: Float[Array, "y x"], pixel: float) -> str:
    return f"{image.shape[0]} × {image.shape[1]} pixels of {pixel:.4g} mm"


def _dose(photons: float | None, background: float, electronic: float) -> str:
    if photons is None:
        return "dose: no noise"
    return (
        f"dose: {photons:g} photons a bin and view in the open beam (Poisson), background "
        f"{background:g}, read-out noise {electronic:g} photons"
    )
