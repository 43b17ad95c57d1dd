"""Gradients and slew rates of a trajectory, and where they break the scanner's limits.

With k in cycles per field of view L, γ in Hz/T and dwell time τ, sample i has

    g_i = (k_{i+1} − k_i) / (γ τ L)         the mean gradient from sample i to the next     (1)
    s_i = (g_i − g_{i−1}) / τ               the mean slew rate around sample i              (2)

The ends need a word. A shot of n samples has n − 1 differences; the last gradient is held:
g_{n−1} = g_{n−2}. Before the first sample, a shot that `starts_at_rest` has no gradient,
g_{−1} = 0, so s_0 = g_0/τ: the gradient must be ramped up *during* the readout. That is right for
spirals, cones, rosettes and other shots that start with the excitation at k = 0, and for shots
whose prephaser ends before the readout. Otherwise (a spoke whose readout gradient is at its
plateau when sampling begins) the gradient is taken to be on already, g_{−1} = g_0 and s_0 = 0;
prephaser and ramp are then not judged here.

A curve k(t) with |k''| ≤ A has differences within the same limits: (1) and (2) are averages of k'
and k'' with weights that are positive and sum to one. Both are differentiable in k and in
everything of the scanner. Magnitudes are Euclidean, so that a limit holds however the shot is
rotated.
"""

import dataclasses
import math
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from jaxrecon.physics.mri.trajectories._scanner import Scanner, field_of_view

__all__ = ["Breach", "LimitsReport", "check_limits", "gradients", "slew_rates"]


def gradients(
    k: Float[Array, "shot sample axis"], scanner: Scanner
) -> Float[Array, "shot sample axis"]:
    """The gradient from each sample to the next, equation (1), in mT/m; the last one is held.

    Args:
        k: trajectory in cycles per field of view, the last axis in the image's order.
        scanner: field of view, dwell time and nucleus.

    Returns:
        Gradients, differentiable in all arguments.

    Raises:
        ValueError: fewer than two samples, or a field of view with another number of axes.

    Example:
        >>> from jaxrecon.physics.mri.trajectories import scanner
        >>> system = scanner(fov=240, gmax=40, smax=150, dwell=4e-6)
        >>> k = jnp.stack([jnp.zeros(3), jnp.arange(3.0)], axis=-1)[None]
        >>> [round(g, 3) for g in gradients(k, system)[0, :, 1].tolist()]
        [24.465, 24.465, 24.465]
    """
    if k.shape[1] < 2:
        raise ValueError(f"`k` has {k.shape[1]} samples in a shot, expected at least two")
    fov = jnp.asarray(field_of_view(scanner, k.shape[2]), k.dtype)[None, None]
    # 1e3 for millimetres, 1e3 for mT.
    played = jnp.diff(k, axis=1) * (1e6 / (scanner.gamma * scanner.dwell * fov))
    return jnp.concatenate([played, played[:, -1:]], axis=1)


def slew_rates(
    k: Float[Array, "shot sample axis"], scanner: Scanner, *, starts_at_rest: bool = True
) -> Float[Array, "shot sample axis"]:
    """The slew rate around each sample, equation (2), in T/m/s; zero at the last one.

    Args:
        k: trajectory in cycles per field of view, the last axis in the image's order.
        scanner: field of view, dwell time and nucleus.
        starts_at_rest: whether there is no gradient before the first sample, or it is on already.

    Returns:
        Slew rates, differentiable in all arguments.

    Raises:
        ValueError: as for `gradients`.

    Example:
        >>> from jaxrecon.physics.mri.trajectories import scanner
        >>> system = scanner(fov=240, gmax=40, smax=150, dwell=4e-6)
        >>> k = jnp.stack([jnp.zeros(3), jnp.array([0.0, 0.01, 0.03])], axis=-1)[None]
        >>> slew_rates(k, system)[0, :, 1].round().tolist()
        [61.0, 61.0, 0.0]
        >>> slew_rates(k, system, starts_at_rest=False)[0, :, 1].round().tolist()
        [0.0, 61.0, 0.0]
    """
    g = gradients(k, scanner)
    before = jnp.zeros_like(g[:, :1]) if starts_at_rest else g[:, :1]
    return jnp.diff(jnp.concatenate([before, g], axis=1), axis=1) * (1e-3 / scanner.dwell)


class Breach(NamedTuple):
    """Where a limit is first broken.

    Attributes:
        shot: index of the shot.
        sample: index of the sample in it.
        value: the gradient in mT/m or the slew rate in T/m/s there.
        count: how many samples of all shots break this limit.
    """

    shot: int
    sample: int
    value: float
    count: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class LimitsReport:
    """What `check_limits` found; `str` of it is a text for people.

    Attributes:
        ok: whether both limits hold everywhere.
        gradient: the first breach of the gradient limit, or None.
        slew: the first breach of the slew limit, or None.
        peak_gradient: largest gradient in mT/m.
        peak_slew: largest slew rate in T/m/s.
        allowed_gradient: the limit and what rounding of k may add to it, in mT/m.
        allowed_slew: the same for the slew rate, in T/m/s.
        text: the findings in words, with advice.
    """

    ok: bool
    gradient: Breach | None
    slew: Breach | None
    peak_gradient: float
    peak_slew: float
    allowed_gradient: float
    allowed_slew: float
    text: str

    def __str__(self) -> str:
        return self.text

    def check(self) -> "LimitsReport":
        """Returns the report if the limits hold.

        Raises:
            ValueError: a limit is broken; the message is the text.
        """
        if not self.ok:
            raise ValueError(self.text)
        return self


