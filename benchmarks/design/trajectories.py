"""How much better is a trajectory that was designed by gradient, in the same readout time?

    python benchmarks/design/trajectories.py [--size 96] [--steps 25] [--seeds 0 1 2]
        [--starts radial spiral koosh] [--volume 24] [--quick] [--data FOLDER] [--out FOLDER]

Few shots of a 2D scan: field of view 0.24 m, 40 mT/m, 180 T/m/s, gradient raster 10 µs, ADC dwell
2 µs, 8 coils whose maps are known. 16 spokes of 1 ms, from rest to rest; 4 spirals of 2 ms, whose
density was chosen on the validation slices. Each is designed by Adam, projected onto the scanner's
limits after every step, first towards a density of samples (cheap steps that go far), then on the
squared error of CG-SENSE over training slices (studyforrest, MNI152), from there or, where that is
better on the validation slices, from the start itself; a seed is a draw of slices, of noise, and of
the angle at which the shots start. The density and CG-SENSE's weight are chosen on Colin27, the
latter before and after alike. Judged on two patients' slices whose data come from an object and
coil maps on a grid 1.5 times finer: NRMSE of the complex image against the noiseless fully sampled
one. `koosh` is the same in space, at `--volume`³: 32 spokes of 1 ms along golden means, volumes in
the place of slices, a density that falls alike in space, chosen in 2D.

`trajectories.json`: a record for each start and seed, beside their waveforms (.npz);
`design-trajectory.png`: seed 0 before and after: trajectory, point-spread function, image, error.
"""

import argparse
import functools
import json
import math
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "learned"))

import _memory
from _brains import N_COILS, Heads, coil_maps, slices, volumes
from _command import begun, cell, parser_of, stored

from jaxrecon.design import optimise
from jaxrecon.design import trajectories as designed
from jaxrecon.physics import complex_gaussian_noise, mri
from jaxrecon.physics.nufft import nufft

SIGMA = 0.01
WEIGHTS = {2: (0.025, 0.05, 0.1), 3: (0.05, 0.1, 0.2)}  # of CG-SENSE, by axes of the image
DENSITIES = (1.0, 2.0, 4.0)  # of spirals
# Where the density of samples begins to fall, in N/2, and its power: the best on two slices of
# Colin27 of (0.1, 1), (0.2, 2) and (0.3, 1), from both starts.
TARGET = {"cutoff": 0.2, "decay": 2.0}
SHOTS = {"radial": (16, 1e-3), "spiral": (4, 2e-3), "koosh": (32, 1e-3)}
STAGES = ("before", "spread", "after")
SCANNER = mri.trajectories.scanner(fov=240, gmax=40, smax=180, dwell=2e-6)


def main() -> None:
    options = arguments()
    begun(options)
    print(json.dumps(against_differences()), flush=True)
    records, shown = [], {}
    for start in options.starts:
        groups = heads(start, options)
        for seed in options.seeds:
            record, pair = one_run(start, seed, groups, options)
            records.append(record)
            for which, trajectory, _ in pair:
                name = f"{start}-{seed}-{which}.npz"
                designed.save_waveforms(options.out / name, trajectory, SCANNER)
            shown.setdefault(start, (pair, groups["test"]))
            print(json.dumps(record), flush=True)
            stored(records, options.out / "trajectories.json")
    print(table(records))
    picture(shown, options.out / "design-trajectory.png")


def arguments() -> argparse.Namespace:
    parser = parser_of(__doc__ or "")
    parser.add_argument("--size", type=int, default=96, help="pixels along a side")
    parser.add_argument("--volume", type=int, default=24, help="voxels along a side of `koosh`")
    parser.add_argument("--steps", type=int, default=25, help="on the image's error")
    parser.add_argument("--first-steps", type=int, default=200, help="on the density")
    parser.add_argument("--rate", type=float, default=0.5, help="Adam's step in cycles")
    parser.add_argument("--coefficients", type=int, default=0, help="of a B-spline; 0: free points")
    parser.add_argument("--starts", nargs="+", choices=SHOTS, default=list(SHOTS))
    options = parser.parse_args()
    if options.quick:
        options.size, options.volume, options.steps, options.first_steps = 32, 12, 3, 5
    return options


