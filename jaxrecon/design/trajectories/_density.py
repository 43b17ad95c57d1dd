"""How samples are spread over k-space: point spread, and distance to a wanted density.

The point-spread function of J samples at displacement n pixels, on twice the image,

    h(n) = (1/J) Σ_j exp(2πi Σ_d k_{jd} n_d / N_d),     h(0) = 1,                            (1)

is what a point looks like after the adjoint. A density p over k-space has such a transform too, ĥ,
and how far samples are from it is measured by

    F = Σ_{n≠0} w_n |h(n) − ĥ(n)|²,     w_n ∝ |n/N|^{−(d+1)},   Σ w = 1                      (2)
      = (1/J²) Σ_{jl} K(k_j − k_l) − (2/J) Σ_j ∫ K(k_j − k) p(k) dk + const,   K ≈ c − |k|

since these weights are the transform of −|k| in d dimensions: samples repel each other and are
attracted by the density, as in SPARKLING, but for J log J operations instead of J². K has the
period 2N, twice k-space, and is smooth within a cycle.

Sources: Lazarus et al., "SPARKLING: variable-density k-space filling curves for accelerated
T2*-weighted MRI", MRM 81 (2019); Chaithya et al., "Optimizing full 3D SPARKLING trajectories for
high-resolution magnetic resonance imaging", IEEE Trans. Med. Imaging 41 (2022).
"""

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from jaxrecon.core import centered_fft, pytree, static
from jaxrecon.design.trajectories._trajectory import Trajectory
from jaxrecon.physics.mri.trajectories._scanner import image_sizes
from jaxrecon.physics.nufft import nufft

__all__ = ["DensityMatch", "density_match", "point_spread", "radial_density", "sidelobe_energy"]


def point_spread(
    k: Float[Array, "*sample axis"],
    shape: tuple[int, ...],
    *,
    weights: Float[Array, "*sample"] | None = None,
    eps: float = 1e-4,
    backend: str | None = None,
) -> Complex[Array, "*double"]:
    """The point-spread function (1) at displacements −N to N − 1, zero at index N.

    Args:
        k: samples in cycles per field of view.
        shape: pixels of the image.
        weights: density compensation; none by default.
        eps: of the transform.
        backend: likewise, see `nufft`.

    Returns:
        Of twice the image's size, 1 at its centre; differentiable in samples and weights.

    Example:
        >>> grid = jnp.stack(jnp.meshgrid(jnp.arange(-4.0, 4), jnp.arange(-4.0, 4)), axis=-1)
        >>> h = point_spread(grid, (8, 8))
        >>> h.shape, bool(jnp.abs(h[8, 9]) < 1e-3)
        ((16, 16), True)
    """
    double = tuple(2 * n for n in shape)
    weights = jnp.ones(k.shape[:-1], k.dtype) if weights is None else weights
    spread = nufft(2 * k, double, eps=eps, backend=backend).H(weights) * math.sqrt(
        math.prod(double)
    )
    return spread / jnp.sum(weights)


def sidelobe_energy(
    k: Float[Array, "*sample axis"],
    shape: tuple[int, ...],
    *,
    radius: int | float = 1.0,
    weights: Float[Array, "*sample"] | None = None,
    eps: float = 1e-4,
) -> Float[Array, ""]:
    """The energy of the point-spread function outside its main lobe, relative to its peak's.

    Args:
        k: samples in cycles per field of view.
        shape: pixels of the image.
        radius: of the main lobe, in pixels.
        weights: density compensation.
        eps: of the transform.

    Returns:
        Σ |h|² over displacements beyond `radius`.
    """
    spread = point_spread(k, shape, weights=weights, eps=eps)
    outside = jnp.asarray(_distance(shape, (1.0,) * len(shape)) > radius, k.dtype)
    return jnp.sum(outside * jnp.abs(spread) ** 2)


