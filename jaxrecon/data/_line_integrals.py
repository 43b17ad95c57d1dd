"""Exact line integrals of ellipses: along parallel rays, averaged over bins, between two points.

A ray at angle θ and distance s from the origin is the line x cos θ + y sin θ = s. With
w² = a² cos²(θ − φ) + b² sin²(θ − φ), the half width of an ellipse seen along the ray, and t the
ray's distance from the ellipse's centre in units of w,

    ∫ f = v (2ab/w) √(1 − t²),   |t| ≤ 1                                                   (1)

    its average over a bin from s₁ to s₂ = v ab (G(t₂) − G(t₁))/(s₂ − s₁),
    G(t) = t √(1 − t²) + arcsin t                                                          (2)

Everything is differentiable in the parameters, in the angles and in the positions; a derivative of
(1) at a tangent is infinite in truth and zero here.

Source: Kak and Slaney, Principles of Computerized Tomographic Imaging (1988), section 3.1.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxrecon.data._ellipses import Ellipses, safe_sqrt, sum_over, to_unit_disc


def line_integrals(
    phantom: Ellipses, angles: Float[Array, " view"], positions: Float[Array, " bin"]
) -> Float[Array, "view bin"]:
    """Line integrals along infinitely thin parallel rays, equation (1).

    Args:
        phantom: the ellipses.
        angles: θ in radians.
        positions: s in the phantom's unit of length; ``(i - (n - 1) / 2) * pitch + offset``.

    Returns:
        A sinogram, in the unit of `value` times that of length.

    Example:
        >>> from jaxrecon.data import ellipses
        >>> disc = ellipses([0.5], [(3.0, 0.0)], [(2.0, 2.0)])
        >>> line_integrals(disc, jnp.zeros(1), jnp.array([0.0, 3.0])).tolist()
        [[0.0, 2.0]]
    """

    def term(ellipse):
        distance, width = _seen_from(ellipse, angles)
        t = (positions - distance[:, None]) / width[:, None]
        chord = 2 * jnp.prod(ellipse.semi_axes) / width[:, None] * safe_sqrt(1 - t**2)
        return ellipse.value * chord

    return sum_over(phantom, term, angles.shape + positions.shape)


def bin_averages(
    phantom: Ellipses,
    angles: Float[Array, " view"],
    positions: Float[Array, " bin"],
    pitch: float | Float[Array, ""],
) -> Float[Array, "view bin"]:
    """Line integrals averaged exactly over detector bins of width `pitch`, equation (2).

    Args:
        phantom: the ellipses.
        angles: θ in radians.
        positions: s of the bins' centres, in the phantom's unit of length.
        pitch: width of a bin.

    Returns:
        A sinogram, in the unit of `value` times that of length.

    Example:
        >>> from jaxrecon.data import ellipses
        >>> disc = ellipses([1.0], [(0.0, 0.0)], [(2.0, 2.0)])
        >>> round(float(bin_averages(disc, jnp.zeros(1), jnp.zeros(1), 8.0)[0, 0] * 8 / jnp.pi), 5)
        4.0
    """

    def term(ellipse):
        distance, width = _seen_from(ellipse, angles)
        t = (positions - distance[:, None]) / width[:, None]
        half = (pitch / 2 / width)[:, None]
        mass = jnp.prod(ellipse.semi_axes) * (_segment(t + half) - _segment(t - half))
        return ellipse.value * mass / pitch

    return sum_over(phantom, term, angles.shape + positions.shape)


def ray_integrals(
    phantom: Ellipses, start: Float[Array, "*#ray 2"], end: Float[Array, "*#ray 2"]
) -> Float[Array, "..."]:
    """Line integrals from `start` to `end`, for fans, cones' middle planes or any other ray.

    Args:
        phantom: the ellipses.
        start: (x, y) of one end, for example the focal spot; broadcasts against `end`.
        end: (x, y) of the other, for example the centre of a detector bin.

    Returns:
        One integral a ray. What lies beyond the two points does not count.

    Example:
        >>> from jaxrecon.data import ellipses
        >>> disc = ellipses([1.0], [(0.0, 0.0)], [(2.0, 2.0)])
        >>> round(float(ray_integrals(disc, jnp.array([-9.0, 0.0]), jnp.zeros(2))), 5)
        2.0
    """
    along = end - start
    length = jnp.sqrt(jnp.sum(along**2, -1))

    def term(ellipse):
        p = to_unit_disc(ellipse, *jnp.moveaxis(start - ellipse.centre, -1, 0))
        d = to_unit_disc(ellipse, along[..., 0], along[..., 1])
        squared = d[0] ** 2 + d[1] ** 2
        # By the nearest point and a cross product: no difference of squares of long distances.
        nearest = -(p[0] * d[0] + p[1] * d[1]) / squared
        half = safe_sqrt(squared - (p[0] * d[1] - p[1] * d[0]) ** 2) / squared
        inside = jnp.clip(nearest + half, 0, 1) - jnp.clip(nearest - half, 0, 1)
        return ellipse.value * length * inside

    return sum_over(phantom, term, length.shape)


def _seen_from(
    ellipse: Ellipses, angles: Float[Array, " view"]
) -> tuple[Float[Array, " view"], Float[Array, " view"]]:
    """Where on the detector an ellipse's centre falls, and half its width there."""
    cosine, sine = jnp.cos(angles), jnp.sin(angles)
    a, b = ellipse.semi_axes
    turned = angles - ellipse.angle
    width = jnp.sqrt((a * jnp.cos(turned)) ** 2 + (b * jnp.sin(turned)) ** 2)
    return ellipse.centre[0] * cosine + ellipse.centre[1] * sine, width


@jax.custom_jvp
def _segment(t: Float[Array, "..."]) -> Float[Array, "..."]:
    """G of equation (2), constant outside [−1, 1]."""
    t = jnp.clip(t, -1, 1)
    return t * jnp.sqrt(1 - t**2) + jnp.arcsin(t)


@_segment.defjvp
def _segment_jvp(primals, tangents):
    # JAX's own is infinite minus infinite at ±1.
    (t,), (dt,) = primals, tangents
    return _segment(t), 2 * safe_sqrt(1 - t**2) * dt