def heads(start: str, options: Any) -> dict[str, Heads]:
    """Training, validation and test, in the plane or in space."""
    if start == "koosh":
        return volumes(options.data, options.volume)
    return slices(options.data, options.size, options.quick)


# ------------------------------------------------------------------------------------------ design


def one_run(start: str, seed: int, groups: dict[str, Heads], options: Any) -> tuple[dict, Any]:
    """Designs from a start and judges it before and after."""
    pick, design_key = jax.random.split(jax.random.key(seed))
    begun, allowed, facts = begin(start, seed, groups["tune"], options)
    train = groups["train"].truth
    chosen = jax.random.choice(pick, len(train), (min(16, len(train)),), replace=False)
    shape = train.shape[1:]
    # Not the least weight: the solve of a gradient takes longer.
    weight = max(WEIGHTS[len(shape)][1], tuned_weight(begun, groups["tune"]))
    criterion = criterion_for(jnp.asarray(train)[chosen], weight)
    cost = step_cost(criterion, allowed, begun)
    density = designed.density_match(designed.radial_density(shape, **TARGET), eps=1e-3)
    began = time.perf_counter()
    spread = descend(density, begun, allowed, options.first_steps, 2 * options.rate, design_key)
    middle = time.perf_counter()
    tune = groups["tune"]
    first = min((begun, spread.value), key=lambda t: scored(t, tune))
    design = descend(criterion, first, allowed, options.steps, options.rate, design_key)
    seconds = [middle - began, time.perf_counter() - middle]
    pair = [
        (which, trajectory, tuned_weight(trajectory, groups["tune"]))
        for which, trajectory in zip(STAGES, (begun, spread.value, design.value))
    ]
    record: dict[str, Any] = {"start": start, "seed": seed, **facts, **cost, "seconds": seconds}
    record["loss"] = [float(design.info.loss[0]), float(np.nanmean(design.info.loss[-5:]))]
    for which, trajectory, best in pair:
        errors = judged(trajectory, groups["test"], best)
        used = designed.usage(trajectory, allowed)
        record[which] = {
            "nrmse": float(np.mean(errors)),
            "slices": [round(float(e), 4) for e in errors],
            "weight": best,
            "violations": violations(trajectory),
            "gradient": float(used.gradient) * SCANNER.gmax,
            "slew": float(used.slew) * SCANNER.smax,
        }
    return record, pair


def descend(criterion: Any, start: Any, allowed: Any, n: int, rate: float, key: Any) -> Any:
    """Adam with a falling step, projected."""
    optimiser = optax.adam(optax.cosine_decay_schedule(rate, n, alpha=0.1))
    options: dict[str, Any] = {"n_steps": n, "key": key, "project": allowed}
    return optimise(criterion, start, optimiser=optimiser, **options).check()


def begin(start: str, seed: int, tune: Heads, options: Any) -> tuple[Any, Any, dict]:
    """The start, turned by a random angle, its limits, and what was chosen."""
    shape, (n_shots, duration) = tune.truth.shape[1:], SHOTS[start]
    some = options.coefficients or None
    timing = designed.readout(SCANNER, duration, n_coefficients=some)
    angle = float(np.random.default_rng(seed).uniform(0, 2 * math.pi / n_shots))
    from_centre = start == "spiral"
    allowed = designed.limits(SCANNER, timing, shape, start="centre" if from_centre else "rest")
    facts = {"shots": n_shots, "readout_ms": 1e3 * duration, "samples": timing.n_samples}
    if start == "koosh":
        spokes = designed.koosh(n_shots, shape, SCANNER, timing)
        return turned(spokes, angle), allowed, facts
    if start == "radial":
        return designed.radial(n_shots, shape, SCANNER, timing, start=angle), allowed, facts
    spirals = {}
    for d in DENSITIES:
        spiral = designed.spiral(n_shots, shape, SCANNER, timing, density=d)
        spirals[d] = allowed(turned(spiral, angle))
    scores = {d: scored(s, tune) for d, s in spirals.items()}
    best = min(scores, key=lambda d: scores[d])
    return spirals[best], allowed, {**facts, "arms": best}


