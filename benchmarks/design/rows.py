"""Which 333 of 4096 Hadamard patterns of a single-pixel camera? Learned against textbook orders.

`python benchmarks/design/rows.py` (minutes; needs `--data`; `--quick` for seconds). Photographs of
64²; the covariance of training photographs (Berkeley's 400, crops drawn anew for every seed)
decides:

- greedy error, greedy information: A- and D-optimal rows one after the other, which knows how
  coefficients go together;
- variance: rows by their coefficients' variance, which is all that a fixed order can learn;
- the orders of `optics.hadamard_order`.

All are judged on Set12 by the same two reconstructions: the linear one of least error, its
covariance shrunk towards the diagonal in the Hadamard domain, and TV, which knows nothing of the
training set. Shrinkage and weight are tuned on validation photographs for every design by itself.
Mean ± standard deviation over seeds of NRMSE. Written to `--out`: `rows.json`, `design-rows.png`.
"""

import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from _command import begun, cell, parser_of, stored
from _quality.photographs import averaged, photographs
from _quality.shared import FULL

from jaxrecon.core import LinearOperator, Problem, gradient, pytree, run
from jaxrecon.design.criteria import linear_gaussian
from jaxrecon.design.selection import greedy
from jaxrecon.functionals import L21, LeastSquares
from jaxrecon.physics import optics
from jaxrecon.solvers import PDHG

SIDE, NOISE = 64, 0.01
ORDERS = (
    "cake_cutting",
    "total_variation",
    "russian_dolls",
    "zigzag",
    "sequency",
    "random",
)
SHRINKAGES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.0)
WEIGHTS = tuple(4.0**k for k in range(-8, -2))  # of TV


class Sizes(NamedTuple):
    """How much of everything."""

    n_rows: int = 333
    n_train: int = 800
    n_modes: int = 384
    n_candidates: int = 1024
    n_iter: int = 100


QUICK = Sizes(n_rows=40, n_train=60, n_modes=40, n_candidates=128, n_iter=10)


@pytree
class Photographs:
    """Training statistics in the Hadamard domain, and images to tune and to judge on."""

    mean: Array  # (coefficient,)
    factor: Array  # (coefficient, mode)
    variances: Array  # (coefficient,)
    validation: Array  # (image, y, x)
    test: Array


def main() -> None:
    options = parser_of(__doc__ or "").parse_args()
    begun(options)
    sizes = QUICK if options.quick else Sizes()
    images = photographs(options.data, SIDE, FULL, side=128)
    records, shown = [], {}
    for seed in options.seeds:
        key = jax.random.key(seed)
        known = statistics(options.data, images, key, sizes)
        for design, (rows, seconds) in designs(known, key, sizes).items():
            found, estimate = judged(known, rows, key, sizes)
            records.append({"design": design, "seed": seed, "seconds": seconds} | found)
            print(json.dumps(records[-1]), flush=True)
            if seed == options.seeds[0]:
                shown[design] = (np.asarray(rows), estimate)
        stored(records, options.out / "rows.json")
    print(table(records))
    picture(records, shown, options.out / "design-rows.png")


