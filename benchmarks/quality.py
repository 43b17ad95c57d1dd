"""How good are the images of each method on sparse-view CT, MRI, deblurring and single-pixel scans?

    python benchmarks/quality.py [--data FOLDER] [--output FOLDER] [--tasks ...] [--methods ...]

Tasks, data and units stand in `_quality/tasks.py`, methods and their tuning in
`_quality/methods.py`. Parameters are tuned on validation images alone; figures are the mean and
standard deviation over 12 test images: PSNR with the range max|truth| of each image, SSIM and
NRMSE. Every (task, method) is written to the output folder when it is done, and not done again.
One JSON record a line; then Markdown tables and a picture for each task, in the same folder. Delete
the folder to start anew. Single-pixel tasks other than "variance" take the direct inverse and TV.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from _quality import methods, report, tasks

DIRECT = "direct"  # the name that stands for FBP, zero-filled and pseudo-inverse
IN_ORDERS = (DIRECT, "TV")
IN_QUICK = ("ct", "mri4", "single-pixel-variance", "single-pixel-natural")
QUICK_METHODS = (DIRECT, "Tikhonov", "TV", "PnP DCT", "PnP DnCNN 6N")


def main() -> None:
    parser = argparse.ArgumentParser(description="Quality of images by method.")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="measurements")
    parser.add_argument("--output", type=Path, default=Path(".quality"), help="results, a cache")
    parser.add_argument("--tasks", nargs="+", choices=list(tasks.TASKS), metavar="TASK")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help=f"{DIRECT!r}, 'TV' ...")
    parser.add_argument("--quick", action="store_true", help="toy sizes, in quick/ of the output")
    options = parser.parse_args()
    if not (options.data / "train").is_dir():
        sys.exit(
            f"{options.data} holds no measurements (train/, volumes/, denoisers/): pass their "
            "folder with --data"
        )
    names = options.tasks or list(IN_QUICK if options.quick else tasks.TASKS)
    folder = options.output / ("quick" if options.quick else "full")
    folder.mkdir(parents=True, exist_ok=True)
    known = [DIRECT, *methods.REGULARISED]
    chosen = options.methods or (QUICK_METHODS if options.quick else known)
    unknown = set(chosen) - set(known)
    if unknown:
        parser.error(f"unknown method {', '.join(unknown)}; expected {', '.join(known)}")
    run_all(names, [m for m in known if m in chosen], options.data, folder, options.quick)
    report.write(folder)


def run_all(names: list[str], chosen: list[str], data: Path, folder: Path, quick: bool) -> None:
    """Cheap methods first, each on every task."""
    sizes = tasks.QUICK if quick else tasks.FULL
    built: dict[str, tasks.Task] = {}
    for method in chosen:
        for name in names:
            other_order = name.startswith("single-pixel") and name != "single-pixel-variance"
            path = folder / name / f"{method.replace(' ', '-')}.json"
            if (other_order and method not in IN_ORDERS) or path.exists():
                continue
            if name not in built:
                built[name] = tasks.build(name, data, sizes)
            path.parent.mkdir(exist_ok=True)
            measure(built[name], method, data / "denoisers", path, quick)


def measure(task: tasks.Task, name: str, networks: Path, path: Path, quick: bool) -> None:
    """Tunes a method, judges it on the test images and writes both, the record last."""
    start = time.perf_counter()
    effort = methods.QUICK if quick else methods.FULL
    method = methods.method(task, None if name == DIRECT else name, effort, networks)
    tuned = methods.tune(method, task, lambda line: print(line, file=sys.stderr))
    batch = len(task.validation.truth)
    arguments = method.reconstruct, task, task.test, tuned["parameters"], batch
    images, scores = jax.block_until_ready(methods.evaluate(*arguments))
    record = {
        "task": task.name,
        "title": task.title,
        "method": task.direct.name if name == DIRECT else name,
        **tuned,
        **{key: np.asarray(values, float).round(4).tolist() for key, values in scores.items()},
        "seconds": round(time.perf_counter() - start, 1),
        "facts": task.facts,
    }
    shown = report.SHOWN % len(images)
    pair = {"image": np.asarray(images[shown]), "truth": np.asarray(task.test.truth[shown])}
    report.replace_file(path.with_suffix(".npz"), lambda f: np.savez(f, **pair))
    text = json.dumps(record)
    report.replace_file(path, lambda f: f.write(text.encode()))
    brief = {key: round(float(jnp.mean(scores[key])), 4) for key in scores}
    kept = {key: record[key] for key in ("task", "method", "parameters", "at_ends", "seconds")}
    print(json.dumps(kept | brief), flush=True)


if __name__ == "__main__":
    main()
