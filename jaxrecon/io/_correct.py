"""Counts of a file to line integrals, by the formulas of `jaxrecon.physics.ct`.

What belongs to a file stays here: which corrections its fields allow, the level of air where there
is no flat field, words and counts for the reader, and refusals. With counts N, dark D, flat F and
the beam monitor's readings m, axes (slice, view, bin):

    transmission   T = (N − D) / (F − D) / m   or, without a flat,   T = (N − D) / m / A      (1)
    line integral  p = −log T                                                                 (2)
    weight         w ∝ (N − D)² / N                                                           (3)

A is the level of air beside the object (`air_level`); D = 0 and m = 1 where there are none. (3) is
the inverse variance of p for Poisson counts (exp(−p), the counts of one photon, where p itself is
given); only ratios matter, and the largest of each slice is made 1. Slices are worked on one by
one, so that each comes out the same whichever others are read.
"""

import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from jaxrecon.io._scan import Pathlike, refuse

Stack = Float32[np.ndarray, "slice view bin"]
_SMALLEST_GOOD_PART = 0.5


class Corrected(NamedTuple):
    """Line integrals, relative weights, and what was understood, assumed and repaired, in lines."""

    line_integrals: Stack
    weights: Stack
    understood: tuple[str, ...]
    assumed: tuple[str, ...]
    repaired: tuple[str, ...]


def correct(
    path: Pathlike,
    field: str,
    counts: Stack,
    *,
    flat: Float32[np.ndarray, "slice bin"] | None,
    dark: Float32[np.ndarray, "slice bin"] | None,
    monitor: Float32[np.ndarray, "#slice view #bin"] | None,
) -> Corrected:
    """Equations (1) to (3), with values that carry no information filled in at weight 0.

    Raises:
      ScanError: a whole view, or most of the file, has no positive finite value.
    """
    if monitor is not None:
        _refuse_unlit(path, monitor)
        monitor = np.broadcast_to(monitor, counts.shape)
    signal = _each_slice(_signal, counts, flat, dark, monitor)
    level = air_level(signal, constant=monitor is not None) if flat is None else np.float32(1)
    transmission = np.where(level > 0, signal / level, 0)
    usable = np.isfinite(transmission) & (transmission > 0)
    weights = _each_slice(_weights, *_scaled(counts, dark, usable))
    bad = ~(usable & np.isfinite(weights))
    _refuse_blind(path, field, bad)
    return Corrected(
        _each_slice(_line_integrals, np.where(bad, np.nan, transmission)),
        _relative(weights, bad),
        tuple(_steps(flat, dark, monitor)),
        (*_missing(flat, dark, monitor), *(_covered(signal, level) if flat is None else [])),
        tuple(_report(counts, dark, bad)),
    )


def from_line_integrals(path: Pathlike, field: str, p: Stack) -> Corrected:
    """Line integrals as they are; the weight of p is its transmission exp(−p)."""
    from jaxrecon.physics import ct

    weights = _each_slice(ct.beer_lambert, p)
    bad = ~(np.isfinite(p) & np.isfinite(weights) & (weights > 0))
    _refuse_blind(path, field, bad)
    n = int(bad.sum())
    return Corrected(
        _each_slice(_repaired, p, bad),
        _relative(weights, bad),
        ("line integrals: taken as they are",),
        ("weights: exp(-line integral), the same beam everywhere",),
        (f"{n} values not finite or absurd: filled from the neighbouring bins, weight 0",)
        if n
        else (),
    )


