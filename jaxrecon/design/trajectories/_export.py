"""Waveforms out: .npz for anything, and readouts of a Pulseq sequence.

Pulseq plays the same piecewise linear gradients ("extended trapezoids" with every tick of the
raster for a vertex), so nothing is resampled. Its ADC takes sample j at delay + (j + ½) dwell,
whence gradients are delayed by a few ticks. A gradient that is on at either end is ramped there,
outside the samples; excitation, prephaser and spoiler are the sequence's, not this module's.
"""

import math
import os
import pathlib
from typing import Any

import numpy as np

from jaxrecon.core._store import whole_file
from jaxrecon.design.trajectories._readout import Readout
from jaxrecon.design.trajectories._trajectory import Trajectory
from jaxrecon.physics.mri.trajectories import Scanner
from jaxrecon.physics.mri.trajectories._scanner import field_of_view

__all__ = ["load_waveforms", "pulseq", "save_waveforms"]

_AXES = {2: ("y", "x"), 3: ("z", "y", "x")}


def save_waveforms(
    path: str | os.PathLike[str], trajectory: Trajectory, scanner: Scanner
) -> pathlib.Path:
    """Writes gradients and samples as arrays; the file is whole or absent.

    Fields, axes in the order of `axes`, (y, x) or (z, y, x):

    - `gradients_mT_per_m`: `(shot, tick, axis)`, linear between ticks;
    - `k_per_fov` in cycles per field of view and `k_per_m` in 1/m: `(shot, sample, axis)`;
    - `gradient_times_s`, `sample_times_s`: from the readout's begin;
    - `fov_mm` for each axis, `gmax_mT_per_m`, `smax_T_per_m_per_s`, `gamma_Hz_per_T`, `nucleus`;
    - `coefficients`, `angles` and the readout's fields, from which `load_waveforms` builds the
      trajectory again.

    Args:
        path: ending in .npz.
        trajectory: to be written.
        scanner: whose limits are written, and whose field of view gives gradients.

    Returns:
        The path.

    Raises:
        ValueError: another suffix, or a field of view with another number of axes.
        OSError: a folder that is missing or not writable.
    """
    path = pathlib.Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"`path` is {str(path)!r}, expected a name that ends in .npz")
    timing, k = trajectory.readout, np.asarray(trajectory.samples)
    fov = np.asarray([float(side) for side in field_of_view(scanner, k.shape[-1])])
    fields = {
        "gradients_mT_per_m": np.asarray(trajectory.gradients(scanner)),
        "k_per_fov": k,
        "k_per_m": k / (fov * 1e-3),
        "gradient_times_s": timing.raster_times,
        "sample_times_s": timing.sample_times,
        "axes": np.array(_AXES[k.shape[-1]]),
        "fov_mm": fov,
        "gmax_mT_per_m": float(scanner.gmax),
        "smax_T_per_m_per_s": float(scanner.smax),
        "gamma_Hz_per_T": scanner.gamma,
        "nucleus": scanner.nucleus,
        "coefficients": np.asarray(trajectory.coefficients),
        "angles": np.asarray(trajectory.angles, float),
        "n_intervals": timing.n_intervals,
        "raster_s": timing.raster,
        "dwell_s": timing.dwell,
        "n_samples": timing.n_samples,
        "n_coefficients": timing.n_coefficients or 0,
        "degree": timing.degree,
    }
    with whole_file(path) as file:
        np.savez_compressed(file, **fields)
    return path


