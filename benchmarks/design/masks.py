"""What does a mask that was learned gain over the usual ones, each tuned?

    python benchmarks/design/masks.py [--size 64] [--accelerations 4 8] [--kinds 1D 2D]
        [--seeds 0 1 2] [--steps 50] [--quick] [--data FOLDER] [--out FOLDER]

Brains, 6 coils, a quarter or an eighth of k-space: lines (1D), or points of two phase encodes (2D).
Three reconstructions: CG-SENSE, TV, and the MoDL network that ships with jaxrecon, trained on
random lines. Coil maps are ESPIRiT's from each mask's own calibration region, which counts.

- equispaced, variable density, Poisson disc: the width of the calibration region, the parameter of
  the family and, where random, one of three draws are tuned for each reconstruction by itself;
- learned for one reconstruction: a probability for each position, by Adam on the error of the
  images over training slices, straight through masks drawn anew in every step, from 0.9 where the
  best of the three families has a sample and little elsewhere; CG-SENSE's gradient is implicit, the
  others' unrolled. Then the most probable mask, one of three draws, or the one to begin with,
  whichever validates best. The other columns are the transfer;
- exchanged: from the one learned for CG-SENSE, the positions whose derivative says so are
  exchanged, as many at once as lower the training error.

Training: studyforrest and MNI152; all choices, and each mask's regularisation weight for each
reconstruction, on Colin27; test: slices of two patients, whose data are from objects and maps on a
grid 1.5 times finer. PSNR of the complex image, combined by the true maps; mean ± standard
deviation over seeds (training slices, noise and every draw).

`masks.json`: a record for each kind, acceleration, mask and seed; `design-masks.png`: seed 0.
"""

import functools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "learned"))

from _command import begun, cell, parser_of, stored
from _mask_families import FAMILIES, N_DRAWS, Kind, Mask, best
from _mask_scans import (
    METHODS,
    Scans,
    brains,
    calibrated,
    design_error,
    psnr,
    reconstructed,
    tuned,
    validated,
)
from jax import Array

from jaxrecon.core import pytree, static
from jaxrecon.design import masks, optimise

RATE, BATCH = 0.15, 2
N_ROUNDS = 30  # of exchanges
Chosen = dict[str, Mask]  # for each reconstruction


def main() -> None:
    options = arguments()
    begun(options)
    records, shown = [], {}
    for seed in options.seeds:
        groups = brains(options.data, options.size, options.counts, seed)
        for name in options.kinds:
            for acceleration in options.accelerations:
                kind = Kind(name, acceleration, options.size)
                for record, pair in judged(kind, groups, seed, options):
                    shown.setdefault((name, acceleration, record["mask"]), pair)
                    records.append(record)
                    print(json.dumps(record), flush=True)
                    stored(records, options.out / "masks.json")
    print(table(records))
    picture(shown, records, options.out / "design-masks.png")


