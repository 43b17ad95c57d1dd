"""One prior, many samplers: how good are the images, and how many evaluations do they take?

    python benchmarks/generative/samplers.py [ct] [mri4] [deblurring] [inpainting]
        [--samplers NAME ...] [--seeds 0 1 2] [--images 4] [--samples 4] [--quick] [--output FOLDER]

The shipped prior of T1 heads at 64² and the scans of `_scans.py`. Settings are chosen by the PSNR
of single samples of validation images; then, over test images and for every seed of the noise:

- one: PSNR of a sample, dB; mean: that of the mean of all samples of an image; SSIM of a sample;
- features: distance of a sample's features, of unit length in every pixel, from the truth's, in all
  layers of the shipped denoiser of photographs (as LPIPS, whose network is another);
- 90 %: of the object's pixels in the samples' central interval, by rank: of n samples the outermost
  two hold (n − 1)/(n + 1), which is what is asked for;
- evaluations of the network and of its transposed derivative for a sample, and seconds.

Data range 1. Records are a cache in the output folder, a file for each cell; the table and picture
are of all that is there.
"""

import argparse
import itertools
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "learned"))

import jax
import jax.numpy as jnp
import numpy as np
from _quality.report import replace_file
from _scans import OPERATORS, Heads, heads
from jax.tree_util import Partial
from jaxtyping import Array

from jaxrecon import metrics, viz
from jaxrecon.nets import pretrained
from jaxrecon.posterior import (
    DPS,
    Diffusion,
    LangevinStep,
    PiGDM,
    ProximalStep,
    RangeNull,
    TweedieCovariance,
    karras_levels,
    posterior,
    sample,
)
from jaxrecon.training.losses import Perceptual

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
HIGH, LOW = 40.0, 5e-3


class Sampler(NamedTuple):
    """``make(setting, noise)`` is a sampler, for each of some settings; cost of one sample."""

    make: Callable[[Any, float], Diffusion]
    settings: tuple
    evaluations: int
    derivatives: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tasks", nargs="*", help=f"of {', '.join(OPERATORS)}")
    parser.add_argument("--samplers", nargs="+", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=4, help="of the test set")
    parser.add_argument("--samples", type=int, default=4, help="of each image")
    parser.add_argument("--prior", default="prior-brain")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of volumes/")
    parser.add_argument("--output", type=Path, default=Path(".generative"), help="a cache")
    parser.add_argument("--quick", action="store_true", help="one image and seed, two samples")
    options = parser.parse_args()
    if options.quick:
        options.seeds, options.images, options.samples = [0], 1, 2
        options.output = options.output / "quick"
    names = options.tasks or list(OPERATORS)
    if unknown := set(names) - set(OPERATORS):
        parser.error(f"unknown task {', '.join(sorted(unknown))}")
    prior = pretrained.load(options.prior)
    features = _features(pretrained.load("denoiser-grey"))
    for task, name in itertools.product(names, options.samplers):
        scans = heads(task, options.data, 2, options.images)
        best = _setting(scans, prior, SAMPLERS[name])
        for seed in options.seeds:
            path = options.output / task / f"{name}-{seed}.json"
            if path.exists() and json.loads(path.read_text())["samples"] >= options.samples:
                continue
            cell = judge(scans, prior, features, name, best, seed, options.samples)
            record = {"task": task, "sampler": name, "seed": seed, "setting": best, **cell}
            print(json.dumps(record), flush=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, lambda f: f.write((json.dumps(record) + "\n").encode()))  # noqa: B023
    write(options.output)


# -------------------------------------------------------------------------------------- judgement


def _setting(scans: Heads, prior: Any, sampler: Sampler) -> Any:
    """The one of the best validation images."""
    if len(sampler.settings) == 1:
        return sampler.settings[0]

    def score(setting: Any) -> float:
        go = jax.jit(_drawer(scans, prior, sampler.make(setting, scans.noise)))
        y = [scans.measured(x, 1000) for x in scans.validation]
        keys = jax.random.split(jax.random.key(1), len(y))
        found = [
            metrics.psnr(go(d, k), x, data_range=1.0)
            for d, k, x in zip(y, keys, scans.validation, strict=True)
        ]
        return float(np.nan_to_num(np.mean(found), nan=-np.inf))

    return max(sampler.settings, key=score)


