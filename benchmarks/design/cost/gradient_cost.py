"""What does the gradient of a reconstruction cost, as the derivative of its solution or unrolled?

    python benchmarks/design/cost/gradient_cost.py [--size 96] [--iterations 10 30 100] [--repeat 9]
        [--quick] [--out FOLDER]

One step of a design: the error of CG-SENSE (8 coils, known maps) and its gradient in

- mask: the amplitudes of a relaxed Cartesian mask, a quarter of the lines;
- spokes: the samples of 16 spokes of 1 ms, 2 µs apart.

Every number of iterations has the hardest system that so many solve to a residual of 1e-5, in the
solve and in that of the gradient: the least weight. Three gradients: implicit, as `cg` and
`design.trajectories.SenseError` have it; unrolled, with every iteration recomputed in the backward
pass, as `run(..., gradient="unrolled")` has it; and unrolled with all stored.

Every program runs in a process of its own; then they take turns. `temporary_bytes` is what XLA says
that the program takes beside arguments and results, `step_bytes` by how much the process grows
during the first step, `peak_bytes` its greatest size, libraries included. Gradients are compared
with the implicit one, and all with that of the solution in float64, to 1e-10; that one, and the
unrolled one in float64, with central differences. Written to `--out`: `gradient_cost.json` and
`design-gradient-cost.png`.
"""

import argparse
import functools
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _serve
import _steps
from _command import begun, parser_of, stored
from solvers import Program

TOL, EPS = 1e-5, 1e-5
PATTERNS = {
    "mask": _steps.lines,
    "spokes": lambda n: _steps.spokes(16, n, 1e-3).samples,
}
COLOURS = {"implicit": "#1f5fa8", "unrolled, recomputed": "#c8641e", "unrolled, stored": "#7a7a2a"}


def main() -> None:
    parser = parser_of(__doc__ or "", seeds=(0,))
    parser.add_argument("--size", type=int, default=96, help="pixels along a side")
    parser.add_argument("--iterations", type=int, nargs="+", default=[10, 30, 100])
    parser.add_argument("--repeat", type=int, default=9, help="timed calls of each program")
    parser.add_argument("--serve", nargs=2, metavar=("PROGRAM", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        program, folder = options.serve
        return _serve.serve({"step": functools.partial(_steps.solve, program)}, Path(folder))
    begun(options)
    if options.quick:
        options.size, options.iterations, options.repeat = 32, [10, 20], 2
    records = []
    for problem, pattern in PATTERNS.items():
        for n_iter in options.iterations:
            case = _steps.case_of(pattern(options.size), options.size, n_iter, tol=TOL, eps=EPS)
            about = {"problem": problem, "n_iter": n_iter, "weight": float(case["weight"])}
            for record in measured(case, options.repeat):
                records.append(about | record)
                print(json.dumps(records[-1]), flush=True)
            stored(records, options.out / "gradient_cost.json")
    print(table(records))
    picture(records, options.size, options.out / "design-gradient-cost.png")
    return None


def measured(case: dict, repeat: int) -> list[dict]:
    """A record of every program on a case."""
    exact, against = in_float64(case)
    running, records = {}, {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.savez(folder / "case.npz", **case)
        for program in _steps.SOLVES:
            command = [sys.executable, __file__, "--serve", program]
            running[program] = Program(command, folder)
            record = running[program].ask(prepare="case", method="step")
            answer = np.load(folder / record.pop("answer"))
            first = answer if program == "implicit" else first
            record |= _steps.differences(answer, first)
            record["error"] = _steps.differences(answer, exact)["gradient_differs_by"]
            record["differences"] = against.get(program)
            records[program] = record
        times = _steps.interleaved(running, repeat)
        for program, process in running.items():
            records[program]["peak_bytes"] = process.close()
    for program, record in records.items():
        record |= _steps.timed(times[program], times["implicit"])
        record.pop("first_s")
    return [{"program": program} | record for program, record in records.items()]


def in_float64(case: dict) -> tuple[np.ndarray, dict[str, float]]:
    """The exact loss and gradient, and how far slopes are from central differences of their loss.

    Along the gradient and a random direction together, for one that is random alone may be nearly
    across; the solution's, and that of the iterations as they are.
    """
    exact = case | {"n_iter": 20 * int(case["n_iter"]), "tol": 1e-10, "eps": 1e-10}
    with jax.enable_x64(True):
        wide = lambda a: a.astype(jnp.result_type(a.dtype, jnp.float64))  # noqa: E731
        pattern, arrays, weight = jax.tree.map(wide, _steps.arguments(exact))
        drawn = np.random.default_rng(1).standard_normal(pattern.shape)
        found, against, h = {}, {}, 1e-4
        for program, of in (("implicit", exact), ("unrolled, stored", case | {"eps": 1e-10})):
            slope = jax.jit(_steps.slope_of(program, of))
            found[program] = slope(pattern, arrays, weight)
            steepest = np.asarray(found[program][1])
            along = steepest / np.abs(steepest).max() + drawn / np.abs(drawn).max()
            ahead, behind = (slope(pattern + s * along, arrays, weight)[0] for s in (h, -h))
            quotient = float(ahead - behind) / (2 * h)
            derivative = float(jnp.vdot(found[program][1], along))
            against[program] = float(f"{abs(derivative / quotient - 1):.2g}")
    return _steps.answer_of(*found["implicit"]), against


# ---------------------------------------------------------------------------------------- reporting


def table(records: list[dict]) -> str:
    """Markdown."""
    lines = [
        "| | iterations | gradient | ms | over implicit | by CPU time | temporaries, MiB "
        "| step, MiB | differs by | error |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in records:
        ratio = "{median:.2f} ({least:.2f} to {most:.2f})".format(**r["over"])
        sizes = [f"{r[name] / 2**20:.0f}" for name in ("temporary_bytes", "step_bytes")]
        agreement = [f"{r[name]:.1e}" for name in ("gradient_differs_by", "error")]
        cells = [r["problem"], str(r["n_iter"]), r["program"], f"{r['ms']['median']:.0f}", ratio]
        cells.append(f"{r['cpu_over']:.2f}")
        lines.append("| " + " | ".join([*cells, *sizes, *agreement]) + " |")
    return "\n".join(lines)


def picture(records: list[dict], size: int, path: Path) -> None:
    """Temporaries and time against iterations, both logarithmic."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(7.2, 5), sharex=True, layout="constrained")
    for column, problem in zip(axes.T, PATTERNS, strict=True):
        for program, colour in COLOURS.items():
            found = [r for r in records if (r["problem"], r["program"]) == (problem, program)]
            n = [r["n_iter"] for r in found]
            look: dict[str, Any] = {"color": colour, "marker": "o", "markersize": 3}
            column[0].loglog(n, [r["temporary_bytes"] / 2**20 for r in found], **look)
            times = np.array([list(r["ms"].values()) for r in found]).T
            column[1].loglog(n, times[0], label=program, **look)
            column[1].fill_between(n, times[1], times[2], color=colour, alpha=0.12, linewidth=0)
        column[0].set_title(f"{problem}, {size}², {_steps.N_COILS} coils")
        column[1].set_xlabel("iterations of CG")
        column[1].set_xticks(n, [str(i) for i in n])
        column[1].minorticks_off()
    axes[0, 0].set_ylabel("temporaries, MiB")
    axes[1, 0].set_ylabel("ms (median, range)")
    for panel in axes.ravel():
        panel.grid(alpha=0.25, linewidth=0.4)
        panel.spines[["top", "right"]].set_visible(False)
    axes[1, 0].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
