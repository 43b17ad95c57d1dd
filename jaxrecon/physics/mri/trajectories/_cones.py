"""3D cones: spirals on cones around the z axis, from the centre out.

In cycles per field of view L (the largest one if the image is not a cube), n interleaves on the
cone of polar angle ϑ wind around the axis by the azimuth

    α(r) = 2π/(n R) (√(r² + r_0²) − r_0),     r_0 = n R / (2π sin ϑ)                         (1)

With the arms 2π r sin ϑ / n apart along the circle of latitude, their distance across is at most R
(1 is Nyquist's) everywhere, nearly R beyond r_0, and each starts straight: within r_0 straight
lines would be close enough. Cones are spaced by R at the edge, polar angles by 2R/N, and neither
pole is a cone. All shots take the time of those at the equator: a cone has the fewest interleaves,
at least in proportion to sin ϑ, that are no slower, and those that could be faster are slowed down.

Sources: Irarrazabal and Nishimura, "Fast three dimensional magnetic resonance imaging", MRM 33
(1995); Gurney, Hargreaves and Nishimura, "Design and analysis of a practical 3D cones trajectory",
MRM 55 (2006). They wind a little differently near r_0; (1) is smooth and in closed form.
"""

import functools
import math

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxrecon.core import replace
from jaxrecon.physics.mri.trajectories._angles import GOLDEN_RATIO
from jaxrecon.physics.mri.trajectories._scanner import Scanner, image_sizes, pixel_size
from jaxrecon.physics.mri.trajectories._spiral import rotate
from jaxrecon.physics.mri.trajectories._time_optimal import (
    Curve,
    Plan,
    n_intervals,
    plan_timing,
    play,
)

__all__ = ["cones"]


def cones(
    n_interleaves: int,
    shape: int | tuple[int, int, int],
    scanner: Scanner,
    *,
    acceleration: int | float = 1.0,
    n_cones: int | None = None,
) -> Float[Array, "shot sample 3"]:
    """Spirals on cones under gradient and slew limits, from rest at k = 0 to the edge.

    Runs on the host in double precision, so not traceable. The limits hold from the first sample on
    and for any rotation.

    Args:
        n_interleaves: the interleaves of a cone at the equator. More make shorter shots.
        shape: voxels of the image, (z, y, x) or one number; they must be cubes.
        scanner: the limits, field of view, dwell time and nucleus.
        acceleration: R, the distance of arms and of cones, 1 for Nyquist's.
        n_cones: number of cones; by default the fewest that are no more than R apart.

    Returns:
        (kz, ky, kx) in cycles per field of view, cone by cone from the positive pole to the
        negative one.

    Raises:
        ValueError: an option out of range, voxels that are not cubes, or a traced scanner.

    Example:
        >>> from jaxrecon.physics.mri.trajectories import check_limits, scanner
        >>> system = scanner(fov=200, gmax=40, smax=150, dwell=8e-6)
        >>> k = cones(8, 16, system)
        >>> k.shape, check_limits(k, system).ok
        ((160, 49, 3), True)
    """
    sizes = image_sizes(shape, 3)
    side = pixel_size(scanner, sizes)
    if n_interleaves < 1:
        raise ValueError(f"`n_interleaves` is {n_interleaves}, expected at least one")
    if not (acceleration > 0 and math.isfinite(acceleration)):
        raise ValueError(f"`acceleration` is {acceleration}, expected a positive number")
    n_cones = math.ceil(math.pi * max(sizes) / 2 / acceleration) if n_cones is None else n_cones
    if n_cones < 1:
        raise ValueError(f"`n_cones` is {n_cones}, expected at least one")
    cube = replace(scanner, fov=side * max(sizes))
    shots = _cones(n_interleaves, n_cones, max(sizes) / 2, float(acceleration), cube)
    return jnp.asarray(shots * (np.asarray(sizes) / max(sizes)))


def _cones(
    n_interleaves: int, n_cones: int, r_max: float, spacing: float, scanner: Scanner
) -> np.ndarray:
    plan_arm = functools.partial(_plan_arm, r_max=r_max, spacing=spacing, scanner=scanner)
    n = n_intervals(plan_arm(math.pi / 2, n_interleaves), scanner)
    polar = (np.arange(n_cones) + 0.5) * math.pi / n_cones
    arms = []
    for angle in polar[: (n_cones + 1) // 2]:
        count = math.ceil(n_interleaves * math.sin(angle))
        while n_intervals(plan := plan_arm(angle, count), scanner) > n:
            count += 1
        arms.append((play(plan, n), count))
    arms += [(arm * (-1, 1, 1), count) for arm, count in arms[: n_cones // 2][::-1]]
    turned = [(np.arange(m) / m + i / GOLDEN_RATIO, arm) for i, (arm, m) in enumerate(arms)]
    return np.concatenate([rotate(arm, 2 * math.pi * turns) for turns, arm in turned])


def _plan_arm(polar, n_interleaves, *, r_max, spacing, scanner) -> Plan:
    return plan_timing(_arm(r_max, polar, n_interleaves, spacing), scanner)


def _arm(r_max: float, polar: float, n_interleaves: int, spacing: float) -> Curve:
    straight = n_interleaves * spacing / (2 * math.pi * math.sin(polar))

    def curve(u):
        r = r_max * u
        wound = np.hypot(r, straight) - straight
        azimuth = 2 * math.pi / (n_interleaves * spacing) * wound
        across = r * math.sin(polar)
        parts = [r * math.cos(polar), across * np.sin(azimuth), across * np.cos(azimuth)]
        return np.stack(parts, axis=-1)

    return curve
