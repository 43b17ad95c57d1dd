"""What does guidance cost beside the evaluation of the network?

    python benchmarks/generative/guidance_cost.py [ct] [mri4] [deblurring] [inpainting]
        [--repeat 15] [--prior prior-brain] [--data FOLDER] [--out FOLDER]

One step of each guidance, compiled, with the shipped prior and the scans of `_scans.py` at 64²:
milliseconds (the programs take turns, so that other work slows all alike), CPU time of all cores,
and the memory that XLA allocates beside arguments and result, each also over those of a step
without data, which is one evaluation of the network. A vector-Jacobian product through the network
is what DPS and PiGDM have and the others do not; Tweedie's covariance has one in every iteration of
its conjugate gradients. Those that solve are given a fixed number of iterations.

`guidance_cost.json`, and the table.
"""

import argparse
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "learned"))

import _memory
import jax
import jax.numpy as jnp
import numpy as np
from _scans import OPERATORS, heads

from jaxrecon.nets import pretrained
from jaxrecon.posterior import (
    DPS,
    Diffusion,
    LangevinStep,
    PiGDM,
    ProximalStep,
    RangeNull,
    TweedieCovariance,
    Unconditional,
    karras_levels,
    posterior,
)

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LEVELS = karras_levels(20, high=40.0, low=5e-3)
GUIDANCES = {
    "none": Unconditional(),
    "range and null space (DDNM), 10 CG": RangeNull(10),
    "proximal step (DiffPIR, DDS), 10 CG": ProximalStep(n_inner=10),
    "30 Langevin steps (DAPS)": LangevinStep(1e4, 1.0, share=0.5, n_inner=30),
    "DPS": DPS(0.02),
    "PiGDM, 10 CG": PiGDM(n_inner=10),
    "Tweedie's covariance, 5 CG": TweedieCovariance(5, tol=0.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help=f"of {', '.join(OPERATORS)}; ct and mri4 if none")
    parser.add_argument("--repeat", type=int, default=15)
    parser.add_argument("--prior", default="prior-brain")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of volumes/")
    parser.add_argument("--out", type=Path, default=Path("generative"), help="folder for results")
    options = parser.parse_args()
    if unknown := set(options.tasks) - set(OPERATORS):
        parser.error(f"unknown task {', '.join(sorted(unknown))}")
    options.out.mkdir(parents=True, exist_ok=True)
    device = jax.devices()[0].device_kind
    about = {"jax": jax.__version__, "python": platform.python_version(), "on": device}
    print(json.dumps(about))
    prior = pretrained.load(options.prior)
    records = []
    for task in options.tasks or ["ct", "mri4"]:
        scans = heads(task, options.data, 1, 1)
        target = posterior(scans.operator, scans.measured(scans.test[0], 0), scans.noise, prior)
        steps = {name: compiled_step(guidance, target) for name, guidance in GUIDANCES.items()}
        times = interleaved(steps, options.repeat)
        base = times["none"], _memory.temporary_bytes(steps["none"][0])
        for name, (program, _) in steps.items():
            records.append({"task": task, "guidance": name, **about})
            records[-1] |= cost(times[name], _memory.temporary_bytes(program), *base)
            print(json.dumps(records[-1]), flush=True)
    (options.out / "guidance_cost.json").write_text(json.dumps(records, indent=1) + "\n")
    print(table(records))


def compiled_step(guidance: Any, target: Any) -> tuple[Any, tuple]:
    """The program of a step, and what it is called with: a state halfway down the levels."""
    sampler = Diffusion(LEVELS, guidance, fresh=1.0)
    start = jnp.zeros(target.domain.shape)
    state = sampler.init(sampler.prepare(target), start, key=jax.random.key(0))
    state = state._replace(i=jnp.asarray(len(LEVELS) // 2, state.i.dtype))
    step = lambda target, state: sampler.step(sampler.prepare(target), state, None)[0].x  # noqa: E731
    return jax.jit(step).lower(target, state).compile(), (target, state)


def interleaved(steps: dict[str, tuple[Any, tuple]], repeat: int) -> dict[str, np.ndarray]:
    """Wall and CPU milliseconds `(turn, 2)` of each; the first turn is not counted."""
    times: dict[str, list] = {name: [] for name in steps}
    for turn in range(repeat + 1):
        for name, (program, arguments) in steps.items():
            before = time.perf_counter(), time.process_time()
            jax.block_until_ready(program(*arguments))
            after = time.perf_counter(), time.process_time()
            if turn:
                times[name].append([1e3 * (b - a) for a, b in zip(before, after, strict=True)])
    return {name: np.array(rows) for name, rows in times.items()}


def cost(times: np.ndarray, temporaries: int, base: np.ndarray, least: int) -> dict[str, Any]:
    """Medians, and ratios to the step without data in the same turn."""
    ratio = np.median(times / base, axis=0)
    return {
        "ms": round(float(np.median(times[:, 0])), 2),
        "over": round(float(ratio[0]), 2),
        "range": [round(float(f((times / base)[:, 0])), 2) for f in (np.min, np.max)],
        "cpu_over": round(float(ratio[1]), 2),
        "temporary_mib": round(temporaries / 2**20, 1),
        "temporaries_over": round(temporaries / least, 2),
    }


def table(records: list[dict]) -> str:
    """Markdown."""
    head = "| | ms | over none (range) | by CPU time | temporaries, MiB | over none |"
    lines = [head, "|---" * 6 + "|"]
    for r in records:
        low, high = r["range"]
        cells = f"{r['ms']:.1f} | {r['over']:.2f} ({low:.2f} to {high:.2f}) | {r['cpu_over']:.2f}"
        memory = f"{r['temporary_mib']:.1f} | {r['temporaries_over']:.2f}"
        lines.append(f"| {r['task']}: {r['guidance']} | {cells} | {memory} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
