"""One step of a design by CG-SENSE: the problem, its gradient by our solvers, programs in turns.

A case is a dict of arrays, which travels to every program as a file: the scan's `pattern` (samples
`(shot, sample, axis)` in cycles per field of view, or a mask's amplitudes), `maps`, `truth`,
`noise` like the data, CG's `weight` and `n_iter`, `tol` where it may stop, `eps` of the NUFFT.
"""

import functools
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import _memory
import _serve
import jax
import jax.numpy as jnp
import numpy as np
from _rivals.unrolled import first_then, growth
from solvers import Program

from jaxrecon import data
from jaxrecon.core import identity, run
from jaxrecon.design import masks
from jaxrecon.design import trajectories as designed
from jaxrecon.physics import mri
from jaxrecon.solvers import ConjugateGradient, cg
from jaxrecon.solvers.linear import LinearSystem

N_COILS, SIGMA = 8, 0.01
SCANNER = mri.trajectories.scanner(fov=240, gmax=40, smax=180, dwell=2e-6)

# ------------------------------------------------------------------------------------- the problem


def spokes(n_shots: int, n: int, duration: float) -> designed.Trajectory:
    """From rest to rest, as `trajectories.py` starts with them."""
    return designed.radial(n_shots, n, SCANNER, designed.readout(SCANNER, duration))


