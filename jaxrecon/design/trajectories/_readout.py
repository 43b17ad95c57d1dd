"""One readout on a gradient raster, and curves in k-space that it can play.

A gradient waveform is piecewise linear between the ticks of its raster T, so k(t) is a quadratic
spline with knots on the raster. In terms of its control points c, with u = t/T − m in [0, 1),

    k(t)   = ½(1−u)² c_m + (½ + u − u²) c_{m+1} + ½u² c_{m+2}                                (1)
    γ g_m  = (c_{m+1} − c_m)/T            the gradient at tick m, a first difference          (2)
    γ s_m  = (c_{m+2} − 2c_{m+1} + c_m)/T²    the slew rate between ticks, a second one       (3)

exactly, at every time: limits on g and s are limits on differences of c, ADC samples between ticks
(dwell τ < T) are interpolated without error, and |c| ≤ K implies |k(t)| ≤ K. M intervals have M + 2
control points. A smoother family takes c from a B-spline of some degree on coarser, uniform knots,
c = B q with a static matrix B of non-negative rows that sum to one.

Sources for B-splines of designed trajectories: Wang et al., "B-spline parameterized joint
optimization of reconstruction and k-space trajectories (BJORK) for accelerated 2D MRI", IEEE Trans.
Med. Imaging 41 (2022), and "Stochastic optimization of three-dimensional non-Cartesian sampling
trajectory (SNOPY)", MRM 90 (2023).
"""

import dataclasses
import functools
import math

import numpy as np
from jaxtyping import Float, Int

from jaxrecon.physics.mri.trajectories import Scanner

__all__ = ["Readout", "readout"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Readout:
    """The timing of a readout and the family of its curves; built by `readout`. Static.

    Attributes:
        n_intervals: M, intervals of the gradient raster.
        raster: T, in seconds.
        dwell: τ, from one ADC sample to the next, in seconds; the first is at time zero.
        n_samples: of the ADC.
        n_coefficients: of the B-spline, or None where every control point is free.
        degree: of the B-spline.
    """

    n_intervals: int
    raster: float
    dwell: float
    n_samples: int
    n_coefficients: int | None = None
    degree: int = 3

    @property
    def duration(self) -> float:
        """From the first tick to the last, in seconds."""
        return self.n_intervals * self.raster

    @property
    def n_control(self) -> int:
        """Control points, M + 2."""
        return self.n_intervals + 2

    @property
    def sample_times(self) -> Float[np.ndarray, " sample"]:
        """Of the ADC, in seconds."""
        return np.arange(self.n_samples) * self.dwell

    @property
    def raster_times(self) -> Float[np.ndarray, " tick"]:
        """Of the gradient's ticks, in seconds."""
        return np.arange(self.n_intervals + 1) * self.raster


def readout(
    scanner: Scanner,
    duration: int | float,
    *,
    raster: int | float = 10e-6,
    n_samples: int | None = None,
    n_coefficients: int | None = None,
    degree: int = 3,
) -> Readout:
    """A readout with the scanner's dwell time for its ADC.

    Args:
        scanner: its `dwell` is the ADC's, which may be finer than the gradient raster.
        duration: in seconds, a whole number of raster intervals.
        raster: of the gradients, in seconds.
        n_samples: of the ADC; by default as many as fit, both ends included.
        n_coefficients: for curves that are B-splines with so many coefficients.
        degree: of these; from 2, so that gradients are continuous.

    Returns:
        The readout, which is static: part of a program.

    Raises:
        ValueError: a duration off the raster, more samples than fit, a B-spline that is finer than
            the raster or too short for its degree.

    Example:
        >>> from jaxrecon.physics.mri.trajectories import scanner
        >>> r = readout(scanner(fov=240, gmax=40, smax=180, dwell=2e-6), 1e-3)
        >>> r.n_intervals, r.n_samples
        (100, 501)
    """
    n = round(duration / raster) if raster > 0 and math.isfinite(duration) else 0
    if n < 2 or abs(n * raster - duration) > 1e-6 * raster:
        raise ValueError(
            f"`duration` is {duration} s, expected at least two intervals of the gradient raster "
            f"of {raster} s and a whole number of them: pass {max(n, 2) * raster:.9g}"
        )
    dwell = float(scanner.dwell)
    most = math.floor(duration / dwell * (1 + 1e-9)) + 1
    if n_samples is not None and not 1 <= n_samples <= most:
        raise ValueError(
            f"`n_samples` is {n_samples}: at a dwell time of {dwell:g} s they take "
            f"{(n_samples - 1) * dwell:.6g} s, but the readout lasts {duration:.6g} s: pass at "
            f"most {most}, or a longer `duration`"
        )
    if n_coefficients is not None and not (2 <= degree < n_coefficients <= n + 2):
        raise ValueError(
            f"`n_coefficients` is {n_coefficients} with `degree` {degree}, expected a degree from "
            f"2, more coefficients than that, and at most the {n + 2} control points of the raster"
        )
    return Readout(
        n_intervals=n,
        raster=float(raster),
        dwell=dwell,
        n_samples=most if n_samples is None else n_samples,
        n_coefficients=n_coefficients,
        degree=degree,
    )


def taps(
    timing: Readout, times: Float[np.ndarray, " time"]
) -> tuple[Int[np.ndarray, " time"], Float[np.ndarray, "time 3"]]:
    """First control point and three weights of equation (1), for times in seconds."""
    place = np.clip(times / timing.raster, 0, timing.n_intervals)
    first = np.minimum(np.floor(place + 1e-9), timing.n_intervals - 1).astype(int)
    u = place - first
    return first, np.stack([(1 - u) ** 2 / 2, 0.5 + u - u**2, u**2 / 2], axis=-1)


def sampling_matrix(
    timing: Readout, times: Float[np.ndarray, " time"]
) -> Float[np.ndarray, "time control"]:
    """Equation (1) as a matrix."""
    first, weights = taps(timing, times)
    matrix = np.zeros((len(times), timing.n_control))
    for tap in range(3):
        matrix[np.arange(len(times)), first + tap] = weights[:, tap]
    return matrix


@functools.lru_cache(maxsize=32)
def basis(timing: Readout) -> Float[np.ndarray, "control coefficient"]:
    """B: control points from coefficients, by Cox and de Boor's recursion on clamped knots."""
    if timing.n_coefficients is None:
        return np.eye(timing.n_control)
    n, degree = timing.n_coefficients, timing.degree
    inner = np.linspace(0, 1, n - degree + 1)
    knots = np.concatenate([np.zeros(degree), inner, np.ones(degree)])
    x = np.linspace(0, 1, timing.n_control)[:, None]
    values = ((knots[:-1] <= x) & (x < knots[1:])).astype(float)
    values[-1, n - 1] = 1  # the last interval is closed
    for p in range(1, degree + 1):
        rise = _ratio(x - knots[: -p - 1], knots[p:-1] - knots[: -p - 1])
        fall = _ratio(knots[p + 1 :] - x, knots[p + 1 :] - knots[1:-p])
        values = rise * values[:, :-1] + fall * values[:, 1:]
    return values


def _ratio(a, b) -> np.ndarray:
    """The quotient a/b, zero where knots coincide."""
    return np.where(b > 0, a / np.where(b > 0, b, 1), 0)


@functools.lru_cache(maxsize=32)
def fit_matrix(timing: Readout) -> Float[np.ndarray, "coefficient control"]:
    """B⁺: the coefficients whose control points are nearest."""
    return np.linalg.pinv(basis(timing))
