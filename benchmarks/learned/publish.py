"""Writes what `reconstruct.py` and `denoising/train.py` have trained as a network that ships.

    python benchmarks/learned/publish.py NAME [--size cpu|gpu] [--seed 0] [--dtype float16]
        [--hardware TEXT] [--date 2026-11-21] [--output FOLDER] [--into FOLDER]

NAME is of `CARDS`. The weights are read from the output folder of the training script, rounded to
the storage type, judged again as they will be loaded, and written with their card: figures on the
test images beside those of the other methods found there, data and licences, command, versions.
"""

import argparse
import dataclasses
import datetime
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _runs
import _settings
import numpy as np
from _networks import RECIPES
from _quality import methods
from flax import nnx
from reconstruct import CLASSICAL, DATA, sizes_of

from jaxrecon.nets import pretrained
from jaxrecon.training import load_weights

SHIPPED = Path(pretrained.__file__).parent / "weights"

HEAD = "InVesalius examples, CT of a head (Debian invesalius-examples)"
FORREST = "studyforrest, T1 (datalad/example-dicom-structural)"
MNI = "MNI ICBM152 2009a average, T1 (nilearn)"


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
    parser.add_argument("--data", type=Path, default=DATA, help="folder of volumes/ ...")
    parser.add_argument("--output", type=Path, default=Path(".learned"), help="of reconstruct.py")
    parser.add_argument("--into", type=Path, default=SHIPPED, help="where to write")
    parser.set_defaults(quick=False)
    options = parser.parse_args()
    setting, method, describe = CARDS[options.name]
    recipe = RECIPES[options.size][setting][method]
    folder = options.output / options.size / setting
    weights = folder / "weights" / f"{_runs.label(method)}-{options.seed}.npz"
    if not weights.is_file():
        sys.exit(f"{weights} is missing: run reconstruct.py {setting} --methods {method!r} first")
    card = describe(recipe, options)
    net = load_weights(weights, card.architecture.build(rngs=nnx.Rngs(0)))
    build = _settings.build(setting, options.data, sizes_of(setting, options))
    figures = judged(net, card, build.tasks, method, folder, options)
    card = pretrained.publish(
        net, dataclasses.replace(card, figures=figures), options.into, dtype=options.dtype
    )
    print(card.headline)


def judged(
    net: nnx.Module,
    card: pretrained.Card,
    tasks: Any,
    method: str,
    folder: Path,
    options: argparse.Namespace,
) -> tuple[pretrained.Figure, ...]:
    """PSNR of the network as it will be loaded, beside what else was measured."""
    with tempfile.TemporaryDirectory() as place:
        pretrained.publish(net, card, place, dtype=options.dtype)
        net = pretrained.load(card.name, folder=place)
    figures = []
    for task in tasks:
        scores = methods.evaluate(_runs.as_method(net), task, task.test, {}, _runs.BATCH)[1]
        psnr = np.asarray(scores["psnr"], float)
        others = [m for m in (*CLASSICAL, *RECIPES[options.size][folder.name]) if m != method]
        found = {r["method"]: r for m in others for r, _ in _runs.records(folder, task, m)}
        figures.append(
            pretrained.Figure(
                metric="PSNR",
                value=round(float(psnr.mean()), 2),
                spread=round(float(psnr.std(ddof=1)), 2),
                unit="dB",
                over=f"{task.title}; spread over {len(psnr)} test images",
                beside={k: round(float(np.mean(r["psnr"])), 2) for k, r in found.items()},
            )
        )
    return tuple(figures)


# -------------------------------------------------------------------------------------------- cards


def _training(setting: str, method: str, recipe: Any, options: Any) -> pretrained.Training:
    return pretrained.Training(
        command=f"python benchmarks/learned/reconstruct.py {setting} --methods '{method}' "
        f"--size {options.size} --seeds {options.seed}",
        recipe=f"mean squared error, {recipe.steps} steps of Adam on "
        f"{recipe.batch} scan(s) drawn anew, rate {recipe.rate:g} with warm-up and cosine, moving "
        "average of the weights; flips, quarter turns, zoom by 15 %, shifts",
        seeds=(options.seed,),
        date=options.date,
        hardware=options.hardware,
        versions=pretrained.versions(),
    )


