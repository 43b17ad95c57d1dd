"""How far is each sampler from the posterior, where that is known?

    python benchmarks/generative/exact_posterior.py [--size 32] [--samples 1000] [--seeds 0 1 2]
        [--operators NAME ...] [--samplers NAME ...] [--quick] [--out FOLDER]

Images of a stationary Gaussian prior, their exact denoiser, linear data with Gaussian noise: the
posterior is a Gaussian whose mean and covariance come from dense matrices in float64. Three
operators: inpainting of half of the pixels, deblurring, 12 views of a parallel beam. For every seed
another image and other noise. Settings of a sampler (`_exact_samplers.py`) are chosen on an image
of their own and a quarter of the samples, by the squared error of mean and spread together; then,
over all pixels:

- mean: ‖mean of the samples − posterior mean‖ / √tr Σ (the number of samples alone makes 1/√n);
- spread: the mean over pixels of the samples' deviation over the posterior's, 1 if right;
- 50 %, 90 %: how many samples lie in the posterior's central intervals;
- evaluations of the denoiser, and of its transposed derivative, for one sample; seconds for all.

Samplers that draw from the posterior in theory, with enough steps or particles, are marked *.

`exact_posterior.md`: a table for each operator, mean ± standard deviation over seeds;
`exact_posterior.json`: all records; `exact_posterior.png`: spread against error of the mean.
"""

import argparse
import functools
import itertools
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from _exact_samplers import samplers

from jaxrecon.core import LinearOperator, fft, materialise, norm
from jaxrecon.physics import ct, optics
from jaxrecon.posterior import Gaussian, Posterior, posterior

NOISE = 0.02
BATCH = 100  # samples at a time
SAMPLERS = samplers(NOISE)


