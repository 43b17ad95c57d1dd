"""Which 16 of 360 views, and how much dose for each, for a class of objects?

`python benchmarks/design/views.py` (minutes; `--quick` for seconds). Objects: ellipses that are all
elongated in about one direction, and head CT (`--data`, left out where absent), 32² pixels. What is
known of a class is the mean and the covariance of its training objects. Parallel beams over half a
turn; measurements come from objects on a grid four times as fine, so that no design sees its own
model. The total dose is the same for all: the noise of a view has the variance σ²/dose.

- uniform: equally spaced, equal doses; the offset of the first view is the best on validation;
- greedy: A-optimal views one after the other, equal doses;
- exchange: greedy's views, exchanged one at a time until none helps;
- ... + dose: the doses of these 16 views by gradient;
- learned: doses of all 360 by gradient, of which the larger ones are kept in stages, down to 16.

All are judged by the same two reconstructions of test objects: the posterior mean with the class's
covariance, and TV, which knows nothing of it, with its weight tuned on validation for each design.
NRMSE as mean ± standard deviation over seeds (objects, training set and noise are all drawn anew;
heads are split in slabs of one patient with gaps between them). `criterion` is √(expected error) in
the same unit.

Written to `--out`: `views.json` and `design-views.png`.
"""

import functools
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from _command import begun, cell, parser_of, stored
from _view_objects import (
    N_CANDIDATES,
    NOISE,
    QUICK,
    SIDE,
    Class,
    Sizes,
    beam,
    candidate_angles,
    ellipses,
    heads,
    prepared,
)
from jax import Array

from jaxrecon.core import Problem, gradient, pytree, run
from jaxrecon.design import masks
from jaxrecon.design._optimise import optimise
from jaxrecon.design.criteria import (
    error_slope,
    expected_error,
)
from jaxrecon.design.selection import exchange, greedy
from jaxrecon.functionals import L21, LeastSquares
from jaxrecon.solvers import PDHG

N_VIEWS = 16
N_DATA = 20  # combinations of a view's bins that selection looks at
KEPT = (180, 90, 45, 24, N_VIEWS)  # views of the learned design, stage by stage
WEIGHTS = tuple(4.0**k for k in range(-3, 0))  # of TV, times the greatest line integral


def main() -> None:
    options = parser_of(__doc__ or "").parse_args()
    begun(options)
    sizes = QUICK if options.quick else Sizes()
    head = options.data / "volumes/ct_head_invesalius_hu.npz"
    classes: dict[str, Callable] = {"ellipses": ellipses}
    if head.exists():
        classes["head"] = lambda key, sizes: heads(head, key, sizes)
    records, shown = [], {}
    for seed in options.seeds:
        for name, objects in classes.items():
            key = jax.random.key(seed)
            scan = prepared(objects(key, sizes), sizes)
            for design, (dose, seconds) in designs(scan, sizes).items():
                record = {"class": name, "seed": seed, "design": design, "seconds": seconds}
                found, images = judged(scan, dose, key, sizes)
                records.append(record | found)
                print(json.dumps(records[-1]), flush=True)
                if seed == options.seeds[0]:
                    shown[name, design] = (np.asarray(dose), images)
        stored(records, options.out / "views.json")
        picture(records, shown, options.out / "design-views.png")
    print(table(records))


# ---------------------------------------------------------------------------------------- designs


def designs(scan: Class, sizes: Sizes) -> dict[str, tuple[Array, float]]:
    """Doses of all candidates, zero for those that are not measured; and seconds."""
    made: dict[str, tuple[Array, float]] = {}

    def timed(name: str, design: Callable[[], Array]) -> Array:
        start = time.perf_counter()
        dose = jax.block_until_ready(design())
        made[name] = dose, round(time.perf_counter() - start, 2)
        return dose

    grams, few = scan.model.grams(), scan.model.compressed(N_DATA)
    uniform = timed("uniform", lambda: best_uniform(scan))
    timed("uniform + dose", lambda: dosed(grams, uniform, sizes))
    picked = timed("greedy", lambda: greedy(few, N_VIEWS).weights)
    indices = jnp.nonzero(picked, size=N_VIEWS)[0]
    swapped = timed("exchange", lambda: exchange(few, indices, n_passes=2).weights)
    timed("exchange + dose", lambda: dosed(grams, swapped, sizes))
    timed("learned", lambda: learned(grams, sizes))
    return made


