"""From detector readings to line integrals and their statistical weights.

    transmission T = (reading − dark) / (flat − dark)                                     (1)
    line integral p = −log T,   expected reading N̄ = I₀ e^{−p} + background               (2)
    weight w = (N − background)² / (N + σ_e²) with N = T·photons + background             (3)

Arrays are (view, ..., bin): any number of detector rows between. A reading that has no logarithm
(zero, negative, not finite) is counted, gets a value interpolated from its usable neighbours and
the weight zero. Everything is a pure function of arrays and works under `jit` and `vmap`.
"""

import functools
from collections.abc import Iterable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxrecon.physics._noise import pwls_weights

# Eight normal numbers span 2.8 standard deviations in the mean, and seldom more than this.
_RANGE_OF_NOISE = 4.0


class Report(NamedTuple):
    """How many readings could not be used as they were."""

    zero: Int[Array, ""]
    negative: Int[Array, ""]
    not_finite: Int[Array, ""]


class LineIntegrals(NamedTuple):
    """Line integrals, the weights of penalised weighted least squares, and what was repaired."""

    values: Float[Array, "*reading"]
    weights: Float[Array, "*reading"]
    report: Report


def flat_correct(
    readings: Float[Array, "view *pixel"],
    flats: Float[Array, "frame *pixel"],
    darks: Float[Array, "other_frame *pixel"] | None = None,
) -> Float[Array, "view *pixel"]:
    """Transmission from readings with open-beam and beam-off frames, equation (1).

    Frames are averaged by their median, so that one zinger in one frame does not draw a ring.
    Where the open beam is not above the dark reading the result is NaN: a dead bin.

    Args:
        readings: detector readings behind the object.
        flats: readings of the open beam.
        darks: readings without a beam; zero if None.

    Example:
        >>> flats, darks = jnp.full((2, 4), 110.0), jnp.full((2, 4), 10.0)
        >>> flat_correct(jnp.full((3, 4), 60.0), flats, darks)[0, 0]
        Array(0.5, dtype=float32)
    """
    dark = 0 if darks is None else jnp.median(darks, 0)
    open_beam = jnp.median(flats, 0) - dark
    usable = open_beam > 0
    return jnp.where(usable, (readings - dark) / jnp.where(usable, open_beam, 1), jnp.nan)


def monitor_correct(
    readings: Float[Array, "*reading"],
    monitor: Float[Array, "*reading"],
    *,
    open_beam: float | Float[Array, "..."] | None = None,
) -> Float[Array, "*reading"]:
    """Transmission from readings and a beam monitor's readings at the same moments.

    Args:
        readings: readings behind the object.
        monitor: readings before it.
        open_beam: ratio of the two without an object; by default the 99th percentile of the ratio,
            for scans that see air somewhere.

    Example:
        >>> monitor_correct(jnp.array([2.0, 4.0]), jnp.array([4.0, 4.0]), open_beam=1.0)
        Array([0.5, 1. ], dtype=float32)
    """
    ratio = readings / jnp.where(monitor > 0, monitor, jnp.nan)
    return ratio / (jnp.nanpercentile(ratio, 99.0) if open_beam is None else open_beam)


def minus_log(
    transmission: Float[Array, "*reading"],
    *,
    photons: float | Float[Array, "..."] = 1.0,
    background: float | Float[Array, "..."] = 0.0,
    electronic: float | Float[Array, "..."] = 0.0,
) -> LineIntegrals:
    """Line integrals from transmission, with weights (3) and a count of what was not usable.

    Args:
        transmission: (view, ..., bin).
        photons: photons of the open beam in a bin, the scale of the weights.
        background: photons that do not come through the object.
        electronic: standard deviation of the read-out noise, in photons.

    Example:
        >>> result = minus_log(jnp.array([[1.0, 0.5, 0.0, 0.5], [1.0, 0.5, 0.5, -0.1]]))
        >>> int(result.report.zero), int(result.report.negative), int(result.report.not_finite)
        (1, 1, 0)
        >>> bool(jnp.isfinite(result.values).all()), float(result.weights[0, 2])
        (True, 0.0)
    """
    finite = jnp.isfinite(transmission)
    usable = finite & (transmission > 0)
    safe = jnp.where(usable, transmission, 1)
    counts = jnp.where(usable, safe * photons + background, 0)
    weights = pwls_weights(counts, background=background, electronic=electronic)
    report = Report(
        jnp.sum(transmission == 0),
        jnp.sum(finite & (transmission < 0)),
        jnp.sum(~finite),
    )
    return LineIntegrals(repair(-jnp.log(safe), ~usable), jnp.where(usable, weights, 0), report)


def beer_lambert(
    line_integrals: Float[Array, "*reading"],
    photons: float | Float[Array, "..."] = 1.0,
    *,
    background: float | Float[Array, "..."] = 0.0,
) -> Float[Array, "*reading"]:
    """Expected reading behind an object, equation (2).

    Example:
        >>> float(beer_lambert(jnp.array(0.0), 100.0, background=1.0))
        101.0
    """
    return photons * jnp.exp(-line_integrals) + background