def statistics(folder: Path, images: list, key: Array, sizes: Sizes) -> Photographs:
    """Crops of 128² of the training photographs, averaged to 64²."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    with np.load(folder / "train/bsd400_180.npz") as file:
        stack = file["img"]
    crops = []
    for i in rng.integers(len(stack), size=sizes.n_train):
        top, left = rng.integers(stack.shape[1] - 128, size=2)
        crop = averaged(stack[i][top : top + 128, left : left + 128], 128, SIDE) / 255
        crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
    coefficients = hadamard(jnp.asarray(np.stack(crops), jnp.float32).reshape(len(crops), -1))
    mean = jnp.mean(coefficients, 0)
    centred = (coefficients - mean) / np.sqrt(len(crops) - 1)
    _, left = jnp.linalg.eigh(centred @ centred.T)
    factor = centred.T @ left[:, ::-1][:, : sizes.n_modes]
    groups = (jnp.asarray(group, jnp.float32) for group in images)
    return Photographs(mean, factor, jnp.sum(centred**2, 0), *groups)


hadamard = jax.jit(jax.vmap(optics.walsh_hadamard))


# ---------------------------------------------------------------------------------------- designs


def designs(known: Photographs, key: Array, sizes: Sizes) -> dict[str, tuple[Array, float]]:
    """Rows in the order measured, and seconds."""
    made: dict[str, tuple[Array, float]] = {}

    def add(name: str, choose: Callable[[], Array]) -> None:
        start = time.perf_counter()
        rows = jax.block_until_ready(choose())[: sizes.n_rows]
        made[name] = rows, round(time.perf_counter() - start, 1)

    ordered = jnp.argsort(-known.variances.at[0].set(jnp.inf))
    candidates = jnp.sort(ordered[: sizes.n_candidates])
    for objective in ("error", "information"):
        pick = functools.partial(by_greed, known, candidates, objective, key, sizes)
        add(f"greedy {objective}", pick)
    add("variance", lambda: ordered)
    for order in ORDERS:
        add(order, functools.partial(optics.hadamard_order, order, (SIDE, SIDE), key=key))
    return made


def by_greed(
    known: Photographs, candidates: Array, objective: str, key: Array, sizes: Sizes
) -> Array:
    """Greedy rows for the shrinkage of the covariance that validates best.

    Rows beyond the candidates, those of most variance, are never worth a measurement.
    """
    F, v = known.factor[candidates], known.variances[candidates]
    given = [int(jnp.argmax(candidates == 0))]
    found = []
    for shrinkage in SHRINKAGES[2:-1]:
        covariance = (1 - shrinkage) * F @ F.T + shrinkage * jnp.diag(v)
        root = jnp.linalg.cholesky(covariance)
        model = linear_gaussian(jnp.eye(len(v)), root, NOISE)
        rows = candidates[greedy(model, sizes.n_rows, objective=objective, given=given).indices]
        patterns, A = one_hot(rows), camera(rows)
        y = noisy(A, known.validation, key)
        errors = [nrmse(linear(known, patterns, y, s), known.validation).mean() for s in SHRINKAGES]
        found.append((float(min(errors)), rows))
    return min(found, key=lambda pair: pair[0])[1]


def camera(rows: Array) -> LinearOperator:
    return optics.single_pixel(jnp.zeros((SIDE, SIDE)), len(rows), rows)


def one_hot(rows: Array) -> Array:
    """Patterns `(measurement, coefficient)` in the Hadamard domain."""
    return jax.nn.one_hot(rows, SIDE**2)


# -------------------------------------------------------------------------------------- judgement


def judged(known: Photographs, rows: Array, key: Array, sizes: Sizes) -> tuple[dict, np.ndarray]:
    """Both reconstructions of the test photographs."""
    patterns, A = one_hot(rows), camera(rows)
    keys = jax.random.split(jax.random.fold_in(key, 1))
    tune, test = (noisy(A, x, k) for x, k in zip((known.validation, known.test), keys))
    errors = [nrmse(linear(known, patterns, tune, s), known.validation).mean() for s in SHRINKAGES]
    shrinkage = SHRINKAGES[int(np.argmin(errors))]
    first = linear(known, patterns, test, shrinkage)
    n = len(tune)
    tried = total_variation(
        A, jnp.tile(tune, (len(WEIGHTS), 1)), jnp.repeat(jnp.array(WEIGHTS), n), n_iter=sizes.n_iter
    )
    misfits = nrmse(tried, jnp.tile(known.validation, (len(WEIGHTS), 1, 1)))
    weight = WEIGHTS[int(jnp.argmin(misfits.reshape(-1, n).mean(1)))]
    second = total_variation(A, test, jnp.full(len(test), weight), n_iter=sizes.n_iter)
    record: dict[str, Any] = {
        "linear": round(float(nrmse(first, known.test).mean()), 4),
        "TV": round(float(nrmse(second, known.test).mean()), 4),
        "shrinkage": shrinkage,
        "tv_weight": weight,
        "tv_on_the_end": weight in (WEIGHTS[0], WEIGHTS[-1]),
    }
    return record, np.asarray(jnp.stack([known.test[0], first[0], second[0]]))


@jax.jit
def noisy(A: LinearOperator, images: Array, key: Array) -> Array:
    clean = jax.vmap(A.forward)(images)
    return clean + NOISE * jax.random.normal(key, clean.shape)


@jax.jit
def linear(known: Photographs, patterns: Array, y: Array, shrinkage: float) -> Array:
    """M + C Pᵀ(P C Pᵀ + σ²)⁻¹(y − P m) with C = (1 − ρ) F Fᵀ + ρ diag v."""
    F, v = known.factor, known.variances
    crossed = (1 - shrinkage) * F @ (patterns @ F).T + shrinkage * v[:, None] * patterns.T
    spread = patterns @ crossed + NOISE**2 * jnp.eye(len(patterns))
    z = jnp.linalg.solve(spread, (y - patterns @ known.mean).T)
    return hadamard((known.mean[:, None] + crossed @ z).T).reshape(-1, SIDE, SIDE)


@functools.partial(jax.jit, static_argnames="n_iter")
def total_variation(A: LinearOperator, y: Array, weights: Array, *, n_iter: int) -> Array:
    """TV of several images, each with its weight."""

    def one(y: Array, weight: Array) -> Array:
        problem = Problem(((LeastSquares(y), A), (L21(weight), gradient(A.domain))))
        return run(PDHG(), problem, A.H(y), n_iter=n_iter).value

    return jax.vmap(one)(y, weights)


def nrmse(images: Array, truth: Array) -> Array:
    difference = jnp.sum((images - truth) ** 2, (1, 2))
    return jnp.sqrt(difference / jnp.sum(truth**2, (1, 2)))


# ----------------------------------------------------------------------------------------- report


def table(records: list[dict]) -> str:
    """Markdown."""
    lines = ["| design | linear | TV | s |", "|---" * 4 + "|"]
    for design in dict.fromkeys(r["design"] for r in records):
        some = [r for r in records if r["design"] == design]
        cells = [cell([r[k] for r in some]) for k in ("linear", "TV")]
        lines.append(f"| {design} | " + " | ".join(cells) + f" | {some[0]['seconds']} |")
    return "\n".join(lines)


def picture(records: list[dict], shown: dict, path: Path) -> None:
    """Which rows are measured, the first 40 × 40 sequencies, and a test photograph from each."""
    import matplotlib.pyplot as plt

    some = ("greedy error", "greedy information", "variance", "cake_cutting", "russian_dolls")
    rank = np.asarray(optics.hadamard_order("sequency", (1, SIDE)))
    figure, panels = plt.subplots(
        2, len(some) + 1, figsize=(2.4 * (len(some) + 1), 5.0), layout="constrained"
    )
    truth = shown[some[0]][1][0]
    panels[0, 0].axis("off")
    panels[1, 0].imshow(truth, cmap="gray", vmin=0, vmax=1)
    panels[1, 0].set_title("truth")
    for above, below, design in zip(panels[0, 1:], panels[1, 1:], some):
        rows, images = shown[design]
        measured = np.isin(np.arange(SIDE**2), rows).reshape(SIDE, SIDE)[np.ix_(rank, rank)]
        above.imshow(measured[:40, :40], cmap="gray")
        above.set_title(design)
        mean = np.mean([r["linear"] for r in records if r["design"] == design])
        below.imshow(images[1], cmap="gray", vmin=0, vmax=1)
        below.set_title(f"NRMSE {mean:.4f}")
    for axes in panels.ravel():
        axes.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