def lines(n: int) -> jax.Array:
    """Amplitudes `(1, x)` amid a design: a relaxed draw of a quarter of the lines."""
    pattern = masks.lines(n, n // 4, calibration=n // 12)
    return pattern.relaxed(jax.random.key(0), 0.5)


def case_of(pattern: Any, n: int, n_iter: int, *, tol: float, eps: float) -> dict[str, Any]:
    """The hardest system that `n_iter` iterations solve to `tol`: the least weight.

    A head of ellipses with a smooth phase, birdcage coils, noise of one per cent.
    """
    x = data.area_average(data.modified_shepp_logan(half_width=n / 2), (n, n))
    ramp = np.linspace(-1, 1, n)
    truth = x * np.exp(1j * (ramp[:, None] + ramp**2))
    shape = (N_COILS, *np.shape(pattern)[:-1]) if np.ndim(pattern) == 3 else (N_COILS, n, n)
    noise = SIGMA * np.random.default_rng(0).standard_normal((2, *shape))
    arrays = {
        "pattern": pattern,
        "maps": mri.normalise_maps(mri.birdcage_maps(N_COILS, (n, n))),
        "truth": truth.astype(np.complex64),
        "noise": (noise[0] + 1j * noise[1]).astype(np.complex64),
    }
    case = {name: np.asarray(array) for name, array in arrays.items()}
    case |= {"n_iter": n_iter, "tol": tol, "eps": eps}
    return case | {"weight": least_weight(case)}


def operator(pattern: Any, maps: Any, eps: float) -> Any:
    if np.ndim(pattern) == 3:
        return mri.noncartesian_sense(maps, pattern, eps=eps)
    return mri.sense(maps, pattern)


def error(solve: Callable, eps: float, pattern: Any, arrays: dict, weight: Any) -> jax.Array:
    """‖x̂ − x‖²/‖x‖² of x̂ = solve(AᴴA + λ, Aᴴ(A x + n))."""
    A, truth = operator(pattern, arrays["maps"], eps), arrays["truth"]
    system = A.gram + weight * identity(A.domain)
    found = solve(system, A.H(A(truth) + arrays["noise"]))
    return jnp.sum(jnp.abs(found - truth) ** 2) / jnp.sum(jnp.abs(truth) ** 2)


# ------------------------------------------------------------------------------------- our solvers


def implicit(n_iter: int, tol: float, system: Any, rhs: Any) -> Any:
    """CG with the derivative of the solution; the gradient is NaN where `tol` is not reached."""
    return cg(system, rhs, n_iter=n_iter, tol=tol).value


def unrolled(n_iter: int, tol: float, system: Any, rhs: Any, *, remat: bool = True) -> Any:
    """CG with the derivative of its iterations, all of them."""
    del tol
    options: dict[str, Any] = {"n_iter": n_iter, "gradient": "unrolled", "remat": remat}
    return run(ConjugateGradient(), LinearSystem(system, rhs), **options).value


SOLVES: dict[str, Callable] = {
    "implicit": implicit,
    "unrolled, recomputed": unrolled,
    "unrolled, stored": functools.partial(unrolled, remat=False),
}


def slope_of(program: str, case: dict) -> Callable:
    """``(pattern, arrays, weight) -> (loss, gradient in the pattern)``, not yet compiled."""
    solve = functools.partial(SOLVES[program], int(case["n_iter"]), float(case["tol"]))
    return jax.value_and_grad(functools.partial(error, solve, float(case["eps"])))


def arguments(case: dict) -> tuple[jax.Array, dict, jax.Array]:
    """Of that function."""
    arrays = {name: jnp.asarray(case[name]) for name in ("maps", "truth", "noise")}
    return jnp.asarray(case["pattern"]), arrays, jnp.asarray(case["weight"], float)


def answer_of(loss: Any, slope: Any) -> np.ndarray:
    """The loss, then the gradient, in one vector: what every program answers with."""
    return np.concatenate([[np.asarray(loss)], np.asarray(slope).ravel()]).astype(np.float64)


def solve(program: str, case: dict) -> tuple[_serve.Solve, dict]:
    """A program for `_serve.serve`: the answer again and again, and what the first call took."""
    return repeated(jax.jit(slope_of(program, case)), arguments(case))


def repeated(function: Any, inputs: tuple) -> tuple[_serve.Solve, dict]:
    """Of a jitted function whose results begin with the loss and the gradient."""
    start = time.perf_counter()
    compiled = function.lower(*inputs).compile()
    record: dict[str, Any] = {"compile_s": round(time.perf_counter() - start, 2)}
    record["temporary_bytes"] = _memory.temporary_bytes(compiled)
    run = lambda: answer_of(*jax.block_until_ready(compiled(*inputs))[:2])  # noqa: E731
    jax.block_until_ready(inputs)
    answer, record["step_bytes"] = growth(run)
    return first_then(answer, run), record


def least_weight(case: dict, *, low: float = 1e-5, high: float = 1e4) -> float:
    """The least λ for which `n_iter` reach `tol`, in the solve and in that of its gradient.

    A tenth more, so that rounding does not decide.
    """
    slope = jax.jit(slope_of("implicit", case))
    while high / low > 1.05:
        middle = float(np.sqrt(low * high))
        found = slope(*arguments(case | {"weight": middle}))
        low, high = (low, middle) if bool(jnp.isfinite(found[1]).all()) else (middle, high)
    return 1.1 * high


# -------------------------------------------------------------------------------- times and answers


class Times(NamedTuple):
    """Milliseconds of every call of a program, on the clock and on all cores together (Linux)."""

    ms: list[float]
    cpu_ms: list[float]


def interleaved(running: dict[str, Program], repeat: int) -> dict[str, Times]:
    """Programs take turns, so that other work slows all alike; the first turn is not counted."""
    times = {program: Times([], []) for program in running}
    for turn in range(repeat + 1):
        for program, process in running.items():
            before = _cpu_ms(process.process.pid)
            ms = process.ask(run=True)["ms"]
            if turn:
                times[program].ms.append(ms)
                times[program].cpu_ms.append(_cpu_ms(process.process.pid) - before)
    return times


def _cpu_ms(pid: int) -> float:
    """User and system time of a process so far, in steps of a clock tick."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return math.nan
    fields = stat.read_text().rpartition(")")[2].split()
    return 1000 * (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed(times: Times, others: Times) -> dict[str, Any]:
    """What a record says of a program's times beside another's."""
    ratio = float(np.median(times.cpu_ms) / max(float(np.median(others.cpu_ms)), 1.0))
    return {
        "ms": spread(times.ms),
        "cpu_ms": spread(times.cpu_ms),
        "over": spread(times.ms, others.ms),
        "cpu_over": float(f"{ratio:.3g}"),
    }


def spread(values: list[float], over: list[float] | None = None) -> dict[str, float]:
    """Median, least and greatest; of ratios to another's of the same turn if one is given."""
    if over is not None:
        values = [v / o for v, o in zip(values, over, strict=True)]
    return {
        "median": float(f"{np.median(values):.4g}"),
        "least": float(f"{min(values):.4g}"),
        "most": float(f"{max(values):.4g}"),
    }


def differences(answer: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Relative differences of the loss and of the gradient."""
    slopes = np.linalg.norm(answer[1:] - expected[1:]) / np.linalg.norm(expected[1:])
    return {
        "loss_differs_by": float(f"{abs(answer[0] / expected[0] - 1):.2g}"),
        "gradient_differs_by": float(f"{slopes:.2g}"),
    }