def load_waveforms(path: str | os.PathLike[str]) -> Trajectory:
    """The trajectory of a file that `save_waveforms` wrote.

    Args:
        path: of the file.

    Returns:
        The trajectory, to the bit.

    Raises:
        ValueError: a file that is broken or lacks a field, by its name.
        OSError: no such file.
    """
    import jax.numpy as jnp

    try:
        with np.load(path, allow_pickle=False) as file:
            timing = Readout(
                n_intervals=int(file["n_intervals"]),
                raster=float(file["raster_s"]),
                dwell=float(file["dwell_s"]),
                n_samples=int(file["n_samples"]),
                n_coefficients=int(file["n_coefficients"]) or None,
                degree=int(file["degree"]),
            )
            angles = tuple(float(a) for a in file["angles"])
            coefficients = file["coefficients"]
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{os.fspath(path)}: not a file of waveforms ({error})") from error
    rows = timing.n_coefficients or timing.n_control
    if coefficients.ndim != 3 or coefficients.shape[1] != rows:
        raise ValueError(
            f"{os.fspath(path)}: `coefficients` has shape {coefficients.shape}, expected (shot, "
            f"{rows}, axis)"
        )
    return Trajectory(jnp.asarray(coefficients), timing, angles)


def pulseq(trajectory: Trajectory, scanner: Scanner, *, dead_time: int | float = 10e-6) -> Any:
    """The readouts as a Pulseq sequence, one block a shot: gradients and ADC.

    Args:
        trajectory: within limits.
        scanner: its limits and field of view.
        dead_time: of the ADC before the first sample, in seconds.

    Returns:
        A `pypulseq.Sequence`; take its blocks into a sequence of your own, or ``write`` it.

    Raises:
        ImportError: pypulseq is not installed.
        ValueError: the scanner's limits are broken, in pypulseq's words.
    """
    try:
        import pypulseq
    except ImportError as error:
        raise ImportError("Pulseq needs pypulseq: pip install 'jaxrecon[pulseq]'") from error
    timing = trajectory.readout
    system = pypulseq.Opts(
        max_grad=float(scanner.gmax) * (1 + 1e-4),  # coordinates in single precision are rounded
        grad_unit="mT/m",
        max_slew=float(scanner.smax) * (1 + 1e-3),
        slew_unit="T/m/s",
        grad_raster_time=timing.raster,
        block_duration_raster=timing.raster,
        adc_dead_time=float(dead_time),
        adc_samples_divisor=1,
        gamma=scanner.gamma,
    )
    sequence = pypulseq.Sequence(system)
    gradients = np.asarray(trajectory.gradients(scanner), np.float64)
    before, after = (
        _ramp_ticks(ends, scanner, timing) for ends in (gradients[:, 0], gradients[:, -1])
    )
    delay = max(math.ceil((dead_time + timing.dwell / 2) / timing.raster - 1e-9), before)
    ticks = np.arange(timing.n_intervals + 1) + delay
    begin = np.round(delay * timing.raster - timing.dwell / 2, 9)
    adc = pypulseq.make_adc(timing.n_samples, dwell=timing.dwell, delay=begin, system=system)
    for shot in gradients * (1e-3 * scanner.gamma):
        events = []
        for channel, values in zip(_AXES[shot.shape[-1]], shot.T):
            if values.any():
                where, amplitudes = _ramped(ticks, values, before, after)
                events.append(
                    pypulseq.make_extended_trapezoid(
                        channel, amplitudes=amplitudes, times=where * timing.raster, system=system
                    )
                )
        sequence.add_block(*events, adc)
    sequence.set_definition(
        "FOV", [float(f) * 1e-3 for f in field_of_view(scanner, shot.shape[-1])]
    )
    return sequence


def _ramp_ticks(ends: np.ndarray, scanner: Scanner, timing: Readout) -> int:
    """Intervals that the largest gradient needs to and from zero; none where all are zero."""
    largest = float(np.linalg.norm(ends, axis=-1).max())
    return math.ceil(largest / (float(scanner.smax) * 1e3 * timing.raster) - 1e-6)


def _ramped(ticks: np.ndarray, values: np.ndarray, before: int, after: int):
    """Vertices with zeros at both ends: ramps where gradients are on, else but for rounding."""
    head = ([ticks[0] - before, ticks[0]], [0.0, values[0]]) if before else ([ticks[0]], [0.0])
    tail = ([ticks[-1], ticks[-1] + after], [values[-1], 0.0]) if after else ([ticks[-1]], [0.0])
    where, amplitudes = (
        np.concatenate([h, v[1:-1], t]) for h, v, t in zip(head, (ticks, values), tail, strict=True)
    )
    return where, amplitudes