def air_level(signal: Stack, *, constant: bool) -> Float32[np.ndarray, "slice #view 1"]:
    """The level of air beside the object, for scans without flat fields.

    The brighter of the medians of the outermost 1/32 of the bins on either side, for each view or
    (where a monitor has taken out the beam's changes) as one constant for each slice.
    """
    n = max(1, signal.shape[-1] // 32)
    finite = np.where(np.isfinite(signal), signal, 0)
    left, right = (np.median(part, axis=-1) for part in (finite[..., :n], finite[..., -n:]))
    level = np.maximum(left, right)
    if constant:
        level = np.median(level, axis=1, keepdims=True)
    return level[..., None].astype(np.float32)


def _each_slice(function: Callable[..., Any], *stacks: np.ndarray | None) -> Stack:
    """What a function of JAX arrays makes of one slice after the other; None stays None."""
    import jax.numpy as jnp

    slices = zip(*(itertools.repeat(None) if stack is None else stack for stack in stacks))
    rows = (function(*(None if s is None else jnp.asarray(s) for s in each)) for each in slices)
    return np.stack([np.asarray(row) for row in rows])


def _signal(counts: Any, flat: Any, dark: Any, monitor: Any) -> Any:
    """Equation (1) but for A, of one slice: counts (view, bin), flat and dark (bin,)."""
    from jaxrecon.physics import ct

    frames = None if dark is None else dark[None]
    if flat is not None:
        signal = ct.flat_correct(counts, flat[None], frames)
    else:
        signal = counts if dark is None else counts - dark
    return signal if monitor is None else ct.monitor_correct(signal, monitor, open_beam=1.0)


def _line_integrals(transmission: Any) -> Any:
    """Equation (2), interpolated along the bins where the transmission is not a number."""
    from jaxrecon.physics import ct

    return ct.minus_log(transmission).values


def _repaired(p: Any, bad: Any) -> Any:
    from jaxrecon.physics import ct

    return ct.repair(p, bad)


def _weights(counts: Any, dark: Any) -> Any:
    from jaxrecon.physics import pwls_weights

    return pwls_weights(counts, background=0.0 if dark is None else dark)


def _scaled(
    counts: Stack,
    dark: Float32[np.ndarray, "slice bin"] | None,
    usable: Bool[np.ndarray, "slice view bin"],
) -> tuple[Stack, Float32[np.ndarray, "slice bin"] | None]:
    """Counts and dark in units of each slice's usual count: amperes squared would be 0."""
    usual = [np.median(np.abs(n[u])) if u.any() else 1 for n, u in zip(counts, usable)]
    unit = np.array(usual, np.float32)[:, None]
    return counts / unit[..., None], None if dark is None else dark / unit


def _relative(weights: Stack, bad: Bool[np.ndarray, "slice view bin"]) -> Stack:
    weights = np.where(bad, 0, weights)
    return (weights / weights.max(axis=(1, 2), keepdims=True)).astype(np.float32)


def _refuse_unlit(path: Pathlike, monitor: Float32[np.ndarray, "..."]) -> None:
    if n := int((~(np.isfinite(monitor) & (monitor > 0))).sum()):
        refuse(path, "monitor", f"{n} of {monitor.size} readings are not positive numbers")


def _refuse_blind(path: Pathlike, field: str, bad: Bool[np.ndarray, "slice view bin"]) -> None:
    blind = np.argwhere(bad.all(axis=-1))
    if bad.mean() > 1 - _SMALLEST_GOOD_PART or len(blind):
        where = f"view {blind[0][1]} has no usable value at all, " if len(blind) else ""
        refuse(
            path,
            field,
            f"{where}{int(bad.sum())} of {bad.size} values are zero, negative, not finite or "
            "without beam",
        )


def _steps(flat: object, dark: object, monitor: object) -> list[str]:
    given = {"dark": dark, "flat": flat, "monitor": monitor}
    names = [name for name, value in given.items() if value is not None]
    return [f"corrected with {', '.join(names) or 'nothing from the file'}; minus log taken"]


def _missing(flat: object, dark: object, monitor: object) -> list[str]:
    lines = []
    if dark is None:
        lines.append("no dark field: zero counts without beam")
    if flat is None:
        level = "one level for the scan" if monitor is not None else "its own level for each view"
        lines.append(f"no flat field: the detector's edges see air, {level}")
    return lines


def _covered(signal: Stack, level: np.ndarray | np.float32) -> list[str]:
    """A warning where the edges, taken for air, are darker than what lies between them."""
    part = np.median(level) / np.percentile(signal[np.isfinite(signal)], 99)
    if part > 0.9:
        return []
    return [
        f"the edges have {part:.0%} of the brightest signal: is the object wider than the view?"
    ]


def _report(
    counts: Stack,
    dark: Float32[np.ndarray, "slice bin"] | None,
    bad: Bool[np.ndarray, "slice view bin"],
) -> list[str]:
    finite = np.isfinite(counts)
    dead = bad.all(axis=1).any(axis=0)
    covered = (counts > 0) & (counts <= (0 if dark is None else dark[:, None]))
    found = {
        "not finite": int((~finite).sum()),
        "zero": int((counts == 0).sum()),
        "negative": int((finite & (counts < 0)).sum()),
        "not above the dark field": int((finite & covered).sum()),
    }
    lines = [f"{n} values {what}" for what, n in found.items() if n]
    if dead.any():
        lines.append(f"{int(dead.sum())} dead bins: {np.flatnonzero(dead).tolist()[:16]}")
    if bad.any():
        lines.append(f"{int(bad.sum())} values filled from the neighbouring bins, weight 0")
    return lines
