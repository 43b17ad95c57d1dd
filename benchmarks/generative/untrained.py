"""When to stop fitting an untrained network: held-out data against the truth.

    python benchmarks/generative/untrained.py [--data FOLDER] [--out FOLDER] [--picture FILE]
        [--tasks ct mri4] [--generators ...] [--seeds 0 1 2] [--size 64] [--quick]

A generator's weights are fitted to most of one scan; the rest, views of a sinogram (a tenth) or
lines of k-space outside the calibration region (a fifth of those), says which image is the best.
That is compared with the best image of the same run as the truth sees it (oracle): the gap is what
not knowing the truth costs. Beside them the last image, what iterations start from (FBP, zero-
filled), and total variation, tuned as in `quality.py`.

- deep decoder: kernels of one pixel, from random features at a sixteenth of the resolution.
- ConvDecoder: the same with kernels of three.
- U-Net: residual, from five conjugate gradients on the same part of the data: a deep image prior
  that is told where to begin.

Tasks are those of `_quality/tasks.py`, smaller. Adam's step is chosen on validation scans, by the
PSNR where the held-out data stop. Seeds draw the weights and what is held out. One JSON record a
line; every (task, generator) is written to the output folder when it is done, and not done again.
Then `untrained.md`, a table, and the picture. Delete the folder to start anew.
"""

import argparse
import functools
import itertools
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.tree_util import Partial

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from _quality import methods, tasks
from _quality.report import markdown

from jaxrecon import metrics, viz
from jaxrecon.core import Problem, run
from jaxrecon.functionals import LeastSquares
from jaxrecon.nets.generative import ImageGenerator, deep_decoder
from jaxrecon.nets.images import UNet
from jaxrecon.nets.layers import to_channels
from jaxrecon.posterior.latent import fit_generator, hold_out, random_rows
from jaxrecon.solvers import ConjugateGradient

same = Partial(lambda image: image)
AVERAGE = 0.9  # of images: their exponential mean over ten or so


def decoder(seen: Problem, like: Any, key: Any, kernel: int, width: int) -> tuple[Any, Any]:
    return deep_decoder(like, width=width, depth=4, kernel=kernel, key=key)


def from_first(seen: Problem, like: Any, key: Any) -> tuple[Any, Any]:
    # Made of what is seen alone: an image of all data would give away what is held out.
    z = to_channels(run(ConjugateGradient(), seen, n_iter=5).value)
    n = z.shape[-1]
    net = UNet(n, n, width=8, depth=3, up="linear", residual=True, rngs=nnx.Rngs(key))
    return ImageGenerator(net, like), z


class Generator(NamedTuple):
    """``make(problem, like, key)`` gives a generator and its input; steps, and their sizes."""

    make: Any
    n_steps: int
    rates: tuple[float, ...]


GENERATORS = {
    "U-Net": Generator(from_first, 500, (3e-3, 1e-2)),
    "deep decoder": Generator(functools.partial(decoder, kernel=1, width=64), 1000, (1e-2, 3e-2)),
    "ConvDecoder": Generator(functools.partial(decoder, kernel=3, width=32), 1000, (1e-2, 3e-2)),
}


