"""How does the memory of one training step grow with the depth of an unrolled network?

    python benchmarks/learned/cost/memory.py [--rivals PYTHON] [--depths 4 16 64] [--size 128]
        [--programs NAME ...] [--views 60] [--batch 1] [--quick] [--out FILE] [--picture FILE]

The step is the gradient, in the network, of the mean squared error of K iterations of proximal
gradient on a parallel-beam scan, with a network of three convolutions and 32 channels in the place
of the proximal map, the same in all iterations. Ours: a scan of the iterations, with and without
recomputing them in the backward pass; the iterations written out, which is the library's default on
CPU up to 32 of them; and the fixed point with its implicit gradient. Beside it deepinv's unfolded
PGD and its deep equilibrium (`--rivals`, an interpreter that has deepinv), with the same weights:
with its own projector, which turns the image, and with ASTRA's `linear` one as a sparse matrix,
which is our map; and with the iterations checkpointed, which deepinv does not offer and torch does.
deepinv's projector by ASTRA needs a GPU.

Every program runs in a process of its own for every depth. `step_bytes` is by how much that grows
at most during the first step, compilation and libraries apart; on a GPU what the allocator gives
out. `temporary_bytes` is what XLA says that our step takes. Gradients are compared with those of
the first program at that depth (equilibria are the limit of large depths), and that of the fixed
point with those of more and more iterations. One JSON record a line, added to the file `--out`, of
whose records the table and the picture are made.
"""

import argparse
import functools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import _memory
import _programs
import _serve
import _unrolled
from solvers import Program, relative

from jaxrecon.core import AdjointSolve