def check_limits(
    k: Float[Array, "shot sample axis"],
    scanner: Scanner,
    *,
    starts_at_rest: bool = True,
    per_axis: bool = False,
    rtol: int | float = 1e-6,
) -> LimitsReport:
    """Whether a trajectory can be played, from the first sample on, and where it cannot.

    Each coordinate is rounded to its floating point type. In single precision that alone changes a
    slew rate by up to about a tenth of a per cent (256 pixels, 4 µs), so what this rounding can add
    is allowed on top of the limits, and no more; check in double precision to be exact.

    Args:
        k: trajectory in cycles per field of view, the last axis in the image's order.
        scanner: the limits, field of view, dwell time and nucleus.
        starts_at_rest: whether there is no gradient before the first sample, or it is on already.
        per_axis: judge each axis by itself, not the magnitude over the axes. Then the shots must be
            played in the orientation given.
        rtol: relative tolerance on top of rounding.

    Returns:
        The report. Values that are not finite count as broken.

    Raises:
        ValueError: `k` or `scanner` is traced, or as for `gradients`.

    Example:
        >>> from jaxrecon.physics.mri.trajectories import radial, scanner
        >>> system = scanner(fov=240, gmax=40, smax=150, dwell=4e-6)
        >>> k = radial(8, 256, 256)
        >>> report = check_limits(k, system)
        >>> report.slew.shot, report.slew.sample, report.slew.count
        (0, 0, 8)
        >>> check_limits(k, system, starts_at_rest=False).ok
        True
    """
    if any(isinstance(v, Tracer) for v in (k, scanner.gmax, scanner.smax, scanner.dwell)):
        raise ValueError(
            "`k` or `scanner` is traced, but the report is for people: call `check_limits` outside "
            "jit, or use `gradients` and `slew_rates` inside"
        )
    g = _magnitude(gradients(k, scanner), per_axis)
    s = _magnitude(slew_rates(k, scanner, starts_at_rest=starts_at_rest), per_axis)
    slack = _rounding(k, scanner)
    allowed_g = float(scanner.gmax) * (1 + rtol) + slack
    allowed_s = float(scanner.smax) * (1 + rtol) + 2e-3 * slack / float(scanner.dwell)
    gradient, slew = _first_breach(g, allowed_g), _first_breach(s, allowed_s)
    report = LimitsReport(
        ok=gradient is None and slew is None,
        gradient=gradient,
        slew=slew,
        peak_gradient=float(g.max()),
        peak_slew=float(s.max()),
        allowed_gradient=allowed_g,
        allowed_slew=allowed_s,
        text="",
    )
    return dataclasses.replace(report, text=_describe(report, scanner, starts_at_rest))


def _magnitude(vectors, per_axis: bool) -> Float[np.ndarray, "shot sample"]:
    values = np.asarray(vectors)
    return np.abs(values).max(-1) if per_axis else np.linalg.norm(values, axis=-1)


def _rounding(k, scanner: Scanner) -> float:
    """What rounding k can add to a gradient, in mT/m: half a unit at each end of a difference."""
    known = np.where(np.isfinite(k), k, 0)
    axes = zip(np.abs(known).max((0, 1)), field_of_view(scanner, k.shape[2]))
    largest = math.hypot(*(float(reach) / float(length) for reach, length in axes))
    scale = 1e6 / (scanner.gamma * float(scanner.dwell))
    return float(jnp.finfo(k.dtype).eps) * largest * scale


def _first_breach(values: Float[np.ndarray, "shot sample"], allowed: float) -> Breach | None:
    broken = ~(values <= allowed)
    if not broken.any():
        return None
    shot, sample = np.unravel_index(int(np.argmax(broken)), broken.shape)
    return Breach(int(shot), int(sample), float(values[shot, sample]), int(broken.sum()))


def _describe(report: LimitsReport, scanner: Scanner, starts_at_rest: bool) -> str:
    if report.ok:
        over = report.peak_gradient > scanner.gmax or report.peak_slew > scanner.smax
        return (
            f"Within the limits: gradients reach {report.peak_gradient:.4g} of {scanner.gmax:g} "
            f"mT/m, slew rates {report.peak_slew:.4g} of {scanner.smax:g} T/m/s."
            + " What is above them is the rounding of coordinates."
            * bool(over)
        )
    parts = ["Limits are broken."]
    if report.gradient is not None:
        peak = report.peak_gradient
        parts.append(_sentence("Gradient", report.gradient, "mT/m", scanner.gmax, peak))
    if report.slew is not None:
        parts.append(_sentence("Slew rate", report.slew, "T/m/s", scanner.smax, report.peak_slew))
        if report.slew.sample == 0 and starts_at_rest:
            parts.append(
                "The gradient is taken to be zero before the first sample: if it is on already "
                "when sampling begins, pass `starts_at_rest=False`."
            )
    return " ".join(parts)


def _sentence(what: str, breach: Breach, unit: str, limit: float, peak: float) -> str:
    return (
        f"{what}: {breach.value:.4g} {unit} at shot {breach.shot}, sample {breach.sample}, where "
        f"{limit:g} is allowed; {breach.count} samples in all, at most {peak:.4g}."
    )
