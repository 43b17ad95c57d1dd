"""Do better figures find lesions? A channelised Hotelling observer beside PSNR and SSIM.

    python benchmarks/learned/observer.py [--size cpu|gpu] [--seeds 0 1 2] [--contrast 80]
        [--scans 8] [--data FOLDER] [--output FOLDER]

Discs in the soft tissue of the head CT's test slices, scanned as in `reconstruct.py`, whose
networks and tuned parameters it takes from the same output folder. Every slice is scanned several
times with four discs and as often without; the observer sees the surroundings of the places through
six Laguerre-Gauss channels, is trained on half of the slices and judged on the other half, then the
other way round. `observer.md`: SNR and AUC (± standard error over slices, left out in turn), and
PSNR and SSIM of the same scans without discs; `observer.png`: one against the other.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _runs
import _settings
import jax
import jax.numpy as jnp
import numpy as np
from _networks import RECIPES
from _quality import methods, report
from _quality.medical import BONE, ct_scan
from _quality.shared import Scan, Task, stacked
from reconstruct import DATA, sizes_of
from robustness import subjects

from jaxrecon import data, metrics

N_PLACES, N_CHANNELS = 4, 6
DIAMETER, ROI = 6.0, 15.0  # of a disc, half of what the observer sees, mm


class Study(NamedTuple):
    """Scans of every slice (along the first axis) without and with discs, and where they are."""

    absent: Scan
    present: Scan
    places: np.ndarray  # (slice, place, 2), row and column of the image
    slices: np.ndarray  # of each scan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=RECIPES, default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--contrast", type=float, default=80.0, help="of the discs, in HU")
    parser.add_argument("--scans", type=int, default=8, help="of every slice and class")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of volumes/ ...")
    parser.add_argument("--output", type=Path, default=Path(".learned"), help="of reconstruct.py")
    parser.set_defaults(quick=False)
    options = parser.parse_args()
    folder = options.output / options.size / "head"
    task, study, pixel = build(options)
    found: dict[str, list[dict[str, Any]]] = {}
    for label, method, parameters in subjects("head", folder, task, options):
        figures = judge(task, study, pixel, method, parameters)
        found.setdefault(label, []).append(figures)
        print(json.dumps({"method": label, **figures}), flush=True)
    write(folder, found, options.contrast)


# ------------------------------------------------------------------------------------------- scans


def build(options: argparse.Namespace) -> tuple[Task, Study, float]:
    """The nominal task, the scans, and the image's pixel in mm."""
    sizes = sizes_of("head", options)
    fine, pixel = _settings.fine_head(options.data, sizes)
    _, validation, test = _settings.head_slabs(sizes)
    scanner = _settings.CTScanner(pixel)
    groups = jnp.asarray(fine[validation]), jnp.asarray(fine[test])
    task, size = _settings.ct_task("head", groups, scanner)
    rng = np.random.default_rng(0)
    chosen = [(z, places(fine[z], 2 * pixel, rng)) for z in test]
    chosen = [(z, some) for z, some in chosen if len(some) == N_PLACES]
    if len(chosen) < 4:
        sys.exit(f"only {len(chosen)} test slices have soft tissue around {N_PLACES} places")
    scan = jax.jit(lambda key, x: ct_scan(scanner(key, x), scanner.photons, size))
    scans: dict[bool, list[Scan]] = {False: [], True: []}
    contrast = options.contrast / 1000 * data.MU_WATER
    for i, (z, some) in enumerate(chosen):
        for j in range(2 * options.scans):
            with_discs = j % 2 == 1
            image = fine[z] + with_discs * contrast * discs(fine[z].shape, some, pixel)
            key = jax.random.fold_in(jax.random.key(30), 1000 * i + j)
            scans[with_discs].append(scan(key, jnp.asarray(image)))
    where = np.stack([some for _, some in chosen])
    slices = np.repeat(np.arange(len(chosen)), options.scans)
    return task, Study(stacked(scans[False]), stacked(scans[True]), where, slices), 2 * pixel