MEANS = ("", ", checkpointed", ", equilibrium")
RIVALS = tuple(p + means for p in ("deepinv", "deepinv, sparse") for means in MEANS)
# How far a gradient may be from the first program's where the map is the same.
TOLERANCE = 1e-3
# Variance of the network's output for inputs of variance one: the iteration contracts with it.
GAIN = 0.2
COLOURS = {"jaxrecon": "#1f5fa8", "deepinv": "#c8641e", "deepinv, sparse": "#7a7a2a"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rivals", metavar="PYTHON", help="an interpreter that has deepinv")
    parser.add_argument("--depths", nargs="*", type=int, default=[4, 16, 64])
    parser.add_argument("--programs", nargs="*", help="some of them; all by default")
    parser.add_argument("--size", type=int, default=128, help="pixels along a side")
    parser.add_argument("--views", type=int, default=60)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="32 pixels, 12 views, 2 and 4 deep")
    parser.add_argument("--out", type=Path, help="records are added to this file")
    parser.add_argument("--picture", type=Path, help="memory against depth, as an image file")
    parser.add_argument("--serve", nargs=2, metavar=("PROGRAM", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return _serve.serve(OURS[options.serve[0]], Path(options.serve[1]))
    if options.quick:
        options.size, options.views, options.depths = 32, 12, [2, 4]
    log = _programs.Log(options.out)
    log("versions", **_programs.versions(options.rivals))
    commands = _programs.programs(__file__, list(OURS), options.rivals, RIVALS)
    wanted = options.programs if options.programs is not None else list(commands)
    scan = _unrolled.ct_case(options.size, options.views, options.batch)
    size = {"size": options.size, "views": options.views, "batch": options.batch}
    if options.programs is None:
        log("implicit", **agreement())
    with tempfile.TemporaryDirectory() as folder:
        for n_iter in options.depths:
            case = _unrolled.with_network(scan, n_iter, gain=GAIN)
            chosen = {p: c for p, c in commands.items() if p in wanted and differs(p, n_iter)}
            for record in measured(case, chosen, Path(folder)):
                log("memory", n_iter=n_iter, **size, **record)
    found = [r for r in log.records("memory") if size.items() <= r.items()]
    print("\n".join(table(found)))
    if options.picture:
        draw(options.picture, found, size)
    return None


def measured(case: dict, commands: dict[str, list[str]], folder: Path):
    """A record of every program, the first of which is the one to compare with."""
    np.savez(folder / "case.npz", **case)
    expected = None
    for name, command in commands.items():
        program = Program(command, folder)
        record = program.ask(prepare="case", method="gradient")
        program.close()
        if "answer" in record:
            answer = np.load(folder / record.pop("answer"))
            expected = answer if expected is None else expected
            record["differs_by"] = float(f"{relative(answer, expected):.2g}")
            same = not (name in ("deepinv", "deepinv, checkpointed") or "equilibrium" in name)
            if same and not record["differs_by"] <= TOLERANCE:
                record["refused"] = "its gradient is another"
        yield {"program": name} | {k: v for k, v in record.items() if k != "first_s"}


def differs(program: str, n_iter: int) -> bool:
    """Whether a program is none of the others: what is not written out is a scan."""
    return "written out" not in program or (n_iter <= 32 and jax.default_backend() == "cpu")


def agreement() -> dict:
    """How far the gradients of more and more iterations are from the implicit one, relatively."""
    case = _unrolled.with_network(_unrolled.ct_case(32, 24, 1), 400, gain=GAIN)
    solve = AdjointSolve(tol=1e-6)
    limit = slope(case, implicit=True, tol=1e-6, adjoint_solve=solve)
    unrolled = {n: slope(case | {"n_iter": n}, unroll=1) for n in (4, 16, 64, 256)}
    differences = {n: float(f"{relative(s, limit):.2g}") for n, s in unrolled.items()}
    return {"size": 32, "views": 24, "differs_by": differences}


# ------------------------------------------------------------------------------------- our programs


@functools.partial(jax.jit, static_argnums=0)
def _slope(graphdef, params, others, A, y, truth):
    def loss(params):
        def one(y, truth):
            return _unrolled.squared_error(nnx.merge(graphdef, params, others)(A, y), truth)

        return jnp.mean(jax.vmap(one)(y, truth))

    return jax.grad(loss)(params)


def _arguments(net: Any, case: dict) -> tuple:
    scan = _unrolled.operator(case), jnp.asarray(case["y"]), jnp.asarray(case["truth"])
    return (*nnx.split(net, nnx.Param, ...), *scan)


def slope(case: dict, **options: Any) -> np.ndarray:
    """The gradient of the loss in the network."""
    graphdef, *arguments = _arguments(_unrolled.network(case, **options), case)
    return _unrolled.flat(nnx.merge(graphdef, _slope(graphdef, *arguments), arguments[1]))


def solve_gradient(options: dict, case: dict) -> tuple[_serve.Solve, dict]:
    """One gradient, with its time and memory."""
    graphdef, *arguments = _arguments(_unrolled.network(case, **options), case)
    start = time.perf_counter()
    program = _slope.lower(graphdef, *arguments).compile()
    record = {"compile_s": round(time.perf_counter() - start, 2)}
    record["temporary_bytes"] = _memory.temporary_bytes(program)
    jax.block_until_ready(arguments)
    start = time.perf_counter()
    gradient, record["step_bytes"] = _unrolled.growth(
        lambda: jax.block_until_ready(program(*arguments))
    )
    record["s"] = round(time.perf_counter() - start, 3)
    answer = _unrolled.flat(nnx.merge(graphdef, gradient, arguments[1]))
    return lambda: answer, record


OURS = {
    name: {"gradient": functools.partial(solve_gradient, options)}
    for name, options in {
        "jaxrecon, scan": {"unroll": 1, "remat": False},
        "jaxrecon, scan, remat": {"unroll": 1},
        "jaxrecon, written out": {"remat": False},
        "jaxrecon, written out, remat": {},
        "jaxrecon, equilibrium": {"implicit": True},
    }.items()
}


# ---------------------------------------------------------------------------------------- reporting


def table(records: list[dict]) -> list[str]:
    """Markdown: memory of a step by program and depth, XLA's temporaries in brackets."""
    depths = sorted({r["n_iter"] for r in records})
    rows = {}
    for record in records:
        if "step_bytes" in record:
            text = f"{record['step_bytes'] / 1e6:.0f}"
            if "temporary_bytes" in record:
                text += f" ({record['temporary_bytes'] / 1e6:.0f})"
            rows.setdefault(record["program"], {})[record["n_iter"]] = text
    lines = ["| MB | " + " | ".join(f"K = {n}" for n in depths) + " |"]
    lines.append("|---|" + "---|" * len(depths))
    for program, row in rows.items():
        lines.append(f"| {program} | " + " | ".join(row.get(n, "") for n in depths) + " |")
    return lines


def draw(path: Path, records: list[dict], size: dict) -> None:
    """Memory against depth, both logarithmic; broken lines recompute, dotted ones are implicit."""
    from jaxrecon.viz import save
    from jaxrecon.viz._style import QUIET, new_figure, styled

    lines: dict[str, dict[int, float]] = {}
    for record in records:
        if "step_bytes" in record:
            row = lines.setdefault(record["program"], {})
            row[record["n_iter"]] = record["step_bytes"] / 1e6
    with styled():
        figure = new_figure(6.4, 3.4)
        axes = figure.add_axes((0.09, 0.14, 0.5, 0.76))
        for program, row in lines.items():
            depths = sorted(row)
            axes.loglog(depths, [row[n] for n in depths], label=program, **_look(program))
        depths = sorted({n for row in lines.values() for n in row})
        axes.set_xticks(depths, [str(n) for n in depths])
        axes.minorticks_off()
        axes.set_xlabel("iterations K")
        axes.set_ylabel("memory of one gradient, MB")
        axes.grid(color=QUIET, alpha=0.2, linewidth=0.4)
        axes.set_title("CT, {size}², {views} views, batch {batch}".format(**size), loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        figure.legend(loc="center left", bbox_to_anchor=(0.61, 0.52), frameon=False)
        save(figure, path, dpi=150)


def _look(program: str) -> dict:
    colour = next(c for p, c in reversed(COLOURS.items()) if program.startswith(p))
    dashed = "remat" in program or "checkpointed" in program
    style = "--" if dashed else ":" if "equilibrium" in program else "-"
    width = 0.8 if "written out" in program else 1.5
    return {"color": colour, "linestyle": style, "linewidth": width, "marker": "o", "markersize": 3}


if __name__ == "__main__":
    main()
