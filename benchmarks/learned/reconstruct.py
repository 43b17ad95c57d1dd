"""Learned reconstruction beside classical methods: sparse-view CT and multi-coil MRI.

    python benchmarks/learned/reconstruct.py [ellipses] [head] [mri] [--size cpu|gpu]
        [--methods TV U-Net ...] [--seeds 0 1 2] [--data FOLDER] [--output FOLDER]

Settings stand in `_settings.py`, networks in `_networks.py`, classical methods and their tuning in
`benchmarks/_quality`. A network's checkpoint is the one with the best mean PSNR on the validation
scans, by which classical methods are tuned too; test scans choose nothing. Every training goes on
where it was stopped, and everything done is not done again: delete its folder to start anew.

In the output folder, for every setting: `TASK.md` (PSNR, SSIM and NRMSE, mean ± standard deviation
over the test images; for networks of the mean over seeds, and the spread over these), `TASK.png`,
a record and the images of each method, and the trained weights.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _runs
import _settings
from _networks import RECIPES
from _quality import methods
from _quality.shared import FULL, QUICK, Sizes

from jaxrecon.training.losses import l2, supervised

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
CLASSICAL = (_runs.DIRECT, "TV", "wavelet", "PnP DnCNN 6N")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("settings", nargs="*", help=f"of {', '.join(_settings.SETTINGS)}")
    parser.add_argument("--size", choices=RECIPES, default="cpu")
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="all of them by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="in place of the recipes'")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of volumes/ ...")
    parser.add_argument("--output", type=Path, default=Path(".learned"), help="results, a cache")
    parser.add_argument("--quick", action="store_true", help="toy sizes, in quick/ of the output")
    options = parser.parse_args()
    names = options.settings or list(_settings.SETTINGS)
    if unknown := set(names) - set(_settings.SETTINGS):
        parser.error(f"unknown setting {', '.join(sorted(unknown))}")
    for name in names:
        reconstruct(name, options)


def reconstruct(name: str, options: argparse.Namespace) -> None:
    """All methods on one setting."""
    recipes = RECIPES[options.size][name]
    known = [*CLASSICAL, *recipes]
    chosen = [method for method in known if method in (options.methods or known)]
    setting = _settings.build(name, options.data, sizes_of(name, options))
    folder = options.output / ("quick" if options.quick else options.size) / name
    effort = methods.QUICK if options.quick else methods.FULL
    for method in [m for m in chosen if m in CLASSICAL]:
        for task in setting.tasks:
            _runs.judge_classical(folder, task, method, options.data / "denoisers", effort)
    for seed in options.seeds:
        for method in [m for m in chosen if m in recipes]:
            steps = options.steps or (3 if options.quick else recipes[method].steps)
            recipe = recipes[method]._replace(steps=steps)
            training = _runs.Training(folder, method, recipe, supervised(l2), setting)
            net = _runs.trained(training, seed)
            for task in setting.tasks:
                _runs.judge_network(folder, task, method, seed, net)
    for task in setting.tasks:
        _runs.write(folder, task, known)


def sizes_of(name: str, options: argparse.Namespace) -> Sizes:
    """Images are 256² on a GPU, but for the ellipses' 128², which are the published setting."""
    if options.quick:
        return QUICK
    return FULL._replace(image=256) if options.size == "gpu" and name != "ellipses" else FULL


if __name__ == "__main__":
    main()
