"""How long does one training step of an unrolled network take, and one reconstruction with it?

    python benchmarks/learned/cost/step_time.py [--rivals PYTHON] [--quick] [--repeat N]
        [--out FILE] [--programs NAME ...] [PROBLEM ...]

The network is 8 iterations of proximal gradient with three convolutions of 32 channels in the place
of the proximal map, shared by the iterations; a step is forward, backward and Adam's update on the
mean squared error of a batch, ours by `jaxrecon.training.train_step`. Beside it deepinv's unfolded
PGD (`--rivals`, an interpreter that has deepinv) with the same weights and data.

- mri-train: multi-coil Cartesian MRI, 160², 8 coils, every fourth line, batch 2: the same linear
  map in both programs. mri-slice: reconstruction of one 320² slice.
- ct-train: parallel beam, 128², 60 views, batch 2. deepinv's own projector turns the image, so it
  is another discretisation; "sparse" is ASTRA's `linear` projector as a sparse matrix, which is our
  map. ct-slice: reconstruction of one 512² slice of 720 views.

Ours: "jaxrecon" as it is by default, where iterations are computed again in the backward pass;
"stored" without that, as torch does it; "bfloat16" activations on a GPU. deepinv's rival variants:
the network's tensors in torch's channels-last layout, the network through `torch.compile`,
iterations checkpointed, and bfloat16 by autocast on a GPU.

Each program runs in a process of its own, on the GPU where it finds one. Images are compared first,
then gradients, then programs take turns; times are the least of several calls after the first two,
in milliseconds. `step_bytes` is the memory of the first call as in `memory.py`, `peak_bytes` that
of the whole process, libraries included. One JSON record a line, added to the file `--out`, of
whose records the table is made.
"""

import argparse
import functools
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import _memory
import _programs
import _serve
import _unrolled
from _rivals import unrolled as rivals
from solvers import Program, in_turns, relative

from jaxrecon.core import pytree
from jaxrecon.training import TrainStep, create_state, train_step

ON_GPU = ("jaxrecon, bfloat16", "deepinv, bfloat16")
N_ITER = 8
RATE = 1e-3


class Setting(NamedTuple):
    """A problem: what is timed, how it is built of which sizes, and the rivals that suit it."""

    method: str
    build: Callable[..., dict]
    sizes: tuple[int, int, int]
    quick: tuple[int, int, int]
    rivals: tuple[str, ...]


FOURIER = (
    "deepinv",
    "deepinv, channels last",
    "deepinv, compiled",
    "deepinv, checkpointed",
    "deepinv, bfloat16",
)
RECONSTRUCTING = ("deepinv", "deepinv, channels last", "deepinv, compiled", "deepinv, bfloat16")
PROJECTED = (
    "deepinv",
    "deepinv, checkpointed",
    "deepinv, sparse",
    "deepinv, sparse, checkpointed",
)

