"""How long does a step of a trajectory's design take, and how much memory, beside torch?

    python benchmarks/design/cost/rivals.py [--rivals PYTHON] [--size 96] [--iterations 30 100]
        [--repeat 7] [--quick] [--out FOLDER]

2D, field of view 0.24 m, 16 spokes of 1 ms from rest to rest, a sample every 2 µs, 8 coils: the
error of CG-SENSE and its gradient in all samples. Every number of iterations has the hardest system
that so many solve to a residual of 1e-5 (the least weight). Ours: the derivative of the solution,
as `design.trajectories.SenseError` has it; the same with Adam's update and the projection onto the
scanner's limits; and unrolled. Beside them (`--rivals`, an interpreter with
`pip install MIRTorch "mri-nufft[finufft]" finufft deepinv`) what `_rivals/trajectories.py` has:
MIRTorch as its documentation wants it for operators with a gradient, an expert's use of it, and
mri-nufft. FINUFFT computes all transforms, to 1e-5.

Every program runs in a process of its own, on all cores; answers are compared first, with ours of
the same kind (implicit or unrolled); then programs take turns. `step_bytes` is by how much a
process grows during its first step, `peak_bytes` its greatest size, libraries included. Where other
work shares the cores, OMP_WAIT_POLICY=passive keeps OpenMP's threads from waiting in a loop.
Written to `--out`: `rivals.json`.
"""

import argparse
import functools
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _serve
import _steps
from _command import begun, parser_of, stored
from solvers import Program

from jaxrecon.design import trajectories as designed

TOL, EPS, RATE = 1e-5, 1e-5, 0.5
N_SHOTS, DURATION = 16, 1e-3
THEIRS = Path(__file__).resolve().parents[2] / "_rivals/trajectories.py"
WHOLE = "implicit, Adam and projection"


def main() -> None:
    parser = parser_of(__doc__ or "", seeds=(0,))
    parser.add_argument("--rivals", metavar="PYTHON", help="an interpreter that has them")
    parser.add_argument("--size", type=int, default=96, help="pixels along a side")
    parser.add_argument("--iterations", type=int, nargs="+", default=[30, 100])
    parser.add_argument("--repeat", type=int, default=7, help="timed calls of each program")
    parser.add_argument("--serve", nargs=2, metavar=("PROGRAM", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        program, folder = options.serve
        one = solve_whole if program == WHOLE else functools.partial(_steps.solve, program)
        return _serve.serve({"step": one}, Path(folder))
    begun(options)
    if options.quick:
        options.size, options.iterations, options.repeat = 48, [20], 2
    commands = programs(options.rivals)
    samples = _steps.spokes(N_SHOTS, options.size, DURATION).samples
    records = []
    for n_iter in options.iterations:
        case = _steps.case_of(samples, options.size, n_iter, tol=TOL, eps=EPS)
        about = {"n_iter": n_iter, "size": options.size, "weight": case["weight"]}
        for record in measured(case, commands, options.repeat):
            records.append(about | record)
            print(json.dumps(records[-1]), flush=True)
        stored(records, options.out / "rivals.json")
    print(table(records))
    return None


def programs(python: str | None) -> dict[str, list[str]]:
    """The commands that serve ours, then those of a rival interpreter, whose versions it prints."""
    ours = ("implicit", WHOLE, "unrolled, recomputed", "unrolled, stored")
    commands = {name: [sys.executable, __file__, "--serve", name] for name in ours}
    if python is None:
        return commands
    done = subprocess.run([python, str(THEIRS)], stdout=subprocess.PIPE, text=True, check=True)
    there = json.loads(done.stdout)
    print(json.dumps(there["versions"]), flush=True)
    return commands | {name: [python, str(THEIRS), name] for name in there["programs"]}


def solve_whole(case: dict) -> tuple[_serve.Solve, dict]:
    """All that a step of `optimise` does, from the same start each time."""
    start = _steps.spokes(N_SHOTS, len(case["truth"]), DURATION)
    allowed = designed.limits(_steps.SCANNER, start.readout, len(case["truth"]))
    optimiser, slope_of = optax.adam(RATE), _steps.slope_of("implicit", case)

    def step(trajectory: Any, state: Any, arrays: dict, weight: Any) -> tuple:
        samples, pull = jax.vjp(lambda t: t.samples, trajectory)
        loss, slope = slope_of(samples, arrays, weight)
        updates, state = optimiser.update(pull(slope)[0], state, trajectory)
        return loss, slope, allowed(optax.apply_updates(trajectory, updates)), state

    return _steps.repeated(
        jax.jit(step), (start, optimiser.init(start), *_steps.arguments(case)[1:])
    )


def measured(case: dict, commands: dict[str, list[str]], repeat: int) -> list[dict]:
    """A record of every program on a case."""
    running, records, first = {}, {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "case.npz", **case)
        for program, command in commands.items():
            running[program] = Program(command, folder)
            record = running[program].ask(prepare="case", method="step")
            answer = np.load(folder / record.pop("answer"))
            record |= _steps.differences(answer, first.setdefault("implicit" in program, answer))
            records[program] = {k: v for k, v in record.items() if k != "first_s"}
        times = _steps.interleaved(running, repeat)
        for program, process in running.items():
            records[program]["peak_bytes"] = process.close()
    for program, record in records.items():
        record |= _steps.timed(times[program], times["implicit"])
    return [{"program": program} | record for program, record in records.items()]


def table(records: list[dict]) -> str:
    """Markdown."""
    lines = [
        "| iterations | program | ms | over ours | by CPU time | step, MiB | process, MiB "
        "| gradient differs by |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in records:
        times = "{median:.0f} ({least:.0f} to {most:.0f})".format(**r["ms"])
        ratio = "{median:.2f} ({least:.2f} to {most:.2f})".format(**r["over"])
        sizes = [f"{r[name] / 2**20:.0f}" for name in ("step_bytes", "peak_bytes")]
        differs = f"{r['gradient_differs_by']:.1e}"
        cells = [str(r["n_iter"]), r["program"], times, ratio, f"{r['cpu_over']:.2f}"]
        lines.append("| " + " | ".join([*cells, *sizes, differs]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