class Known(NamedTuple):
    """A posterior with its mean and covariance."""

    target: Posterior
    mean: np.ndarray
    covariance: np.ndarray


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=32, help="pixels along a side")
    parser.add_argument("--samples", type=int, default=1000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--operators", nargs="+", choices=OPERATORS, default=list(OPERATORS))
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--quick", action="store_true", help="8 pixels, 200 samples, one seed")
    parser.add_argument("--out", type=Path, default=Path("generative"), help="folder for results")
    options = parser.parse_args()
    if options.quick:
        options.size, options.samples, options.seeds = 8, 200, [0]
    options.out.mkdir(parents=True, exist_ok=True)
    device = jax.devices()[0].device_kind
    print(json.dumps({"jax": jax.__version__, "python": platform.python_version(), "on": device}))
    records = []
    for operator, name in itertools.product(options.operators, options.samplers):
        sampler, tune = SAMPLERS[name], known(operator, options.size, 1000)
        draw = functools.partial(compiled, name)
        few = max(options.samples // 4, 50)
        judged = {s: judge(draw(s), tune, few, 0) for s in sampler.settings}
        best = min(judged, key=lambda s: judged[s]["mean"] ** 2 + (judged[s]["spread"] - 1) ** 2)
        for seed in options.seeds:
            problem = known(operator, options.size, seed)
            found = judge(draw(best), problem, options.samples, seed)
            cost = {"evaluations": sampler.evaluations, "derivatives": sampler.derivatives}
            record = {"operator": operator, "sampler": name, "seed": seed, "setting": best}
            records.append(record | cost | found)
            print(json.dumps(records[-1]), flush=True)
        if name == options.samplers[-1]:
            write(records, options.out)


def write(records: list[dict], out: Path) -> None:
    """Records, tables and picture of the operators that are done."""
    (out / "exact_posterior.json").write_text(json.dumps(records, indent=1) + "\n")
    operators = dict.fromkeys(r["operator"] for r in records)
    text = "\n\n".join(table(operator, records) for operator in operators)
    (out / "exact_posterior.md").write_text(text + "\n")
    print(text)
    picture(records, out / "exact_posterior.png")


# --------------------------------------------------------------------------------------- problems


def inpainting(n: int) -> LinearOperator:
    keep = jax.random.bernoulli(jax.random.key(7), 0.5, (n, n))
    return optics.inpaint(keep, jnp.zeros((n, n)))


def deblurring(n: int) -> LinearOperator:
    return optics.blur(optics.gaussian_kernel((7, 7), 1.2), jnp.zeros((n, n)))


def sparse_ct(n: int) -> LinearOperator:
    angles = jnp.arange(12) * (np.pi / 12)
    A = ct.parallel_beam(angles, (n, n), int(np.ceil(1.5 * n)))
    return (1 / norm(A, jax.random.key(0)).value) * A


OPERATORS: dict[str, Callable[[int], LinearOperator]] = {
    "inpainting": inpainting,
    "deblurring": deblurring,
    "sparse CT": sparse_ct,
}


@functools.cache
def known(operator: str, n: int, seed: int) -> Known:
    """A draw of the prior, its data, and the posterior in closed form."""
    A, prior = OPERATORS[operator](n), stationary(n)
    key_x, key_y = jax.random.split(jax.random.key(seed))
    clean = A(prior.sample(key_x))
    y = clean + NOISE * jax.random.normal(key_y, clean.shape)
    M, C = (np.asarray(materialise(B), np.float64) for B in (A, prior.covariance))
    gain = np.linalg.solve(M @ C @ M.T + NOISE**2 * np.eye(len(M)), M @ C).T
    m = np.asarray(prior.mean, np.float64).ravel()
    mean = m + gain @ (np.asarray(y, np.float64).ravel() - M @ m)
    return Known(posterior(A, y, NOISE, prior), mean, C - gain @ M @ C)


def stationary(n: int) -> Gaussian:
    """Pixels of deviation 0.2 about 0.5, with a correlation of a few pixels."""
    F = fft(jnp.zeros((n, n)))
    frequencies = jnp.fft.fftfreq(n)
    squares = frequencies[:, None] ** 2 + frequencies**2
    power = (1 + squares / 0.05**2) ** -1.5
    return Gaussian(jnp.full((n, n), 0.5), F, 0.04 * power / jnp.mean(power))


# -------------------------------------------------------------------------------------- judgement


@functools.cache
def compiled(name: str, setting: Any) -> Callable:
    """A batch of samples."""
    return jax.jit(jax.vmap(SAMPLERS[name].draw(setting), (None, 0)))


def judge(go: Callable, problem: Known, n_samples: int, seed: int) -> dict[str, float]:
    """Samples against the posterior."""
    keys = jax.random.split(jax.random.key(100 + seed), n_samples)
    jax.block_until_ready(go(problem.target, keys[:BATCH]))
    start = time.perf_counter()
    parts = [go(problem.target, keys[i : i + BATCH]) for i in range(0, n_samples, BATCH)]
    x = np.concatenate([np.asarray(part).reshape(len(part), -1) for part in parts])
    seconds = time.perf_counter() - start
    deviation = np.sqrt(np.diag(problem.covariance))
    far = np.abs(x - problem.mean) / deviation
    error = np.linalg.norm(x.mean(0) - problem.mean) / np.linalg.norm(deviation)
    found = {"mean": error, "spread": np.mean(x.std(0, ddof=1) / deviation)}
    found |= {"within_50": np.mean(far < 0.67449), "within_90": np.mean(far < 1.64485)}
    return {k: round(float(v), 4) for k, v in (found | {"seconds": seconds}).items()}


def table(operator: str, records: list[dict]) -> str:
    """Markdown of one operator."""
    lines = [f"### {operator}", ""]
    lines.append("| | mean | spread | 50 % | 90 % | setting | evaluations | derivatives | s |")
    lines.append("|---" * 9 + "|")
    for name in dict.fromkeys(r["sampler"] for r in records):
        some = [r for r in records if (r["operator"], r["sampler"]) == (operator, name)]
        cells = [_cell([r[k] for r in some]) for k in ("mean", "spread", "within_50", "within_90")]
        last = [some[0][k] for k in ("setting", "evaluations", "derivatives")]
        seconds = f"{np.mean([r['seconds'] for r in some]):.1f}"
        lines.append(f"| {name} | " + " | ".join([*cells, *map(str, last), seconds]) + " |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{np.mean(values):.3f}{spread}"


def picture(records: list[dict], path: Path) -> None:
    """Spread against the error of the mean; the cross is where the truth is."""
    import matplotlib.pyplot as plt

    operators = list(dict.fromkeys(r["operator"] for r in records))
    figure, panels = plt.subplots(
        1,
        len(operators),
        figsize=(4 * len(operators) + 2, 3.6),
        layout="constrained",
        squeeze=False,
    )
    for axes, operator in zip(panels[0], operators):
        for i, name in enumerate(dict.fromkeys(r["sampler"] for r in records)):
            some = [r for r in records if (r["operator"], r["sampler"]) == (operator, name)]
            marker = "*" if name.endswith("*") else "o"
            where = [r["mean"] for r in some], [r["spread"] for r in some]
            axes.plot(*where, marker, color=f"C{i % 10}", mec="k" if i > 9 else None, label=name)
        axes.plot(0, 1, "k+", markersize=12)
        axes.set_title(operator)
        axes.set_xlabel("error of the mean / √tr Σ")
    panels[0][0].set_ylabel("deviation / the posterior's")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right center")
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
