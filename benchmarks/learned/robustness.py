"""What happens when the scan is not the one that was trained for?

    python benchmarks/learned/robustness.py [head] [mri] [--size cpu|gpu] [--seeds 0 1 2]
        [--data FOLDER] [--output FOLDER]

Takes the networks that `reconstruct.py` has trained, and the parameters it has tuned, from the same
output folder, and changes one thing of the test at a time: noise, acceleration or number of views,
anatomy, sampling. Nothing is trained or tuned again. The table, `robustness.md` in the setting's
folder, has the PSNR, mean ± standard deviation over the test images (of the mean over seeds), and
the spread over seeds in brackets; the picture shows the loss against the scan trained for.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _runs
import _settings
import jax
import jax.numpy as jnp
import numpy as np
from _networks import RECIPES
from _quality import methods, report
from _quality.medical import brains_task, fourier_crop, pyradiomics_brains
from _quality.shared import Sizes, Task
from flax import nnx
from reconstruct import CLASSICAL, DATA, sizes_of

from jaxrecon import data
from jaxrecon.physics import mri
from jaxrecon.training import load_weights

NOMINAL = "as trained"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", help=f"of {', '.join(VARIANTS)}")
    parser.add_argument("--size", choices=RECIPES, default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of volumes/ ...")
    parser.add_argument("--output", type=Path, default=Path(".learned"), help="of reconstruct.py")
    parser.add_argument("--quick", action="store_true", help="toy sizes, in quick/ of the output")
    options = parser.parse_args()
    for name in options.settings or VARIANTS:
        folder = options.output / ("quick" if options.quick else options.size) / name
        variants = VARIANTS[name](options.data, sizes_of(name, options))
        found = {
            label: {variant: [] for variant in variants}
            for label, *_ in subjects(name, folder, next(iter(variants.values())), options)
        }
        for variant, task in variants.items():
            for label, method, parameters in subjects(name, folder, task, options):
                scores = methods.evaluate(method, task, task.test, parameters, _runs.BATCH)[1]
                psnr = np.asarray(scores["psnr"], float)
                found[label][variant].append(psnr)
                record = {"setting": name, "variant": variant, "method": label}
                print(json.dumps(record | {"psnr": round(float(psnr.mean()), 2)}), flush=True)
        write(folder, name, found)


def subjects(
    name: str, folder: Path, task: Task, options: argparse.Namespace
) -> Iterator[tuple[str, Any, dict]]:
    """Label, method and parameters of everything that `reconstruct.py` has left."""
    nominal = NOMINAL_TASKS[name]
    effort = methods.QUICK if options.quick else methods.FULL
    for label in CLASSICAL:
        path = folder / nominal / f"{_runs.label(label)}.json"
        if path.exists():
            tuned = json.loads(path.read_text())
            key = None if label == _runs.DIRECT else label
            method = methods.method(task, key, effort, options.data / "denoisers")
            yield tuned["method"], method.reconstruct, tuned["parameters"]
    for label, recipe in RECIPES[options.size][name].items():
        for seed in options.seeds:
            path = folder / "weights" / f"{_runs.label(label)}-{seed}.npz"
            if path.exists():
                net = load_weights(path, recipe.build(rngs=nnx.Rngs(0)))
                yield label, _runs.as_method(net), {}


# ----------------------------------------------------------------------------------- changed scans


def head_variants(folder: Path, sizes: Sizes) -> dict[str, Task]:
    """Of the head: dose, views, an arc that lacks 30°, another patient, ellipses for anatomy."""
    fine, pixel = _settings.fine_head(folder, sizes)
    slabs = [jnp.asarray(fine[slab]) for slab in _settings.head_slabs(sizes)[1:]]
    scanner = _settings.CTScanner(pixel)
    task = lambda groups, s: _settings.ct_task("head", groups, s)[0]  # noqa: E731
    other = _other_anatomy(sizes, pixel)
    return {
        NOMINAL: task(slabs, scanner),
        "a quarter of the dose": task(slabs, scanner._replace(photons=scanner.photons / 4)),
        "four times the dose": task(slabs, scanner._replace(photons=scanner.photons * 4)),
        "30 views": task(slabs, scanner._replace(views=30)),
        "120 views": task(slabs, scanner._replace(views=120)),
        "150° of 180°": task(slabs, scanner._replace(views=50, arc=np.pi * 5 / 6)),
        "another scanner's skull base": task((slabs[0], other["skull base"]), scanner),
        "ellipses": task((slabs[0], other["ellipses"]), scanner),
    }


def _other_anatomy(sizes: Sizes, pixel: float) -> dict[str, Any]:
    """Fine images: one slice of another patient in eight positions, and ellipses."""
    n = 2 * sizes.image
    base = data.ct_slice()
    side = n * pixel / base.pixel  # in pixels of the slice
    places = (np.arange(n) - (n - 1) / 2) * side / n + (len(base.values) - 1) / 2
    nearest = np.clip(np.round(places).astype(int), 0, len(base.values) - 1)
    image = base.values[np.ix_(nearest, nearest)]
    turned = [np.rot90(x, k) for x in (image, image[:, ::-1]) for k in range(4)]
    half_width = 0.45 * n * pixel
    keys = jax.random.split(jax.random.key(20), sizes.n_test)
    draw = lambda key: data.random_ellipses(key, half_width=half_width, scale=0.05)  # noqa: E731
    phantoms = jax.vmap(lambda k: data.area_average(draw(k), (n, n), pixel=pixel, rows=2))(keys)
    return {"skull base": jnp.asarray(np.stack(turned)), "ellipses": jnp.maximum(phantoms, 0)}


def brain_variants(folder: Path, sizes: Sizes) -> dict[str, Task]:
    """Of the brains at acceleration 8: noise, acceleration, other lines, points, coils, anatomy."""
    n = sizes.image
    fine = n * 3 // 2
    brains = pyradiomics_brains(folder, fine, sizes.n_test)
    tune = brains[: sizes.n_validation]
    calibration = n // 16
    regular = mri.equispaced_lines_mask((1, n), 8, calibration=calibration)
    points = mri.poisson_disc_mask(jax.random.key(21), (n, n), 8, calibration=calibration)
    with np.load(folder / "mri/coilimages_brain4ch.npz") as file:
        coils = np.sqrt(np.sum(np.abs(next(iter(file.values()))) ** 2, 0))
    photographs = np.load(folder / "train/bsd68.npz")["img"][: sizes.n_test]
    other = [fourier_crop(_square(x), fine) / 255 for x in photographs.astype(np.float32)]
    task = lambda images=brains, acceleration=8, **more: brains_task(  # noqa: E731
        (tune, images), sizes, acceleration, **more
    )
    return {
        NOMINAL: task(),
        "4x": task(acceleration=4),
        "12x": task(acceleration=12),
        "16x": task(acceleration=16),
        "three times the noise": task(sigma=0.03),
        "a third of the noise": task(sigma=0.01 / 3),
        "regular lines": task(mask=regular),
        "points (Poisson disc)": task(mask=points),
        "4 coils": task(n_coils=4),
        "another scanner's brain": task([fourier_crop(coils / coils.max(), fine)] * 2),
        "photographs": task(other),
    }


def _square(image: np.ndarray) -> np.ndarray:
    side = min(image.shape)
    top, left = ((m - side) // 2 for m in image.shape)
    return image[top : top + side, left : left + side]


VARIANTS = {"head": head_variants, "mri": brain_variants}
NOMINAL_TASKS = {"head": "head", "mri": "mri8"}


# ------------------------------------------------------------------------------------------- report


def write(folder: Path, name: str, found: dict[str, dict[str, list[np.ndarray]]]) -> None:
    """`robustness.md` and `robustness.png`."""
    variants = list(next(iter(found.values())))
    rows = [[variant, *(_cell(some[variant]) for some in found.values())] for variant in variants]
    text = "\n".join([f"## {name}", "", *report.markdown(["PSNR (dB)", *found], rows), ""])
    report.replace_file(folder / "robustness.md", lambda f: f.write(text.encode()))
    print(text)
    picture(folder / "robustness.png", name, variants, found)


def _cell(values: list[np.ndarray]) -> str:
    over_images, over_seeds = np.mean(values, 0), np.mean(values, 1)
    spread = f" [{np.std(over_seeds, ddof=1):.2f}]" if len(values) > 1 else ""
    return f"{over_images.mean():.2f} ± {np.std(over_images, ddof=1):.2f}{spread}"


def picture(path: Path, name: str, variants: list[str], found: dict[str, Any]) -> None:
    """The mean PSNR of every method in every variant."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(1.1 * len(variants) + 3, 4.5), layout="constrained")
    for label, some in found.items():
        axes.plot(variants, [np.mean(some[v]) for v in variants], "o-", label=label)
    axes.set_ylabel("PSNR (dB)")
    axes.set_title(f"{name}: trained and tuned for the first scan")
    axes.tick_params(axis="x", rotation=30)
    axes.legend()
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