def remove_zingers(
    readings: Float[Array, "view *rows bin"], *, threshold: float = 5.0
) -> tuple[Float[Array, "view *rows bin"], Bool[Array, "view *rows bin"]]:
    """Replaces isolated outliers, such as direct hits of the sensor, by the local median.

    An outlier lies outside the range of its eight neighbours, both as they are and with the slope
    among them taken out. What is thin in the object does so too, where its crest passes a bin, but
    there the neighbours differ among themselves: on any quadratic surface by at least as much as
    the crest stands out. So an outlier stands out by more than its neighbours differ, beyond noise.

    Args:
        readings: readings or transmission or line integrals.
        threshold: by how many robust standard deviations an outlier stands out: of the differences
            from the local median, in the whole array or nearby, whichever is larger, and at least
            a thousandth of the largest reading, below which nothing is worth repairing.

    Returns:
        The repaired readings and where they were repaired, readings that are not finite included.

    Example:
        >>> noise = 0.01 * jnp.sin(jnp.arange(200.0)).reshape(10, 20)
        >>> readings = jnp.tile(jnp.arange(20.0), (10, 1)).at[4, 7].set(1000.0)
        >>> repaired, where = remove_zingers(readings + noise)
        >>> where.nonzero(), bool(abs(repaired[4, 7] - 7) < 1.1)
        ((Array([4], dtype=int32), Array([7], dtype=int32)), True)
    """
    readings = jnp.where(jnp.isfinite(readings), readings, jnp.nan)
    usual = local_median(readings)
    noise = _noise(readings, usual)
    around = _neighbours(readings)
    level = _without_slope(around)
    spread = jnp.nanmax(level, 0) - jnp.nanmin(level, 0)
    structure = jnp.sqrt(jnp.maximum(spread**2 - (_RANGE_OF_NOISE * noise) ** 2, 0))
    outlier = (_beyond(readings, level) > threshold * noise + structure) & (
        _beyond(readings, jnp.stack(list(around.values()))) > noise
    )
    outlier = outlier | jnp.isnan(readings)
    return jnp.where(outlier, usual, readings), outlier


def repair_dead_bins(
    readings: Float[Array, "view *rows bin"], *, threshold: float = 8.0
) -> tuple[Float[Array, "view *rows bin"], Bool[Array, "*rows bin"]]:
    """Interpolates bins that do not respond, or respond far from their neighbours.

    A bin is dead when its readings are not finite, do not change from view to view although the
    median bin's do, or when their mean lies outside of what three neighbours on the left and three
    on the right lead one to expect (the interval of their two medians) by more than `threshold`
    times the robust standard deviation of the means about the mean of both their neighbours.

    Returns:
        The repaired readings and which bins were repaired.

    Example:
        >>> readings = 2 + jnp.sin(jnp.arange(200.0)).reshape(10, 20)
        >>> repaired, dead = repair_dead_bins(readings.at[:, 5].set(0.0))
        >>> dead.nonzero()[0].tolist()
        [5]
    """
    mean, spread = jnp.mean(readings, 0), jnp.std(readings, 0)
    left, right = _median_at(mean, (1, 2, 3)), _median_at(mean, (-1, -2, -3))
    outside = jnp.maximum(jnp.minimum(left, right) - mean, mean - jnp.maximum(left, right))
    between = (_median_at(mean, (1,)) + _median_at(mean, (-1,))) / 2
    usual = 1.4826 * jnp.nanmedian(jnp.abs(mean - between))
    usual = usual + 1e-6 * jnp.nanmax(jnp.abs(mean))
    stuck = ~(spread > 1e-3 * jnp.nanmedian(spread))
    dead = ~jnp.isfinite(mean) | stuck | (outside > threshold * usual)
    return repair(readings, jnp.broadcast_to(dead, readings.shape)), dead


def remove_stripes(
    sinogram: Float[Array, "view bin"], *, size: int = 21
) -> Float[Array, "view bin"]:
    """Removes full and partial stripes, which become rings, by smoothing the sorted sinogram.

    Algorithm 3 (sorting) of Vo, Atwood and Drakopoulos, Optics Express 26 (2018) 28396. Each bin's
    values are sorted; neighbouring bins then differ only by their response, because what they saw
    over all views is nearly the same set of values. A median across `size` bins removes that
    difference, and the values go back to their views.

    Args:
        sinogram: line integrals (or transmission).
        size: odd number of bins in the median, more than the widest stripe's width twice.

    Raises:
        ValueError: `size` is even or less than 3.

    Example:
        >>> sinogram = jnp.sin(jnp.linspace(0, 3, 40))[:, None] * jnp.ones((40, 30))
        >>> cleaned = remove_stripes(sinogram.at[:, 12].add(0.3), size=5)
        >>> bool(jnp.abs(cleaned - sinogram).max() < 1e-6)
        True
    """
    if size < 3 or size % 2 == 0:
        raise ValueError(f"`size` is {size}, expected an odd number of at least 3")
    order = jnp.argsort(sinogram, axis=0)
    ascending = jnp.take_along_axis(sinogram, order, axis=0)
    smooth = jax.lax.map(lambda view: _median_filter(view, size), ascending)
    return jnp.take_along_axis(smooth, jnp.argsort(order, axis=0), axis=0)