class Course(NamedTuple):
    """A fit: PSNR and held-out misfit of every image, the images, and seconds."""

    psnr: np.ndarray
    held_out: np.ndarray
    images: np.ndarray
    seconds: float

    def at(self, i: int) -> float:
        """The PSNR of an image."""
        return float(self.psnr[i])

    @property
    def record(self) -> dict[str, float]:
        """Where it is stopped and where it is best."""
        stop, peak = int(np.argmin(self.held_out)), int(np.argmax(self.psnr))
        found = {"stop": stop, "peak": peak, "psnr_stop": self.at(stop), "psnr_peak": self.at(peak)}
        found |= {"psnr_last": self.at(-1), "gap": self.at(peak) - self.at(stop)}
        return {k: round(v, 3) for k, v in (found | {"seconds": self.seconds}).items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="measurements")
    parser.add_argument("--tasks", nargs="+", choices=("ct", "mri4", "mri8"))
    parser.add_argument(
        "--generators", nargs="+", choices=GENERATORS, default=["U-Net", "deep decoder"]
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--size", type=int, default=64, help="pixels along a side")
    parser.add_argument("--steps", type=int, help="for all generators; by default their own")
    parser.add_argument("--test", type=int, default=2, help="test scans")
    parser.add_argument("--quick", action="store_true", help="32 pixels, 100 steps, one seed")
    parser.add_argument("--out", type=Path, default=Path("generative"), help="folder for results")
    parser.add_argument("--picture", type=Path, help="by default untrained.png in that folder")
    options = parser.parse_args()
    if options.quick:
        options.size, options.steps, options.seeds = 32, 100, [0]
    options.out.mkdir(parents=True, exist_ok=True)
    device = jax.devices()[0].device_kind
    print(json.dumps({"jax": jax.__version__, "python": platform.python_version(), "on": device}))
    sizes = tasks.Sizes(image=options.size, n_validation=2, n_test=max(options.test, 2))
    for name in options.tasks or ("ct", "mri4"):
        paths = {g: options.out / f"{name}-{g.replace(' ', '-')}.json" for g in options.generators}
        missing = {g: path for g, path in paths.items() if not path.exists()}
        if missing:
            task = tasks.build(name, options.data, sizes)
            compared = references(task)
        for generator, path in missing.items():
            judge(task, generator, options, compared, path)
    report(options.out, options.picture)


def report(folder: Path, path: Path | None) -> None:
    """The table and the picture of all that is there."""
    done = sorted(folder.glob("*-*.json"))
    text = table([record for file in done for record in json.loads(file.read_text())])
    (folder / "untrained.md").write_text(text + "\n")
    print(text, flush=True)
    picture(done, path or folder / "untrained.png")


def judge(
    task: tasks.Task, generator: str, options: Any, compared: dict[str, list[float]], path: Path
) -> None:
    """Chooses the step on validation scans; then every test scan with every seed."""
    kind = GENERATORS[generator]
    go = functools.partial(fit, task, kind, options.steps or kind.n_steps)
    tune = [pick(task.validation, i) for i in range(len(task.validation.truth))]
    scores = {
        rate: [go(rate, scan, 100 + i).record["psnr_stop"] for i, scan in enumerate(tune)]
        for rate in kind.rates
    }
    rate = max(kind.rates, key=lambda rate: float(np.mean(scores[rate])))
    print(json.dumps({"task": task.name, "generator": generator, "tried": scores}), flush=True)
    records = []
    for i, seed in itertools.product(range(options.test), options.seeds):
        course = go(rate, pick(task.test, i), seed)
        record = {"task": task.name, "title": task.title, "generator": generator}
        record |= {"image": i, "seed": seed, "rate": rate, "n_steps": len(course.psnr)}
        records.append(record | course.record | {k: v[i] for k, v in compared.items()})
        print(json.dumps(records[-1]), flush=True)
        if len(records) == 1:
            images = {"truth": task.test.truth[0], "first": task.test.first[0]}
            images |= {"stopped": course.images[course.record["stop"]], "last": course.images[-1]}
            arrays: dict[str, Any] = {name: np.abs(image) for name, image in images.items()}
            arrays |= {"psnr": course.psnr, "held_out": course.held_out}
            np.savez(path.with_suffix(".npz"), **arrays)
    path.write_text(json.dumps(records, indent=1) + "\n")


def lines(key: Any, scan: Any, task: tasks.Task) -> Any:
    """Which lines of k-space are kept; those of the calibration region all are."""
    n, acceleration = scan.truth.shape[-1], int(task.name.removeprefix("mri"))
    outside = jnp.abs(jnp.arange(n) - n // 2 + 0.5) > n / (4 * acceleration)
    measured = (scan.data != 0) & outside
    return random_rows(key, scan.data, share=0.2, axes=(-1,), measured=measured)


def fit(
    task: tasks.Task, generator: Generator, n_steps: int, rate: float, scan: Any, seed: int
) -> Course:
    """One fit, with every image kept."""
    keys = jax.random.split(jax.random.key(seed), 3)
    keep = lines(keys[1], scan, task) if task.is_complex else random_rows(keys[1], scan.data)
    problem = Problem(((LeastSquares(scan.data, scan.weights), task.operator),))
    seen, held = hold_out(problem, keep)
    G, z = generator.make(seen, scan.truth, keys[0])
    options: dict[str, Any] = {"rate": rate, "average": AVERAGE, "watch": same}
    start = time.perf_counter()
    result = fit_generator(G, z, seen, judge=held, key=keys[2], n_iter=n_steps, **options)
    images = np.asarray(result.info.watched)
    seconds = time.perf_counter() - start
    psnr = jax.vmap(lambda x: metrics.psnr(x, scan.truth))(jnp.asarray(images))
    return Course(np.asarray(psnr), np.asarray(result.info.held_out), images, seconds)


def references(task: tasks.Task) -> dict[str, list[float]]:
    """PSNR of the first images and of total variation, for every test scan."""
    method = methods.method(task, "TV", methods.FULL, Path())
    tuned = methods.tune(method, task, lambda line: None)["parameters"]
    batch = len(task.validation.truth)
    scores = methods.evaluate(method.reconstruct, task, task.test, tuned, batch)[1]
    first = [metrics.psnr(x, t) for x, t in zip(task.test.first, task.test.truth)]
    values = {"first": first, "tv": list(scores["psnr"])}
    return {k: [round(float(x), 3) for x in v] for k, v in values.items()}


def pick(scans: Any, i: int) -> Any:
    return jax.tree.map(lambda leaf: leaf[i], scans)


# ----------------------------------------------------------------------------------------- reports


def table(records: list[dict]) -> str:
    """Markdown: mean ± standard deviation over images and seeds."""
    head = ["", "stopped, dB", "peak, dB", "gap, dB", "largest gap", "last, dB"]
    head += ["first, dB", "TV, dB", "step", "stop", "s"]
    rows = []
    for task, generator in dict.fromkeys((r["task"], r["generator"]) for r in records):
        some = [r for r in records if (r["task"], r["generator"]) == (task, generator)]
        row = [f"{some[0]['title']}: {generator}"]
        row += [cell(some, k) for k in ("psnr_stop", "psnr_peak", "gap")]
        row += [f"{max(r['gap'] for r in some):.2f}", cell(some, "psnr_last")]
        row += [f"{np.mean([r[k] for r in some]):.2f}" for k in ("first", "tv")]
        row += [f"{some[0]['rate']:g}", f"{np.mean([r['stop'] for r in some]):.0f}"]
        rows.append([*row, f"{np.mean([r['seconds'] for r in some]):.0f}"])
    return "\n".join(markdown(head, rows))


def cell(records: list[dict], name: str) -> str:
    values = [r[name] for r in records]
    return f"{np.mean(values):.2f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.2f}"


def picture(done: list[Path], path: Path) -> None:
    """Courses of the first test scan, and its images: truth, first, stopped, last."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(len(done), 5, figsize=(13, 2.4 * len(done)), squeeze=False)
    for row, file in zip(axes, done):
        record = json.loads(file.read_text())[0]
        with np.load(file.with_suffix(".npz")) as arrays:
            curves(row[0], arrays["psnr"], arrays["held_out"], record)
            labels = {"truth": "truth", "first": f"first, {record['first']:.1f} dB"}
            labels["stopped"] = f"stopped, {record['psnr_stop']:.1f} dB"
            labels["last"] = f"last, {record['psnr_last']:.1f} dB"
            top = float(arrays["truth"].max())
            for panel, (name, title) in zip(row[1:], labels.items()):
                panel.imshow(arrays[name], cmap="gray", vmin=0, vmax=top)
                panel.set_title(title, fontsize=9)
                panel.axis("off")
    figure.tight_layout()
    viz.save(figure, path, dpi=80)
    plt.close(figure)


def curves(panel: Any, psnr: np.ndarray, held_out: np.ndarray, record: dict) -> None:
    """PSNR, and the held-out misfit on an axis of its own; lines where either is best."""
    panel.plot(psnr, color="tab:blue")
    panel.set_title(
        f"{record['task']}, {record['generator']}: gap {record['gap']:.2f} dB", fontsize=9
    )
    panel.set_ylabel("PSNR, dB", color="tab:blue", fontsize=8)
    panel.set_ylim(psnr.max() - 8, psnr.max() + 0.5)
    panel.axvline(record["peak"], color="tab:blue", linestyle=":")
    other = panel.twinx()
    other.semilogy(held_out, color="tab:orange", linewidth=0.8)
    other.set_ylim(0.8 * held_out.min(), 10 * held_out.min())
    other.set_ylabel("held-out misfit", color="tab:orange", fontsize=8)
    other.axvline(record["stop"], color="tab:orange", linestyle="--")
    for axis in (panel, other):
        axis.tick_params(which="both", labelsize=7)


if __name__ == "__main__":
    main()
