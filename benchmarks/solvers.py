"""How fast are TV and wavelet reconstructions beside deepinv, SCICO and ODL, iteration for
iteration and with the same result?

    python benchmarks/solvers.py [--install] [--rivals PYTHON ...] [--quick] [PROBLEM ...]

Problems: ct-tv and ct-wavelet (256², 180 parallel views, noise), deblur-tv and deblur-wavelet
(512², Gaussian blur of 2 pixels, circular, noise); TV by primal-dual hybrid gradient, wavelets by
FISTA, 100 iterations with the same fixed steps in every program (`_solver_rivals.py` says how).

Each program runs in a process of its own, `--rivals` names the interpreters in which they may be
found; `--install` makes two virtual environments under `.rivals/` and puts them there with pip.
Answers are compared first: a program that is too far from ours is named and not timed. Then the
programs take turns, and every time is the least of several solves after the first. One JSON record
a line, times in milliseconds; memory is the peak of the program's process, libraries included.
scikit-image solves none of these problems: its denoising, Wiener and Richardson-Lucy filters are
others, and its Radon transform has no adjoint.
"""

import argparse
import functools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import _memory
import _serve
import _solver_rivals
import jax
import jax.numpy as jnp
import numpy as np

from jaxrecon import data
from jaxrecon.core import LinearOperator, Problem, gradient, identity, norm, run
from jaxrecon.functionals import L21, LeastSquares, WaveletL1, wavelet
from jaxrecon.physics import ct, optics
from jaxrecon.solvers import FISTA, PDHG

ENVIRONMENTS = {
    "torch": ["deepinv==0.5.0", "ptwt", "PyWavelets", "astra-toolbox"],
    "scico": ["scico==0.0.7", "odl==1.0.0", "astra-toolbox", "PyWavelets"],
}
FOLDER = Path(".rivals")
# How far an answer may be from ours, relatively: rounding where the model is the same, else what a
# discretisation makes (deepinv rotates the image, SCICO asks for ASTRA's `line`, our Fourier-slice
# method averages over pixels and bins) or deepinv's momentum and wavelets at the border.
TOLERANCE = {
    "jaxrecon": 1e-5,
    "odl": 1e-3,
    "scico": 5e-2,
    "deepinv": 5e-2,
    "jaxrecon fourier": 5e-2,
}
# By how many pixels a program's periodic db4 transform is shifted against ours: its answer is
# compared with ours for that transform.
ALIGNMENT = {"odl": 5, "deepinv": 2}
WAVELET, LEVELS = "db4", 3
BALANCE = 10.0