@jax.jit
def repair(
    values: Float[Array, "view *rows bin"], bad: Bool[Array, "view *rows bin"]
) -> Float[Array, "view *rows bin"]:
    """Bad values replaced by linear interpolation along the bins, by the nearest at the ends.

    Where a whole line of bins is bad it is interpolated from the views before and after, and where
    it is bad in all views, from the rows beside it; without any good value the result is zero.

    Example:
        >>> repair(jnp.array([[1.0, 9.0, 3.0]]), jnp.array([[False, True, False]])).tolist()
        [[1.0, 2.0, 3.0]]
    """
    for axis in (values.ndim - 1, *range(values.ndim - 1)):
        fill = functools.partial(_interpolate, axis=axis)
        values, bad = jax.lax.cond(jnp.any(bad), fill, lambda *same: same, values, bad)
    return jnp.where(bad, 0, values)


def _interpolate(values: Array, bad: Array, *, axis: int) -> tuple[Array, Array]:
    """Bad values filled along one axis, and what is still bad: lines without a good value."""
    n = values.shape[axis]
    at = jnp.expand_dims(jnp.arange(n), [i for i in range(values.ndim) if i != axis])
    before = jax.lax.cummax(jnp.where(bad, -1, at), axis)
    after = jax.lax.cummin(jnp.where(bad, n, at), axis, reverse=True)
    hopeless = (before < 0) & (after == n)
    left = jnp.clip(jnp.where(before < 0, after, before), 0, n - 1)
    right = jnp.clip(jnp.where(after == n, before, after), 0, n - 1)
    start, end = (jnp.take_along_axis(values, index, axis) for index in (left, right))
    part = ((at - left) / jnp.maximum(right - left, 1)).astype(values.dtype)
    return jnp.where(bad & ~hopeless, start + part * (end - start), values), bad & hopeless


def local_median(
    values: Float[Array, "view *rows bin"], views: int = 1, bins: int = 2
) -> Float[Array, "view *rows bin"]:
    """Median over ±`views` views and ±`bins` bins, without NaN and what is beyond the array."""
    around = [
        _shifted(_shifted(values, i, 0), j, values.ndim - 1)
        for i in range(-views, views + 1)
        for j in range(-bins, bins + 1)
    ]
    return jnp.nanmedian(jnp.stack(around), 0)


def _noise(values: Array, usual: Array) -> Array:
    """Robust standard deviation of values about their local median, everywhere and nearby."""
    difference = jnp.abs(values - usual)
    # 1.4826 times the median of |normal| is its standard deviation.
    noise = 1.4826 * jnp.fmax(jnp.nanmedian(difference), local_median(difference))
    return jnp.fmax(noise, 1e-3 * jnp.nanmax(jnp.abs(usual)))


def _beyond(values: Array, around: Array) -> Array:
    """How far values lie outside the range of those around them (stacked); negative inside."""
    return jnp.maximum(values - jnp.nanmax(around, 0), jnp.nanmin(around, 0) - values)


def _neighbours(values: Array) -> dict[tuple[int, int], Array]:
    """The eight neighbours of each value, by the steps in views and bins that lead to them."""
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    return {(i, j): _shifted(_shifted(values, -i, 0), -j, values.ndim - 1) for i, j in steps}


def _without_slope(around: dict[tuple[int, int], Array]) -> Array:
    """The eight neighbours, stacked, less the linear part of the plane that fits them best."""
    along_views = _slope([around[1, j] - around[-1, j] for j in (-1, 0, 1)])
    along_bins = _slope([around[i, 1] - around[i, -1] for i in (-1, 0, 1)])
    return jnp.stack([v - i * along_views - j * along_bins for (i, j), v in around.items()])


def _slope(differences: list[Array]) -> Array:
    """Change from one value to the next, from differences over two; zero at the array's ends."""
    return jnp.nan_to_num(jnp.nanmean(jnp.stack(differences), 0)) / 2


def _median_at(values: Float[Array, "*rows bin"], steps: Iterable[int]) -> Array:
    """Median of the values that many bins to the left, without NaN; NaN where there are none."""
    around = [_shifted(values, step, values.ndim - 1) for step in steps]
    return jnp.nanmedian(jnp.stack(around), 0)


def _shifted(values: Array, by: int, axis: int) -> Array:
    """Values moved along an axis; NaN where nothing comes in."""
    padding = [(abs(by), abs(by)) if i == axis else (0, 0) for i in range(values.ndim)]
    padded = jnp.pad(values, padding, constant_values=jnp.nan)
    start = [abs(by) - by if i == axis else 0 for i in range(values.ndim)]
    return padded[tuple(slice(s, s + n) for s, n in zip(start, values.shape, strict=True))]


def _median_filter(values: Float[Array, " bin"], size: int) -> Float[Array, " bin"]:
    padded = jnp.pad(values, size // 2, mode="symmetric")
    index = jnp.arange(values.shape[0])[:, None] + jnp.arange(size)
    return jnp.median(padded[index], axis=1)