def radial_density(
    shape: int | tuple[int, ...], *, cutoff: int | float = 0.25, decay: int | float = 2.0
) -> Float[np.ndarray, "*double"]:
    """A density that is flat at the centre and falls as a power of the radius, for `density_match`.

    Args:
        shape: pixels of the image.
        cutoff: radius of the flat part, as a fraction of k-space's, N/2.
        decay: the power; zero for a uniform disc or ball.

    Returns:
        On half cycles from −N/2 to N/2, of twice the image's size; its sum is 1.

    Raises:
        ValueError: a cutoff outside (0, 1], or a negative decay.
    """
    sizes = image_sizes(shape, len(shape) if isinstance(shape, tuple) else 2)
    if not (0 < cutoff <= 1 and decay >= 0):
        raise ValueError(
            f"`cutoff` is {cutoff} and `decay` {decay}, expected a fraction of (0, 1] and a power "
            "from 0"
        )
    r = _distance(sizes, sizes)
    density = np.where(r <= 1, np.maximum(r / cutoff, 1) ** -float(decay), 0)
    return density / density.sum()


@pytree
class DensityMatch:
    """A criterion for `design.optimise`: the distance (2); built by `density_match`.

    Attributes:
        target: ĥ.
        weights: w.
        shape: pixels of the image.
        eps: of the transform.
        backend: likewise, see `nufft`.
    """

    target: Complex[Array, "*double"]
    weights: Float[Array, "*double"]
    shape: tuple[int, ...] = static()
    eps: float = static(default=1e-4)
    backend: str | None = static(default=None)

    def __call__(self, trajectory: Trajectory, key: Any = None, step: Any = None) -> Array:
        del key, step
        options: dict[str, Any] = {"eps": self.eps, "backend": self.backend}
        spread = point_spread(trajectory.samples, self.shape, **options)
        return jnp.sum(self.weights * jnp.abs(spread - self.target) ** 2)


def density_match(density: Any, *, eps: float = 1e-4, backend: str | None = None) -> DensityMatch:
    """The distance of samples from a density, equation (2), as a criterion.

    Args:
        density: not negative, on half cycles: of twice the image's size, as `radial_density`. Of
            any scale.
        eps: of the transform.
        backend: likewise, see `nufft`.

    Returns:
        ``criterion(trajectory, key, step)``, which needs neither key nor step.

    Raises:
        ValueError: odd sizes, or values that are negative or not finite or all zero.

    Example:
        >>> from jaxrecon.design import trajectories as designed
        >>> from jaxrecon.physics.mri.trajectories import scanner
        >>> system = scanner(fov=240, gmax=40, smax=180, dwell=1e-5)
        >>> spokes = designed.radial(8, 32, system, designed.readout(system, 5e-4))
        >>> even, peaked = radial_density(32, decay=0.0), radial_density(32, cutoff=0.03, decay=1.0)
        >>> bool(density_match(peaked)(spokes) < density_match(even)(spokes))
        True
    """
    density = np.asarray(density, np.float64)
    if any(n % 2 for n in density.shape):
        raise ValueError(f"`density` has shape {density.shape}, expected twice the image's")
    if not (np.isfinite(density).all() and density.min() >= 0 and density.max() > 0):
        raise ValueError("`density` holds values that are negative or not finite, or only zeros")
    shape = tuple(n // 2 for n in density.shape)
    p = jnp.asarray(density / density.sum(), float)
    axes = tuple(range(p.ndim))
    # The centred transform is orthonormal and has the other sign; p is real.
    target = jnp.conj(centered_fft(p + 0j, axes)) * math.sqrt(density.size)
    r = _distance(shape, tuple(2.0 * n for n in shape))
    weights = np.where(r > 0, r, np.inf) ** -(len(shape) + 1.0)
    weights = jnp.asarray(weights / weights.sum(), float)
    return DensityMatch(target, weights, shape, eps, backend)


def _distance(shape: tuple[int, ...], scale: Any) -> Float[np.ndarray, "*double"]:
    """Length of the index −N to N − 1 over `scale`, for each axis."""
    axes = [np.arange(-n, n) / s for n, s in zip(shape, scale, strict=True)]
    return np.sqrt(sum(x**2 for x in np.ix_(*axes)))