def turned(trajectory: Any, angle: float) -> Any:
    """About the last axis but two, which there is in space."""
    cos, sin = math.cos(angle), math.sin(angle)
    rotation = np.eye(trajectory.coefficients.shape[-1])
    rotation[-2:, -2:] = [[cos, -sin], [sin, cos]]
    return designed.Trajectory(trajectory.coefficients @ rotation, trajectory.readout)


def criterion_for(images: jax.Array, weight: float) -> designed.SenseError:
    return designed.SenseError(
        coil_maps(images.shape[-1], images.ndim - 1),
        images,
        SIGMA,
        weight,
        batch=1,
        n_iter=300,
        tol=1e-3,
        eps=1e-3,
    )


def step_cost(criterion: Any, allowed: Any, trajectory: Any) -> dict:
    """Seconds and temporary memory of one step: loss, gradient and projection."""

    def step(trajectory, key):
        loss, slope = jax.value_and_grad(criterion)(trajectory, key, 0)
        moved = jax.tree.map(lambda p, g: p - 1e-3 * g, trajectory, slope)
        return loss, allowed(moved)

    compiled = jax.jit(step).lower(trajectory, jax.random.key(0)).compile()
    took = []
    for i in range(3):
        began = time.perf_counter()
        jax.block_until_ready(compiled(trajectory, jax.random.key(i)))
        took.append(time.perf_counter() - began)
    return {"step_s": min(took), "step_mib": _memory.temporary_bytes(compiled) / 2**20}


# ----------------------------------------------------------------------------------------- judging


@functools.partial(jax.jit, static_argnames="n")
def reconstructed(k: jax.Array, fine: jax.Array, key: jax.Array, weight: Any, n: int) -> jax.Array:
    """CG-SENSE of noisy data whose object and maps are on the fine grid."""
    m, d = fine.shape[-1], fine.ndim
    coil_images = coil_maps(m, d) * fine
    exact = (n / m) ** (d / 2) * nufft(k, fine.shape, batch=(N_COILS,), eps=1e-5)(coil_images)
    y = complex_gaussian_noise(key, exact, SIGMA)
    A = mri.noncartesian_sense(coil_maps(n, d), k)
    return designed.cg_sense(A, y[None], weight, n_iter=300, tol=1e-4)[0]


def judged(trajectory: Any, group: Heads, weight: float) -> list[float]:
    """NRMSE of every head."""
    errors = []
    for i, (fine, truth) in enumerate(zip(group.fine, group.truth)):
        found = reconstructed(
            trajectory.samples, fine, jax.random.key(100 + i), weight, truth.shape[-1]
        )
        errors.append(float(np.linalg.norm(found - truth) / np.linalg.norm(truth)))
    return errors


def scored(trajectory: Any, tune: Heads) -> float:
    return float(np.mean(judged(trajectory, tune, WEIGHTS[tune.truth.ndim - 1][1])))


def tuned_weight(trajectory: Any, tune: Heads) -> float:
    """CG-SENSE's weight that suits the validation slices best."""
    weights = WEIGHTS[tune.truth.ndim - 1]
    scores = {w: float(np.mean(judged(trajectory, tune, w))) for w in weights}
    return min(scores, key=lambda w: scores[w])


def violations(trajectory: Any) -> int:
    """Samples, on the ADC's raster and on the gradients', that break a limit."""
    ticks = trajectory.samples[:, :: round(trajectory.readout.raster / trajectory.readout.dwell)]
    on_raster = mri.trajectories.scanner(
        fov=240, gmax=40, smax=180, dwell=trajectory.readout.raster
    )
    count = 0
    for k, scanner in ((trajectory.samples, SCANNER), (ticks, on_raster)):
        report = mri.trajectories.check_limits(k, scanner)
        count += sum(b.count for b in (report.gradient, report.slew) if b is not None)
    return count