def places(fine: np.ndarray, pixel: float, rng: np.random.Generator) -> np.ndarray:
    """Up to four pixels, far from each other, with nothing but soft tissue around (2 × 2 finer)."""
    image = fine.reshape(len(fine) // 2, 2, -1, 2).mean((1, 3))
    soft = np.abs(image / data.MU_WATER - 1) < 0.15
    reach = int(np.ceil(ROI / pixel))
    windows = np.lib.stride_tricks.sliding_window_view(soft, (2 * reach + 1,) * 2)
    free = [tuple(p) for p in rng.permutation(np.argwhere(windows.mean((2, 3)) > 0.97) + reach)]
    chosen: list[Any] = []
    for place in free:
        if all(np.hypot(*np.subtract(place, other)) > 2 * reach for other in chosen):
            chosen.append(place)
    return np.array(chosen[:N_PLACES])


def discs(shape: tuple[int, ...], some: np.ndarray, pixel: float) -> np.ndarray:
    """One where a disc is, on the fine grid whose pixels' side is given."""
    y, x = np.ogrid[: shape[0], : shape[1]]
    inside = [np.hypot(y - 2 * r - 0.5, x - 2 * c - 0.5) < DIAMETER / 2 / pixel for r, c in some]
    return np.any(inside, axis=0).astype(np.float32)


# --------------------------------------------------------------------------------------- judgement


def judge(task: Task, study: Study, pixel: float, method: Any, parameters: dict) -> dict[str, Any]:
    """The observer's figures, and those of images."""
    images, scores = methods.evaluate(method, task, study.absent, parameters, _runs.BATCH)
    absent = regions(images, study, pixel)
    present = regions(
        methods.evaluate(method, task, study.present, parameters, _runs.BATCH)[0], study, pixel
    )
    slices = np.repeat(study.slices, N_PLACES)
    channels = metrics.laguerre_gauss(absent.shape[1:], width=2 * DIAMETER / pixel, n=N_CHANNELS)
    decide = jax.jit(metrics.hotelling_observer)
    t_present, t_absent = np.zeros(len(present)), np.zeros(len(absent))
    for half in (0, 1):
        train, test = slices % 2 == half, slices % 2 != half
        observer = decide(present[train], absent[train], channels)
        t_present[test], t_absent[test] = observer(present[test]), observer(absent[test])
    found = pooled(t_present, t_absent, slices)
    left_out = [
        pooled(*(t[slices != z] for t in (t_present, t_absent, slices))) for z in np.unique(slices)
    ]
    n = len(left_out)
    error = np.sqrt((n - 1) / n * np.sum((np.array(left_out) - np.mean(left_out, 0)) ** 2, 0))
    means = {k: float(np.mean(v)) for k, v in scores.items()}
    return {"snr": found[0], "auc": found[1], "snr_error": error[0], "auc_error": error[1], **means}


def pooled(present: np.ndarray, absent: np.ndarray, slices: np.ndarray) -> tuple[float, float]:
    """The mean over the two observers, whose decision variables have scales of their own."""
    each = [
        metrics.detectability(
            jnp.asarray(present[slices % 2 == half], jnp.float32),
            jnp.asarray(absent[slices % 2 == half], jnp.float32),
        )
        for half in (0, 1)
    ]
    return float(np.mean([d.snr for d in each])), float(np.mean([d.auc for d in each]))


def regions(images: Any, study: Study, pixel: float) -> Any:
    """What is around every place of every image, less its mean."""
    reach = int(np.ceil(ROI / pixel))
    cut = []
    for image, z in zip(np.asarray(images) * BONE, study.slices):
        for row, column in study.places[z]:
            rows, columns = (slice(c - reach, c + reach + 1) for c in (row, column))
            cut.append(image[rows, columns] - image[rows, columns].mean())
    return jnp.asarray(np.stack(cut), jnp.float32)


# ------------------------------------------------------------------------------------------ report


def write(folder: Path, found: dict[str, list[dict[str, Any]]], contrast: float) -> None:
    """`observer.md` and `observer.png`; networks are means over seeds."""
    means = {
        label: {key: float(np.mean([r[key] for r in some])) for key in some[0]}
        for label, some in found.items()
    }
    head = ["", "SNR", "AUC", "PSNR (dB)", "SSIM"]
    rows = [
        [
            label,
            f"{m['snr']:.2f} ± {m['snr_error']:.2f}",
            f"{m['auc']:.3f} ± {m['auc_error']:.3f}",
            f"{m['psnr']:.2f}",
            f"{m['ssim']:.3f}",
        ]
        for label, m in means.items()
    ]
    title = f"Discs of {DIAMETER:g} mm and {contrast:g} HU"
    text = "\n".join([f"## {title}", "", *report.markdown(head, rows), ""])
    report.replace_file(folder / "observer.md", lambda f: f.write(text.encode()))
    print(text)
    picture(folder / "observer.png", title, means)


def picture(path: Path, title: str, means: dict[str, dict[str, float]]) -> None:
    """AUC against PSNR and SSIM."""
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axes, key in zip(panels, ("psnr", "ssim")):
        for label, m in means.items():
            axes.errorbar(m[key], m["auc"], m["auc_error"], fmt="o", capsize=3, label=label)
        axes.set_xlabel({"psnr": "PSNR (dB)", "ssim": "SSIM"}[key])
    panels[0].set_ylabel("AUC of the observer")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
    figure.suptitle(title)
    figure.savefig(path, dpi=80)
    plt.close(figure)


if __name__ == "__main__":
    main()
