"""Trains denoisers on BSD400 and judges them on Set12 and BSD68.

    python benchmarks/learned/denoising/train.py [--size cpu|gpu] [--seeds 0 1 2] [NAME ...]
    python benchmarks/learned/denoising/train.py --evaluate [--sigmas 15 25 50] [NAME ...]

For every NAME and seed: weights NAME-SIZE-SEED.npz, chosen on 20 images of BSD400 that training
does not see, and a folder of checkpoints and logs, from which a stopped training goes on. Then
(with --evaluate: only) PSNR on the test sets, which nothing was chosen by, as denoisers.json,
denoisers.md (mean over the images, ± standard deviation over seeds) and denoisers.png. All networks
see all noise levels up to 55; KAIR's DnCNN, for 25 only, is beside them where its weights are.

Published on BSD68 at 25: CRR 28.1, WCRR 28.7, DnCNN 29.23 dB.
"""

import argparse
import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from _photographs import Patches, middles, noisy, psnr, test_images, training_images
from _recipes import CPU, GPU, DenoisingLoss
from flax import nnx

from jaxrecon import viz
from jaxrecon.nets.layers import n_parameters
from jaxrecon.nets.priors import read_dncnn
from jaxrecon.training import Trainer, load_weights, save_weights
from jaxrecon.training.input import ArraySource, Batches