def _ct_sparse(recipe: Any, options: Any) -> pretrained.Card:
    n_iter, width = (6, 32) if options.size == "cpu" else (10, 64)
    return pretrained.Card(
        name="ct-sparse",
        title="unrolled proximal gradients for sparse-view CT of heads",
        task="reconstruction",
        modality="ct",
        description=f"{n_iter} proximal gradient steps from filtered back-projection, each with "
        f"three convolutions of {width} channels of its own",
        units="any: scans are normalised inside",
        use="two-dimensional parallel and fan beams of some 30 to 120 views at low dose",
        limits=(
            "trained on one patient, of whom the test slices are another slab",
            "trained at 60 views of 10⁴ photons, 128² pixels of 1.9 mm: elsewhere it is a guess",
            "no medical device",
        ),
        licence="Apache-2.0",
        architecture=pretrained.UnrolledIterations(
            iteration="pgd",
            network=pretrained.ImageNetwork(kind="convnet", width=width, depth=3),
            n_iter=n_iter,
            shared=False,
            initial="fbp",
        ),
        training=_training("head", "unrolled PGD", recipe, options),
        data=(
            pretrained.Data(
                name="head", use="training", source=HEAD, licence="GPL-2", amount="slices 0 to 48"
            ),
            pretrained.Data(
                name="head", use="validation", source=HEAD, licence="GPL-2", amount="slices 53-57"
            ),
            pretrained.Data(
                name="head",
                use="test",
                source=HEAD,
                licence="GPL-2",
                amount="12 of the slices 63 to 96",
            ),
        ),
    )


def _mri_multicoil(recipe: Any, options: Any) -> pretrained.Card:
    n_iter, width = (5, 32) if options.size == "cpu" else (10, 64)
    return pretrained.Card(
        name="mri-multicoil",
        title="MoDL for multi-coil Cartesian MRI of brains at 4x and 8x",
        task="reconstruction",
        modality="mri",
        description=f"{n_iter} times a network of five convolutions of {width} channels and "
        "conjugate gradients on the data, with shared weights; coil maps are given",
        units="any: scans are normalised inside",
        use="two-dimensional multi-coil scans with random lines, accelerations 4 to 8",
        limits=(
            "trained on one T1 volume and an average, 128² pixels, simulated phase and coils",
            "lines alone: masks of points are another distribution",
            "no medical device",
        ),
        licence="Apache-2.0",
        architecture=pretrained.UnrolledIterations(
            iteration="modl",
            network=pretrained.ImageNetwork(kind="convnet", width=width, depth=5),
            n_iter=n_iter,
            shared=True,
            complex_values=True,
            initial="adjoint",
        ),
        training=_training("mri", "MoDL", recipe, options),
        data=(
            pretrained.Data(
                name="studyforrest",
                use="training",
                source=FORREST,
                licence="PDDL",
                amount="180 axial slices",
            ),
            pretrained.Data(
                name="MNI152",
                use="training",
                source=MNI,
                licence="MNI terms (free use with notice)",
                amount="50 axial slices",
            ),
            pretrained.Data(
                name="Colin27",
                use="validation",
                source="Colin27, mricron-data",
                licence="BSD-3",
                amount="3 axial slices",
            ),
            pretrained.Data(
                name="pyradiomics brains",
                use="test",
                source="AIM-Harvard/pyradiomics, two patients",
                licence="BSD-3",
                amount="12 slices",
            ),
        ),
    )


CARDS: dict[str, tuple[str, str, Callable[[Any, Any], pretrained.Card]]] = {
    "ct-sparse": ("head", "unrolled PGD", _ct_sparse),
    "mri-multicoil": ("mri", "MoDL", _mri_multicoil),
}


if __name__ == "__main__":
    main()