def against_differences() -> dict:
    """A design step's gradient against central differences in float64, on a small problem."""
    with jax.enable_x64(True):
        n, timing = 24, designed.readout(SCANNER, 4e-4)
        trajectory = designed.radial(6, n, SCANNER, timing)
        rng = np.random.default_rng(0)
        image = jnp.asarray(rng.standard_normal((1, n, n)) + 0j)
        maps = mri.normalise_maps(mri.birdcage_maps(4, (n, n)))
        options: dict[str, Any] = {"n_iter": 2000, "tol": 1e-12, "eps": 1e-10, "backend": "dft"}
        criterion = designed.SenseError(maps.astype(complex), image, SIGMA, 0.1, **options)
        along = jnp.asarray(rng.standard_normal(trajectory.coefficients.shape))

        @jax.jit
        def loss(t):
            moved = designed.Trajectory(trajectory.coefficients + t * along, timing)
            return criterion(moved, jax.random.key(0), 0)

        exact, h = float(jax.grad(loss)(0.0)), 1e-5
        difference = float(loss(h) - loss(-h)) / (2 * h)
    relative = abs(exact - difference) / abs(difference)
    return {"gradient": exact, "differences": difference, "relative": relative}


# ----------------------------------------------------------------------------------------- results


def table(records: list[dict]) -> str:
    lines = [
        "| start | NRMSE before | after | violations | s a step | MiB |",
        "|---|---|---|---|---|---|",
    ]
    for start in dict.fromkeys(r["start"] for r in records):
        rows = [r for r in records if r["start"] == start]
        stages = [np.array([r[w]["nrmse"] for r in rows]) for w in STAGES]
        broken = sum(r[w]["violations"] for r in rows for w in STAGES)
        cost = min(r["step_s"] for r in rows), max(r["step_mib"] for r in rows)
        values = [cell(list(v)) for v in stages]
        lines.append(
            f"| {start} | {' | '.join(values)} | {broken} | {cost[0]:.2f} | {cost[1]:.0f} |"
        )
    return "\n".join(lines)


def picture(shown: dict[str, Any], path: Path) -> None:
    """Seed 0 of every start, before and after; in space the middle slice, along the first axis."""
    import matplotlib.pyplot as plt

    rows = [(s, test, e) for s, (pair, test) in shown.items() for e in (pair[0], pair[-1])]
    figure, axes = plt.subplots(len(rows), 4, figsize=(10, 2.6 * len(rows)), squeeze=False)
    for line, (start, test, (when, trajectory, weight)) in zip(axes, rows):
        which, k = len(test.fine) // 4, np.asarray(trajectory.samples)
        truth, n = test.truth[which], test.truth.shape[-1]
        found = reconstructed(k, test.fine[which], jax.random.key(100 + which), weight, n)
        error = np.asarray(found) - truth
        nrmse = np.linalg.norm(error) / np.linalg.norm(truth)
        for shot in k:
            line[0].plot(shot[:, -1], shot[:, -2], linewidth=0.6)
        line[0].set_aspect("equal")
        line[0].set(xlim=(-n / 2, n / 2), ylim=(-n / 2, n / 2), title=f"{start}, {when}")
        response = middle(designed.point_spread(k, truth.shape))
        line[1].imshow(20 * np.log10(np.maximum(response, 1e-4)), cmap="magma", vmin=-60, vmax=0)
        line[1].set_title("point spread, −60 to 0 dB")
        top = np.percentile(np.abs(truth), 99.9)
        line[2].imshow(middle(found), cmap="gray", vmin=0, vmax=top)
        line[2].set_title("CG-SENSE")
        line[3].imshow(middle(error), cmap="inferno", vmin=0, vmax=0.2 * top)
        line[3].set_title(f"error, NRMSE {nrmse:.3f}")
        for panel in line[1:]:
            panel.axis("off")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def middle(image: Any) -> np.ndarray:
    """The magnitude of a plane, or of the middle one of a volume."""
    values = np.abs(np.asarray(image))
    return values if values.ndim == 2 else values[len(values) // 2]


if __name__ == "__main__":
    main()
