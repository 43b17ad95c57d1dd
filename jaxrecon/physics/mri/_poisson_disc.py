"""Variable-density Poisson-disc sampling of Cartesian k-space.

Samples are random, but none comes close to another: outside the calibration region two samples are
at a distance d with

    d² ≥ min(⌊r(k₁)²⌋, ⌊r(k₂)²⌋),   r(k) = s (1 + (ratio − 1) ρ(k))                              (1)

in grid positions, where ρ is the elliptical distance from k = 0 (1 in the middle of each edge). The
mask is found by dart throwing on the grid: positions in random order, each accepted unless an
accepted one has it inside its disc, and s by bisection so that the discs fill k-space with just the
number of samples asked for, which is met exactly. Squared distances on the grid are integers; r² is
rounded up or down at random with mean r², so that the density has no steps.

This runs on the host in NumPy (a dart depends on all darts before it), seeded from the key: 0.1 to
0.3 s for 256². It does not run under `jit`.

Sources: Cook, "Stochastic sampling in computer graphics", ACM TOG 5 (1986), for dart throwing;
Vasanawala et al., "Practical parallel imaging compressed sensing MRI", ISBI (2011), for its use in
MRI.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jaxrecon.physics.mri._masks import calibration_mask, sample_budget

__all__ = ["poisson_disc_mask"]

# Random dart throwing on a plane stops when discs of diameter r cover 0.547 of it: 0.547 / (π/4)
# samples per r².
_SATURATION = 0.547 * 4 / np.pi


def poisson_disc_mask(
    key: PRNGKeyArray,
    shape: tuple[int, int],
    acceleration: int | float,
    *,
    calibration: int | tuple[int, int] = 24,
    ratio: int | float = 3.0,
    corners: bool = True,
) -> Bool[Array, "y x"]:
    """Variable-density Poisson-disc mask, equation (1), on the host (not under `jit`).

    Args:
        key: random key; it seeds NumPy's generator.
        shape: `(y, x)` of k-space.
        acceleration: positions of the whole grid over samples; met exactly, up to rounding to a
            whole sample.
        calibration: side or `(height, width)` of the calibration region, 0 for none.
        ratio: smallest distance at the edge of k-space over that at its centre; 1 is uniform.
        corners: whether to sample outside the ellipse that touches the edges.

    Returns:
        The mask `(y, x)`.

    Raises:
        ValueError: if the calibration region alone exceeds the number of samples, there are more
            samples than positions, or a value is out of its range.

    Example:
        >>> mask = poisson_disc_mask(jax.random.key(0), (64, 48), 4, calibration=8)
        >>> mask.shape, int(mask.sum())
        ((64, 48), 768)
    """
    if isinstance(key, Tracer):
        raise ValueError(
            "`key` is traced; expected a concrete key. Draw the mask outside jit and pass it in."
        )
    if not ratio >= 1:
        raise ValueError(f"`ratio` is {ratio}; expected at least 1 (uniform density).")
    centre = calibration_mask(shape, calibration)
    distance = _elliptical_distance(shape)
    eligible = ~centre & ((distance <= 1) | corners)
    budget = sample_budget(centre.size, acceleration, int(centre.sum())) - int(centre.sum())
    if budget > eligible.sum():
        raise ValueError(
            f"`acceleration` {acceleration} asks for {budget} samples outside the calibration "
            f"region, but only {eligible.sum()} positions lie there. Pass `corners=True` or a "
            "higher acceleration."
        )
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    darts = generator.permutation(np.flatnonzero(eligible))
    mask = centre.reshape(-1)
    radius = 1 + (ratio - 1) * distance.flat[darts]
    mask[darts[_fill(darts, radius, generator.random(darts.size), shape, budget)]] = True
    return jnp.asarray(mask.reshape(shape))


def _elliptical_distance(shape: tuple[int, int]) -> Float[np.ndarray, "y x"]:
    y, x = ((np.arange(n) - n // 2) / (n / 2) for n in shape)
    return np.hypot(y[:, None], x[None, :])


def _fill(
    darts: Int[np.ndarray, " n"],
    radius: Float[np.ndarray, " n"],
    dither: Float[np.ndarray, " n"],
    shape: tuple[int, int],
    budget: int,
) -> Int[np.ndarray, " m"]:
    """Indices of the first `budget` accepted darts, for nearly the largest s that has them."""
    if budget == 0:
        return np.zeros(0, int)

    def throw(scale):
        # A disc never needs to reach farther than the grid.
        squared = np.minimum(scale * radius, max(shape)) ** 2
        return _throw(darts, np.floor(squared + dither).astype(int), shape, budget)

    scale = np.sqrt(_SATURATION * np.sum(radius**-2.0) / budget)
    step, accepted = 1.25, np.zeros(0, int)
    while len(accepted) < budget:
        scale /= step
        accepted = throw(scale)
    for _ in range(6):
        step = np.sqrt(step)
        trial = throw(scale * step)
        if len(trial) == budget:
            scale, accepted = scale * step, trial
    return accepted


def _throw(
    darts: Int[np.ndarray, " n"],
    squared_radius: Int[np.ndarray, " n"],
    shape: tuple[int, int],
    budget: int,
) -> Int[np.ndarray, " m"]:
    """Indices of accepted darts in the given order, until there are `budget` or no dart is left."""
    ny, nx = shape
    margin = int(np.ceil(np.sqrt(squared_radius.max())))  # keeps discs inside the array
    width = nx + 2 * margin
    positions = (darts // nx + margin) * width + darts % nx + margin
    discs = {size: _disc(size, width) for size in np.unique(squared_radius).tolist()}
    blocked = bytearray((ny + 2 * margin) * width)  # read one by one faster than an array
    stamp = np.frombuffer(blocked, np.uint8)
    accepted = []
    for i, (position, size) in enumerate(zip(positions.tolist(), squared_radius.tolist())):
        if not blocked[position]:
            accepted.append(i)
            if len(accepted) == budget:
                break
            stamp[position + discs[size]] = 1
    return np.array(accepted)


def _disc(squared_radius: int, width: int) -> Int[np.ndarray, " offset"]:
    """Flat offsets of the positions nearer than the radius, in an array of the given width."""
    reach = int(np.ceil(np.sqrt(squared_radius)))
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    inside = y**2 + x**2 < squared_radius
    return y[inside] * width + x[inside]