def best_uniform(scan: Class) -> Array:
    """The offset of the first view that validates best, of four."""
    step = N_CANDIDATES // N_VIEWS
    starts = [
        jnp.zeros(N_CANDIDATES).at[offset::step].set(1) for offset in range(0, step, step // 4)
    ]
    spaced = [dose * (jnp.cumsum(dose) <= N_VIEWS) for dose in starts]
    key = jax.random.key(99)
    errors = [mean_error(scan, dose, scan.validation, key) for dose in spaced]
    return spaced[int(np.argmin(errors))]


def mean_error(scan: Class, dose: Array, pairs: tuple[Array, Array], key: Array) -> float:
    found = posterior_mean(scan, dose, noisy(scan, dose, pairs[1], key))
    return float(nrmse(found, pairs[0]).mean())


def dosed(model: Any, views: Array, sizes: Sizes) -> Array:
    """The best doses of given views, by gradient."""
    pattern = masks.dose(N_CANDIDATES, float(N_VIEWS), most=jnp.where(views > 0, N_VIEWS, 0))
    return descended(model, pattern, sizes).weights()


def learned(model: Any, sizes: Sizes) -> Array:
    """All doses by gradient, then those of fewer and fewer views."""
    pattern = masks.dose(N_CANDIDATES, float(N_VIEWS))
    for k in KEPT:
        pattern = descended(model, pattern, sizes).keep_largest(k)
    return descended(model, pattern, sizes).weights()


@pytree
class LogError:
    """The logarithm of the expected error, in a unit that makes steps of size one reasonable."""

    model: Any
    scale: Array

    def __call__(self, pattern: masks.Weights, key: Array, step: Array) -> Array:
        """The criterion."""
        return self.scale * jnp.log(expected_error(self.model, pattern.weights()))


STEPS = optax.sgd(1.0, momentum=0.8)


def descended(model: Any, pattern: masks.Weights, sizes: Sizes) -> masks.Weights:
    """Projected gradient steps, the first of which moves a view by a third of its share."""
    dose = pattern.weights()
    slope = error_slope(model, dose) / expected_error(model, dose)
    scale = 0.3 * N_VIEWS / jnp.sum(dose > 0) / jnp.max(jnp.abs(slope))
    options = {"n_steps": sizes.n_steps, "key": jax.random.key(0), "optimiser": STEPS}
    design = optimise(LogError(model, scale), pattern, project=masks.project, **options)
    return design.check().value


# -------------------------------------------------------------------------------------- judgement


def judged(scan: Class, dose: Array, key: Array, sizes: Sizes) -> tuple[dict, np.ndarray]:
    """Both reconstructions of the test objects."""
    keys = jax.random.split(jax.random.fold_in(key, 7))
    views = jax.lax.top_k(dose, N_VIEWS)[1]
    y = noisy(scan, dose, scan.test[1], keys[0])
    first = posterior_mean(scan, dose, y)
    tuning = noisy(scan, dose, scan.validation[1], keys[1])
    n = len(tuning)
    tv = functools.partial(total_variation, scan.sigma, dose[views], views, n_iter=sizes.n_iter)
    tried = tv(jnp.tile(tuning, (len(WEIGHTS), 1, 1)), jnp.repeat(jnp.array(WEIGHTS), n))
    errors = nrmse(tried, jnp.tile(scan.validation[0], (len(WEIGHTS), 1, 1)))
    best = int(jnp.argmin(errors.reshape(-1, n).mean(1)))
    second = tv(y, jnp.full(len(y), WEIGHTS[best]))
    truth = scan.test[0]
    mean_power = jnp.mean(jnp.sum(truth**2, (1, 2)))
    expected = jnp.sqrt(expected_error(scan.model, dose) / mean_power)
    found = {"criterion": expected, "MAP": nrmse(first, truth).mean()}
    found |= {"TV": nrmse(second, truth).mean()}
    record: dict[str, Any] = {name: round(float(v), 4) for name, v in found.items()}
    record |= {"tv_weight": WEIGHTS[best], "on_the_end": best in (0, len(WEIGHTS) - 1)}
    return record | {"n_views": int(jnp.sum(dose > 0))}, np.asarray(
        jnp.stack([truth[0], first[0], second[0]])
    )


def noisy(scan: Class, dose: Array, clean: Array, key: Array) -> Array:
    """Data of all candidates; those of no dose are not to be looked at."""
    spread = scan.sigma / jnp.sqrt(jnp.maximum(dose, 1e-12))
    return clean + spread[:, None] * jax.random.normal(key, clean.shape)


@jax.jit
def posterior_mean(scan: Class, dose: Array, y: Array) -> Array:
    """The mean m + L M⁻¹ Lᴴ Aᴴ W (y − A m)/σ², for every object."""
    misfit = y - jnp.tensordot(scan.rows, scan.mean, 1)
    sides = jnp.einsum("vbr,v,ovb->ro", scan.model.rows, dose, misfit / scan.sigma)
    z = jnp.linalg.solve(scan.model.precision(dose), sides)
    return (scan.mean[:, None] + scan.factor @ z).T.reshape(-1, SIDE, SIDE)


@functools.partial(jax.jit, static_argnames="n_iter")
def total_variation(
    sigma: float, dose: Array, views: Array, y: Array, weights: Array, *, n_iter: int
) -> Array:
    """TV of several objects, each with its weight, from the views that were measured."""
    A = beam(candidate_angles()[views])
    each = jnp.broadcast_to(dose[:, None], A.range.shape)

    def one(y: Array, weight: Array) -> Array:
        prior = (L21(weight * sigma / NOISE), gradient(A.domain))
        problem = Problem(((LeastSquares(y, each), A), prior))
        return run(PDHG(), problem, n_iter=n_iter).value

    return jax.vmap(one)(y[:, views], weights)


def nrmse(images: Array, truth: Array) -> Array:
    difference = jnp.sum((images - truth) ** 2, (1, 2))
    return jnp.sqrt(difference / jnp.sum(truth**2, (1, 2)))


# ----------------------------------------------------------------------------------------- report


def table(records: list[dict]) -> str:
    """Markdown."""
    lines = ["| class | design | criterion | MAP | TV | s |", "|---" * 6 + "|"]
    for name, design in dict.fromkeys((r["class"], r["design"]) for r in records):
        some = [r for r in records if (r["class"], r["design"]) == (name, design)]
        cells = [cell([r[k] for r in some]) for k in ("criterion", "MAP", "TV")]
        seconds = f"{np.mean([r['seconds'] for r in some]):.1f}"
        lines.append(f"| {name} | {design} | " + " | ".join([*cells, seconds]) + " |")
    return "\n".join(lines)


def picture(records: list[dict], shown: dict, path: Path) -> None:
    """Doses over the angle, and a test object from three designs."""
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(name for name, _ in shown))
    three = ("uniform", "exchange + dose", "learned")
    figure, panels = plt.subplots(
        2 * len(names), 4, figsize=(11, 5.2 * len(names)), layout="constrained", squeeze=False
    )
    for row, name in enumerate(names):
        top, bottom = panels[2 * row], panels[2 * row + 1]
        truth = shown[name, "uniform"][1][0]
        top[0].imshow(truth, cmap="gray", vmin=0, vmax=truth.max())
        top[0].set_title(f"{name}: truth")
        bottom[0].axis("off")
        for axes, below, design in zip(top[1:], bottom[1:], three):
            dose, images = shown[name, design]
            some = [r for r in records if (r["class"], r["design"]) == (name, design)]
            axes.imshow(images[1], cmap="gray", vmin=0, vmax=truth.max())
            axes.set_title(f"{design}, NRMSE {np.mean([r['MAP'] for r in some]):.3f}")
            below.vlines(np.arange(N_CANDIDATES) / 2, 0, dose)
            below.set(xlabel="angle, degrees", xlim=(0, 180), ylim=(0, None), title="dose")
        for axes in top:
            axes.set(xticks=[], yticks=[])
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