def _drawer(scans: Heads, prior: Any, sampler: Diffusion) -> Callable[[Array, Any], Array]:
    """``draw(y, key)``: one sample."""

    def draw(y: Array, key: Any) -> Array:
        return sample(sampler, posterior(scans.operator, y, scans.noise, prior), key).value

    return draw


def judge(
    scans: Heads, prior: Any, features: Any, name: str, setting: Any, seed: int, n: int
) -> dict[str, Any]:
    """All test images with the noise of a seed."""
    sampler = SAMPLERS[name]
    go = jax.jit(_drawer(scans, prior, sampler.make(setting, scans.noise)))
    truth = scans.test
    y = [scans.measured(x, seed) for x in truth]
    jax.block_until_ready(go(y[0], jax.random.key(0)))
    start = time.perf_counter()
    keys = jax.random.split(jax.random.key(seed), (len(y), n))
    x = jnp.stack([jnp.stack([go(d, k) for k in some]) for d, some in zip(y, keys, strict=True)])
    jax.block_until_ready(x)
    seconds = (time.perf_counter() - start) / (len(y) * n)
    score = jax.vmap(lambda a, b: metrics.psnr(a, b, data_range=1.0))
    inside = (x.min(1) <= truth) & (truth <= x.max(1))
    each = jax.vmap(score, (1, None))
    similar = jax.vmap(jax.vmap(lambda a, b: metrics.ssim(a, b, data_range=1.0)), (1, None))
    far = jax.vmap(jax.vmap(features), (1, None))
    values = {
        "one": each(x, truth).mean(0),
        "mean": score(x.mean(1), truth),
        "ssim": similar(x, truth).mean(0),
        "features": far(x, truth).mean(0),
    }
    return {
        **{k: np.round(np.asarray(v, float), 4).tolist() for k, v in values.items()},
        "within": round(float(inside[truth > 0.05].mean()), 4),
        "asked": round((n - 1) / (n + 1), 4),
        "samples": n,
        "evaluations": sampler.evaluations,
        "derivatives": sampler.derivatives,
        "seconds": round(seconds, 3),
        "jax": jax.__version__,
        "python": platform.python_version(),
        "on": jax.devices()[0].device_kind,
    }


def _features(denoiser: Any) -> Perceptual:
    """Of all layers of a DnCNN, which is told noise of 1/255."""
    net = denoiser.net

    def layers(x: Array) -> list[Array]:
        level = jnp.full_like(x, 1 / 255)
        found = [jax.nn.relu(net.first(jnp.concatenate([x, level], -1)))]
        for conv in net.convs:
            found.append(jax.nn.relu(conv(found[-1])))
        return found

    depth = 1 + len(net.convs)
    return Perceptual(Partial(layers), layers=tuple(range(depth)), unit=True)


# --------------------------------------------------------------------------------------- samplers


def _levels(n: int) -> Array:
    return karras_levels(n, high=HIGH, low=LOW)


def _dps(n: int) -> Sampler:
    # c is ζ' 2s: a step of ζ' on ‖y − Ax‖, whatever the noise s.
    def make(step: float, noise: float) -> Diffusion:
        return Diffusion(_levels(n), DPS(2 * noise * step), fresh=1.0)

    return Sampler(make, (0.1, 0.3, 1.0, 3.0), n, n)


def _diffpir(n: int) -> Sampler:
    def make(setting: tuple[float, float], noise: float) -> Diffusion:
        trust, share = setting
        return Diffusion(_levels(n), ProximalStep(trust), fresh=share, renoise=True)

    return Sampler(make, tuple(itertools.product((0.3, 1.0, 3.0), (0.3, 1.0))), n, 0)


def _dds(n: int) -> Sampler:
    def make(trust: float, noise: float) -> Diffusion:
        return Diffusion(_levels(n), ProximalStep(trust), fresh=0.85)

    return Sampler(make, (0.3, 1.0, 3.0), n, 0)