# Names of programs, and for each what solves a problem by a method.
Programs = dict[str, dict[str, Callable]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", nargs="*", default=list(PROBLEMS))
    parser.add_argument("--quick", action="store_true", help="small problems, few repetitions")
    parser.add_argument("--install", action="store_true", help="install the rivals under .rivals/")
    parser.add_argument("--rivals", nargs="+", default=[], metavar="PYTHON", help="interpreters")
    parser.add_argument("--serve", nargs=2, metavar=("PROGRAM", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return _serve.serve(OURS[options.serve[0]], Path(options.serve[1]))
    unknown = set(options.problems) - set(PROBLEMS)
    if unknown:
        parser.error(f"unknown problem {', '.join(unknown)}; expected {', '.join(PROBLEMS)}")
    pythons = options.rivals + (install(*ENVIRONMENTS) if options.install else [])
    rivals = found(pythons)
    report("versions", **versions(pythons))
    with tempfile.TemporaryDirectory() as folder:
        for name in options.problems:
            served = {p: [sys.executable, __file__, "--serve", p] for p in PROBLEMS[name].ours}
            bench(name, PROBLEMS[name], OURS, served | rivals, Path(folder), options.quick)
    return None


def bench(
    name: str, setting: "Setting", ours: Programs, commands: dict, folder: Path, quick: bool
) -> None:
    """One problem: every program is prepared, its answer compared with ours; then they take turns.

    Args:
        name: of the problem.
        setting: what it is.
        ours: our programs; the first of the setting's is the one to compare with.
        commands: what serves each program.
        folder: for the problem and the answers.
        quick: a small problem, few repetitions.
    """
    case = {k: np.asarray(v) for k, v in setting.build(quick).items()}
    np.savez(folder / f"{name}.npz", **case)
    solve = ours[setting.ours[0]][setting.method]
    expected = functools.cache(lambda shift: solve(case | {"shift": shift})[0]())
    running: dict[str, Program] = {}
    records: dict[str, dict] = {}
    for name_of, command in commands.items():
        program = Program(command, folder)
        reply = program.ask(prepare=name, method=setting.method)
        library = name_of.split(",")[0]
        if "answer" in reply:
            answer = np.load(folder / reply.pop("answer"))
            difference = relative(answer, expected(ALIGNMENT.get(library, 0)))
            reply["differs_by"] = float(f"{difference:.2g}")
            if difference <= TOLERANCE.get(library, 1e-3):
                running[name_of], records[name_of] = program, reply
                continue
            reply["refused"] = "its answer is another"
        report(name, program=name_of, **reply)
        program.close()
    times = in_turns(running, 2 if quick else 5)
    for name_of, ms in times.items():
        record = {"ms": round(ms, 1), "over_ours": round(ms / times[setting.ours[0]], 2)}
        record["peak_bytes"] = running[name_of].close()
        report(name, program=name_of, **record, **records[name_of])


def in_turns(running: dict[str, "Program"], repeat: int, patience: float = 60.0) -> dict:
    """Every program's least time in milliseconds; slow ones stop once two runs took too long."""
    times: dict[str, list[float]] = {program: [] for program in running}
    for _ in range(repeat):
        for program, rival in running.items():
            spent = times[program]
            if len(spent) < 2 or sum(spent) < 1000 * patience:
                spent.append(rival.ask(run=True)["ms"])
    return {program: min(spent) for program, spent in times.items()}


class Program:
    """A process that answers commands; see `_serve.serve`."""

    def __init__(self, command: list[str], folder: Path):
        log = (folder / "log").open("ab")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
        self.process = subprocess.Popen([*command, str(folder)], text=True, **pipes)
        self.log = Path(log.name)
        self.peak = 0

    def ask(self, **command: Any) -> dict:
        """Sends a command and waits for the reply."""
        print(json.dumps(command), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended:\n{self.log.read_text()[-3000:]}")
        reply = json.loads(line)
        self.peak = reply.pop("peak_bytes")
        return reply

    def close(self) -> int:
        """Ends it; returns the peak of its memory."""
        self.process.stdin.close()
        self.process.wait()
        return self.peak


# ------------------------------------------------------------------------------------- the problems


def scan(quick: bool) -> dict:
    """A head of ellipses, averaged over pixels, its projections and noise of half a per cent."""
    n, n_views, n_bins = (64, 45, 91) if quick else (256, 180, 363)
    angles = np.arange(n_views) * np.pi / n_views
    case = {"y": np.zeros((n_views, n_bins)), "angles": angles, "shape": (n, n)}
    image = data.area_average(data.modified_shepp_logan(half_width=n / 2), (n, n))
    y = np.asarray(operator(case)(image))
    noise = 0.005 * y.max() * np.random.default_rng(0).standard_normal(y.shape)
    return case | {"y": (y + noise).astype(np.float32)}


def photograph(quick: bool) -> dict:
    """scikit-image's picture of a cameraman, blurred, with noise of one per cent."""
    from skimage.data import camera

    image = camera().astype(np.float32) / 255
    image = image[128:256, 128:256] if quick else image
    kernel = np.asarray(optics.gaussian_kernel((17, 17), 2.0))
    y = np.asarray(optics.blur(kernel, jnp.asarray(image))(image))
    noise = 0.01 * np.random.default_rng(0).standard_normal(y.shape)
    return {"y": (y + noise).astype(np.float32), "kernel": kernel, "shape": image.shape}


def with_tv(case: dict, weight: float, quick: bool) -> dict:
    """Steps as `PDHG` chooses them from the norms of A and D."""
    case = case | {"weight": weight, "n_iter": 30 if quick else 100}
    problem = tv_problem(operator(case), case)
    state = PDHG(balance=BALANCE).init(problem, jnp.zeros(case["shape"], jnp.float32))
    root = np.sqrt(float(state.balance))
    sigmas = [float(s) * root for s in state.scales.dual]
    return case | {"tau": float(state.scales.primal) / root, "sigmas": sigmas}


def with_wavelet(case: dict, weight: float, quick: bool) -> dict:
    """A step of 1/L with a margin of two per cent."""
    largest = norm(operator(case), jax.random.key(0)).value
    case = case | {"weight": weight, "step": 0.98 / float(largest) ** 2}
    return case | {"wavelet": WAVELET, "levels": LEVELS, "n_iter": 30 if quick else 100}


class Setting(NamedTuple):
    """A problem, its method, and which of our variants solve it, the one to compare with first."""

    method: str
    build: Callable[[bool], dict]
    ours: tuple[str, ...]


PROBLEMS = {
    "ct-tv": Setting(
        "tv", lambda quick: with_tv(scan(quick), 1.0, quick), ("jaxrecon", "jaxrecon fourier")
    ),
    "ct-wavelet": Setting(
        "wavelet",
        lambda quick: with_wavelet(scan(quick), 30.0, quick),
        ("jaxrecon", "jaxrecon fourier"),
    ),
    "deblur-tv": Setting(
        "tv", lambda quick: with_tv(photograph(quick), 3e-4, quick), ("jaxrecon",)
    ),
    "deblur-wavelet": Setting(
        "wavelet", lambda quick: with_wavelet(photograph(quick), 1e-3, quick), ("jaxrecon",)
    ),
}


# ------------------------------------------------------------------------------------- our programs


def operator(case: dict, method: str = "joseph") -> LinearOperator:
    shape = tuple(int(n) for n in case["shape"])
    if "angles" in case:
        angles, n_bins = case["angles"], case["y"].shape[1]
        offset = (np.cos(angles) + np.sin(angles)) / 2  # the axis is the centre of pixel n/2
        return ct.parallel_beam(angles, shape, n_bins, offset=offset, method=method)
    return optics.blur(case["kernel"], jax.ShapeDtypeStruct(shape, jnp.float32))


def tv_problem(A: LinearOperator, case: dict) -> Problem:
    fidelity, edges = LeastSquares(jnp.asarray(case["y"])), L21(float(case["weight"]))
    return Problem(((fidelity, A), (edges, gradient(A.domain))))


def solve_tv(method: str, case: dict) -> tuple[_serve.Solve, dict]:
    """The first step from zero does nothing, so it takes one more than the others."""
    steps = (float(case["tau"]), tuple(float(s) for s in case["sigmas"]))
    algorithm = PDHG(steps=steps, relaxation=1.0, check_every=10)
    problem = tv_problem(operator(case, method), case)
    return compiled(solver(int(case["n_iter"]) + 1), algorithm, problem)


def solve_wavelet(method: str, case: dict) -> tuple[_serve.Solve, dict]:
    A, levels, name = operator(case, method), int(case["levels"]), str(case["wavelet"])
    details = np.full(A.domain.shape, case["weight"], np.float32)
    details[tuple(slice(0, n >> levels) for n in details.shape)] = 0
    shift = jnp.full(2, case["shift"]) if case.get("shift") else None
    prior = WaveletL1(jnp.asarray(details), wavelet(A.domain, name, levels=levels), shift)
    problem = Problem(((LeastSquares(jnp.asarray(case["y"])), A), (prior, identity(A.domain))))
    algorithm = FISTA(step_size=float(case["step"]), restart=None)
    return compiled(solver(int(case["n_iter"])), algorithm, problem)


def solver(n_iter: int) -> Any:
    """All iterations, as one program."""
    return jax.jit(lambda algorithm, problem: run(algorithm, problem, n_iter=n_iter).value)


def compiled(function: Any, *arguments: Any) -> tuple[_serve.Solve, dict]:
    """A jitted solver of these arguments, and a record of its compilation."""
    start = time.perf_counter()
    program = function.lower(*arguments).compile()
    record = {"compile_s": round(time.perf_counter() - start, 2)}
    record["temporary_bytes"] = _memory.temporary_bytes(program)
    return lambda: np.asarray(program(*arguments)), record


OURS = {
    name: {
        "tv": functools.partial(solve_tv, method),
        "wavelet": functools.partial(solve_wavelet, method),
    }
    for name, method in {"jaxrecon": "joseph", "jaxrecon fourier": "fourier"}.items()
}


# ----------------------------------------------------------------------------- rivals and reporting


def install(*names: str) -> list[str]:
    """Makes those of `ENVIRONMENTS` that are not there yet; returns their interpreters."""
    pythons = []
    for name in names:
        python = FOLDER / name / "bin" / "python"
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", str(FOLDER / name)], check=True)
            command = [str(python), "-m", "pip", "install", *ENVIRONMENTS[name]]
            subprocess.run(command, check=True)
        pythons.append(str(python))
    return pythons


@functools.cache
def described(python: str) -> dict:
    """What an interpreter says it can run."""
    done = subprocess.run(
        [python, _solver_rivals.__file__], stdout=subprocess.PIPE, text=True, check=True
    )
    return json.loads(done.stdout)


def found(pythons: list[str]) -> dict[str, list[str]]:
    """The command that serves each rival, from the first interpreter that has it."""
    commands: dict[str, list[str]] = {}
    for python in pythons:
        for program in described(python)["programs"]:
            commands.setdefault(program, [python, _solver_rivals.__file__, program])
    for program in set(_solver_rivals.PROGRAMS) - set(commands):
        report("rivals", absent=program)
    return commands


def versions(pythons: list[str]) -> dict:
    device = jax.devices()[0].device_kind
    ours = {"jax": jax.__version__, "python": platform.python_version(), "device": device}
    return ours | {"cores": os.cpu_count(), "rivals": [described(p)["versions"] for p in pythons]}


def relative(got: np.ndarray, expected: np.ndarray) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def report(problem: str, **record: Any) -> None:
    print(json.dumps({"problem": problem} | record), flush=True)


if __name__ == "__main__":
    main()