# Sizes: pixels along a side, coils or views, batch.
PROBLEMS = {
    "mri-train": Setting("train", _unrolled.mri_case, (160, 8, 2), (32, 4, 2), FOURIER),
    "ct-train": Setting("train", _unrolled.ct_case, (128, 60, 2), (32, 12, 2), PROJECTED),
    "mri-slice": Setting("infer", _unrolled.mri_case, (320, 8, 1), (48, 4, 1), RECONSTRUCTING),
    "ct-slice": Setting("infer", _unrolled.ct_case, (512, 720, 1), (48, 20, 1), PROJECTED[:1]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("problems", nargs="*", default=list(PROBLEMS), help=", ".join(PROBLEMS))
    parser.add_argument("--rivals", metavar="PYTHON", help="an interpreter that has deepinv")
    parser.add_argument("--programs", nargs="*", help="some of them; all by default")
    parser.add_argument("--quick", action="store_true", help="small problems")
    parser.add_argument("--repeat", type=int, default=5, help="timed calls of each program")
    parser.add_argument("--out", type=Path, help="records are added to this file")
    parser.add_argument("--serve", nargs=2, metavar=("PROGRAM", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return _serve.serve(OURS[options.serve[0]], Path(options.serve[1]))
    unknown = set(options.problems) - set(PROBLEMS)
    if unknown:
        parser.error(f"unknown problem {', '.join(unknown)}; expected {', '.join(PROBLEMS)}")
    log = _programs.Log(options.out)
    log("versions", **_programs.versions(options.rivals))
    with tempfile.TemporaryDirectory() as folder:
        for name in options.problems:
            for record in bench(name, PROBLEMS[name], options, Path(folder)):
                log(name, **record)
    print("\n".join(table({name: log.records(name) for name in PROBLEMS})))
    return None


def bench(name: str, setting: Setting, options: Any, folder: Path):
    """A record of every program on a problem, the first of which is the one to compare with."""
    sizes = setting.quick if options.quick else setting.sizes
    case = _unrolled.with_network(setting.build(*sizes), N_ITER, residual=True)
    np.savez(folder / f"{name}.npz", **case, rate=RATE)
    commands = _programs.programs(__file__, list(OURS), options.rivals, setting.rivals)
    wanted = commands if options.programs is None else options.programs
    commands = {p: c for p, c in commands.items() if p in wanted and _fits(p, c)}
    if setting.method == "infer":  # what the backward pass would need makes no difference
        commands.pop("jaxrecon, stored", None)
    methods = ["infer", "train"] if setting.method == "train" else ["infer"]
    running: dict[str, Program] = {}
    records: dict[str, dict] = {}
    expected: dict[str, np.ndarray] = {}
    for program, command in commands.items():
        for method in methods[:-1]:
            process, record = _posed(command, folder, name, method, expected)
            process.close()
            records[program] = record
        process, record = _posed(command, folder, name, setting.method, expected)
        record["differs_by"] |= records.get(program, {}).get("differs_by", {})
        if not all(d <= tolerance(program, case) for d in record["differs_by"].values()):
            record["refused"] = "its answer is another"
        if not {"absent", "refused"} & set(record):
            running[program], records[program] = process, record
            continue
        process.close()
        yield {"program": program} | record
    times = in_turns(running, options.repeat)
    for program, ms in times.items():
        record = {"program": program, "quick": options.quick, "ms": round(ms, 1)}
        record["peak_bytes"] = running[program].close()
        yield record | records[program]


def _posed(
    command: list[str], folder: Path, name: str, method: str, expected: dict[str, np.ndarray]
) -> tuple[Program, dict]:
    """A program that has solved a problem once, and how far its answer is from the first one's."""
    process = Program(command, folder)
    record = process.ask(prepare=name, method=method)
    if "absent" in record:
        return process, record | {"differs_by": {}}
    answer = np.load(folder / record.pop("answer"))
    error = relative(answer, expected.setdefault(method, answer))
    record.pop("first_s")
    return process, record | {"differs_by": {method: float(f"{error:.2g}")}}


def _fits(program: str, command: list[str]) -> bool:
    """Whether a program is for the device that it will find."""
    if program not in ON_GPU:
        return True
    ours = program.startswith("jaxrecon")
    device = jax.devices()[0].platform if ours else rivals.described(command[0])["device"]
    return device != "cpu"


def tolerance(program: str, case: dict) -> float:
    """How far an answer may be from ours: by rounding (to TF32 on a GPU), or another projector."""
    if "bfloat16" in program:
        return 0.1
    if "angles" in case and program.startswith("deepinv") and "sparse" not in program:
        return 0.3
    return 1e-3 if jax.devices()[0].platform == "cpu" else 1e-2


# ------------------------------------------------------------------------------------- our programs


@pytree
class Error:
    """The mean squared error of one example, for `train_step`."""

    A: Any

    def __call__(self, net: Any, example: dict[str, Any], key: Any) -> tuple[Any, dict[str, Any]]:
        """The loss; no randomness, no metrics."""
        del key
        return _unrolled.squared_error(net(self.A, example["y"]), example["x"]), {}


def solve_train(options: dict, case: dict) -> tuple[_serve.Solve, dict]:
    """Steps of Adam; the answer is the first gradient, from Adam's first moment."""
    optimiser = optax.adam(float(case["rate"]))
    net = _unrolled.network(case, **options)
    graphdef, state = create_state(net, optimiser, key=jax.random.key(0))
    step = train_step(Error(_unrolled.operator(case)), optimiser)
    batch = {"y": jnp.asarray(case["y"]), "x": jnp.asarray(case["truth"])}
    start = time.perf_counter()
    jitted = jax.jit(TrainStep.__call__, static_argnums=1, donate_argnums=2)
    program = jitted.lower(step, graphdef, state, batch).compile()
    record = {"compile_s": round(time.perf_counter() - start, 2)}
    record["temporary_bytes"] = _memory.temporary_bytes(program)
    held = [state]

    def run() -> np.ndarray:
        held[0], metrics = jax.block_until_ready(program(step, held[0], batch))
        return np.asarray(metrics["loss"])

    jax.block_until_ready((state, batch))
    _, record["step_bytes"] = _unrolled.growth(run)
    moments = held[0].opt_state[0].mu["prior"]["network"]["layers"]
    pairs = [(moments[i]["inner"]["kernel"], moments[i]["inner"]["bias"]) for i in sorted(moments)]
    slope = np.concatenate([np.asarray(part).ravel() / 0.1 for pair in pairs for part in pair])
    return rivals.first_then(slope, run), record


def solve_infer(options: dict, case: dict) -> tuple[_serve.Solve, dict]:
    """The images of a batch."""
    net, A, y = _unrolled.network(case, **options), _unrolled.operator(case), jnp.asarray(case["y"])
    start = time.perf_counter()
    function = jax.jit(lambda net, A, y: jax.vmap(lambda y: net(A, y))(y))
    program = function.lower(net, A, y).compile()
    record = {"compile_s": round(time.perf_counter() - start, 2)}
    record["temporary_bytes"] = _memory.temporary_bytes(program)
    run = lambda: np.asarray(program(net, A, y))  # noqa: E731
    answer, record["step_bytes"] = _unrolled.growth(run)
    return rivals.first_then(answer, run), record


OURS = {
    name: {
        "train": functools.partial(solve_train, options),
        "infer": functools.partial(solve_infer, options),
    }
    for name, options in {
        "jaxrecon": {},
        "jaxrecon, stored": {"remat": False},
        "jaxrecon, bfloat16": {"dtype": jnp.bfloat16},
    }.items()
}


# ---------------------------------------------------------------------------------------- reporting


def table(records: dict[str, list[dict]]) -> list[str]:
    """Markdown: time, over ours, memory of the step, of each program on each problem."""
    lines = ["| | program | ms | over ours | step, MB | process, MB | differs by |"]
    lines.append("|---|---|---|---|---|---|---|")
    for name, found in records.items():
        timed = {r["program"]: r for r in found if "ms" in r}
        ours = timed["jaxrecon"]["ms"] if "jaxrecon" in timed else None
        for program, record in timed.items():
            ratio = "" if ours is None else f"{record['ms'] / ours:.2f}"
            sizes = [f"{record[k] / 1e6:.0f}" for k in ("step_bytes", "peak_bytes")]
            differs = f"{max(record['differs_by'].values()):.1g}"
            cells = [name, program, f"{record['ms']:.1f}", ratio, *sizes, differs]
            lines.append("| " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
