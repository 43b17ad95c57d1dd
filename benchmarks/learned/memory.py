"""How does the memory of one training step grow with the depth of an unrolled network?

    python benchmarks/learned/memory.py [--rivals PYTHON] [--depths 4 16 64] [--programs NAME ...]
        [--size 128] [--views 60] [--batch 1] [--quick] [--out FILE] [--picture FILE]

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
import json
import math
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _memory
import _serve
from _rivals import unrolled as rivals
from solvers import Program, relative

from jaxrecon import data
from jaxrecon.core import AdjointSolve, LinearOperator, norm
from jaxrecon.nets.reconstruction import ConvNet, Equilibrium, Unrolled
from jaxrecon.physics import ct, mri
from jaxrecon.solvers import ProximalGradient

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
    log = Log(options.out)
    log("versions", **versions(options.rivals))
    commands = programs(__file__, list(OURS), options.rivals, RIVALS)
    wanted = options.programs if options.programs is not None else list(commands)
    scan = ct_case(options.size, options.views, options.batch)
    size = {"size": options.size, "views": options.views, "batch": options.batch}
    if options.programs is None:
        log("implicit", **agreement())
    with tempfile.TemporaryDirectory() as folder:
        for n_iter in options.depths:
            case = with_network(scan, n_iter, gain=GAIN)
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
    case = with_network(ct_case(32, 24, 1), 400, gain=GAIN)
    solve = AdjointSolve(tol=1e-6)
    limit = slope(case, implicit=True, tol=1e-6, adjoint_solve=solve)
    unrolled = {n: slope(case | {"n_iter": n}, unroll=1) for n in (4, 16, 64, 256)}
    differences = {n: float(f"{relative(s, limit):.2g}") for n, s in unrolled.items()}
    return {"size": 32, "views": 24, "differs_by": differences}


# ----------------------------------------------------------------------------------------- problems


def ct_case(n: int, n_views: int, batch: int) -> dict:
    """Random ellipses, their projections by a projector of norm 1, noise of one per cent."""
    n_bins = n + math.ceil((math.sqrt(2) - 1) * n)
    angles = np.arange(n_views) * np.pi / n_views
    case = {"angles": angles, "norm": 1.0, "y": np.zeros((batch, n_views, n_bins))}
    case["truth"] = _images(n, batch)
    case["norm"] = 1.01 * float(norm(operator(case), jax.random.key(1)).value)
    return _measured(case)


def mri_case(n: int, n_coils: int, batch: int) -> dict:
    """Random ellipses with a smooth phase, every fourth line of their k-space, noise."""
    maps = mri.normalise_maps(mri.birdcage_maps(n_coils, (n, n)))
    lines = mri.equispaced_lines_mask((n, n), 4, calibration=n // 12)[:1]
    case = {"maps": np.asarray(maps), "mask": np.asarray(lines)}
    phase = np.linspace(-1, 1, n) ** 2 + np.linspace(-1, 1, n)[:, None]
    case["truth"] = _images(n, batch) * np.exp(1j * phase).astype(np.complex64)
    return _measured(case)


def _images(n: int, batch: int) -> np.ndarray:
    def draw(key):
        return data.area_average(data.random_ellipses(key, half_width=n / 2), (n, n))

    return np.asarray(jax.vmap(draw)(jax.random.split(jax.random.key(0), batch)))


def _measured(case: dict) -> dict:
    A = operator(case)
    y = np.asarray(jax.vmap(A)(jnp.asarray(case["truth"])))
    noise = np.random.default_rng(0).standard_normal((2, *y.shape))
    noise = noise[0] + 1j * noise[1] if np.iscomplexobj(y) else noise[0]
    y = y + 0.01 * np.sqrt(np.mean(np.abs(y) ** 2)) * noise
    return case | {"y": y.astype(A.range.dtype)}


def with_network(case: dict, n_iter: int, *, residual: bool = False, gain: float = 0.1) -> dict:
    """The weights of a network of three convolutions and 32 channels."""
    channels = 2 if np.iscomplexobj(case["truth"]) else 1
    options = {"residual": residual, "final_gain": gain, "rngs": nnx.Rngs(0)}
    net = ConvNet(channels, channels, widths=(32, 32), **options)
    weights = {}
    for i, layer in enumerate(net.layers):
        weights |= {f"w{i}": np.asarray(layer.kernel[...]), f"b{i}": np.asarray(layer.bias[...])}
    return case | {"n_iter": n_iter, "residual": residual, **weights}


# ------------------------------------------------------------------------------------- our programs


def operator(case: dict) -> LinearOperator:
    """The scan; CT turns about the point that deepinv's projector turns about."""
    if "maps" in case:
        return mri.sense(case["maps"], case["mask"])
    angles, n_bins = np.asarray(case["angles"]), case["y"].shape[-1]
    offset = (n_bins % 2) * (np.cos(angles) + np.sin(angles)) / 2
    A = ct.parallel_beam(angles, case["truth"].shape[-2:], n_bins, offset=offset)
    return (1 / float(case["norm"])) * A