def arguments() -> Any:
    parser = parser_of(__doc__ or "")
    parser.add_argument("--size", type=int, default=64, help="pixels along a side")
    parser.add_argument("--accelerations", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--kinds", nargs="+", choices=("1D", "2D"), default=["1D", "2D"])
    parser.add_argument("--steps", type=int, default=50, help="of the relaxation")
    options = parser.parse_args()
    options.counts = (16, 3, 8)
    if options.quick:
        options.counts, options.steps, options.accelerations = (4, 2, 2), 3, [4]
    return options


# --------------------------------------------------------------------------------------- the masks


def judged(kind: Kind, groups: dict[str, Scans], seed: int, options: Any) -> Any:
    """A record for each mask, with its first test image by CG-SENSE."""
    seen = {
        side: {name: calibrated(scans, kind.region(side)) for name, scans in groups.items()}
        for side in kind.sides
    }
    for name, chosen, seconds in designs(kind, seen, jax.random.key(seed), options.steps):
        record: dict[str, Any] = {"kind": kind.name, "R": kind.acceleration, "seed": seed}
        record |= {"mask": name, "seconds": round(seconds, 1)}
        images = {}
        for method, mask in chosen.items():
            scans = seen[mask.calibration]
            weight = tuned(method, scans["tune"], mask.values)
            images[method] = reconstructed(method, scans["test"], mask.values, weight)
            each = psnr(images[method], scans["test"].truth)
            record[method] = {"psnr": round(float(each.mean()), 3), "weight": weight}
            record[method] |= {"calibration": mask.calibration, "parameter": mask.parameter}
            record[method] |= {"positions": int(mask.values.sum())}
        truth = np.asarray(groups["test"].truth[1])
        shown = chosen["CG-SENSE"].values, images["CG-SENSE"][1], truth
        yield record, tuple(np.asarray(a) for a in shown)


def designs(
    kind: Kind, seen: dict, key: Array, n_steps: int
) -> Iterator[tuple[str, Chosen, float]]:
    """Masks for each reconstruction, and the seconds that they took."""
    scores = {
        method: lambda mask, m=method: validated(m, seen[mask.calibration]["tune"], mask.values)
        for method in METHODS
    }
    keys = jax.random.split(key, len(FAMILIES) + len(METHODS))
    found: dict[str, Chosen] = {}
    for family, k in zip(FAMILIES, keys):
        start = time.perf_counter()
        found[family] = {m: best(family, kind, score, k) for m, score in scores.items()}
        yield family, found[family], time.perf_counter() - start
    learned: Chosen = {}
    for method, k in zip(METHODS, keys[len(FAMILIES) :]):
        start = time.perf_counter()
        first = max((chosen[method] for chosen in found.values()), key=scores[method])
        error = Error(seen[first.calibration]["train"], method, BATCH)
        mask = learned[method] = relaxed(kind, first, error, scores[method], k, n_steps)
        yield f"learned for {method}", dict.fromkeys(METHODS, mask), time.perf_counter() - start
    start = time.perf_counter()
    first = learned["CG-SENSE"]
    mask = exchanged(kind, first, seen[first.calibration]["train"])
    yield "... exchanged", dict.fromkeys(METHODS, mask), time.perf_counter() - start


@pytree
class Error:
    """The criterion: a reconstruction's error over some scans, with a mask drawn anew."""

    scans: Scans
    method: str = static()
    batch: int = static()

    def __call__(self, pattern: masks.Selection, key: Array, step: Array) -> Array:
        """Of a few slices."""
        del step
        which, draw = jax.random.split(key)
        chosen = jax.random.choice(which, len(self.scans.truth), (self.batch,), replace=False)
        return design_error(self.method, some(self.scans, chosen), pattern.straight_through(draw))


def some(scans: Scans, which: Array) -> Scans:
    """A choice of slices."""
    picked = (a[which] for a in (scans.kspace, scans.maps, scans.truth))
    return Scans(*picked, scans.true_maps)


def relaxed(kind: Kind, start: Mask, error: Error, score: Any, key: Array, n_steps: int) -> Mask:
    """Probabilities by gradient, and the best of a few masks of them."""
    near, side = jnp.where(start.values, 0.9, 0.05), start.calibration
    if kind.name == "1D":
        pattern = masks.lines(kind.n, kind.budget, calibration=side, start=near[0])
    else:
        pattern = masks.points(kind.shape, kind.budget, calibration=side, start=near)
    design = optimise(
        error,
        pattern,
        project=masks.project,
        n_steps=n_steps,
        key=key,
        optimiser=steps_of(n_steps),
    )
    found = design.check().value
    keys = jax.random.split(jax.random.fold_in(key, 1), N_DRAWS)
    drawn = [found.most_probable(), *(found.sample(k) for k in keys)]
    return max((start, *(start._replace(values=values) for values in drawn)), key=score)


@jax.jit
def slope_of(scans: Scans, weights: Array) -> tuple[Array, Array]:
    """The error of CG-SENSE, and its derivative in the weights."""
    return jax.value_and_grad(functools.partial(design_error, "CG-SENSE", scans))(weights)


@functools.cache
def steps_of(n_steps: int) -> optax.GradientTransformation:
    """Adam, with a step that falls; the same object each time, so that nothing compiles again."""
    return optax.adam(optax.cosine_decay_schedule(RATE, n_steps, alpha=0.1))


def exchanged(kind: Kind, start: Mask, scans: Scans) -> Mask:
    """Positions that help least for those that would help most, while the training error falls.

    By the derivative of the error in the weights of the mask, zero ones included; as long as the
    error falls as many are exchanged as before, else half.
    """
    fixed, mask = (
        np.asarray(a).reshape(-1) for a in (kind.centre(start.calibration), start.values)
    )
    loss, slope = slope_of(scans, jnp.asarray(start.values, jnp.float32))
    count = max(1, int((mask & ~fixed).sum()) // 8)
    for _ in range(N_ROUNDS):
        trial = swapped(mask, fixed, np.asarray(slope).reshape(-1), count)
        weights = jnp.asarray(trial.reshape(kind.shape), jnp.float32)
        new_loss, new_slope = slope_of(scans, weights)
        if new_loss < loss:
            mask, loss, slope = trial, new_loss, new_slope
        elif count == 1:
            break
        else:
            count //= 2
    return start._replace(values=jnp.asarray(mask.reshape(kind.shape)))


def swapped(mask: np.ndarray, fixed: np.ndarray, slope: np.ndarray, count: int) -> np.ndarray:
    """The mask with `count` positions exchanged, or fewer where the derivative is against it."""
    leaving = np.argsort(np.where(mask & ~fixed, slope, -np.inf))[::-1][:count]
    coming = np.argsort(np.where(mask, np.inf, slope))[:count]
    useful = slope[coming] < slope[leaving]
    new = mask.copy()
    new[leaving[useful]], new[coming[useful]] = False, True
    return new


# ----------------------------------------------------------------------------------------- results


def table(records: list[dict]) -> str:
    """Markdown."""
    lines = [f"| | {' | '.join(METHODS)} | calibration | s |", "|---" * (len(METHODS) + 3) + "|"]
    for kind, acceleration, name in dict.fromkeys((r["kind"], r["R"], r["mask"]) for r in records):
        same = [r for r in records if (r["kind"], r["R"], r["mask"]) == (kind, acceleration, name)]
        cells = [cell([r[m]["psnr"] for r in same], 2) for m in METHODS]
        cells.append("/".join(str(r["CG-SENSE"]["calibration"]) for r in same))
        cells.append(f"{np.mean([r['seconds'] for r in same]):.0f}")
        lines.append(f"| {kind}, R = {acceleration}: {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def picture(shown: dict, records: list[dict], path: Path) -> None:
    """Masks of the smallest acceleration, and the errors of a test slice by CG-SENSE."""
    import matplotlib.pyplot as plt

    acceleration = min(r for _, r, _ in shown)
    kinds = list(dict.fromkeys(k for k, r, _ in shown if r == acceleration))
    names = list(dict.fromkeys(name for _, _, name in shown))
    figure, panels = plt.subplots(
        2 * len(kinds),
        len(names),
        figsize=(2.1 * len(names), 4.6 * len(kinds)),
        squeeze=False,
        layout="constrained",
    )
    for row, kind in enumerate(kinds):
        for column, name in enumerate(names):
            top, bottom = panels[2 * row][column], panels[2 * row + 1][column]
            mask, image, truth = shown[kind, acceleration, name]
            at = kind, acceleration, name
            same = [r for r in records if (r["kind"], r["R"], r["mask"]) == at]
            top.imshow(np.broadcast_to(mask, truth.shape), cmap="gray", interpolation="nearest")
            top.set_title(f"{kind}: {name}", fontsize=8)
            bottom.imshow(np.abs(image - truth), cmap="inferno", vmin=0, vmax=0.15)
            mean = np.mean([r["CG-SENSE"]["psnr"] for r in same])
            bottom.set_title(f"error, {mean:.1f} dB", fontsize=8)
            for axes in (top, bottom):
                axes.set(xticks=[], yticks=[])
    figure.suptitle(f"R = {acceleration}", fontsize=9)
    figure.savefig(path, dpi=90)
    plt.close(figure)


if __name__ == "__main__":
    main()