def _pigdm(n: int) -> Sampler:
    def make(variance: float, noise: float) -> Diffusion:
        return Diffusion(_levels(n), PiGDM(variance), fresh=1.0)

    return Sampler(make, (0.01, 0.1, 1.0), n, n)


def _ddnm(n: int) -> Sampler:
    return Sampler(lambda _, noise: Diffusion(_levels(n), RangeNull(), fresh=0.85), (0,), n, 0)


def _daps(n: int) -> Sampler:
    def make(width: float, noise: float) -> Diffusion:
        step = LangevinStep(1 / noise**2, width, share=0.5, n_inner=30)
        return Diffusion(_levels(n), step, fresh=1.0, renoise=True)

    return Sampler(make, (0.5, 1.0), n, 0)


def _tweedie(n: int, inner: int) -> Sampler:
    def make(_: int, noise: float) -> Diffusion:
        return Diffusion(_levels(n), TweedieCovariance(inner, tol=1e-3), fresh=1.0)

    return Sampler(make, (0,), n, n * (inner + 1))


SAMPLERS = {
    "DPS, 1000": _dps(1000),
    "DPS, 100": _dps(100),
    "PiGDM, 100": _pigdm(100),
    "PiGDM, 20": _pigdm(20),
    "DiffPIR, 100": _diffpir(100),
    "DiffPIR, 20": _diffpir(20),
    "DDS, 50": _dds(50),
    "DDNM, 100": _ddnm(100),
    "DAPS, 50": _daps(50),
    "Tweedie's covariance, 20": _tweedie(20, 5),
}


# ------------------------------------------------------------------------------------------ report


def write(folder: Path) -> None:
    """`samplers.md` and `samplers.png` of all records there are."""
    records = [json.loads(path.read_text()) for path in sorted(folder.glob("*/*.json"))]
    records.sort(key=lambda r: list(SAMPLERS).index(r["sampler"]))
    tasks = [name for name in OPERATORS if any(r["task"] == name for r in records)]
    text = "\n\n".join(_table(name, [r for r in records if r["task"] == name]) for name in tasks)
    replace_file(folder / "samplers.md", lambda f: f.write((text + "\n").encode()))
    print(text)
    if tasks:
        viz.save(_picture(tasks, records), folder / "samplers.png")


def _table(task: str, records: list[dict]) -> str:
    head = ["", "one, dB", "mean, dB", "SSIM", "features", "within", "evaluations", "s"]
    lines = [f"### {task}", "", "| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for name in dict.fromkeys(r["sampler"] for r in records):
        some = [r for r in records if r["sampler"] == name]
        cells = [_spread([v for r in some for v in r[k]], 2) for k in ("one", "mean")]
        cells += [_spread([v for r in some for v in r[k]], 3) for k in ("ssim", "features")]
        within = np.mean([r["within"] for r in some])
        cells.append(f"{within:.2f} of {some[0]['asked']:.2f}")
        cells.append(f"{some[0]['evaluations']} + {some[0]['derivatives']}")
        cells.append(f"{np.mean([r['seconds'] for r in some]):.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _spread(values: list[float], digits: int) -> str:
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"


def _picture(tasks: list[str], records: list[dict]) -> Any:
    """PSNR of a sample against evaluations of the network, a panel for each task."""
    import matplotlib.pyplot as plt

    size = (3.4 * len(tasks) + 2.2, 3.6)
    figure, panels = plt.subplots(1, len(tasks), figsize=size, layout="constrained", squeeze=False)
    for axes, task in zip(panels[0], tasks, strict=True):
        for name in SAMPLERS:
            some = [r for r in records if (r["task"], r["sampler"]) == (task, name)]
            cost = [r["evaluations"] + r["derivatives"] for r in some]
            axes.semilogx(cost, [np.mean(r["one"]) for r in some], "o", label=name)
        axes.set(title=task, xlabel="evaluations and derivatives")
    panels[0][0].set_ylabel("PSNR of a sample, dB")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside right center")
    return figure


if __name__ == "__main__":
    main()