def network(
    case: dict,
    *,
    dtype: Any = None,
    implicit: bool = False,
    tol: float = 1e-4,
    adjoint_solve: AdjointSolve | None = None,
    **options: Any,
) -> Unrolled | Equilibrium:
    """The unrolled network with the weights of the problem, or its fixed point."""
    n_iter, channels = int(case["n_iter"]), case["w0"].shape[2]
    widths = case["w0"].shape[3], case["w1"].shape[3]
    sizes = {"widths": widths, "residual": bool(case["residual"]), "dtype": dtype}
    prior = ConvNet(channels, channels, **sizes, rngs=nnx.Rngs(0))
    for i, layer in enumerate(prior.layers):
        layer.kernel[...], layer.bias[...] = jnp.asarray(case[f"w{i}"]), jnp.asarray(case[f"b{i}"])
    algorithm = ProximalGradient(1.0)
    net = Unrolled(algorithm, prior, n_iter=n_iter, normalised=False, **options)
    if not implicit:
        return net
    return Equilibrium(net, n_iter=n_iter, tol=tol, adjoint_solve=adjoint_solve)


def layers(net: Any) -> list[Any]:
    """The convolutions of what `network` makes."""
    net = net.net if isinstance(net, Equilibrium) else net
    return list(net.prior.network.layers)


def flat(net: Any) -> np.ndarray:
    """All weights of a network, or of a gradient in its place, as a rival gives them."""
    parts = [p for layer in layers(net) for p in (layer.kernel[...], layer.bias[...])]
    return np.concatenate([np.asarray(p).ravel() for p in parts])


def squared_error(x: jax.Array, truth: jax.Array) -> jax.Array:
    """The mean over pixels, and over real and imaginary part of complex images."""
    n_parts = 2 if jnp.iscomplexobj(truth) else 1
    error = x - truth
    return jnp.mean(error.real**2 + error.imag**2) / n_parts


@functools.partial(jax.jit, static_argnums=0)
def _slope(graphdef, params, others, A, y, truth):
    def loss(params):
        def one(y, truth):
            return squared_error(nnx.merge(graphdef, params, others)(A, y), truth)

        return jnp.mean(jax.vmap(one)(y, truth))

    return jax.grad(loss)(params)


def _arguments(net: Any, case: dict) -> tuple:
    scan = operator(case), jnp.asarray(case["y"]), jnp.asarray(case["truth"])
    return (*nnx.split(net, nnx.Param, ...), *scan)


def slope(case: dict, **options: Any) -> np.ndarray:
    """The gradient of the loss in the network."""
    graphdef, *arguments = _arguments(network(case, **options), case)
    return flat(nnx.merge(graphdef, _slope(graphdef, *arguments), arguments[1]))


def solve_gradient(options: dict, case: dict) -> tuple[_serve.Solve, dict]:
    """One gradient, with its time and memory."""
    graphdef, *arguments = _arguments(network(case, **options), case)
    start = time.perf_counter()
    program = _slope.lower(graphdef, *arguments).compile()
    record = {"compile_s": round(time.perf_counter() - start, 2)}
    record["temporary_bytes"] = _memory.temporary_bytes(program)
    jax.block_until_ready(arguments)
    start = time.perf_counter()
    gradient, record["step_bytes"] = growth(lambda: jax.block_until_ready(program(*arguments)))
    record["s"] = round(time.perf_counter() - start, 3)
    answer = flat(nnx.merge(graphdef, gradient, arguments[1]))
    return lambda: answer, record


def growth(run: Any) -> tuple[Any, int]:
    """What a call returns and how much memory it takes at most: of the GPU, else of the process."""
    device = jax.devices()[0]
    stats = device.memory_stats()
    if device.platform == "cpu" or not stats:
        return rivals.growth(run)
    before = stats["bytes_in_use"]
    result = jax.block_until_ready(run())
    return result, (_memory.device_peak_bytes(device) or 0) - before


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


# ----------------------------------------------------------------------------- rivals and reporting


def programs(
    script: str, ours: list[str], python: str | None, wanted: tuple[str, ...]
) -> dict[str, list[str]]:
    """The commands that serve our programs, then a rival interpreter's."""
    commands = {name: [sys.executable, script, "--serve", name] for name in ours}
    if python is not None:
        there = rivals.described(python)["programs"]
        commands |= {p: [python, rivals.__file__, p] for p in wanted if p in there}
    return commands


def versions(python: str | None) -> dict:
    """Of JAX, of the machine, of the rivals."""
    device = jax.devices()[0].device_kind
    ours = {"jax": jax.__version__, "python": platform.python_version(), "device": device}
    there = rivals.described(python)["versions"] if python is not None else {}
    return ours | {"cores": os.cpu_count(), "rivals": there}


class Log:
    """Records as JSON lines, printed and added to a file."""

    def __init__(self, path: Path | None):
        self.path = path
        self.lines: list[dict] = []
        if path is not None and path.exists():
            self.lines = [json.loads(line) for line in path.read_text().splitlines()]

    def __call__(self, figure: str, **record: Any) -> None:
        """Adds a record."""
        line = json.dumps({"figure": figure} | record)
        print(line, flush=True)
        self.lines.append(json.loads(line))
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(line + "\n")

    def records(self, figure: str) -> list[dict]:
        """Those of a figure that were not refused."""
        return [r for r in self.lines if r["figure"] == figure and "refused" not in r]


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
