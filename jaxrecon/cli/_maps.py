"""Coil maps where a file has none: ESPIRiT, and how many sets of them."""

import jax.numpy as jnp
from jaxtyping import Array

from jaxrecon.physics import mri

# Share of the object in which a second set of ESPIRiT maps must exist to be used.
_FOLDED_SHARE = 0.05
# Side of ESPIRiT's kernel, the least that a calibration region must hold.
KERNEL = 6


def estimated_maps(
    source: str, calibration: Array, shape: tuple[int, int], map_sets: int | None
) -> tuple[Array, str]:
    """Maps `(coil, y, x)`, or `(set, coil, y, x)`, from the centre of k-space, and how.

    Args:
        source: the file it is from, for errors.
        calibration: fully sampled centre of k-space `(coil, cy, cx)`.
        shape: `(y, x)` of the maps.
        map_sets: 1 or 2; None chooses.

    Raises:
        ValueError: a region too small, or without signal.
    """
    n_coils, *region = calibration.shape
    check_region(source, tuple(region))
    maps, _ = mri.espirit_maps(calibration, shape, kernel=KERNEL, n_sets=min(2, n_coils))
    if not bool(jnp.any(maps[0] != 0)):
        raise ValueError(
            f"{source}: no coil maps could be estimated from the centre of k-space; pass measured "
            "ones by `--maps`"
        )
    chosen = _n_sets(maps) if map_sets is None else map_sets
    reason = "" if map_sets is not None or chosen == 1 else ", the field of view is folded"
    how = f"ESPIRiT from {region[0]} x {region[1]} samples, {chosen} set(s){reason}"
    return maps[0] if chosen == 1 else maps, how


def check_region(source: str, region: tuple[int, ...]) -> None:
    """Refuses a calibration region that does not hold ESPIRiT's kernel.

    Raises:
        ValueError: it does not.
    """
    if min(region) < KERNEL:
        raise ValueError(
            f"{source}: k-space is fully sampled only in the {region[0]} x {region[1]} samples at "
            "its centre, too few to estimate coil maps; pass measured ones by `--maps`"
        )


def _n_sets(maps: Array) -> int:
    """Two where the second eigenvalue is near one over more than a sliver of the object."""
    if len(maps) == 1:
        return 1
    support = jnp.any(maps != 0, axis=1)
    share = float(support[1].sum() / jnp.maximum(support[0].sum(), 1))
    return 2 if share > _FOLDED_SHARE else 1
