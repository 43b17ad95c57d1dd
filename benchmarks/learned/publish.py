"""Writes what `reconstruct.py` and `denoising/train.py` have trained as a network that ships.

    python benchmarks/learned/publish.py NAME [--size cpu|gpu] [--seed 0] [--dtype float16]
        [--hardware TEXT] [--date 2026-11-21] [--output FOLDER] [--into FOLDER]
        [--sigmas 25 15 50]

NAME is of `_cards.py`. The weights are read from the output folder of the training script, rounded
to the storage type, judged again as they will be loaded, and written with their card: figures on
the test images, beside those of the other methods found there, data and licences, command,
versions.
"""

import argparse
import dataclasses
import datetime
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent / "denoising"))

import _photographs
import _recipes
import _runs
import _settings
import numpy as np
import train
from _cards import CARDS
from _networks import RECIPES
from _quality import methods
from flax import nnx
from reconstruct import CLASSICAL, DATA, sizes_of

from jaxrecon.nets import pretrained
from jaxrecon.training import load_weights

SHIPPED = Path(pretrained.__file__).parent / "weights"
DENOISERS = {"cpu": _recipes.CPU, "gpu": _recipes.GPU}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=CARDS)
    parser.add_argument("--size", choices=RECIPES, default="cpu")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=("float32", "float16"), default="float16")
    parser.add_argument("--hardware", default=platform.processor() or platform.machine())
    parser.add_argument(
        "--date", type=datetime.date.fromisoformat, default=datetime.date.today(), metavar="DAY"
    )
    parser.add_argument(
        "--sigmas", type=float, nargs="+", default=[25, 15, 50], help="of 255, for denoisers"
    )
    parser.add_argument("--data", type=Path, default=DATA, help="folder of volumes/ ...")
    parser.add_argument("--output", type=Path, default=Path(".learned"), help="of the training")
    parser.add_argument("--into", type=Path, default=SHIPPED, help="where to write")
    parser.set_defaults(quick=False)
    options = parser.parse_args()
    setting, method, describe = CARDS[options.name]
    denoises = setting == "denoising"
    recipe = (DENOISERS if denoises else {s: r[setting] for s, r in RECIPES.items()})[options.size]
    card = describe(recipe[method], options)
    folder = options.output if denoises else options.output / options.size / setting
    net = read(folder / weights_name(method, denoises, options), card)
    with tempfile.TemporaryDirectory() as place:
        pretrained.publish(net, card, place, dtype=options.dtype)
        stored = pretrained.load(card.name, folder=place)
    judge = judged_denoiser if denoises else judged
    figures = judge(stored, setting, method, folder, options)
    card = dataclasses.replace(card, figures=figures)
    card = pretrained.publish(net, card, options.into, dtype=options.dtype)
    print(*map(str, card.figures), sep="\n")


def weights_name(method: str, denoises: bool, options: argparse.Namespace) -> str:
    """The file of a training, in its folder."""
    if denoises:
        return f"{method}-{options.size}-{options.seed}.npz"
    return f"weights/{_runs.label(method)}-{options.seed}.npz"


def read(path: Path, card: pretrained.Card) -> nnx.Module:
    """The trained network of a card."""
    if not path.is_file():
        sys.exit(f"{path} is missing: first run {card.training.command}")
    return load_weights(path, card.architecture.build(rngs=nnx.Rngs(0)))


def judged(
    net: Any, setting: str, method: str, folder: Path, options: argparse.Namespace
) -> tuple[pretrained.Figure, ...]:
    """PSNR of reconstructions, beside what else was measured on the same scans."""
    figures = []
    for task in _settings.build(setting, options.data, sizes_of(setting, options)).tasks:
        scores = methods.evaluate(_runs.as_method(net), task, task.test, {}, _runs.BATCH)[1]
        others = [m for m in (*CLASSICAL, *RECIPES[options.size][setting]) if m != method]
        found = {r["method"]: r["psnr"] for m in others for r, _ in _runs.records(folder, task, m)}
        figures.append(figure(np.asarray(scores["psnr"]), task.title, "images", found))
    return tuple(figures)


def judged_denoiser(
    net: Any, setting: str, method: str, folder: Path, options: argparse.Namespace
) -> tuple[pretrained.Figure, ...]:
    """PSNR of denoised photographs."""
    del setting, method, folder
    sets = _photographs.test_images(options.data / "train")
    figures = []
    for sigma in options.sigmas:  # the first stands for the denoiser in lists
        for name in ("BSD68", "Set12"):
            images = sets[name]
            noisy = [_photographs.noisy(x, sigma / 255, i) for i, x in enumerate(images)]
            beside = {"noisy": [_photographs.psnr(*pair) for pair in zip(noisy, images)]}
            scores = np.asarray(train.scores(net, images, sigma / 255))
            figures.append(figure(scores, f"{name}, sigma {sigma:g}/255", "photographs", beside))
    return tuple(figures)


def figure(
    psnr: np.ndarray, over: str, units: str, beside: dict[str, list[float]]
) -> pretrained.Figure:
    """The mean PSNR of test images, with its spread."""
    return pretrained.Figure(
        metric="PSNR",
        value=round(float(psnr.mean()), 2),
        spread=round(float(psnr.std(ddof=1)), 2),
        unit="dB",
        over=f"{over}; spread over {len(psnr)} {units}",
        beside={name: round(float(np.mean(values)), 2) for name, values in beside.items()},
    )


if __name__ == "__main__":
    main()
