"""How far does learning without ground truth get? A ladder of losses on undersampled MRI.

    python benchmarks/learned/self_supervised.py [--size cpu|gpu] [--seeds 0 1 2]
        [--scans multi-coil single-coil] [--masks random fixed] [--data FOLDER] [--output FOLDER]

One network, MoDL, on the brains of `_settings.py` at acceleration 4, trained by SSDU (Yaman et al.,
2020), weighted SSDU (Millard and Chiew, 2023), equivariant imaging (Chen et al., 2021) and with the
truth: with a random mask for each scan, or with the one mask that also tests; with 8 coils or one.
With one mask, weighted SSDU has no weights to tell from SSDU's, and is left out. Results as those
of `reconstruct.py`, in `self-supervised/` of the output.
"""

import argparse
import itertools
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import _runs
import _settings
import jax
from _networks import RECIPES
from _quality import methods
from _quality.medical import random_lines
from _quality.shared import FULL, QUICK, Sizes
from reconstruct import DATA

from jaxrecon.training.losses import (
    SSDU,
    GaussianSplit,
    QuarterTurns,
    VariableDensitySplit,
    WeightedSSDU,
    equivariant_imaging,
    l2,
    sampling_density,
    supervised,
)

ACCELERATION = 4
COILS = {"multi-coil": 8, "single-coil": 1}
MASKS = ("random", "fixed")
N_DRAWS = 2000  # of masks, for their density


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=RECIPES, default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scans", nargs="+", choices=COILS, default=list(COILS))
    parser.add_argument("--masks", nargs="+", choices=MASKS, default=list(MASKS))
    parser.add_argument("--steps", type=int, help="in place of the recipe's")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of volumes/ ...")
    parser.add_argument("--output", type=Path, default=Path(".learned"), help="results, a cache")
    parser.add_argument("--quick", action="store_true", help="toy sizes, in quick/ of the output")
    options = parser.parse_args()
    sizes = QUICK if options.quick else FULL
    root = options.output / ("quick" if options.quick else options.size) / "self-supervised"
    for scan, mask in itertools.product(options.scans, options.masks):
        ladder(root / f"{scan}-{mask}", COILS[scan], mask == "fixed", sizes, options)


def ladder(
    folder: Path, n_coils: int, fixed: bool, sizes: Sizes, options: argparse.Namespace
) -> None:
    """All losses on one kind of scan."""
    rates = (ACCELERATION,)
    setting = _settings.brains(options.data, sizes, rates, rates, n_coils, fixed)
    (task,) = setting.tasks
    effort = methods.QUICK if options.quick else methods.FULL
    for name in (_runs.DIRECT, "TV"):
        _runs.judge_classical(folder, task, name, options.data / "denoisers", effort)
    recipe = RECIPES[options.size]["mri"]["MoDL"]
    recipe = recipe._replace(steps=options.steps or (3 if options.quick else recipe.steps))
    losses = losses_of(sizes.image, fixed)
    for seed, (name, loss) in itertools.product(options.seeds, losses.items()):
        net = _runs.trained(_runs.Training(folder, name, recipe, loss, setting), seed)
        _runs.judge_network(folder, task, name, seed, net)
    _runs.write(folder, task, [_runs.DIRECT, "TV", *losses])


def losses_of(n: int, fixed: bool) -> dict[str, Any]:
    """From the least to the most that a loss is told."""
    split = VariableDensitySplit(centre=4)
    losses: dict[str, Any] = {
        "SSDU": SSDU(GaussianSplit()),
        "weighted SSDU": WeightedSSDU(split, density=None if fixed else density(n)),
        "equivariant imaging": equivariant_imaging(QuarterTurns()),
        "supervised": supervised(l2),
    }
    return {name: loss for name, loss in losses.items() if not (fixed and "weighted" in name)}


def density(n: int) -> Any:
    """How often a line is measured."""
    draw = lambda key: random_lines(key, n, ACCELERATION)  # noqa: E731
    return sampling_density(draw, jax.random.key(0), n=N_DRAWS)


if __name__ == "__main__":
    main()
