"""Counts to line integrals on the host: dark, flat and monitor correction, minus log, dead values.

With counts N, dark D, flat F and the beam monitor's readings m, axes (slice, view, bin):

    transmission   T = (N − D) / (F − D)   or, without a flat,   T = (N − D) / m / A           (1)
    line integral  p = −log T                                                                  (2)
    weight         w ∝ (N − D)² / N                                                            (3)

A is the level of air beside the object (`air_level`), m = 1 without a monitor. (3) is the inverse
variance of p for Poisson counts (exp(−p) where p itself is given); only ratios matter, and the
largest of each slice is made 1, so that a slice comes out the same whichever others are read.
"""

from typing import NamedTuple

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
    signal = counts if dark is None else counts - dark[:, None]
    if monitor is not None:
        _refuse_unlit(path, monitor)
        signal = signal / monitor
    if flat is None:
        beam = air_level(signal, constant=monitor is not None)
    else:
        beam = flat[:, None] if dark is None else (flat - dark)[:, None]
    transmission = np.where(beam > 0, signal / beam, 0)
    weights = signal if dark is None else signal * (signal / counts)
    bad = ~(np.isfinite(transmission) & (transmission > 0) & np.isfinite(weights))
    _refuse_blind(path, field, bad)
    return Corrected(
        fill(-np.log(transmission), bad),
        _relative(weights, bad),
        tuple(_steps(flat, dark, monitor)),
        (*_missing(flat, dark, monitor), *([] if flat is not None else _covered(signal, beam))),
        tuple(_report(counts, signal, beam, bad)),
    )


def from_line_integrals(path: Pathlike, field: str, p: Stack) -> Corrected:
    """Line integrals as they are; the weight of p is its transmission exp(−p)."""
    weights = np.exp(-p)
    bad = ~(np.isfinite(p) & np.isfinite(weights) & (weights > 0))
    _refuse_blind(path, field, bad)
    n = int(bad.sum())
    return Corrected(
        fill(p, bad),
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


def fill(p: Stack, bad: Bool[np.ndarray, "slice view bin"]) -> Stack:
    """Replaces bad values by linear interpolation between the good bins of their own view."""
    filled = p.astype(np.float32)
    bins = np.arange(p.shape[-1])
    for i in zip(*np.nonzero(bad.any(axis=-1))):
        good = ~bad[i]
        filled[i][bad[i]] = np.interp(bins[bad[i]], bins[good], filled[i][good])
    return filled


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


def _covered(signal: Stack, beam: np.ndarray) -> list[str]:
    """A warning where the edges, taken for air, are darker than what lies between them."""
    brightest = np.percentile(signal[np.isfinite(signal)], 99)
    if np.median(beam) > 0.9 * brightest:
        return []
    part = np.median(beam) / brightest
    return [
        f"the edges have {part:.0%} of the brightest signal: is the object wider than the view?"
    ]


def _report(counts: Stack, signal: Stack, beam: np.ndarray, bad: np.ndarray) -> list[str]:
    finite = np.isfinite(counts)
    dead = (bad.all(axis=1) | ~(beam > 0).all(axis=1)).any(axis=0)
    found = {
        "not finite": int((~finite).sum()),
        "zero": int((counts == 0).sum()),
        "negative": int((finite & (counts < 0)).sum()),
        "not above the dark field": int((finite & (counts > 0) & ~(signal > 0)).sum()),
    }
    lines = [f"{n} values {what}" for what, n in found.items() if n]
    if dead.any():
        lines.append(f"{int(dead.sum())} dead bins: {np.flatnonzero(dead).tolist()[:16]}")
    if bad.any():
        lines.append(f"{int(bad.sum())} values filled from the neighbouring bins, weight 0")
    return lines
