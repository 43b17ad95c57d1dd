"""Phantoms made of ellipses: a pytree of parameters, and the Shepp-Logan heads.

An object is a sum of ellipses: f(x, y) = Σ_e v_e [ |M_e (r − c_e)| ≤ 1 ] with centre c, semi-axes
a and b, and an angle φ from the x axis towards the y axis,

    M (Δx, Δy) = ((Δx cos φ + Δy sin φ)/a, (−Δx sin φ + Δy cos φ)/b)                       (1)

Lengths are in any one unit, millimetres in CT. x grows with the column and y with the row, which is
downwards on the screen: heads are given with the nose up, as everybody draws them.

Sources: Shepp and Logan, "The Fourier reconstruction of a head section", IEEE Trans. Nucl. Sci. 21
(1974); Toft, "The Radon transform: theory and implementation", PhD thesis, DTU (1996), for the
contrast that eyes can see. Random ellipses: Adler and Öktem, "Learned primal-dual reconstruction",
IEEE Trans. Med. Imaging 37 (2018), with the numbers of the authors' program.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Inexact, PRNGKeyArray

from jaxrecon.core import pytree


@pytree
class Ellipses:
    """Ellipses whose values add up where they overlap; every field is differentiable data."""

    value: Float[Array, " ellipse"]
    """What the ellipse adds to the image: attenuation per unit of length, or magnetisation."""
    centre: Float[Array, "ellipse 2"]
    """(x, y) in the unit of length."""
    semi_axes: Float[Array, "ellipse 2"]
    """(a, b), both positive."""
    angle: Float[Array, " ellipse"]
    """From the x axis to the first semi-axis, positive towards the y axis, in radians."""


# Semi-axes, centre with y upwards, and angle in degrees (Shepp and Logan 1974, table I), in halves
# of the field of view; then the densities of 1974 and those of Toft.
_HEAD = np.array(
    [
        (0.6900, 0.9200, 0.00, 0.0000, 0, 2.00, 1.0),
        (0.6624, 0.8740, 0.00, -0.0184, 0, -0.98, -0.8),
        (0.1100, 0.3100, 0.22, 0.0000, -18, -0.02, -0.2),
        (0.1600, 0.4100, -0.22, 0.0000, 18, -0.02, -0.2),
        (0.2100, 0.2500, 0.00, 0.3500, 0, 0.01, 0.1),
        (0.0460, 0.0460, 0.00, 0.1000, 0, 0.01, 0.1),
        (0.0460, 0.0460, 0.00, -0.1000, 0, 0.01, 0.1),
        (0.0460, 0.0230, -0.08, -0.6050, 0, 0.01, 0.1),
        (0.0230, 0.0230, 0.00, -0.6060, 0, 0.01, 0.1),
        (0.0230, 0.0460, 0.06, -0.6050, 0, 0.01, 0.1),
    ]
)


def ellipses(
    value: ArrayLike | Sequence,
    centre: ArrayLike | Sequence,
    semi_axes: ArrayLike | Sequence,
    angle: ArrayLike | Sequence = 0.0,
) -> Ellipses:
    """A phantom from lists or arrays; see `Ellipses` for the meaning of each.

    Args:
        value: one number for each ellipse.
        centre: (x, y) for each.
        semi_axes: (a, b) for each.
        angle: radians, for all or for each.

    Raises:
        ValueError: shapes that do not fit together.

    Example:
        >>> disc = ellipses([0.02], [(0.0, 5.0)], [(30.0, 30.0)])
        >>> disc.angle.shape
        (1,)
    """
    value = jnp.asarray(value, float)
    pairs = {"centre": jnp.asarray(centre, float), "semi_axes": jnp.asarray(semi_axes, float)}
    if value.ndim != 1:
        raise ValueError(f"`value` has shape {value.shape}; expected (ellipse,)")
    for name, array in pairs.items():
        if array.shape != (value.size, 2):
            raise ValueError(f"`{name}` has shape {array.shape}; expected ({value.size}, 2)")
    angle = jnp.asarray(angle, float)
    if angle.shape not in ((), value.shape):
        raise ValueError(f"`angle` has shape {angle.shape}; expected () or {value.shape}")
    return Ellipses(value, angle=jnp.broadcast_to(angle, value.shape), **pairs)


def shepp_logan(*, half_width: float = 1.0, scale: float = 1.0) -> Ellipses:
    """The head of Shepp and Logan (1974): skull 2, brain 1.02, features of 0.01 to 0.02.

    Args:
        half_width: half of the field of view, in the unit of length: ``n * pixel / 2``. The head
            reaches to 0.92 of it.
        scale: multiplies all densities; 0.0189 makes the brain water at 70 keV, in 1/mm.

    Example:
        >>> round(float(shepp_logan().value[:2].sum()), 5)
        1.02
    """
    return _head(5, half_width, scale)


def modified_shepp_logan(*, half_width: float = 1.0, scale: float = 1.0) -> Ellipses:
    """The same head with Toft's contrast: skull 1, brain 0.2, features of 0.1 to 0.2.

    Args:
        half_width: half of the field of view, in the unit of length: ``n * pixel / 2``.
        scale: multiplies all densities.

    Example:
        >>> modified_shepp_logan(half_width=100.0).semi_axes[0].tolist()
        [69.0, 92.0]
    """
    return _head(6, half_width, scale)


def random_ellipses(
    key: PRNGKeyArray, *, n: int = 50, half_width: float = 1.0, scale: float = 1.0
) -> Ellipses:
    """About n overlapping ellipses, n on average: what networks for CT are often trained on.

    Values are (U − ½)·E with U uniform in [0, 1] and E exponential of mean 0.4, semi-axes
    exponential of mean 0.2, centres uniform in the field of view, all angles alike. The number is
    Poisson distributed. Works under `jit` and `vmap` over the key: there are always n + 5√n
    ellipses, of which those too many have the value 0 (a cut in the tail, of 1 draw in a million).

    Args:
        key: random key.
        n: ellipses on average.
        half_width: half of the field of view, in the unit of length.
        scale: multiplies all values.

    Raises:
        ValueError: `n` is not positive.

    Example:
        >>> phantom = random_ellipses(jax.random.key(0), half_width=64.0)
        >>> phantom.value.shape, int((phantom.value != 0).sum())
        ((86,), 39)
    """
    if n < 1:
        raise ValueError(f"`n` is {n}; expected at least 1 ellipse on average")
    most = n + int(np.ceil(5 * np.sqrt(n)))
    keys = jax.random.split(key, 6)
    there = jnp.arange(most) < jax.random.poisson(keys[0], n)
    size = jax.random.exponential(keys[1], (most,))
    value = 0.4 * size * jax.random.uniform(keys[2], (most,), minval=-0.5, maxval=0.5)
    return Ellipses(
        scale * jnp.where(there, value, 0),
        half_width * jax.random.uniform(keys[3], (most, 2), minval=-1.0, maxval=1.0),
        half_width * 0.2 * jnp.maximum(jax.random.exponential(keys[4], (most, 2)), 1e-3),
        jax.random.uniform(keys[5], (most,), maxval=2 * np.pi),
    )


def _head(densities: int, half_width: float, scale: float) -> Ellipses:
    # Upwards becomes downwards: the second coordinate and the sense of rotation change sign.
    return ellipses(
        scale * _HEAD[:, densities],
        half_width * _HEAD[:, 2:4] * (1, -1),
        half_width * _HEAD[:, :2],
        -np.deg2rad(_HEAD[:, 4]),
    )


def to_unit_disc(
    phantom: Ellipses, x: Float[Array, "..."], y: Float[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """Vectors (x, y) in the frames in which the ellipses are unit discs: M of equation (1).

    Args:
        phantom: one ellipse (fields without their first axis), or all, if that broadcasts.
        x: horizontal components; the centre is not subtracted.
        y: vertical components.
    """
    cosine, sine = jnp.cos(phantom.angle), jnp.sin(phantom.angle)
    a, b = phantom.semi_axes[..., 0], phantom.semi_axes[..., 1]
    return (x * cosine + y * sine) / a, (y * cosine - x * sine) / b


def sum_over(
    phantom: Ellipses,
    term: Callable[[Ellipses], Array],
    shape: tuple[int, ...],
    dtype: jnp.dtype | None = None,
) -> Inexact[Array, "..."]:
    """Σ_e term(ellipse e), one after another, so that only one term is held at a time."""
    zero = jnp.zeros(shape, phantom.value.dtype if dtype is None else dtype)
    return jax.lax.scan(lambda total, ellipse: (total + term(ellipse), None), zero, phantom)[0]


def safe_sqrt(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """√max(x, 0), with derivative zero where x is not positive."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)