DATA = Path(__file__).resolve().parents[4] / "shared" / "data"
SIZES = {"cpu": CPU, "gpu": GPU}
KAIR = "DnCNN (KAIR, for 25)"
SHOWN = 0  # which image of Set12 the picture shows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", help=f"of {', '.join(CPU)}; all if none")
    parser.add_argument("--size", choices=SIZES, default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of train/ and denoisers/")
    parser.add_argument("--out", type=Path, default=Path("denoisers"), help="folder for results")
    parser.add_argument("--evaluate", action="store_true", help="do not train")
    parser.add_argument("--sets", nargs="+", default=["Set12", "BSD68"])
    parser.add_argument("--sigmas", type=float, nargs="+", default=[15, 25, 50], help="of 255")
    parser.add_argument("--steps", type=int, help="in place of the recipe's")
    parser.add_argument("--validate-every", type=int, default=200, metavar="STEPS")
    options = parser.parse_args()
    names = options.names or list(CPU)
    if unknown := set(names) - set(CPU):
        parser.error(f"unknown network {', '.join(sorted(unknown))}")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in [] if options.evaluate else names:
        for seed in options.seeds:
            train(name, seed, options)
    evaluate(names, options)


# --------------------------------------------------------------------------------------- training


def train(name: str, seed: int, options: argparse.Namespace) -> None:
    """One network from one seed; goes on where it was stopped."""
    recipe = SIZES[options.size][name]
    if options.steps:
        recipe = dataclasses.replace(recipe, steps=options.steps)
    images, held_out = training_images(options.data / "train")
    net = recipe.build(rngs=nnx.Rngs(seed))
    path = weights(options, name, seed)
    if path.exists():
        return
    print(json.dumps({"network": name, "seed": seed, "parameters": n_parameters(net)}), flush=True)
    clean = middles(held_out)
    source = ArraySource(x=clean, y=np.stack([noisy(x, 25 / 255, i) for i, x in enumerate(clean)]))
    trainer = Trainer(
        loss=DenoisingLoss(recipe.max_sigma, recipe.penalty),
        optimiser=recipe.optimiser(),
        n_steps=recipe.steps,
        folder=path.with_suffix(""),
        evaluation=validation,
        evaluation_batch=4,
        ema_decay=recipe.decay,
        log_every=options.validate_every,
        validate_every=options.validate_every,
        monitor="psnr",
        mode="max",
        on_log=lambda kind, step, values: print(json.dumps({"step": step, **values}), flush=True),
    )
    batches = Batches(Patches(images, recipe.patch, seed), recipe.batch, seed=seed)
    trainer.fit(net, batches, source, key=jax.random.key(seed))
    save_weights(path, trainer.best(net), card={"seed": seed, "steps": recipe.steps})


def validation(net: Any, example: dict[str, Any], key: Any) -> tuple[Any, dict[str, Any]]:
    """The PSNR of an image at 25, and its negative as a loss."""
    del key
    error = jnp.mean((net(example["y"], 25 / 255) - example["x"]) ** 2)
    value = -10 * jnp.log10(error)
    return -value, {"psnr": value}


def weights(options: argparse.Namespace, name: str, seed: int) -> Path:
    """Where a trained network is."""
    return options.out / f"{name}-{options.size}-{seed}.npz"


def mean_psnr(net: Any, images: list[np.ndarray], sigma: float) -> float:
    """Over images of one size, one after the other."""
    return float(np.mean(scores(net, images, sigma)))


def scores(net: Any, images: list[np.ndarray], sigma: float) -> list[float]:
    """PSNR of each image."""
    return [psnr(_denoise(net, noisy(x, sigma, i), sigma), x) for i, x in enumerate(images)]


@jax.jit
def _denoise(net: Any, y: Any, sigma: Any) -> Any:
    return net(y, sigma)


# ------------------------------------------------------------------------------------- evaluation


def evaluate(names: list[str], options: argparse.Namespace) -> None:
    """Scores of all that is trained, as records, a table and a picture."""
    sets = {k: v for k, v in test_images(options.data / "train").items() if k in options.sets}
    subjects = {}
    for name in names:
        build = functools.partial(SIZES[options.size][name].build, rngs=nnx.Rngs(0))
        found = [p for s in options.seeds if (p := weights(options, name, s)).is_file()]
        if found:
            subjects[name] = [load_weights(path, build()) for path in found]
    if (kair := options.data / "denoisers" / "kair_dncnn_25.npz").is_file():
        subjects[KAIR] = [read_dncnn(kair)]
    records = []
    for name, nets in subjects.items():
        for label, images in sets.items():
            for sigma in options.sigmas if name != KAIR else [25]:
                each = [mean_psnr(net, images, sigma / 255) for net in nets]
                record = {"network": name, "set": label, "sigma": sigma, "psnr": each}
                records.append(record)
                print(json.dumps(record), flush=True)
    (options.out / "denoisers.json").write_text(json.dumps(records, indent=1) + "\n")
    (options.out / "denoisers.md").write_text(table(records) + "\n")
    if "Set12" in sets:
        picture(subjects, sets["Set12"][SHOWN], options.out / "denoisers.png")


def table(records: list[dict]) -> str:
    """Markdown: a row for each network, a column for each set and noise level."""
    columns = list(dict.fromkeys((r["set"], r["sigma"]) for r in records))
    cells = {(r["network"], r["set"], r["sigma"]): r["psnr"] for r in records}
    lines = ["| PSNR (dB) | " + " | ".join(f"{s}, {g:g}" for s, g in columns) + " |"]
    lines.append("|---" * (len(columns) + 1) + "|")
    for name in dict.fromkeys(r["network"] for r in records):
        values = [cells.get((name, *column)) for column in columns]
        lines.append(f"| {name} | " + " | ".join(map(_cell, values)) + " |")
    return "\n".join(lines)


def _cell(values: list[float] | None) -> str:
    if not values:
        return ""
    spread = f" ± {np.std(values, ddof=1):.2f}" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{spread}"


def picture(subjects: dict[str, list[Any]], truth: np.ndarray, path: Path) -> None:
    """One photograph at 25, by everyone's first seed."""
    y = noisy(truth, 25 / 255, SHOWN)
    shown = {"noisy": y}
    shown |= {name: np.asarray(_denoise(nets[0], y, 25 / 255)) for name, nets in subjects.items()}
    figure = viz.comparison(truth, shown, title="Noise of 25/255", window=(0.0, 1.0))
    viz.save(figure, path)


if __name__ == "__main__":
    main()
